//! What may a thing be called?
//!
//! Names appear in URLs, file names, logs and DDI paths, so they are kept to characters that are safe in all of them.

use crate::limit;

/// A checked name: 1 to [`limit::NAME_CHARS_MAX`] of letters, digits, `.`, `_`, `-`, `:`, `+`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name can't be empty")]
    Empty,
    #[error("a name has at most {} characters", limit::NAME_CHARS_MAX)]
    TooLong,
    #[error(
        "{0:?} can't stand in a name: use letters, digits, '.', '_', '-', ':', '+', and start with a letter or digit"
    )]
    Character(char),
}

impl Name {
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let Some(first) = text.chars().next() else { return Err(BadName::Empty) };
        if text.len() > limit::NAME_CHARS_MAX {
            return Err(BadName::TooLong);
        }
        if !first.is_ascii_alphanumeric() {
            return Err(BadName::Character(first));
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-:+".contains(*c))) {
            Some(c) => Err(BadName::Character(c)),
            None => Ok(Self(text.to_owned())),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_tricks_and_control_characters_are_not_names() {
        for text in ["..", "a/b", "a\\b", ".hidden", "-x", "a b", "a\0", "é", ""] {
            assert!(Name::parse(text).is_err(), "{text:?} was taken");
        }
        assert!(Name::parse(&"a".repeat(limit::NAME_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn usual_names_are_taken() {
        for text in ["gateway-os", "1.2.0+build.7", "app:web", "SN_0001"] {
            assert_eq!(Name::parse(text).unwrap().as_str(), text);
        }
    }
}
