//! What does the pattern of a `like` match?

/// The literal texts between the wildcards of a pattern: `gw-*` gives `["gw-", ""]`, `a\*b` gives `["a*b"]`.
///
/// The store joins them with its own wildcard after escaping them its own way.
#[must_use]
pub fn pieces(pattern: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut characters = pattern.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '*' {
            pieces.push(String::new());
            continue;
        }
        let escaped = if c == '\\' { characters.next_if(|next| matches!(next, '*' | '\\')) } else { None };
        if let Some(last) = pieces.last_mut() {
            last.push(escaped.unwrap_or(c));
        }
    }
    pieces
}

/// The pattern that matches exactly `text`.
#[must_use]
pub fn literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('*', "\\*")
}

/// Whether the whole of `text` matches; A-Z match a-z, other letters only themselves (as `LIKE` of SQLite does).
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let pieces: Vec<String> = pieces(&pattern.to_ascii_lowercase());
    let [first, middle @ .., last] = pieces.as_slice() else { return pieces.iter().all(|piece| *piece == text) };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for piece in middle {
        match rest.find(piece.as_str()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_any_run_of_characters() {
        for (pattern, text, expected) in [
            ("gw-*", "GW-7", true),
            ("gw-*", "agw-7", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*c", "abbc", true),
            ("*b*c", "acb", false),
            ("a**c", "ac", true),
            (r"a\*c", "a*c", true),
            (r"a\*c", "abc", false),
            (r"a\\*", r"a\xyz", true),
            ("ä*", "Äb", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{text:?} like {pattern:?}");
        }
    }

    #[test]
    fn a_literal_pattern_matches_its_text_only() {
        let text = r"50\*% \\ *";
        assert_eq!(pieces(&literal(text)), [text]);
    }
}
