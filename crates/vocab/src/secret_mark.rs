//! How does a text say where a secret goes, without having it?
//!
//! `{muster-secret:NAME:VERSION}`. Rendered files hold marks wherever they are kept and shown; only the device, with the
//! file in its memory, puts values in their place.

const BEGIN: &str = "{muster-secret:";

/// A mark in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark<'a> {
    pub name: &'a str,
    pub version: u64,
}

impl std::fmt::Display for Mark<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{BEGIN}{}:{}}}", self.name, self.version)
    }
}

/// The marks of a text, in order.
#[must_use]
pub fn marks(text: &str) -> Vec<Mark<'_>> {
    pieces(text).filter_map(|piece| if let Piece::Mark(mark) = piece { Some(mark) } else { None }).collect()
}

/// The text with a value for each mark. None: a value is missing.
#[must_use]
pub fn fill<'v>(text: &str, value: impl Fn(Mark<'_>) -> Option<&'v str>) -> Option<String> {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Mark(mark) => filled.push_str(value(mark)?),
        }
    }
    Some(filled)
}

enum Piece<'a> {
    Text(&'a str),
    Mark(Mark<'a>),
}

fn pieces(mut rest: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((mark, after)) = mark_at(rest) {
            rest = after;
            return Some(Piece::Mark(mark));
        }
        // A beginning that leads to no mark is text.
        let skipped = if rest.starts_with(BEGIN) { BEGIN.len() } else { 0 };
        let end = rest[skipped..].find(BEGIN).map_or(rest.len(), |at| at + skipped);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(text))
    })
}

fn mark_at(text: &str) -> Option<(Mark<'_>, &str)> {
    let (inner, after) = text.strip_prefix(BEGIN)?.split_once('}')?;
    let (name, version) = inner.rsplit_once(':')?;
    crate::Name::parse(name).ok()?;
    Some((Mark { name, version: version.parse().ok()? }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_and_filled() {
        let text = format!("a={} b={}", Mark { name: "db", version: 3 }, Mark { name: "api-key", version: 1 });
        assert_eq!(text, "a={muster-secret:db:3} b={muster-secret:api-key:1}");
        assert_eq!(marks(&text), [Mark { name: "db", version: 3 }, Mark { name: "api-key", version: 1 }]);
        let filled = fill(&text, |mark| Some(if mark.name == "db" { "x}" } else { "{muster-secret:db:3}" }));
        assert_eq!(filled.as_deref(), Some("a=x} b={muster-secret:db:3}"), "values are not looked into");
        assert_eq!(fill(&text, |mark| (mark.name == "db").then_some("x")), None);
    }

    #[test]
    fn what_only_begins_like_a_mark_is_text() {
        for text in ["{muster-secret:", "{muster-secret:db}", "{muster-secret:db:x}", "{muster-secret::1}", "{muster"] {
            assert!(marks(text).is_empty(), "{text}");
            assert_eq!(fill(text, |_| None).as_deref(), Some(text));
        }
        assert_eq!(marks("{muster-secret:{muster-secret:db:1}").len(), 1);
    }
}
