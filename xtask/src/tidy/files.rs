//! Which files are the repository's, and what is each of them?

use std::path::Path;

use anyhow::Context;

use super::links::Tree;
use super::source::Source;
use crate::process;

/// The files that are or would be committed, with the text of those that are checked.
#[derive(Debug)]
pub struct Files {
    paths: Vec<String>,
    sources: Vec<(String, Source)>,
    documents: Vec<(String, String)>,
    manifests: Vec<(String, String)>,
}

impl Files {
    pub fn read() -> anyhow::Result<Files> {
        let root = process::root();
        let listing = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let listed = process::output(process::command("git").args(listing))?;
        let present = listed.lines().filter(|path| root.join(path).is_file());
        let paths: Vec<String> = present.map(str::to_owned).collect();
        let mut files = Files { paths: Vec::new(), sources: Vec::new(), documents: Vec::new(), manifests: Vec::new() };
        for path in &paths {
            let text = || std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
            let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
            match extension {
                Some("rs") => files.sources.push((path.clone(), Source::read(&text()?))),
                Some("md") => files.documents.push((path.clone(), text()?)),
                Some("toml") if path.ends_with("Cargo.toml") => files.manifests.push((path.clone(), text()?)),
                Some(_) | None => {}
            }
        }
        Ok(Files { paths, ..files })
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The Rust files.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(path, source)| (path.as_str(), source))
    }

    /// The Markdown files.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &str)> {
        self.documents.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files named Cargo.toml.
    pub fn manifests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.manifests.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// What links of documents can lead to.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for path in self.paths() {
            tree.add_file(path);
        }
        for (path, text) in self.documents() {
            tree.add_document(path, text);
        }
        tree
    }
}

/// Only `store` asks the database; tests and measurements may ask it to check an answer.
pub fn must_not_know_sql(path: &str) -> bool {
    let asks = ["crates/store/", "tests/", "xtask/"];
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
    !is_test && !asks.iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_belongs_to_the_store_and_to_tests() {
        let known = ["crates/store/src/rollouts.rs", "crates/sim/tests/fleet/mod.rs", "tests/tests/main.rs"];
        assert!(!known.iter().any(|path| must_not_know_sql(path)));
        assert!(must_not_know_sql("crates/server/src/flow/rollouts.rs"));
    }
}
