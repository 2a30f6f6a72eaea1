//! In which hours of the local day may it be installed?
//!
//! Pure but for [`local_minute`], which asks `date`: it knows the device's time zone and its changes of clocks, and
//! every device has one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::world::{Run, World};

const DAY_MINUTES: u16 = 24 * 60;
const DATE_TIMEOUT: Duration = Duration::from_secs(10);
/// 2024: a clock before it was not set since the device was switched on.
const CLOCK_MIN_MS: i64 = 1_704_067_200_000;

/// `22:00-06:00`: from the first minute until before the last, also over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    from: u16,
    until: u16,
}

impl Hours {
    #[must_use]
    pub fn contain(self, minute: u16) -> bool {
        match self.from <= self.until {
            true => self.from <= minute && minute < self.until,
            false => self.from <= minute || minute < self.until,
        }
    }
}

/// Why it may not be installed now; none: it may.
#[must_use]
pub fn objection(hours: &[Hours], minute: Option<u16>) -> Option<String> {
    if hours.is_empty() {
        return None;
    }
    let allowed = hours.iter().map(|hours| String::from(*hours)).collect::<Vec<_>>().join(", ");
    match minute {
        Some(minute) if hours.iter().any(|hours| hours.contain(minute)) => None,
        Some(minute) => Some(format!("it is {}, and updates are installed at {allowed}", clock(minute))),
        None => Some(format!("updates are installed at {allowed}, and this device doesn't know the time yet")),
    }
}

/// Minutes since midnight, as the device's people read the clock; none if the clock is not set.
#[must_use]
pub fn local_minute(world: &dyn World) -> Option<u16> {
    let now = world.host().now();
    if now.0 < CLOCK_MIN_MS {
        return None;
    }
    let words = ["date".to_owned(), "-d".to_owned(), format!("@{}", now.0 / 1000), "+%H:%M".to_owned()];
    let run = Run { words: &words, stdin: &[], timeout: DATE_TIMEOUT, output_bytes_max: 256 };
    let ran = world.host().run(&run).ok().filter(crate::world::Ran::succeeded)?;
    minute(ran.last_lines(1).first()?.trim())
}

/// `24:00` is the end of a day.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_two = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_two(hour) || !is_two(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= DAY_MINUTES).then_some(total)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("{text:?} is not of the form \"22:00-06:00\", in local time");
        let (from, until) = text.split_once('-').ok_or_else(bad)?;
        let (from, until) = (minute(from.trim()).ok_or_else(bad)?, minute(until.trim()).ok_or_else(bad)?);
        if from == until || from == DAY_MINUTES {
            return Err(format!("{text:?} has no minute in it; leave `hours` out to install at any time"));
        }
        Ok(Self { from, until })
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        format!("{}-{}", clock(hours.from), clock(hours.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Workbench;

    fn hours(text: &str) -> Hours {
        Hours::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn hours_reach_over_midnight() {
        let night = hours("22:00-06:00");
        assert!(night.contain(22 * 60) && night.contain(0) && night.contain(5 * 60 + 59));
        assert!(!night.contain(6 * 60) && !night.contain(21 * 60 + 59));
        let noon = hours("12:00-13:30");
        assert!(noon.contain(12 * 60) && !noon.contain(13 * 60 + 30) && !noon.contain(0));
        assert!(hours("00:00-24:00").contain(23 * 60 + 59));
        assert_eq!(String::from(night), "22:00-06:00");
    }

    #[test]
    fn hours_that_mean_nothing_are_refused() {
        for text in ["", "22:00", "22-06", "25:00-26:00", "22:60-23:00", "10:00-10:00", "24:00-06:00", "+1:00-02:00"] {
            assert!(Hours::try_from(text.to_owned()).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn outside_of_the_hours_and_without_a_clock_it_is_put_off() {
        let allowed = [hours("22:00-06:00"), hours("12:00-13:00")];
        assert_eq!(objection(&[], None), None);
        assert_eq!(objection(&allowed, Some(12 * 60 + 5)), None);
        let why = objection(&allowed, Some(9 * 60 + 5)).unwrap();
        assert_eq!(why, "it is 09:05, and updates are installed at 22:00-06:00, 12:00-13:00");
        assert!(objection(&allowed, None).unwrap().ends_with("doesn't know the time yet"));
    }

    #[test]
    fn a_clock_that_was_never_set_is_not_believed() {
        // A workbench's clock says 1970.
        assert_eq!(local_minute(&Workbench::new()), None);
    }
}
