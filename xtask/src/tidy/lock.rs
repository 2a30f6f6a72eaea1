//! Does everything we build from come from one registry, and from nowhere else?

use anyhow::Context;
use serde::Deserialize;

use super::finding::Finding;

/// What is read of `Cargo.lock`.
#[derive(Debug, Deserialize)]
pub struct Lock {
    #[serde(rename = "package", default)]
    pub packages: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
pub struct Locked {
    pub name: String,
    pub version: String,
    /// Nothing for our own packages.
    pub source: Option<String>,
}

pub fn read(text: &str) -> anyhow::Result<Lock> {
    toml::from_str(text).context("reading Cargo.lock")
}

/// The line on which a package is named, or the first one.
pub fn line_of(text: &str, package: &str) -> usize {
    let named = format!("name = \"{package}\"");
    text.lines().position(|line| line == named).map_or(1, |index| index + 1)
}

pub fn findings(text: &str) -> anyhow::Result<Vec<Finding>> {
    let lock = read(text)?;
    let foreign = |locked: &&Locked| locked.source.as_deref().is_some_and(|source| !source.starts_with("registry+"));
    let mut findings: Vec<Finding> = lock.packages.iter().filter(foreign).map(|locked| outside(text, locked)).collect();
    let mut registries: Vec<&str> = lock.packages.iter().filter_map(|locked| locked.source.as_deref()).collect();
    registries.retain(|source| source.starts_with("registry+"));
    registries.sort_unstable();
    registries.dedup();
    if registries.len() > 1 {
        let advice = format!("{} registries are used, use one: {}", registries.len(), registries.join(", "));
        findings.push(Finding::failure("Cargo.lock", 1, advice));
    }
    Ok(findings)
}

fn outside(text: &str, locked: &Locked) -> Finding {
    let source = locked.source.as_deref().unwrap_or_default();
    let advice = format!("{} comes from {source}: use a version from the registry", locked.name);
    Finding::failure("Cargo.lock", line_of(text, &locked.name), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(sources: [&str; 2]) -> String {
        format!(
            "[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n\n\
            [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{}\"\n\n\
            [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"{}\"\n",
            sources[0], sources[1]
        )
    }

    #[test]
    fn one_registry_passes() {
        assert_eq!(findings(&lock(["registry+x", "registry+x"])).unwrap(), []);
    }

    #[test]
    fn repositories_and_second_registries_are_found() {
        let found = findings(&lock(["registry+x", "git+y#1"])).unwrap();
        assert_eq!(found[0].to_string(), "Cargo.lock:11: b comes from git+y#1: use a version from the registry");
        assert_eq!(findings(&lock(["registry+x", "registry+y"])).unwrap().len(), 1);
    }
}
