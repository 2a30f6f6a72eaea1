//! When may devices be changed?
//!
//! A window is written in the local time of a place, such as `sat,sun 02:00-05:00 Europe/Berlin`, and follows its clocks:
//!
//! - It opens when the clock shows its start. A start that the clock skips opens at the first moment after the gap.
//! - It closes when the clock shows its end, whatever time has passed meanwhile. If the clock skips both start and end, it
//!   stays open for its length instead, so that no window is lost to a change of clocks.
//! - A time that the clock shows twice counts the first time only, so a window never opens twice.
//!
//! The days are those on which it opens: `fri 22:00-04:00` ends on Saturday.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, ToSpan};
use muster_vocab::Timestamp;
use muster_vocab::nearest::nearest;
use serde::{Deserialize, Serialize};

const DAY_MINUTES: u32 = 24 * 60;
/// A longer window would open again before it closes.
const LENGTH_MINUTES_MAX: u32 = 7 * DAY_MINUTES;
const DAY_NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A maintenance window that opens every week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// The days it opens on, Monday first; one at least.
    days: [bool; 7],
    /// Minutes after midnight, below a day.
    start_minutes: u32,
    /// From 1 to [`LENGTH_MINUTES_MAX`], as the clock counts.
    length_minutes: u32,
    /// From the IANA database.
    zone: TimeZone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    /// Windows of neighbouring days may touch: at `until` the next may be open already.
    Open { until: Timestamp },
    /// `Timestamp(i64::MAX)` if it does not open again before the calendar ends.
    Closed { opens_at: Timestamp },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWindow {
    #[error("write a window as days, times and zone, such as \"sat,sun 02:00-05:00 Europe/Berlin\"; this is {0:?}")]
    Shape(String),
    #[error("{0:?} is no day: {1}")]
    Day(String, String),
    #[error("{0:?} is no time of day: write 00:00 to 23:59")]
    Time(String),
    #[error("a window can't end when it starts: write {0}+24h for a whole day")]
    Empty(String),
    #[error("{0:?} is no length of a window: write 1m to 168h, such as +90m, +36h or +1h30m")]
    Length(String),
    #[error("{0:?} is no time zone: {1}")]
    Zone(String, String),
}

impl Window {
    /// Reads days, times and zone: `mon-fri 22:00-04:00 UTC`, `daily 01:00+90m America/New_York`, `sat 00:00+48h UTC`.
    pub fn parse(text: &str) -> Result<Self, BadWindow> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, times, zone] = words.as_slice() else { return Err(BadWindow::Shape(text.to_owned())) };
        let (start_minutes, length_minutes) = parse_times(times)?;
        Ok(Self { days: parse_days(days)?, start_minutes, length_minutes, zone: parse_zone(zone)? })
    }

    /// Whether the window is open at `now`, and when that ends.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> WindowState {
        let spans = self.spans_near(now);
        let is_open = |(opens_at, until): &&(Timestamp, Timestamp)| *opens_at <= now && now < *until;
        if let Some(until) = spans.iter().filter(is_open).map(|(_, until)| *until).max() {
            return WindowState::Open { until };
        }
        let opens_at = spans.iter().map(|(opens_at, _)| *opens_at).filter(|opens_at| *opens_at > now).min();
        WindowState::Closed { opens_at: opens_at.unwrap_or(Timestamp(i64::MAX)) }
    }

    /// When it opens and closes, for every opening that can matter at `now`: the longest window began a week ago, the
    /// next opens within a week, and a day more on both sides covers every change of clocks.
    fn spans_near(&self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        const DAYS_AROUND: i64 = 8;
        // Beyond the calendar there is no local time, and so no window.
        let Ok(now) = jiff::Timestamp::from_millisecond(now.0) else { return Vec::new() };
        let today = self.zone.to_datetime(now).date();
        (-DAYS_AROUND..=DAYS_AROUND)
            .filter_map(|offset| today.checked_add(offset.days()).ok())
            .filter(|date| self.days[day_index(*date)])
            .filter_map(|date| self.span_on(date))
            .collect()
    }

    fn span_on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        let minutes = |count: u32| Span::new().minutes(i64::from(count));
        let opens = date.to_datetime(Time::midnight()).checked_add(minutes(self.start_minutes)).ok()?;
        let closes = opens.checked_add(minutes(self.length_minutes)).ok()?;
        let opens_at = first_moment(&self.zone, opens)?;
        let until = first_moment(&self.zone, closes)?;
        let until = if until > opens_at { until } else { opens_at.checked_add(minutes(self.length_minutes)).ok()? };
        Some((Timestamp(opens_at.as_millisecond()), Timestamp(until.as_millisecond())))
    }
}

/// In one form: `daily` or days from Monday, an end up to a day later, a length beyond.
impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", days_text(self.days), clock_text(self.start_minutes))?;
        match self.length_minutes {
            length if length < DAY_MINUTES => {
                write!(f, "-{}", clock_text((self.start_minutes + length) % DAY_MINUTES))?
            }
            length if length % 60 == 0 => write!(f, "+{}h", length / 60)?,
            length => write!(f, "+{}h{}m", length / 60, length % 60)?,
        }
        write!(f, " {}", self.zone.iana_name().expect("the zone was read from the IANA database"))
    }
}

impl TryFrom<String> for Window {
    type Error = BadWindow;

    fn try_from(text: String) -> Result<Self, BadWindow> {
        Self::parse(&text)
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

/// The first moment at which the clock of `zone` shows `local` or, if it skips that, something later.
fn first_moment(zone: &TimeZone, local: jiff::civil::DateTime) -> Option<jiff::Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let AmbiguousOffset::Gap { after, .. } = ambiguous.offset() else { return ambiguous.earlier().ok() };
    // In a gap, `earlier` reads `local` with the offset after it, which gives a moment before the clocks changed.
    let before = ambiguous.earlier().ok()?;
    zone.following(before).find(|change| change.offset() == after).map(|change| change.timestamp())
}

fn day_index(date: Date) -> usize {
    match date.weekday() {
        Weekday::Monday => 0,
        Weekday::Tuesday => 1,
        Weekday::Wednesday => 2,
        Weekday::Thursday => 3,
        Weekday::Friday => 4,
        Weekday::Saturday => 5,
        Weekday::Sunday => 6,
    }
}

fn parse_days(text: &str) -> Result<[bool; 7], BadWindow> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (parse_day(first)?, parse_day(last)?);
        days[day] = true;
        // A range may run over the end of the week: fri-mon.
        while day != last {
            day = (day + 1) % 7;
            days[day] = true;
        }
    }
    Ok(days)
}

/// Takes `sat` and `saturday`, in any case.
fn parse_day(text: &str) -> Result<usize, BadWindow> {
    let word = text.to_ascii_lowercase();
    let known = DAY_NAMES.iter().position(|name| *name == word || name[..3] == *word);
    known.ok_or_else(|| {
        let advice = match nearest(&word, DAY_NAMES.into_iter().chain(["daily"])) {
            Some("daily") => "did you mean daily?".to_owned(),
            Some(name) => format!("did you mean {}?", &name[..3]),
            None => "write mon, tue, wed, thu, fri, sat, sun or daily".to_owned(),
        };
        BadWindow::Day(text.to_owned(), advice)
    })
}

/// The start and the length of `02:00-05:00` or `02:00+36h`, in minutes.
fn parse_times(text: &str) -> Result<(u32, u32), BadWindow> {
    if let Some((start, length)) = text.split_once('+') {
        return Ok((parse_clock(start)?, parse_length(length)?));
    }
    let Some((start_text, end_text)) = text.split_once('-') else { return Err(BadWindow::Shape(text.to_owned())) };
    let start = parse_clock(start_text)?;
    let end = if end_text == "24:00" { DAY_MINUTES } else { parse_clock(end_text)? };
    match (end + DAY_MINUTES - start) % DAY_MINUTES {
        0 if end == DAY_MINUTES => Ok((start, DAY_MINUTES)),
        0 => Err(BadWindow::Empty(start_text.to_owned())),
        length => Ok((start, length)),
    }
}

/// Minutes after midnight of `HH:MM`.
fn parse_clock(text: &str) -> Result<u32, BadWindow> {
    let bad = || BadWindow::Time(text.to_owned());
    let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
    match (two_digits(hours), two_digits(minutes)) {
        (Some(hours @ 0..24), Some(minutes @ 0..60)) => Ok(hours * 60 + minutes),
        _ => Err(bad()),
    }
}

fn two_digits(text: &str) -> Option<u32> {
    (text.len() == 2).then(|| whole_number(text)).flatten()
}

/// `u32::from_str` would take `+5`.
fn whole_number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Minutes of `36h`, `90m` or `1h30m`.
fn parse_length(text: &str) -> Result<u32, BadWindow> {
    let (hours, rest) = text.split_once('h').unwrap_or(("0", text));
    let minutes = if rest.is_empty() { Some("0") } else { rest.strip_suffix('m') };
    let (hours, minutes) = (whole_number(hours), minutes.and_then(whole_number));
    hours
        .zip(minutes)
        .and_then(|(hours, minutes)| hours.checked_mul(60)?.checked_add(minutes))
        .filter(|length| (1..=LENGTH_MINUTES_MAX).contains(length))
        .ok_or_else(|| BadWindow::Length(text.to_owned()))
}

fn parse_zone(text: &str) -> Result<TimeZone, BadWindow> {
    match TimeZone::get(text) {
        Ok(zone) if zone.iana_name().is_some() => Ok(zone),
        _ => {
            let advice = match zone_near(text) {
                Some(near) => format!("did you mean {near}?"),
                None => "write a name of the IANA database, such as Europe/Berlin or UTC".to_owned(),
            };
            Err(BadWindow::Zone(text.to_owned(), advice))
        }
    }
}

/// The zone of the city that was named without its continent, or else the one spelled most alike.
fn zone_near(text: &str) -> Option<String> {
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
    let city = names.iter().find(|name| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text)));
    city.cloned().or_else(|| nearest(text, names.iter().map(String::as_str)).map(str::to_owned))
}

fn days_text(days: [bool; 7]) -> String {
    if days == [true; 7] {
        return "daily".to_owned();
    }
    let mut parts = Vec::new();
    let mut day = 0;
    while day < 7 {
        let run = days[day..].iter().take_while(|is_set| **is_set).count();
        match run {
            3.. => parts.push(format!("{}-{}", &DAY_NAMES[day][..3], &DAY_NAMES[day + run - 1][..3])),
            _ => parts.extend(DAY_NAMES[day..day + run].iter().map(|name| name[..3].to_owned())),
        }
        day += run + 1;
    }
    parts.join(",")
}

fn clock_text(minutes: u32) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        Window::parse(text).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    /// The openings from `from` on, as local times of the clock that the offset in the text shows.
    fn openings(text: &str, from: &str, count: usize) -> Vec<(String, String)> {
        let window = window(text);
        let mut now = at(from);
        let local = |at: Timestamp| {
            let zoned = jiff::Timestamp::from_millisecond(at.0).unwrap().to_zoned(window.zone.clone());
            zoned.strftime("%a %m-%d %H:%M%:z").to_string()
        };
        let mut found = Vec::new();
        while found.len() < count {
            let WindowState::Closed { opens_at } = window.state(now) else { panic!("open at {now}") };
            let WindowState::Open { until } = window.state(opens_at) else { panic!("closed at {opens_at}") };
            found.push((local(opens_at), local(until)));
            now = until;
        }
        found
    }

    fn pair(from: &str, until: &str) -> (String, String) {
        (from.to_owned(), until.to_owned())
    }

    #[test]
    fn windows_print_in_one_form() {
        for (text, printed) in [
            ("sat,sun 02:00-05:00 Europe/Berlin", "sat,sun 02:00-05:00 Europe/Berlin"),
            ("  SUN,Saturday   02:00-05:00 europe/berlin ", "sat,sun 02:00-05:00 Europe/Berlin"),
            ("mon-fri 22:00-04:00 UTC", "mon-fri 22:00-04:00 UTC"),
            ("daily 01:00-03:00 America/New_York", "daily 01:00-03:00 America/New_York"),
            ("mon-sun 01:00-03:00 UTC", "daily 01:00-03:00 UTC"),
            ("fri-mon 23:30-00:00 Asia/Kolkata", "mon,fri-sun 23:30-00:00 Asia/Kolkata"),
            ("mon-tue,thu 00:00-24:00 UTC", "mon,tue,thu 00:00+24h UTC"),
            ("fri 18:00+60h UTC", "fri 18:00+60h UTC"),
            ("fri 18:00+90m UTC", "fri 18:00-19:30 UTC"),
            ("fri 18:00+25h30m UTC", "fri 18:00+25h30m UTC"),
            ("wed 00:00+168h UTC", "wed 00:00+168h UTC"),
        ] {
            let read = window(text);
            assert_eq!(read.to_string(), printed, "{text:?}");
            assert_eq!(window(printed), read);
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, message) in [
            ("", "write a window as days, times and zone, such as \"sat,sun 02:00-05:00 Europe/Berlin\"; this is \"\""),
            (
                "sat 02:00 UTC",
                "write a window as days, times and zone, such as \"sat,sun 02:00-05:00 Europe/Berlin\"; this is \"02:00\"",
            ),
            ("satt 02:00-03:00 UTC", "\"satt\" is no day: did you mean sat?"),
            ("dayly 02:00-03:00 UTC", "\"dayly\" is no day: did you mean daily?"),
            ("mon- 02:00-03:00 UTC", "\"\" is no day: write mon, tue, wed, thu, fri, sat, sun or daily"),
            ("é 02:00-03:00 UTC", "\"é\" is no day: write mon, tue, wed, thu, fri, sat, sun or daily"),
            ("sat 2:00-03:00 UTC", "\"2:00\" is no time of day: write 00:00 to 23:59"),
            ("sat 02:00-+3:00 UTC", "\"02:00-\" is no time of day: write 00:00 to 23:59"),
            ("sat 02:60-03:00 UTC", "\"02:60\" is no time of day: write 00:00 to 23:59"),
            ("sat 24:00-03:00 UTC", "\"24:00\" is no time of day: write 00:00 to 23:59"),
            ("sat 02:00-02:00 UTC", "a window can't end when it starts: write 02:00+24h for a whole day"),
            ("sat 02:00+0h UTC", "\"0h\" is no length of a window: write 1m to 168h, such as +90m, +36h or +1h30m"),
            (
                "sat 02:00+168h1m UTC",
                "\"168h1m\" is no length of a window: write 1m to 168h, such as +90m, +36h or +1h30m",
            ),
            (
                "sat 02:00+99999999h UTC",
                "\"99999999h\" is no length of a window: write 1m to 168h, such as +90m, +36h or +1h30m",
            ),
            ("sat 02:00-03:00 Europe/Berln", "\"Europe/Berln\" is no time zone: did you mean Europe/Berlin?"),
            ("sat 02:00-03:00 berlin", "\"berlin\" is no time zone: did you mean Europe/Berlin?"),
            (
                "sat 02:00-03:00 +02:00",
                "\"+02:00\" is no time zone: write a name of the IANA database, such as Europe/Berlin or UTC",
            ),
        ] {
            assert_eq!(Window::parse(text).map_err(|error| error.to_string()), Err(message.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens_on() {
        assert_eq!(
            openings("mon,fri 22:00-04:00 UTC", "2026-11-23T12:00:00Z", 3),
            [
                pair("Mon 11-23 22:00+00:00", "Tue 11-24 04:00+00:00"),
                pair("Fri 11-27 22:00+00:00", "Sat 11-28 04:00+00:00"),
                pair("Mon 11-30 22:00+00:00", "Tue 12-01 04:00+00:00"),
            ]
        );
        assert_eq!(
            window("fri 22:00-04:00 UTC").state(at("2026-11-28T03:59:59.999Z")),
            WindowState::Open { until: at("2026-11-28T04:00:00Z") }
        );
    }

    #[test]
    fn berlin_loses_and_gains_an_hour() {
        assert_eq!(
            openings("daily 02:00-05:00 Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            [
                pair("Sat 03-28 02:00+01:00", "Sat 03-28 05:00+01:00"),
                pair("Sun 03-29 03:00+02:00", "Sun 03-29 05:00+02:00"),
                pair("Mon 03-30 02:00+02:00", "Mon 03-30 05:00+02:00"),
            ]
        );
        assert_eq!(
            openings("daily 02:00-05:00 Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            [
                pair("Sun 10-25 02:00+02:00", "Sun 10-25 05:00+01:00"),
                pair("Mon 10-26 02:00+01:00", "Mon 10-26 05:00+01:00"),
            ]
        );
    }

    #[test]
    fn new_york_loses_and_gains_an_hour() {
        assert_eq!(
            openings("sun 01:30-02:30 America/New_York", "2026-03-07T12:00:00Z", 2),
            [
                pair("Sun 03-08 01:30-05:00", "Sun 03-08 03:00-04:00"),
                pair("Sun 03-15 01:30-04:00", "Sun 03-15 02:30-04:00"),
            ]
        );
        assert_eq!(
            openings("sun 01:30-02:30 America/New_York", "2026-10-31T12:00:00Z", 2),
            [
                pair("Sun 11-01 01:30-04:00", "Sun 11-01 02:30-05:00"),
                pair("Sun 11-08 01:30-05:00", "Sun 11-08 02:30-05:00"),
            ]
        );
    }

    #[test]
    fn a_window_inside_the_skipped_hour_still_opens_for_its_length() {
        assert_eq!(
            openings("sun 02:15-02:45 Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            [
                pair("Sun 03-29 03:00+02:00", "Sun 03-29 03:30+02:00"),
                pair("Sun 04-05 02:15+02:00", "Sun 04-05 02:45+02:00"),
            ]
        );
    }

    #[test]
    fn a_window_inside_the_repeated_hour_opens_once() {
        assert_eq!(
            openings("daily 02:15-02:45 Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            [
                pair("Sun 10-25 02:15+02:00", "Sun 10-25 02:45+02:00"),
                pair("Mon 10-26 02:15+01:00", "Mon 10-26 02:45+01:00"),
            ]
        );
    }

    #[test]
    fn half_hours_count_in_zones_and_in_changes_of_clocks() {
        assert_eq!(
            window("daily 02:00-03:00 Asia/Kolkata").state(at("2026-11-23T20:00:00Z")),
            WindowState::Closed { opens_at: at("2026-11-23T20:30:00Z") }
        );
        // Lord Howe skips half an hour: 02:00 becomes 02:30.
        assert_eq!(
            openings("sun 02:10-04:00 Australia/Lord_Howe", "2026-10-03T00:00:00Z", 1),
            [pair("Sun 10-04 02:30+11:00", "Sun 10-04 04:00+11:00")]
        );
    }

    #[test]
    fn a_day_that_never_was_moves_its_window_to_the_next() {
        // Samoa skipped Friday, 30 December 2011.
        assert_eq!(
            openings("fri 02:00-05:00 Pacific/Apia", "2011-12-30T00:00:00Z", 2),
            [
                pair("Sat 12-31 00:00+14:00", "Sat 12-31 03:00+14:00"),
                pair("Fri 01-06 02:00+14:00", "Fri 01-06 05:00+14:00"),
            ]
        );
    }

    #[test]
    fn the_ends_of_time_are_closed() {
        let daily = window("daily 00:00-24:00 UTC");
        for now in [i64::MIN, i64::MAX] {
            assert_eq!(daily.state(Timestamp(now)), WindowState::Closed { opens_at: Timestamp(i64::MAX) });
        }
        for (now, zone) in [
            (jiff::Timestamp::MIN, "Pacific/Apia"),
            (jiff::Timestamp::MAX, "America/Adak"),
            (jiff::Timestamp::MAX, "UTC"),
        ] {
            let now = Timestamp(now.as_millisecond());
            let (WindowState::Open { until: next } | WindowState::Closed { opens_at: next }) =
                window(&format!("sun 23:00+168h {zone}")).state(now);
            assert!(next > now, "{now} {zone}");
        }
    }

    #[test]
    fn the_zone_that_stands_for_none_is_refused() {
        assert!(matches!(Window::parse("sat 02:00-03:00 Etc/Unknown"), Err(BadWindow::Zone(..))));
    }

    fn any_window() -> impl Strategy<Value = Window> {
        let zones = vec![
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "America/St_Johns",
            "Pacific/Apia",
            "Africa/Casablanca",
        ];
        let days = any::<[bool; 7]>().prop_filter("one day at least", |days| days.contains(&true));
        let length = prop_oneof![1..=180u32, 1..=LENGTH_MINUTES_MAX, Just(DAY_MINUTES)];
        (days, 0..DAY_MINUTES, length, prop::sample::select(zones)).prop_map(
            |(days, start_minutes, length_minutes, zone)| Window {
                days,
                start_minutes,
                length_minutes,
                zone: TimeZone::get(zone).unwrap(),
            },
        )
    }

    /// Moments of 2008 to 2040, half of them within a day of a change of clocks in Berlin.
    fn any_moment() -> impl Strategy<Value = Timestamp> {
        let change = prop::sample::select(vec!["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"]);
        prop_oneof![
            (1_200_000_000_000i64..2_200_000_000_000).prop_map(Timestamp),
            (change, -86_400_000i64..86_400_000).prop_map(|(change, ms)| Timestamp(at(change).0 + ms)),
        ]
    }

    fn is_open(window: &Window, ms: i64) -> bool {
        matches!(window.state(Timestamp(ms)), WindowState::Open { .. })
    }

    proptest! {
        #[test]
        fn a_printed_window_reads_back_as_itself(window in any_window()) {
            prop_assert_eq!(Window::parse(&window.to_string()), Ok(window.clone()));
            prop_assert_eq!(Window::try_from(String::from(window.clone())), Ok(window));
        }

        #[test]
        fn a_state_holds_until_the_moment_it_names(window in any_window(), now in any_moment(), part in 0.0..1.0f64) {
            match window.state(now) {
                WindowState::Open { until } => {
                    prop_assert!(until > now);
                    let between = now.0 + ((until.0 - now.0 - 1) as f64 * part) as i64;
                    prop_assert!(is_open(&window, until.0 - 1));
                    prop_assert!(is_open(&window, between));
                    if is_open(&window, until.0) {
                        let mut openings = window.spans_near(now).into_iter().map(|(opens_at, _)| opens_at);
                        prop_assert!(openings.any(|opens_at| now < opens_at && opens_at <= until));
                    }
                }
                WindowState::Closed { opens_at } => {
                    prop_assert!(opens_at > now);
                    let between = now.0 + ((opens_at.0 - now.0 - 1) as f64 * part) as i64;
                    prop_assert!(is_open(&window, opens_at.0));
                    prop_assert!(!is_open(&window, opens_at.0 - 1));
                    prop_assert_eq!(window.state(Timestamp(between)), WindowState::Closed { opens_at });
                }
            }
        }

        #[test]
        fn an_open_window_shows_a_time_between_its_start_and_end(
            start in 0..DAY_MINUTES, length in 1..DAY_MINUTES, now in any_moment(),
        ) {
            // Without changes of clocks, and daily: the clock alone says whether it is open.
            let zone = TimeZone::get("Asia/Kolkata").unwrap();
            let window = Window { days: [true; 7], start_minutes: start, length_minutes: length, zone };
            let clock = (now.0 / 60_000 + 330).rem_euclid(i64::from(DAY_MINUTES));
            let since_start = (clock - i64::from(start)).rem_euclid(i64::from(DAY_MINUTES));
            prop_assert_eq!(is_open(&window, now.0), since_start < i64::from(length));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", days in "[a-z,-]{0,9}", times in "[0-9:+hm-]{0,12}") {
            prop_assert!(Window::parse(&text).is_err());
            if let Ok(window) = Window::parse(&format!("{days} {times} UTC")) {
                prop_assert_eq!(Window::parse(&window.to_string()), Ok(window));
            }
        }
    }
}
