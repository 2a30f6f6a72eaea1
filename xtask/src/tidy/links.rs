//! Does every relative link of the documents lead somewhere?

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;

/// What links can lead to.
#[derive(Debug, Default)]
pub struct Tree {
    /// Files and folders, relative to the root.
    paths: BTreeSet<String>,
    /// The anchors of each document.
    anchors: BTreeMap<String, BTreeSet<String>>,
}

impl Tree {
    pub fn add_file(&mut self, path: &str) {
        let folders = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        self.paths.extend(folders.chain([path.to_owned()]));
    }

    pub fn add_document(&mut self, path: &str, text: &str) {
        self.add_file(path);
        self.anchors.insert(path.to_owned(), anchors(text));
    }
}

pub fn findings(file: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(text) {
        for target in targets(&line) {
            if let Some(trouble) = trouble(file, target, tree) {
                findings.push(Finding::failure(file, number, format!("link to `{target}`: {trouble}")));
            }
        }
    }
    findings
}

fn trouble(file: &str, target: &str, tree: &Tree) -> Option<String> {
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    if is_elsewhere || target.is_empty() {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let Some(path) = resolved(file, path) else {
        return Some("leads out of the repository; copy what is meant or drop the link".to_owned());
    };
    if !path.is_empty() && !tree.paths.contains(&path) {
        return Some(format!("there is no `{path}`; correct or drop it"));
    }
    let anchor = anchor?;
    let anchors = tree.anchors.get(&path)?;
    (!anchors.contains(anchor)).then(|| format!("`{path}` has no heading for `#{anchor}`; correct or drop it"))
}

/// The path from the root that a link in this file means; `None` if it leads out of the root.
fn resolved(file: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(file.to_owned());
    }
    let mut parts: Vec<&str> = match link.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => file.rsplit_once('/').map_or(Vec::new(), |(folder, _)| folder.split('/').collect()),
    };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Targets of `[text](target)`, `![text](target "title")` and `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    let inline = line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next());
    let definition = line.trim_start().strip_prefix('[').and_then(|rest| Some(rest.split_once("]: ")?.1));
    let whole = inline.chain(definition).filter_map(|target| target.split_whitespace().next());
    whole.map(|target| target.trim_start_matches('<').trim_end_matches('>')).collect()
}

/// Lines outside of fenced blocks, with their numbers and without `code`.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fence = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => lines.push((index + 1, without_code(line))),
        }
    }
    lines
}

fn without_code(line: &str) -> String {
    let pieces: Vec<&str> = line.split('`').collect();
    let has_open_end = pieces.len().is_multiple_of(2);
    let kept = pieces.iter().enumerate().filter(|(index, _)| {
        let is_code = index % 2 == 1 && !(has_open_end && index + 1 == pieces.len());
        !is_code
    });
    kept.map(|(_, piece)| *piece).collect()
}

/// The anchors a document offers: its headings as code hosts name them, and those written as HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let lines: BTreeSet<usize> = prose(text).into_iter().map(|(number, _)| number).collect();
    for (index, line) in text.lines().enumerate().filter(|(index, _)| lines.contains(&(index + 1))) {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let name = slug(heading.trim());
            let repeats = (1..=index).map(|count| format!("{name}-{count}"));
            let free = std::iter::once(name.clone()).chain(repeats).find(|name| !anchors.contains(name));
            anchors.extend(free);
        }
        let written = ["id=\"", "name=\""].into_iter().flat_map(|mark| line.split(mark).skip(1));
        anchors.extend(written.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    anchors
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || [' ', '-', '_'].contains(char));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let mut tree = Tree::default();
        tree.add_file("crates/a/src/b.rs");
        tree.add_document("README.md", "# Muster: a roll\n## Start `it`\n## Start it\n```\n# no heading\n```\n");
        tree.add_document("docs/guide.md", text);
        findings("docs/guide.md", text, &tree).iter().map(|finding| finding.text.clone()).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "# Here\n[a](../README.md) [b](../README.md#muster-a-roll) [c](#here) [d](../crates/a/src)\n\
            [e](https://a.example/x) [f](mailto:a@b.example) ![g](../crates/a/src/b.rs \"title\")\n\
            [h](/README.md#start-it-1)\n[i]: ../README.md#start-it\n";
        assert_eq!(said(text), Vec::<String>::new());
    }

    #[test]
    fn dead_files_and_headings_are_found() {
        let said = said("[a](gone.md)\n[b](../README.md#no-heading)\n[c](../../elsewhere.md)\n[d]: gone/too.md\n");
        assert_eq!(
            said,
            [
                "link to `gone.md`: there is no `docs/gone.md`; correct or drop it",
                "link to `../README.md#no-heading`: `README.md` has no heading for `#no-heading`; correct or drop it",
                "link to `../../elsewhere.md`: leads out of the repository; copy what is meant or drop the link",
                "link to `gone/too.md`: there is no `docs/gone/too.md`; correct or drop it",
            ]
        );
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(said("`[a](gone.md)` and\n```\n[b](gone.md)\n```\n"), Vec::<String>::new());
        assert_eq!(said("a ` alone, then [a](gone.md)").len(), 1);
    }
}
