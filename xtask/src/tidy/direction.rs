//! Do the crates depend on each other only in the direction that DESIGN draws?

use anyhow::Context;
use toml::{Table, Value};

use super::finding::Finding;

const EVERYTHING: [&str; 12] =
    ["vocab", "wire", "trust", "delta", "domain", "insight", "metrics", "store", "server", "agent", "sim", "muster"];

/// STYLE section 1: which of our crates a crate may use.
fn allowed(member: &str) -> Option<&'static [&'static str]> {
    Some(match member {
        "vocab" => &[],
        "wire" | "trust" | "delta" | "domain" | "insight" | "metrics" => &["vocab"],
        "store" => &["vocab", "domain"],
        "agent" => &["vocab", "wire", "trust", "delta"],
        "server" => &["vocab", "wire", "trust", "delta", "domain", "insight", "metrics", "store"],
        "sim" | "muster" | "tests" | "xtask" | "fuzz" => &EVERYTHING,
        _ => return None,
    })
}

/// Checks one `Cargo.toml`; the one of the workspace has no package and passes.
pub fn findings(file: &str, text: &str) -> anyhow::Result<Vec<Finding>> {
    let manifest: Table = text.parse().with_context(|| format!("reading {file}"))?;
    let Some(package) = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str) else {
        return Ok(Vec::new());
    };
    let member = ours(package).unwrap_or(package);
    let Some(allowed) = allowed(member) else {
        let text = format!("`{member}` has no place in the house: decide what it may use, then say so in `direction`");
        return Ok(vec![Finding::failure(file, 1, text)]);
    };
    let used = dependencies(&manifest);
    let wrong = used.iter().filter_map(|name| Some((name, ours(name)?))).filter(|(_, used)| !allowed.contains(used));
    Ok(wrong
        .map(|(name, used)| {
            let advice = format!("`{member}` must not use `{used}`: move what both need to where both may look");
            Finding::failure(file, line_of(text, name), advice)
        })
        .collect())
}

/// The short name of one of our own packages.
fn ours(package: &str) -> Option<&str> {
    match package {
        "muster" | "xtask" => Some(package),
        _ => package.strip_prefix("muster-"),
    }
}

/// Names of everything used, in code, tests and build scripts, on any platform.
fn dependencies(manifest: &Table) -> Vec<&str> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let tables = platforms.filter_map(|(_, platform)| platform.as_table()).chain([manifest]);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let used = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    used.flat_map(Table::iter).map(|(name, value)| package_of(name, value)).collect()
}

/// The package's name, where a dependency is known under another one.
fn package_of<'a>(name: &'a str, value: &'a Value) -> &'a str {
    value.get("package").and_then(Value::as_str).unwrap_or(name)
}

fn line_of(text: &str, name: &str) -> usize {
    text.lines().position(|line| line.contains(name) && !line.starts_with("name")).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(text: &str) -> Vec<(usize, String)> {
        let findings = findings("Cargo.toml", text).unwrap();
        findings.into_iter().map(|finding| (finding.line, finding.text)).collect()
    }

    #[test]
    fn arrows_of_the_drawing_pass() {
        let text =
            "[package]\nname = \"muster-store\"\n[dependencies]\nmuster-domain.workspace = true\nbytes = \"1\"\n";
        assert_eq!(advice(text), []);
        assert_eq!(advice("[workspace.dependencies]\nmuster-sim = { path = \"x\" }\n"), []);
    }

    #[test]
    fn arrows_the_other_way_are_found_in_every_kind_of_dependency() {
        let text = "[package]\nname = \"muster-domain\"\n[dev-dependencies]\nmuster-store.workspace = true\n\
            [target.'cfg(unix)'.dependencies]\nwire = { package = \"muster-wire\", path = \"x\" }\n";
        let advice = advice(text);
        assert_eq!(advice.len(), 2);
        assert!(advice.iter().any(|(line, text)| *line == 4 && text.starts_with("`domain` must not use `store`")));
        assert!(advice.iter().any(|(line, text)| *line == 6 && text.starts_with("`domain` must not use `wire`")));
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        let advice = advice("[package]\nname = \"muster-extras\"\n");
        assert!(advice[0].1.starts_with("`extras` has no place in the house"));
    }
}
