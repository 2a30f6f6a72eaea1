//! Do people read the same limits that the compiler does? Writes docs/limits.md from the source.

use super::finding::Finding;

pub const SOURCE: &str = "crates/vocab/src/limit.rs";
pub const DOCUMENT: &str = "docs/limits.md";

/// One bound, its value as written, and the reason beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    line: usize,
    name: String,
    value: String,
    reason: String,
}

/// The document that belongs to this source.
pub fn document(source: &str) -> String {
    let mut text = format!(
        "# Limits\n\n\
        Every bound of Muster, and why it is what it is.\n\
        Written by `cargo xtask limits` from [limit.rs](../{SOURCE}): change it there.\n\n\
        | limit | value | why |\n|---|---|---|\n"
    );
    for Limit { name, value, reason, .. } in limits(source) {
        text += &format!("| `{name}` | `{}` | {} |\n", value.replace('|', "\\|"), reason.replace('|', "\\|"));
    }
    text
}

pub fn findings(source: &str, document_text: Option<&str>) -> Vec<Finding> {
    let without = limits(source).into_iter().filter(|limit| limit.reason.is_empty());
    let mut findings: Vec<Finding> = without
        .map(|limit| Finding::failure(SOURCE, limit.line, format!("say above `{}` why it is so", limit.name)))
        .collect();
    if document_text != Some(document(source).as_str()) {
        findings.push(Finding::failure(DOCUMENT, 1, format!("differs from {SOURCE}: run `cargo xtask limits`")));
    }
    findings
}

/// The constants in order. One without a comment of its own shares the reason of the one above.
fn limits(source: &str) -> Vec<Limit> {
    let mut limits = Vec::new();
    let mut reason = String::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut lines = source.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
            continue;
        }
        let Some(constant) = line.strip_prefix("pub const ") else {
            continue;
        };
        let mut constant = constant.to_owned();
        while !constant.ends_with(';') {
            let Some((_, more)) = lines.next() else { break };
            constant = format!("{constant} {}", more.trim());
        }
        if !comment.is_empty() {
            reason = comment.join(" ");
            comment.clear();
        }
        if let Some((name, value)) = parts(&constant) {
            limits.push(Limit { line: index + 1, name, value, reason: reason.clone() });
        }
    }
    limits
}

/// Name and value of `NAME: TYPE = VALUE;`.
fn parts(constant: &str) -> Option<(String, String)> {
    let (declared, value) = constant.split_once(" = ")?;
    let (name, _) = declared.split_once(':')?;
    Some((name.to_owned(), value.trim_end_matches(';').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "//! Bounds.\n\nuse std::time::Duration;\n\n\
        /// Fits a label\n/// in `a|b`.\npub const NAME_CHARS_MAX: usize = 64;\npub const KEY_CHARS_MAX: usize = 8;\n\n\
        /// A day.\npub const SILENCE: Duration =\n    Duration::from_secs(24 * 3600);\n";

    #[test]
    fn each_limit_is_a_row_with_its_reason_or_the_one_above() {
        let text = document(LIMITS);
        let rows: Vec<&str> = text.lines().skip(7).collect();
        assert_eq!(
            rows,
            [
                "| `NAME_CHARS_MAX` | `64` | Fits a label in `a\\|b`. |",
                "| `KEY_CHARS_MAX` | `8` | Fits a label in `a\\|b`. |",
                "| `SILENCE` | `Duration::from_secs(24 * 3600)` | A day. |",
            ]
        );
    }

    #[test]
    fn a_document_out_of_step_or_missing_is_found() {
        assert_eq!(findings(LIMITS, Some(&document(LIMITS))), []);
        let older = document(&LIMITS.replace("64", "63"));
        assert_eq!(findings(LIMITS, Some(&older))[0].file, DOCUMENT);
        assert_eq!(findings(LIMITS, None).len(), 1);
    }

    #[test]
    fn a_limit_without_any_reason_is_found() {
        let source = "pub const A: usize = 1;\n";
        let found = findings(source, Some(&document(source)));
        assert_eq!(found[0].to_string(), "crates/vocab/src/limit.rs:1: say above `A` why it is so");
    }
}
