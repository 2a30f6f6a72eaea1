//! Do the bytes of the new version come out, and nothing else?

use muster_delta::{Applier, ApplyError, Checkpoint, make};
use proptest::prelude::*;

fn delta(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut delta = Vec::new();
    let made = make(old, new, &mut delta).expect("a slice takes everything");
    assert_eq!(made.bytes, delta.len() as u64);
    delta
}

/// Applies in pieces of these sizes, over and over; gives what was written, even after an error.
fn apply(old: &[u8], delta: &[u8], pieces: &[usize]) -> (Vec<u8>, Result<(), ApplyError>) {
    let mut new = Vec::new();
    let mut applier = Applier::new();
    let mut rest = delta;
    for bytes in pieces.iter().cycle() {
        let (piece, after) = rest.split_at((*bytes).min(rest.len()));
        let fed = applier.feed(piece, &old, &mut |bytes| {
            new.extend_from_slice(bytes);
            Ok(())
        });
        if let Err(error) = fed {
            return (new, Err(error));
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    (new, applier.finish().map(|_| ()))
}

fn applied(old: &[u8], delta: &[u8], pieces: &[usize]) -> Vec<u8> {
    let (new, outcome) = apply(old, delta, pieces);
    outcome.expect("the delta was made for these bytes");
    new
}

/// Bytes that look like two versions: parts moved, bytes changed, parts new.
fn versions() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..400_usize, any::<u8>());
    (prop::collection::vec(0..8_u8, 0..4000), prop::collection::vec(edit, 0..12)).prop_map(|(old, edits)| {
        let mut new = Vec::new();
        for (from, at, bytes, value) in edits {
            let mut part: Vec<u8> = match old.len() {
                0 => vec![value; bytes],
                length => old[from.index(length)..].iter().copied().take(bytes).collect(),
            };
            if !part.is_empty() {
                let at = at.index(part.len());
                part[at] = part[at].wrapping_add(value);
            }
            new.extend(part);
            new.extend((0..usize::from(value % 16)).map(|step| value.wrapping_mul(step as u8)));
        }
        (old, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_new_bytes_come_out_whatever_the_old_ones_were(
        old in prop::collection::vec(any::<u8>(), 0..3000),
        new in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        prop_assert_eq!(applied(&old, &delta(&old, &new), &[usize::MAX]), new);
    }

    #[test]
    fn versions_come_out_however_the_delta_arrives(
        (old, new) in versions(),
        pieces in prop::collection::vec(1..200_usize, 1..6),
    ) {
        prop_assert_eq!(applied(&old, &delta(&old, &new), &pieces), new);
    }

    #[test]
    fn a_damaged_delta_is_refused_and_never_writes_too_much(
        (old, new) in versions(),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut delta = delta(&old, &new);
        let bit = bit.index(delta.len() * 8);
        delta[bit / 8] ^= 1 << (bit % 8);
        let (written, outcome) = apply(&old, &delta, &[usize::MAX]);
        prop_assert!(outcome.is_err());
        prop_assert!(written.is_empty());
    }

    #[test]
    fn a_delta_cut_anywhere_is_refused((old, new) in versions(), end in any::<prop::sample::Index>()) {
        let delta = delta(&old, &new);
        let (written, outcome) = apply(&old, &delta[..end.index(delta.len())], &[usize::MAX]);
        prop_assert!(outcome.is_err());
        prop_assert!(written.len() <= new.len());
    }

    #[test]
    fn a_delta_of_other_bytes_touches_nothing((old, new) in versions(), at in any::<prop::sample::Index>()) {
        prop_assume!(!old.is_empty());
        let delta = delta(&old, &new);
        let mut other = old.clone();
        other[at.index(old.len())] ^= 1;
        let (written, outcome) = apply(&other, &delta, &[usize::MAX]);
        let is_refused = matches!(outcome, Err(ApplyError::OtherOld { .. }));
        prop_assert!(is_refused);
        prop_assert!(written.is_empty());
        prop_assert!(apply(&old[1..], &delta, &[usize::MAX]).1.is_err());
    }
}

/// Bytes without any order, the same each time.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(step).collect()
}

#[test]
fn applying_goes_on_at_every_checkpoint() {
    let old = noise(3_000_000, 1);
    let mut new = noise(2_000_000, 2);
    new.splice(900_000..900_000, old[500_000..2_500_000].iter().copied());
    let delta = delta(&old, &new);
    let mut written = Vec::new();
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    let mut applier = Applier::new();
    for piece in delta.chunks(50_000) {
        applier
            .feed(piece, &old.as_slice(), &mut |bytes| {
                written.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        checkpoints.extend(applier.checkpoint().filter(|found| Some(found) != checkpoints.last()));
    }
    applier.finish().unwrap();
    assert_eq!(written, new);
    assert!(checkpoints.len() > 3, "{}", checkpoints.len());
    for checkpoint in checkpoints {
        let mut written = written[..checkpoint.new_offset as usize].to_vec();
        let mut applier = Applier::resume(&checkpoint, &written.clone().as_slice()).unwrap();
        applier
            .feed(&delta[checkpoint.delta_offset as usize..], &old.as_slice(), &mut |bytes| {
                written.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        applier.finish().unwrap();
        assert!(written == new);
    }
}

#[test]
fn a_small_change_makes_a_small_delta() {
    let old = noise(1_000_000, 3);
    let mut new = old.clone();
    new[700_000] ^= 1;
    new.splice(300_000..300_000, *b"some inserted bytes");
    let delta = delta(&old, &new);
    assert!(delta.len() < 300, "{}", delta.len());
    assert_eq!(applied(&old, &delta, &[1]), new);
}
