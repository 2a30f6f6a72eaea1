//! Is SQL written only in `store`?

use super::finding::Finding;
use super::source::Source;

/// How statements begin, and what has to follow somewhere for a sentence not to be taken for one.
const STATEMENTS: [(&str, &str); 9] = [
    ("SELECT ", " FROM "),
    ("SELECT ", "("),
    ("INSERT INTO ", " "),
    ("UPDATE ", " SET "),
    ("DELETE FROM ", ""),
    ("CREATE TABLE ", ""),
    ("CREATE INDEX ", ""),
    ("ALTER TABLE ", ""),
    ("PRAGMA ", ""),
];

pub fn findings(file: &str, source: &Source) -> Vec<Finding> {
    let statements = source.texts.iter().filter(|text| !source.is_test(text.line) && is_statement(&text.text));
    let advice = "SQL outside `store`: ask the question by a function there";
    statements.map(|text| Finding::failure(file, text.line, advice)).collect()
}

fn is_statement(text: &str) -> bool {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase() + " ";
    let is_shouted = text.trim_start().chars().take(6).all(|char| !char.is_lowercase());
    let is_query = words.starts_with("SELECT ") && words.contains(" FROM ");
    let begun = STATEMENTS.iter().any(|(begin, then)| words.starts_with(begin) && words.contains(then));
    (is_shouted && begun) || is_query
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        findings("a.rs", &Source::read(text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn statements_are_found_in_any_layout() {
        assert_eq!(lines("let a = \"SELECT id\n  FROM device\";"), [1]);
        assert_eq!(lines("\nquery(\"select id from device\")"), [2]);
        assert_eq!(lines("query(\"UPDATE device SET name = ?1\")"), [1]);
        assert_eq!(lines("query(\"SELECT count(*)\")"), [1]);
        assert_eq!(lines("query(\"PRAGMA journal_mode = WAL\")"), [1]);
    }

    #[test]
    fn sentences_and_tests_are_left_alone() {
        assert_eq!(lines("say(\"select the devices to update\")"), Vec::<usize>::new());
        assert_eq!(lines("say(\"Update the device, then set its labels\")"), Vec::<usize>::new());
        assert_eq!(
            lines("#[cfg(test)]\nmod tests {\n    const A: &str = \"SELECT 1 FROM x\";\n}"),
            Vec::<usize>::new()
        );
    }
}
