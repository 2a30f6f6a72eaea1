//! Has every name one home? Only a crate's `lib.rs` may show a name in a second place.

use super::finding::Finding;
use super::source::Source;

pub fn findings(file: &str, source: &Source) -> Vec<Finding> {
    if file.ends_with("/lib.rs") {
        return Vec::new();
    }
    let exports = source.lines().filter(|(_, line)| is_export(line.trim_start()));
    exports.map(|(number, _)| Finding::failure(file, number, "`pub use` only in `lib.rs`: name the home")).collect()
}

fn is_export(line: &str) -> bool {
    let after = line.strip_prefix("pub").map(str::trim_start).unwrap_or_default();
    let scope_end = after.starts_with('(').then(|| after.find(')')).flatten();
    let after = scope_end.map_or(after, |end| after[end + 1..].trim_start());
    after.starts_with("use ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_found_outside_lib() {
        let source = Source::read("use a::B;\npub use a::C;\npub(crate) use a::D;\npub fn used() {}\n");
        let lines: Vec<usize> = findings("crates/a/src/b.rs", &source).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3]);
        assert_eq!(findings("crates/a/src/lib.rs", &source), []);
    }
}
