//! Which bytes of the new file look like which of the old one?
//!
//! The scan of bsdiff: walks through the new bytes, asks the suffix array of the old ones for the longest match, and
//! moves to another alignment only when that is clearly better than going on with the present one. Matches are
//! then stretched over scattered differences.

use crate::sorted::{Sorted, agreeing};

/// `new[new_start..][..bytes]` looks like `old[old_start..][..bytes]`; what lies between covers is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    pub old_start: usize,
    pub new_start: usize,
    pub bytes: usize,
}

/// Another alignment has to agree in this many bytes more.
const BETTER_BYTES: usize = 8;

/// If the present alignment has this many bytes right, none is looked for that has more.
const CONTENT_BYTES: usize = 32;

/// Covers in the order of the new bytes, without overlaps.
pub fn find(sorted: &Sorted<'_>, new: &[u8]) -> Vec<Cover> {
    let old = sorted.old;
    let mut covers = Vec::new();
    let (mut scan, mut length) = (0, 0);
    // The cover being stretched: where it starts in both.
    let (mut last_scan, mut last_position) = (0_usize, 0_usize);
    while scan < new.len() {
        scan += length;
        let step = next_match(sorted, new, scan, last_position.wrapping_sub(last_scan));
        (scan, length) = (step.scan, step.bytes);
        if length == step.agreeing && scan < new.len() {
            continue;
        }
        let forward = forward(&old[last_position..], &new[last_scan..scan]);
        let backward = if scan < new.len() { backward(&old[..step.position], &new[last_scan..scan]) } else { 0 };
        let (forward, backward) = settle(
            (&old[last_position..], &new[last_scan..scan]),
            &old[step.position - backward..step.position],
            (forward, backward),
        );
        if forward > 0 {
            covers.push(Cover { old_start: last_position, new_start: last_scan, bytes: forward });
        }
        last_scan = scan - backward;
        last_position = step.position - backward;
    }
    covers
}

struct Match {
    scan: usize,
    position: usize,
    bytes: usize,
    /// Of these bytes, how many the present alignment has right as well.
    agreeing: usize,
}

/// The next place at or after `scan` at which another alignment is as good or better by enough.
fn next_match(sorted: &Sorted<'_>, new: &[u8], mut scan: usize, shift: usize) -> Match {
    let old = sorted.old;
    let agrees = |at: usize| old.get(at.wrapping_add(shift)) == Some(&new[at]);
    let mut right = 0;
    let mut counted = scan;
    let mut found = (0, 0);
    while scan < new.len() {
        let going_on = old.get(scan.wrapping_add(shift)..).map_or(0, |old| agreeing(old, &new[scan..]));
        found =
            if going_on >= CONTENT_BYTES { (scan.wrapping_add(shift), going_on) } else { sorted.longest(&new[scan..]) };
        let (_, bytes) = found;
        while counted < scan + bytes {
            right += usize::from(agrees(counted));
            counted += 1;
        }
        if (bytes == right && bytes != 0) || bytes > right + BETTER_BYTES {
            break;
        }
        if counted > scan {
            right -= usize::from(agrees(scan));
        } else {
            counted = scan + 1;
        }
        scan += 1;
    }
    Match { scan, position: found.0, bytes: found.1, agreeing: right }
}

/// How far a cover reaches, so that bytes that agree outweigh those that don't.
fn forward(old: &[u8], new: &[u8]) -> usize {
    best(old.iter().zip(new))
}

fn backward(old: &[u8], new: &[u8]) -> usize {
    best(old.iter().rev().zip(new.iter().rev()))
}

fn best<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    let (mut score, mut best_score, mut best) = (0_i64, 0, 0);
    for (index, (old, new)) in pairs.enumerate() {
        score += if old == new { 1 } else { -1 };
        if score > best_score {
            (best_score, best) = (score, index + 1);
        }
    }
    best
}

/// Where two stretched covers overlap, each byte goes to the one that has more of them right.
fn settle((old, new): (&[u8], &[u8]), next_old: &[u8], (forward, backward): (usize, usize)) -> (usize, usize) {
    let Some(overlap) = (forward + backward).checked_sub(new.len()).filter(|overlap| *overlap > 0) else {
        return (forward, backward);
    };
    let start = forward - overlap;
    let (mut score, mut best_score, mut keep) = (0_i64, 0, 0);
    for index in 0..overlap {
        let byte = new[start + index];
        score += i64::from(byte == old[start + index]) - i64::from(byte == next_old[index]);
        if score > best_score {
            (best_score, keep) = (score, index + 1);
        }
    }
    (start + keep, backward - keep)
}
