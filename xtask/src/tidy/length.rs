//! Is a file short enough to be read at once?

use super::finding::Finding;
use super::source::Source;

/// STYLE section 6: what a person keeps in mind.
const LINES_WANTED_MAX: usize = 400;
/// STYLE section 6: beyond, the file is two files.
const LINES_MAX: usize = 800;

pub fn findings(file: &str, source: &Source) -> Vec<Finding> {
    let lines = if file.ends_with("/tests.rs") { 0 } else { source.length() };
    if lines > LINES_MAX {
        let text = format!("{lines} lines without tests, at most {LINES_MAX}: split it by what it knows");
        return vec![Finding::failure(file, 1, text)];
    }
    if lines > LINES_WANTED_MAX {
        let text = format!("{lines} lines without tests; above {LINES_WANTED_MAX} think of splitting it");
        return vec![Finding::note(file, 1, text)];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Weight;
    use super::*;

    #[test]
    fn a_file_that_is_only_tests_may_be_long() {
        let source = Source::read(&"fn f() {}\n".repeat(900));
        assert_eq!(findings("crates/a/src/b/tests.rs", &source), []);
    }

    fn weights(lines: usize) -> Vec<Weight> {
        let text = "fn f() {}\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n" + &"\n".repeat(900) + "}\n";
        findings("a.rs", &Source::read(&text)).iter().map(|finding| finding.weight).collect()
    }

    #[test]
    fn long_files_are_noted_and_longer_ones_refused() {
        assert_eq!(weights(400), []);
        assert_eq!(weights(401), [Weight::Note]);
        assert_eq!(weights(800), [Weight::Note]);
        assert_eq!(weights(801), [Weight::Failure]);
    }
}
