//! How do two deltas become one?
//!
//! What the second one copies from the version between, the first one copied from the oldest, or brought along. So the
//! copies of both together say what the oldest and the newest share, and nothing has to be compared: one delta that
//! devices apply as any other, at the cost of applying both once.

use std::io::Write;

use crate::apply::{Applier, ApplyError};
use crate::cover::Cover;
use crate::make::{Made, MakeError, Segments};

/// What is shorter costs as much to point at as to bring along.
const COVER_BYTES_MIN: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("applying the first delta")]
    First(#[source] ApplyError),
    #[error("applying the second delta to what the first one makes")]
    Second(#[source] ApplyError),
    #[error(transparent)]
    Make(#[from] MakeError),
}

/// Writes the delta that leads from `old` to where `second` leads from where `first` leads.
///
/// Needs memory for the three versions beside the slices, and 24 bytes for each copy in the deltas.
///
/// # Errors
/// Deltas that are damaged or don't belong together are refused.
pub fn chain(old: &[u8], (first, second): (&[u8], &[u8]), out: impl Write) -> Result<Made, ChainError> {
    let (between, before) = applied(old, first).map_err(ChainError::First)?;
    let (new, copies) = applied(&between, second).map_err(ChainError::Second)?;
    let covers = composed(&before, &copies);
    drop((between, before, copies));
    let mut segments = Segments::begin(old, &new, out)?;
    let mut at = (0, 0);
    for cover in covers {
        at = segments.cover(at, cover)?;
    }
    at = segments.cover(at, Cover { old_start: at.0, new_start: new.len(), bytes: 0 })?;
    Ok(segments.finish(at)?)
}

/// The new bytes, and what of them was copied from where.
fn applied(old: &[u8], delta: &[u8]) -> Result<(Vec<u8>, Vec<Cover>), ApplyError> {
    let mut new = Vec::new();
    let mut applier = Applier::recording();
    let mut write = |bytes: &[u8]| {
        new.extend_from_slice(bytes);
        Ok(())
    };
    applier.feed(delta, &old, &mut write)?;
    let copies = applier.copies();
    applier.finish()?;
    Ok((new, copies))
}

/// `first` in the order of its new bytes, which are the old ones of `second`.
fn composed(first: &[Cover], second: &[Cover]) -> Vec<Cover> {
    let mut covers: Vec<Cover> = Vec::new();
    for copy in second {
        let end = copy.old_start + copy.bytes;
        let from = first.partition_point(|one| one.new_start + one.bytes <= copy.old_start);
        for one in first[from..].iter().take_while(|one| one.new_start < end) {
            let start = one.new_start.max(copy.old_start);
            let bytes = (one.new_start + one.bytes).min(end) - start;
            let old_start = one.old_start + (start - one.new_start);
            let new_start = copy.new_start + (start - copy.old_start);
            match covers.last_mut() {
                Some(last) if last.old_start + last.bytes == old_start && last.new_start + last.bytes == new_start => {
                    last.bytes += bytes;
                }
                _ => covers.push(Cover { old_start, new_start, bytes }),
            }
        }
    }
    covers.retain(|cover| cover.bytes >= COVER_BYTES_MIN);
    covers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make;

    fn noise(seed: u32, bytes: usize) -> Vec<u8> {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..bytes).map(|_| draw()).collect()
    }

    fn delta(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        make(old, new, &mut out).unwrap();
        out
    }

    fn check(old: &[u8], between: &[u8], new: &[u8]) -> (usize, usize) {
        let mut out = Vec::new();
        let made = chain(old, (&delta(old, between), &delta(between, new)), &mut out).unwrap();
        assert_eq!(made.bytes, out.len() as u64);
        let (applied, _) = applied(old, &out).unwrap();
        assert!(applied == new, "it leads elsewhere");
        (out.len(), delta(old, new).len())
    }

    #[test]
    fn a_chain_leads_where_both_lead_and_is_hardly_longer_than_a_delta_made_directly() {
        let old = noise(1, 300_000);
        let mut between = old.clone();
        between.splice(100_000..100_010, noise(2, 500));
        between.rotate_left(50_000);
        let mut new = between.clone();
        new.splice(20_000..40_000, noise(3, 300));
        let changed: Vec<u8> = new[200_000..210_000].iter().map(|byte| byte.wrapping_add(1)).collect();
        new.splice(200_000..210_000, changed);
        let (chained, direct) = check(&old, &between, &new);
        assert!(chained <= direct + direct / 10, "{chained} bytes instead of {direct}");
    }

    #[test]
    fn what_was_gone_between_is_brought_along() {
        let old = noise(1, 50_000);
        let between = old[..20_000].to_vec();
        check(&old, &between, &old);
        for (old, between, new) in [(&[][..], &old[..], &[][..]), (&old, &[], &old), (&old, &old, &old)] {
            check(old, between, new);
        }
    }

    #[test]
    fn deltas_that_do_not_belong_together_are_refused() {
        let [one, two, three] = [1, 2, 3].map(|seed| noise(seed, 1000));
        let (first, second) = (delta(&one, &two), delta(&three, &one));
        let mut out = Vec::new();
        assert!(matches!(chain(&one, (&first, &second), &mut out), Err(ChainError::Second(_))));
        assert!(matches!(chain(&two, (&first, &second), &mut out), Err(ChainError::First(_))));
        assert!(matches!(chain(&one, (&first[..50], &second), &mut out), Err(ChainError::First(_))));
    }
}
