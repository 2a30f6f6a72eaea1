//! Which of an issuer's programs is meant?
//!
//! Subjects are compared letter by letter, case included: issuers tell things apart by it.

use muster_vocab::selector::pattern::pieces;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSubject {
    #[error("a subject has 1 to 255 characters")]
    Length,
    #[error("it begins with a wildcard, so that anybody could be meant whom the issuer knows: name the beginning")]
    Anybody,
}

/// May this pattern say who somebody is?
pub fn check_subject(pattern: &str) -> Result<(), BadSubject> {
    if pattern.is_empty() || pattern.len() > 255 || pattern.contains(char::is_control) {
        return Err(BadSubject::Length);
    }
    if pieces(pattern).first().is_none_or(String::is_empty) {
        return Err(BadSubject::Anybody);
    }
    Ok(())
}

/// Whether the whole subject matches; `*` stands for anything.
#[must_use]
pub fn is_meant(pattern: &str, subject: &str) -> bool {
    let pieces = pieces(pattern);
    let [first, middle @ .., last] = &pieces[..] else {
        return pieces.first().is_some_and(|only| only == subject);
    };
    let Some(rest) = subject.strip_prefix(first.as_str()) else { return false };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
    for piece in middle {
        match rest.split_once(piece.as_str()) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_meant_whole_and_letter_by_letter() {
        let pattern = "repo:acme/fw:ref:refs/heads/*";
        assert!(is_meant(pattern, "repo:acme/fw:ref:refs/heads/main"));
        for other in ["repo:ACME/fw:ref:refs/heads/main", "repo:acme/fw:pull_request", "x", "", "repo:acme/fw2:ref:"] {
            assert!(!is_meant(pattern, other), "{other}");
        }
        assert!(is_meant("exact", "exact") && !is_meant("exact", "exactly") && !is_meant("exact", "Exact"));
        assert!(is_meant("a*b*c", "aXbYc") && !is_meant("a*b*c", "aXc") && !is_meant("ab*ba", "aba"));
        assert!(is_meant(r"a\*", "a*") && !is_meant(r"a\*", "ab"));
    }

    #[test]
    fn a_pattern_for_anybody_is_refused() {
        assert_eq!(check_subject("*"), Err(BadSubject::Anybody));
        assert_eq!(check_subject("*:acme"), Err(BadSubject::Anybody));
        assert_eq!(check_subject(""), Err(BadSubject::Length));
        assert_eq!(check_subject(&"a".repeat(256)), Err(BadSubject::Length));
        assert_eq!(check_subject("repo:acme/*"), Ok(()));
    }
}
