//! Which device goes into which wave?
//!
//! Devices are taken in an order that is random but fixed per rollout, so that the canary of every rollout
//! isn't the same few devices and a restart in the middle divides the rest as before.

use muster_vocab::{DeviceId, RolloutId};

use super::spec::{Take, WaveSpec};

/// A device of the rollout; bit `i` of `selected` is set if the selector of wave `i` matches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub device: DeviceId,
    pub selected: u128,
}

/// The wave of each candidate.
///
/// `already[i]` devices were put into wave `i` before and are not among the candidates; shares are of all.
#[must_use]
pub fn divide(
    rollout: RolloutId,
    waves: &[WaveSpec],
    candidates: &[Candidate],
    already: &[u32],
) -> Vec<(DeviceId, u16)> {
    let total = u32::try_from(candidates.len()).unwrap_or(u32::MAX).saturating_add(already.iter().sum());
    let mut left: Vec<u32> =
        waves.iter().zip(already).map(|(wave, had)| room(wave, total).saturating_sub(*had)).collect();
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_unstable_by_key(|candidate| shuffle(rollout, candidate.device));
    let mut divided = Vec::with_capacity(order.len());
    for candidate in order {
        let wave = first_wave(waves, &left, candidate);
        left[wave] = left[wave].saturating_sub(1);
        divided.push((candidate.device, u16::try_from(wave).expect("a rollout has few waves")));
    }
    divided
}

/// How many devices a wave takes at the most.
fn room(wave: &WaveSpec, total: u32) -> u32 {
    match wave.take {
        Take::Percent(percent) => {
            u32::try_from((u64::from(total) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
        }
        Take::Count(count) => count,
        Take::Select(_) | Take::Rest => u32::MAX,
    }
}

fn first_wave(waves: &[WaveSpec], left: &[u32], candidate: &Candidate) -> usize {
    let fits = |at: &usize| match waves[*at].take {
        Take::Percent(_) | Take::Count(_) | Take::Rest => left[*at] > 0,
        Take::Select(_) => candidate.selected >> at & 1 == 1,
    };
    (0..waves.len()).find(fits).unwrap_or(waves.len() - 1)
}

/// A fixed mixing of both numbers (the finaliser of SplitMix64).
fn shuffle(rollout: RolloutId, device: DeviceId) -> u64 {
    let mut mixed = rollout.0.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ device.0.cast_unsigned();
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::spec::{Advance, ERRORS_DEFAULT, OnError, SUCCESS_DEFAULT};

    fn wave(take: Take) -> WaveSpec {
        WaveSpec {
            take,
            success: SUCCESS_DEFAULT,
            errors: ERRORS_DEFAULT,
            on_error: OnError::Pause,
            soak_s: 0,
            advance: Advance::Auto,
        }
    }

    fn sizes(waves: &[WaveSpec], divided: &[(DeviceId, u16)]) -> Vec<usize> {
        (0..waves.len()).map(|at| divided.iter().filter(|(_, wave)| usize::from(*wave) == at).count()).collect()
    }

    fn fleet(count: i64) -> Vec<Candidate> {
        (1..=count).map(|id| Candidate { device: DeviceId(id), selected: 0 }).collect()
    }

    #[test]
    fn shares_round_up_and_the_last_wave_takes_the_rest() {
        let waves = [wave(Take::Percent(5)), wave(Take::Count(3)), wave(Take::Percent(10))];
        assert_eq!(sizes(&waves, &divide(RolloutId(1), &waves, &fleet(50), &[0, 0, 0])), [3, 3, 44]);
        assert_eq!(sizes(&waves, &divide(RolloutId(1), &waves, &fleet(1), &[0, 0, 0])), [1, 0, 0]);
    }

    #[test]
    fn a_selector_takes_its_devices_and_no_others() {
        let waves = [wave(Take::Select("label.ring == lab".into())), wave(Take::Rest)];
        let mut devices = fleet(10);
        devices[3].selected = 1;
        let divided = divide(RolloutId(1), &waves, &devices, &[0, 0]);
        assert_eq!(sizes(&waves, &divided), [1, 9]);
        assert!(divided.contains(&(DeviceId(4), 0)));
    }

    #[test]
    fn dividing_in_two_goes_gives_waves_of_the_same_size() {
        let waves = [wave(Take::Percent(10)), wave(Take::Percent(30)), wave(Take::Rest)];
        let whole = divide(RolloutId(3), &waves, &fleet(100), &[0, 0, 0]);
        let rest: Vec<Candidate> =
            fleet(100).into_iter().filter(|c| !whole[..25].iter().any(|(d, _)| *d == c.device)).collect();
        let already: Vec<u32> = sizes(&waves, &whole[..25]).iter().map(|n| u32::try_from(*n).unwrap()).collect();
        let again = [&whole[..25], &divide(RolloutId(3), &waves, &rest, &already)].concat();
        assert_eq!(again, whole);
    }

    #[test]
    fn another_rollout_has_another_canary() {
        let waves = [wave(Take::Count(5)), wave(Take::Rest)];
        let canary = |id| {
            let divided = divide(RolloutId(id), &waves, &fleet(100), &[0, 0]);
            divided.into_iter().filter(|(_, wave)| *wave == 0).map(|(device, _)| device).collect::<Vec<_>>()
        };
        assert_ne!(canary(1), canary(2));
    }
}
