//! How do a project's devices come in, and how often do they ask?

use std::time::Duration;

use muster_vocab::limit;
use serde::{Deserialize, Serialize};

use crate::enrollment::{self, BadPolicy, Rule};

/// What happens when an unknown device authenticates for its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    Accept,
    Wait,
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub registration: Registration,
    /// Whether `TargetToken` is taken.
    pub target_token: bool,
    /// What a trusted proxy may report as issuer; compared without case. Empty: off.
    pub certificate_authorities: Vec<String>,
    /// Rollouts that ask for consent get it from the device.
    pub confirmation: bool,
    pub poll_interval_s: u32,
    /// The first selector that matches a device sets its interval.
    pub poll_overrides: Vec<PollOverride>,
    /// Remote sessions may be opened, to devices that allow them.
    #[serde(default)]
    pub sessions: bool,
    /// Who comes in by itself; see `enrollment::decide`.
    #[serde(default)]
    pub enrollment: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollOverride {
    pub select: String,
    pub interval_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registration: Registration::Wait,
            target_token: true,
            certificate_authorities: Vec::new(),
            confirmation: false,
            poll_interval_s: u32::try_from(limit::POLL_INTERVAL_DEFAULT.as_secs())
                .expect("the default is some minutes"),
            poll_overrides: Vec::new(),
            sessions: false,
            enrollment: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    #[error("a polling interval lies between {min} and {max} seconds, not {0}", min = limit::POLL_INTERVAL_MIN.as_secs(), max = limit::POLL_INTERVAL_MAX.as_secs())]
    PollInterval(u32),
    #[error("at most {max} polling overrides", max = limit::POLL_OVERRIDES_MAX)]
    TooManyOverrides,
    #[error("{0}")]
    Policy(#[from] BadPolicy),
}

impl Settings {
    /// Refuses intervals that devices could not follow. Selectors are checked where they are parsed.
    pub fn check(&self) -> Result<(), BadSettings> {
        if self.poll_overrides.len() > limit::POLL_OVERRIDES_MAX {
            return Err(BadSettings::TooManyOverrides);
        }
        enrollment::check(&self.enrollment)?;
        let intervals = self.poll_overrides.iter().map(|over| over.interval_s);
        for interval_s in intervals.chain([self.poll_interval_s]) {
            let interval = Duration::from_secs(u64::from(interval_s));
            if interval < limit::POLL_INTERVAL_MIN || interval > limit::POLL_INTERVAL_MAX {
                return Err(BadSettings::PollInterval(interval_s));
            }
        }
        Ok(())
    }
}

/// Seconds until the next poll: shortened so that about three polls fall before a window opens.
///
/// `until_window_s` is the time to the next opening that an open action of the device waits for.
#[must_use]
pub fn poll_sleep_s(interval_s: u32, until_window_s: Option<u32>) -> u32 {
    const POLLS_BEFORE_WINDOW: u32 = 3;
    /// Below this, shortening only makes load.
    const SHORTENED_MIN_S: u32 = 30;
    match until_window_s {
        Some(until) if until < interval_s.saturating_mul(POLLS_BEFORE_WINDOW) => {
            (until / POLLS_BEFORE_WINDOW).max(SHORTENED_MIN_S).min(interval_s)
        }
        Some(_) | None => interval_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_come_closer_before_a_window_but_not_too_close() {
        assert_eq!(poll_sleep_s(300, None), 300);
        assert_eq!(poll_sleep_s(300, Some(10_000)), 300);
        assert_eq!(poll_sleep_s(300, Some(600)), 200);
        assert_eq!(poll_sleep_s(300, Some(10)), 30);
        assert_eq!(poll_sleep_s(10, Some(10)), 10);
    }

    #[test]
    fn intervals_devices_cannot_follow_are_refused() {
        let settings = Settings { poll_interval_s: 86_400, ..Settings::default() };
        assert_eq!(settings.check(), Err(BadSettings::PollInterval(86_400)));
    }
}
