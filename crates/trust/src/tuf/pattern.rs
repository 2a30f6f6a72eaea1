//! Does a delegation cover this path?
//!
//! TUF 4.5: patterns of the shell, part by part: no wildcard crosses a `/`.

use muster_vocab::digest::hex;
use sha2::Digest;

use crate::tuf::document::Delegation;

/// Whether a delegation covers the path of a target.
#[must_use]
pub fn covers(delegation: &Delegation, path: &str) -> bool {
    let name = hex(&sha2::Sha256::digest(path.as_bytes()));
    let by_hash = delegation.path_hash_prefixes.iter().flatten().any(|prefix| name.starts_with(prefix.as_str()));
    by_hash || delegation.paths.iter().flatten().any(|pattern| matches(pattern, path))
}

fn matches(pattern: &str, path: &str) -> bool {
    let patterns: Vec<&str> = pattern.split('/').collect();
    let parts: Vec<&str> = path.split('/').collect();
    patterns.len() == parts.len()
        && patterns.iter().zip(parts).all(|(pattern, part)| {
            let (pattern, part): (Vec<char>, Vec<char>) = (pattern.chars().collect(), part.chars().collect());
            part_matches(&pattern, &part)
        })
}

/// Takes time proportional to both lengths: only the last star is ever tried again.
fn part_matches(pattern: &[char], part: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < part.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, read));
            at += 1;
        } else if let Some(width) = one(&pattern[at..], part[read]) {
            at += width;
            read += 1;
        } else if let Some((back, from)) = star {
            star = Some((back, from + 1));
            (at, read) = (back + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// How many characters of the pattern stand for this one; `None` if they stand for another.
fn one(pattern: &[char], found: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let Some(end) = pattern.iter().skip(2).position(|c| *c == ']').map(|end| end + 2) else {
                return (found == '[').then_some(1);
            };
            let set = &pattern[1..end];
            let (not, set) = if set[0] == '!' && set.len() > 1 { (true, &set[1..]) } else { (false, set) };
            (in_set(set, found) != not).then_some(end + 1)
        }
        same => (*same == found).then_some(1),
    }
}

fn in_set(mut set: &[char], found: char) -> bool {
    while let Some(first) = set.first() {
        if let [from, '-', to, rest @ ..] = set {
            if (*from..=*to).contains(&found) {
                return true;
            }
            set = rest;
        } else if *first == found {
            return true;
        } else {
            set = &set[1..];
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wildcard_crosses_a_slash() {
        for (pattern, path, expected) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("**", "a/b", false),
            ("releases/*/*", "releases/x/x_v1", true),
            ("releases/y/*.zip", "releases/y/y_v1.zip", true),
            ("releases/y/*.zip", "releases/z/z_v1.zip", false),
            ("?", "/", false),
            ("a[!b]c", "a/c", false),
            ("stable/*-*.tar", "stable/a-b-c.tar", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[", "[", true),
            ("a*", "", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} and {path}");
        }
    }
}
