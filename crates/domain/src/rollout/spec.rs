//! What was asked for: waves, gates, times.

use std::time::Duration;

use muster_vocab::{Timestamp, limit};
use serde::{Deserialize, Serialize};

use crate::{action::Push, window::Window};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// A selector over devices, checked when the rollout was made.
    pub select: String,
    pub waves: Vec<WaveSpec>,
    pub push: Push,
    /// Start by itself as soon as it may.
    pub start: bool,
    pub start_at: Option<Timestamp>,
    pub window: Option<Window>,
    pub approval: bool,
    pub confirmation: bool,
    pub priority: u16,
    /// Devices that match later join the last wave.
    pub dynamic: bool,
    /// Tell devices that an older version than theirs is meant.
    #[serde(default)]
    pub allow_downgrade: bool,
    pub silence_s: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveSpec {
    pub take: Take,
    pub success: Threshold,
    pub errors: Threshold,
    pub on_error: OnError,
    pub soak_s: u32,
    pub advance: Advance,
}

/// What a wave takes of the devices no earlier wave took. The last wave takes the rest too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// Of all devices of the rollout, rounded up.
    Percent(u8),
    Count(u32),
    Select(String),
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    Percent(u8),
    Count(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    Pause,
    RollBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advance {
    Auto,
    Manual,
}

pub const SUCCESS_DEFAULT: Threshold = Threshold::Percent(95);
pub const ERRORS_DEFAULT: Threshold = Threshold::Count(0);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    #[error("a rollout has 1 to {max} waves", max = limit::WAVES_PER_ROLLOUT_MAX)]
    Waves,
    #[error("wave {wave}: a percentage lies between {min} and 100, not {percent}")]
    Percent { wave: usize, min: u8, percent: u8 },
    #[error("wave {wave} would take nothing: a count is at least 1")]
    NoDevices { wave: usize },
    #[error("wave {wave} takes the rest, so no wave can follow it")]
    AfterRest { wave: usize },
    #[error("waves 1 to {wave} already take {percent} % of the devices")]
    TooMuch { wave: usize, percent: u32 },
    #[error("wave {wave}: at least 1 device has to succeed; a gate that always passes is no gate")]
    NoSuccess { wave: usize },
    #[error("priority is 0 to {max}, not {0}", max = limit::PRIORITY_MAX)]
    Priority(u16),
    #[error("silence lies between {min} s and {max} s, not {0} s", min = limit::ACTION_SILENCE_MIN.as_secs(), max = limit::ACTION_SILENCE_MAX.as_secs())]
    Silence(u32),
}

impl WaveSpec {
    #[must_use]
    pub fn soak(&self) -> Duration {
        Duration::from_secs(u64::from(self.soak_s))
    }
}

impl Spec {
    #[must_use]
    pub fn silence(&self) -> Duration {
        Duration::from_secs(u64::from(self.silence_s))
    }

    /// Everything that can be refused before a device is looked at.
    pub fn check(&self) -> Result<(), BadSpec> {
        if self.waves.is_empty() || self.waves.len() > limit::WAVES_PER_ROLLOUT_MAX {
            return Err(BadSpec::Waves);
        }
        if self.priority > limit::PRIORITY_MAX {
            return Err(BadSpec::Priority(self.priority));
        }
        if self.silence() < limit::ACTION_SILENCE_MIN || self.silence() > limit::ACTION_SILENCE_MAX {
            return Err(BadSpec::Silence(self.silence_s));
        }
        let mut percent_sum = 0;
        for (at, spec) in self.waves.iter().enumerate() {
            let wave = at + 1;
            check_wave(wave, spec)?;
            if let Take::Percent(percent) = spec.take {
                percent_sum += u32::from(percent);
            }
            if percent_sum > 100 {
                return Err(BadSpec::TooMuch { wave, percent: percent_sum });
            }
            if spec.take == Take::Rest && wave != self.waves.len() {
                return Err(BadSpec::AfterRest { wave });
            }
        }
        Ok(())
    }
}

fn check_wave(wave: usize, spec: &WaveSpec) -> Result<(), BadSpec> {
    match spec.take {
        Take::Percent(percent) if !(1..=100).contains(&percent) => {
            return Err(BadSpec::Percent { wave, min: 1, percent });
        }
        Take::Count(0) => return Err(BadSpec::NoDevices { wave }),
        Take::Percent(_) | Take::Count(_) | Take::Select(_) | Take::Rest => {}
    }
    for threshold in [spec.success, spec.errors] {
        if let Threshold::Percent(percent @ 101..) = threshold {
            return Err(BadSpec::Percent { wave, min: 0, percent });
        }
    }
    match spec.success {
        Threshold::Percent(0) | Threshold::Count(0) => Err(BadSpec::NoSuccess { wave }),
        Threshold::Percent(_) | Threshold::Count(_) => Ok(()),
    }
}
