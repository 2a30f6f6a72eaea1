//! How is a list cut into pages without skipping or repeating rows?
//!
//! By the last row's sort key, never by an offset: rows that come and go elsewhere change nothing.

use crate::StoreError;

/// One page: its rows and where the next begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Paged<T> {
    pub rows: Vec<T>,
    pub next: Option<Cursor>,
}

/// A position in a list. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub i64);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{:x}", self.0)
    }
}

impl std::str::FromStr for Cursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let digits = text.strip_prefix('c').filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        digits.and_then(|digits| i64::from_str_radix(digits, 16).ok()).map(Self).ok_or(StoreError::BadCursor)
    }
}

/// Cuts the one row too many that tells whether there is a next page.
pub(crate) fn cut<T>(mut rows: Vec<T>, limit: u32, key: impl Fn(&T) -> i64) -> Paged<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(|row| Cursor(key(row))) } else { None };
    Paged { rows, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        assert_eq!(Cursor(77).to_string().parse::<Cursor>().unwrap(), Cursor(77));
        for text in ["", "c", "77", "c-1", "c+1", "cffffffffffffffffff", "c1; drop table"] {
            assert!(text.parse::<Cursor>().is_err(), "{text:?} was taken");
        }
    }
}
