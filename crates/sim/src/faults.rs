//! What goes wrong, for which device, in which action?
//!
//! Drawn from (seed, device, action), never from time or order, so that a seed reproduces a world however busy the machine is.

use muster_vocab::ActionId;

use crate::chance::Chance;

/// Shares are between 0.0 (never) and 1.0 (always); all zero by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Installs that fail and leave the device on its previous version.
    pub install_failure_share: f64,
    /// Downloads over a slow link, and how slow it is.
    pub slow_link_share: f64,
    pub slow_link_bytes_per_s: u32,
    /// Actions in which the device restarts, during the download or before its final report.
    pub reboot_share: f64,
    /// Devices whose clock is wrong, and by how much at the most, either way.
    pub clock_skew_share: f64,
    pub clock_skew_ms_max: u64,
    /// Requests whose answer never reaches the device, so that it asks again.
    pub lost_response_share: f64,
    /// Actions after whose install began the device is never heard of again.
    pub silent_share: f64,
    /// Actions for which the device's user refuses consent.
    pub denied_share: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reboot {
    WhileDownloading,
    BeforeReport,
}

/// What is going to happen to one device in one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Fate {
    pub install_fails: bool,
    pub link_bytes_per_s: Option<u32>,
    pub reboot: Option<Reboot>,
    pub silent: bool,
    pub denied: bool,
}

/// What a draw is about, so that two faults of one action are independent of each other.
#[derive(Debug, Clone, Copy)]
enum About {
    Install = 1,
    Link,
    Reboot,
    RebootWhen,
    Skew,
    LostResponse,
    Silence,
    Denial,
}

impl Faults {
    pub fn fate(&self, seed: u64, device: u32, action: ActionId) -> Fate {
        let draw = |about: About| Chance::keyed(seed, &[about as u64, u64::from(device), action.0.unsigned_abs()]);
        let when = if draw(About::RebootWhen).happens(0.5) { Reboot::WhileDownloading } else { Reboot::BeforeReport };
        Fate {
            install_fails: draw(About::Install).happens(self.install_failure_share),
            link_bytes_per_s: draw(About::Link)
                .happens(self.slow_link_share)
                .then_some(self.slow_link_bytes_per_s.max(1)),
            reboot: draw(About::Reboot).happens(self.reboot_share).then_some(when),
            silent: draw(About::Silence).happens(self.silent_share),
            denied: draw(About::Denial).happens(self.denied_share),
        }
    }

    /// Does the first answer to this request of this action get lost?
    pub fn answer_lost(&self, seed: u64, device: u32, action: ActionId, request: u64) -> bool {
        let key = [About::LostResponse as u64, u64::from(device), action.0.unsigned_abs(), request];
        Chance::keyed(seed, &key).happens(self.lost_response_share)
    }

    /// How wrong the device's clock is.
    pub fn clock_skew_ms(&self, seed: u64, device: u32) -> i64 {
        let mut chance = Chance::keyed(seed, &[About::Skew as u64, u64::from(device)]);
        if !chance.happens(self.clock_skew_share) {
            return 0;
        }
        let max = i64::try_from(self.clock_skew_ms_max).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        i64::try_from(chance.below(max.unsigned_abs() * 2 + 1)).unwrap_or(max) - max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_of_everything() -> Faults {
        Faults {
            install_failure_share: 0.5,
            slow_link_share: 0.5,
            slow_link_bytes_per_s: 1000,
            reboot_share: 0.5,
            clock_skew_share: 0.5,
            clock_skew_ms_max: 60_000,
            lost_response_share: 0.5,
            silent_share: 0.5,
            denied_share: 0.5,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_in_any_order() {
        let faults = half_of_everything();
        let fates = |seed| (0..200).map(|device| faults.fate(seed, device, ActionId(9))).collect::<Vec<_>>();
        let mut backwards = (0..200).rev().map(|device| faults.fate(4, device, ActionId(9))).collect::<Vec<_>>();
        backwards.reverse();
        assert_eq!(fates(4), backwards);
        assert_ne!(fates(4), fates(5));
    }

    #[test]
    fn faults_of_one_action_are_independent_of_each_other() {
        let faults = half_of_everything();
        let both = (0..1000)
            .map(|device| faults.fate(1, device, ActionId(1)))
            .filter(|fate| fate.install_fails && fate.silent)
            .count();
        assert!((180..320).contains(&both), "a quarter was expected, {both} of 1000 came");
    }

    #[test]
    fn lost_answers_hit_some_devices_actions_and_requests_and_not_others() {
        let faults = half_of_everything();
        let lost = |of: fn(u32) -> (u32, i64, u64)| {
            let hits = (0..1000)
                .map(of)
                .filter(|(device, action, request)| faults.answer_lost(1, *device, ActionId(*action), *request));
            hits.count()
        };
        for hits in [lost(|n| (n, 1, 1)), lost(|n| (1, i64::from(n), 1)), lost(|n| (1, 1, u64::from(n)))] {
            assert!((400..600).contains(&hits), "a half was expected, {hits} of 1000 came");
        }
    }

    #[test]
    fn without_faults_nothing_happens() {
        let calm = Fate { install_fails: false, link_bytes_per_s: None, reboot: None, silent: false, denied: false };
        assert_eq!(Faults::default().fate(3, 3, ActionId(3)), calm);
        assert_eq!(Faults::default().clock_skew_ms(3, 3), 0);
    }

    #[test]
    fn clocks_are_wrong_both_ways_and_within_the_bound() {
        let faults = Faults { clock_skew_share: 1.0, ..half_of_everything() };
        let skews = (0..500).map(|device| faults.clock_skew_ms(1, device)).collect::<Vec<_>>();
        assert!(skews.iter().all(|skew| skew.abs() <= 60_000));
        assert!(skews.iter().any(|skew| *skew > 30_000) && skews.iter().any(|skew| *skew < -30_000));
    }
}
