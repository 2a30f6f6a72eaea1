//! May everything that is linked be linked?

use anyhow::Context;
use serde::Deserialize;

use super::finding::Finding;
use super::lock;
use super::spdx;

/// What is read of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Nothing for our own packages.
    source: Option<String>,
}

/// Checks what `cargo metadata` wrote; findings point into the lock file, whose text is given to find the line.
pub fn findings(metadata: &str, lock_text: &str) -> anyhow::Result<Vec<Finding>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("reading cargo's metadata")?;
    let mut findings = Vec::new();
    for package in metadata.packages.iter().filter(|package| package.source.is_some()) {
        if let Some(trouble) = trouble(package.license.as_deref()) {
            let text = format!("{} {} {trouble}: replace it", package.name, package.version);
            findings.push(Finding::failure("Cargo.lock", lock::line_of(lock_text, &package.name), text));
        }
    }
    Ok(findings)
}

fn trouble(licence: Option<&str>) -> Option<String> {
    let Some(licence) = licence else {
        return Some("states no licence".to_owned());
    };
    match spdx::may_be_linked(licence) {
        Some(true) => None,
        Some(false) => Some(format!("may not be linked under `{licence}`")),
        None => Some(format!("states a licence that can't be read, `{licence}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_may_not_be_linked_are_named_with_their_line() {
        let metadata = r#"{"packages": [
            {"name": "ours", "version": "0.1.0", "license": null, "source": null},
            {"name": "fine", "version": "1.0.0", "license": "MIT OR Apache-2.0", "source": "registry+x"},
            {"name": "bad", "version": "2.0.0", "license": "AGPL-3.0-only", "source": "registry+x"},
            {"name": "silent", "version": "3.0.0", "license": null, "source": "registry+x"}]}"#;
        let lock = "[[package]]\nname = \"fine\"\n\n[[package]]\nname = \"bad\"\n";
        let said: Vec<String> = findings(metadata, lock).unwrap().iter().map(Finding::to_string).collect();
        assert_eq!(
            said,
            [
                "Cargo.lock:5: bad 2.0.0 may not be linked under `AGPL-3.0-only`: replace it",
                "Cargo.lock:1: silent 3.0.0 states no licence: replace it"
            ]
        );
    }
}
