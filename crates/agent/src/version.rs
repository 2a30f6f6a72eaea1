//! Which of two versions is the older one?
//!
//! Runs of digits are compared as numbers, other runs as text; a version that goes on after a `-` or `~` comes before
//! the one that ends there (1.0-rc1 before 1.0, as in semantic versioning and Debian). What follows a `+` counts as later.

use std::cmp::Ordering;

#[must_use]
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.trim_start_matches('v'), other.trim_start_matches('v'));
    loop {
        match (one.is_empty(), other.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return if is_before(other) { Ordering::Greater } else { Ordering::Less },
            (false, true) => return if is_before(one) { Ordering::Less } else { Ordering::Greater },
            (false, false) => {}
        }
        let ((a, one_rest), (b, other_rest)) = (run(one), run(other));
        let order = match (number(a), number(b)) {
            (Some(a), Some(b)) => a.len().cmp(&b.len()).then(a.cmp(b)),
            // 1.0-rc1 against 1.0.1: what goes on with a number is later.
            _ => rank(a).cmp(&rank(b)).then(a.cmp(b)),
        };
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (one_rest, other_rest);
    }
}

fn is_before(rest: &str) -> bool {
    rest.starts_with(['-', '~'])
}

/// As in Debian, `~` comes before all else.
fn rank(run: &str) -> u8 {
    match run.as_bytes().first() {
        Some(b'~') => 0,
        Some(b'-') => 1,
        _ => 2,
    }
}

/// The first run of digits or of anything else.
fn run(text: &str) -> (&str, &str) {
    let is_digit = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(text.len());
    text.split_at(end)
}

/// Digits without leading zeros, so that the longer is the greater.
fn number(run: &str) -> Option<&str> {
    run.starts_with(|c: char| c.is_ascii_digit()).then(|| run.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_read_them() {
        let ordered =
            ["0.9", "1.0~beta", "1.0-rc1", "1.0-rc2", "1.0-rc10", "1.0", "1.0+1", "1.0.1", "1.2", "1.10", "v2", "10"];
        for (at, older) in ordered.iter().enumerate() {
            for newer in &ordered[at + 1..] {
                assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
                assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
            }
        }
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
        assert_eq!(compare("v1.0", "1.0"), Ordering::Equal);
    }
}
