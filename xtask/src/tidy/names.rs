//! Is everything named after what it knows?

use std::path::Path;

use super::finding::Finding;
use super::source::Source;

/// STYLE section 13: names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "helpers", "common", "misc", "manager", "handlers"];
const EMPTY_ENDINGS: [&str; 2] = ["Manager", "Helper"];
const DECLARATIONS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// Is one of the path's folders or the file itself named so?
pub fn path_findings(file: &str) -> Vec<Finding> {
    let names = Path::new(file).components().filter_map(|part| Path::new(part.as_os_str()).file_stem()?.to_str());
    let empty = names.filter(|name| EMPTY_NAMES.contains(name));
    empty.map(|name| Finding::failure(file, 1, format!("name it after what it knows, not `{name}`"))).collect()
}

pub fn type_findings(file: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.lines() {
        let words: Vec<&str> = line.split(|char: char| !char.is_alphanumeric() && char != '_').collect();
        for pair in words.windows(2) {
            let declared = DECLARATIONS.contains(&pair[0]);
            if declared && EMPTY_ENDINGS.iter().any(|ending| pair[1].ends_with(ending)) {
                let text = format!("name `{}` with a noun of DESIGN.md, and what it does as a function", pair[1]);
                findings.push(Finding::failure(file, number, text));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_file_and_folder_names_are_found() {
        assert_eq!(path_findings("crates/a/src/utils.rs").len(), 1);
        assert_eq!(path_findings("tests/common/mod.rs").len(), 1);
        assert_eq!(path_findings("crates/a/src/commonplace.rs"), []);
    }

    #[test]
    fn types_that_manage_or_help_are_found_where_declared() {
        let source = Source::read("use x::PoolManager;\npub struct RolloutManager<T> {}\n// struct XHelper\n");
        let findings = type_findings("a.rs", &source);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
    }
}
