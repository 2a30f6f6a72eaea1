//! Is there code that must not land: left-over marks, tests that do not count, silenced warnings?

use super::finding::Finding;
use super::source::Source;

/// What is forbidden, and what to do instead.
const FORBIDDEN: [(&str, &str); 7] = [
    ("#[ignore", "fix or remove the test: a test that does not run tells nothing"),
    ("#[should_panic", "return an error and assert it, or assert today's answer and say so"),
    ("todo!", "write it, or refuse the input that leads here"),
    ("unimplemented!", "write it, or refuse the input that leads here"),
    ("dbg!", "remove it, or log with `tracing`"),
    ("#[allow(", "use `#[expect(…, reason = \"…\")]`, which goes away with its cause"),
    ("#![allow(", "use `#[expect(…, reason = \"…\")]` on the item it is about"),
];

pub fn findings(file: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.lines() {
        let present = FORBIDDEN.iter().filter(|(mark, _)| has_mark(line, mark));
        findings.extend(present.map(|(mark, advice)| Finding::failure(file, number, format!("`{mark}`: {advice}"))));
    }
    findings
}

/// Is the mark in the line as a word of its own, not as the end of a longer name?
fn has_mark(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_found_once_with_its_line() {
        let text = "#[ignore = \"slow\"]\n#[should_panic]\ntodo!()\nunimplemented!()\ndbg!(x)\n#[allow(dead_code)]\n";
        let lines: Vec<usize> = findings("a.rs", &Source::read(text)).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
        assert_eq!(findings("a.rs", &Source::read("#![allow(unused)]")).len(), 1);
    }

    #[test]
    fn words_in_strings_comments_and_longer_names_are_left_alone() {
        let text = "// todo! later\nlet x = \"dbg!\";\nmytodo!();\n#[expect(dead_code, reason = \"x\")]\n";
        assert_eq!(findings("a.rs", &Source::read(text)), []);
    }
}
