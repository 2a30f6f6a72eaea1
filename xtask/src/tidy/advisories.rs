//! Is anything we build from known to be broken?
//!
//! Works without a network: the advisories are in `xtask/advisories.toml`.

use anyhow::Context;
use serde::Deserialize;

use super::finding::Finding;
use super::lock;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisories {
    advisory: Vec<Advisory>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisory {
    id: String,
    package: String,
    /// The first release with the fault, if it was not always there.
    since: Option<String>,
    /// The releases that ended it, one for each line of releases that was repaired; none if it stays.
    fixed: Vec<String>,
    what: String,
}

type Version = [u64; 3];

pub fn findings(advisories: &str, lock_text: &str) -> anyhow::Result<Vec<Finding>> {
    let advisories: Advisories = toml::from_str(advisories).context("reading xtask/advisories.toml")?;
    let locked = lock::read(lock_text)?;
    let mut findings = Vec::new();
    for advisory in &advisories.advisory {
        for package in locked.packages.iter().filter(|package| package.name == advisory.package) {
            if is_affected(advisory, &package.version)? {
                let Advisory { id, package: name, what, .. } = advisory;
                let text = format!("{name} {}: {what} ({id}); {}", package.version, way_out(&advisory.fixed));
                findings.push(Finding::failure("Cargo.lock", lock::line_of(lock_text, name), text));
            }
        }
    }
    Ok(findings)
}

fn way_out(fixed: &[String]) -> String {
    match fixed {
        [] => "replace it".to_owned(),
        fixed => format!("update it to {}", fixed.join(" or ")),
    }
}

fn is_affected(advisory: &Advisory, locked: &str) -> anyhow::Result<bool> {
    let locked = version(locked)?;
    if let Some(since) = &advisory.since
        && locked < version(since)?
    {
        return Ok(false);
    }
    let fixed = advisory.fixed.iter().map(|fixed| version(fixed)).collect::<anyhow::Result<Vec<_>>>()?;
    let newest = fixed.iter().max();
    let is_repaired = |fixed: &Version| locked >= *fixed && (locked[..2] == fixed[..2] || Some(fixed) == newest);
    Ok(!fixed.iter().any(is_repaired))
}

/// The three numbers of a release; what follows a `-` or `+` does not matter here.
fn version(text: &str) -> anyhow::Result<Version> {
    let numbers = text.split(['-', '+']).next().unwrap_or_default().split('.');
    let numbers = numbers.map(str::parse).collect::<Result<Vec<u64>, _>>().ok();
    numbers.and_then(|numbers| numbers.try_into().ok()).with_context(|| format!("`{text}` is not a version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADVISORIES: &str = r#"
        [[advisory]]
        id = "X-1"
        package = "parser"
        since = "0.2.0"
        fixed = ["0.3.9", "0.4.2"]
        what = "endless loop"

        [[advisory]]
        id = "X-2"
        package = "left"
        fixed = []
        what = "nobody repairs it"
    "#;

    fn said(package: &str, version: &str) -> Vec<String> {
        let lock = format!("[[package]]\nname = \"{package}\"\nversion = \"{version}\"\nsource = \"registry+x\"\n");
        findings(ADVISORIES, &lock).unwrap().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_broken_release_is_named_with_the_way_out() {
        assert_eq!(
            said("parser", "0.3.8"),
            ["Cargo.lock:2: parser 0.3.8: endless loop (X-1); update it to 0.3.9 or 0.4.2"]
        );
        assert_eq!(said("left", "9.0.0-rc.1"), ["Cargo.lock:2: left 9.0.0-rc.1: nobody repairs it (X-2); replace it"]);
    }

    #[test]
    fn each_line_of_releases_has_its_own_repair() {
        let affected = ["0.1.9", "0.2.0", "0.3.9", "0.3.12", "0.4.1", "0.4.2", "0.5.0", "1.0.0"]
            .map(|version| !said("parser", version).is_empty());
        assert_eq!(affected, [false, true, false, false, true, false, false, false]);
    }

    #[test]
    fn the_real_list_can_be_read() {
        findings(include_str!("../../advisories.toml"), "").unwrap();
    }
}
