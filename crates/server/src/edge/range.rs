//! Which part of a file is asked for? RFC 9110, section 14.

use std::ops::Range;

use axum::http::{HeaderMap, header};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranged {
    Whole,
    /// Bytes from, inclusive, to, exclusive.
    Part(Range<u64>),
    Unsatisfiable,
}

/// A single range is answered. Several at once and units other than bytes are ignored, as the RFC allows; a range of
/// bytes that makes no sense is refused, because a client that gets the whole file instead appends it to what it has.
#[must_use]
pub fn ranged(headers: &HeaderMap, size: u64, etag: &str) -> Ranged {
    let Some(asked) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Ranged::Whole };
    if let Some(condition) = headers.get(header::IF_RANGE)
        && condition.as_bytes() != etag.as_bytes()
    {
        return Ranged::Whole;
    }
    let Some(set) = asked.trim().strip_prefix("bytes=") else { return Ranged::Whole };
    if set.contains(',') {
        return Ranged::Whole;
    }
    part(set.trim(), size).map_or(Ranged::Unsatisfiable, Ranged::Part)
}

fn part(range: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix: u64 = last.parse().ok().filter(|suffix| *suffix > 0)?;
        return (size > 0).then(|| size.saturating_sub(suffix)..size);
    }
    let first: u64 = first.parse().ok()?;
    let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    (first < size && first <= last).then(|| first..last.saturating_add(1).min(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str, if_range: Option<&str>) -> Ranged {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(condition) = if_range {
            headers.insert(header::IF_RANGE, condition.parse().unwrap());
        }
        ranged(&headers, 10, "\"e\"")
    }

    #[test]
    fn ranges_inside_the_file_are_answered() {
        assert_eq!(asked("bytes=0-", None), Ranged::Part(0..10));
        assert_eq!(asked("bytes=3-5", None), Ranged::Part(3..6));
        assert_eq!(asked("bytes=3-99", None), Ranged::Part(3..10));
        assert_eq!(asked("bytes=-4", None), Ranged::Part(6..10));
    }

    #[test]
    fn a_range_at_or_behind_the_end_is_not_the_whole_file() {
        for range in ["bytes=10-", "bytes=11-12", "bytes=5-3", "bytes=", "bytes=-0", "bytes=x-"] {
            assert_eq!(asked(range, None), Ranged::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn a_changed_file_is_sent_whole() {
        assert_eq!(asked("bytes=3-5", Some("\"other\"")), Ranged::Whole);
        assert_eq!(asked("bytes=3-5", Some("\"e\"")), Ranged::Part(3..6));
    }
}
