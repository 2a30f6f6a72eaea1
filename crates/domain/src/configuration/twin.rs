//! What shall a device have, and what did it say that it has?

use muster_vocab::{Sha256, Timestamp, limit};
use serde::{Deserialize, Serialize};

/// Versions that a device may be ahead of the server, after the server came back from a backup.
const VERSIONS_AHEAD_MAX: u64 = 1_000_000;

/// Desired and reported configuration of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Twin {
    /// Goes up whenever what is desired changes; 0: never had anything.
    pub version: u64,
    /// Of the rendered files.
    pub digest: Option<Sha256>,
    /// Why nothing is desired now.
    pub error: Option<String>,
    pub reported: Option<Reported>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    pub version: u64,
    pub state: ReportedState,
    pub messages: Vec<String>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    Applied,
    /// It has what it had before.
    Reverted,
    /// Somebody changed a file on the device.
    Drifted,
}

/// How a device stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwinState {
    /// No configuration ever matched it.
    Nothing,
    /// It could not be rendered.
    Failed,
    /// The device has not said a word about the desired version.
    Pending,
    Applied,
    Reverted,
    Drifted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device reports version {0} of its configuration, which was never given out")]
pub struct UnknownVersion(pub u64);

impl Twin {
    /// The version that the device has yet to try.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        let is_known = self.reported.as_ref().is_some_and(|reported| reported.version == self.version);
        (self.version > 0 && self.error.is_none() && !is_known).then_some(self.version)
    }

    #[must_use]
    pub fn state(&self) -> TwinState {
        if self.error.is_some() {
            return TwinState::Failed;
        }
        match self.reported.as_ref().filter(|reported| reported.version == self.version) {
            _ if self.version == 0 => TwinState::Nothing,
            None => TwinState::Pending,
            Some(reported) => match reported.state {
                ReportedState::Applied => TwinState::Applied,
                ReportedState::Reverted => TwinState::Reverted,
                ReportedState::Drifted => TwinState::Drifted,
            },
        }
    }
}

/// It was rendered: the digest of its files, or that there are none, or why not. The same again changes nothing.
#[must_use]
pub fn settle(twin: &Twin, rendered: Result<Option<Sha256>, String>) -> Twin {
    match rendered {
        Err(error) => Twin { error: Some(error), ..twin.clone() },
        // A device that never had files needs no version that says so.
        Ok(None) if twin.version == 0 => Twin { error: None, ..twin.clone() },
        Ok(digest) if digest == twin.digest && twin.version > 0 => Twin { error: None, ..twin.clone() },
        Ok(digest) => Twin { version: twin.version + 1, digest, error: None, reported: twin.reported.clone() },
    }
}

/// The device said something. A version from before the server's backup lifts the server's own above it.
pub fn said(twin: &Twin, said: Reported) -> Result<Twin, UnknownVersion> {
    if said.version == 0 || said.version > twin.version.saturating_add(VERSIONS_AHEAD_MAX) {
        return Err(UnknownVersion(said.version));
    }
    let messages = said.messages.iter().take(limit::CONFIGURATION_MESSAGES_MAX);
    let messages = messages.map(|message| message.chars().take(limit::MESSAGE_CHARS_MAX).collect()).collect();
    let version = if said.version > twin.version { said.version + 1 } else { twin.version };
    Ok(Twin { version, reported: Some(Reported { messages, ..said }), ..twin.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Option<Sha256> {
        Some(Sha256([byte; 32]))
    }

    fn reported(version: u64, state: ReportedState) -> Reported {
        Reported { version, state, messages: Vec::new(), at: Timestamp(7) }
    }

    #[test]
    fn the_version_goes_up_when_the_content_changes_and_only_then() {
        let nothing = settle(&Twin::default(), Ok(None));
        assert_eq!((nothing.version, nothing.state()), (0, TwinState::Nothing));
        let first = settle(&nothing, Ok(digest(1)));
        assert_eq!((first.version, first.wanted()), (1, Some(1)));
        assert_eq!(settle(&first, Ok(digest(1))), first);
        let second = settle(&first, Ok(digest(2)));
        assert_eq!((second.version, second.wanted()), (2, Some(2)));
        let back = settle(&second, Ok(digest(1)));
        assert_eq!(back.version, 3, "an old content is a new version");
        let none = settle(&back, Ok(None));
        assert_eq!((none.version, none.digest), (4, None), "taking everything away is a change too");
        assert_eq!(settle(&none, Ok(None)), none);
    }

    #[test]
    fn while_it_cannot_be_rendered_nothing_is_wanted() {
        let first = settle(&Twin::default(), Ok(digest(1)));
        let broken = settle(&first, Err("no rack".into()));
        assert_eq!((broken.version, broken.wanted(), broken.state()), (1, None, TwinState::Failed));
        assert_eq!(settle(&broken, Ok(digest(1))), first, "the same content as before the error is the same version");
    }

    #[test]
    fn what_the_device_tried_is_not_wanted_again() {
        let first = settle(&Twin::default(), Ok(digest(1)));
        for (state, shown) in [
            (ReportedState::Applied, TwinState::Applied),
            (ReportedState::Reverted, TwinState::Reverted),
            (ReportedState::Drifted, TwinState::Drifted),
        ] {
            let told = said(&first, reported(1, state)).unwrap();
            assert_eq!((told.wanted(), told.state()), (None, shown));
        }
        let second = settle(&said(&first, reported(1, ReportedState::Applied)).unwrap(), Ok(digest(2)));
        assert_eq!((second.wanted(), second.state()), (Some(2), TwinState::Pending));
    }

    #[test]
    fn a_device_ahead_of_a_server_from_a_backup_is_given_a_newer_version() {
        let first = settle(&Twin::default(), Ok(digest(1)));
        let told = said(&first, reported(9, ReportedState::Applied)).unwrap();
        assert_eq!((told.version, told.wanted()), (10, Some(10)));
        assert_eq!(said(&first, reported(u64::MAX, ReportedState::Applied)), Err(UnknownVersion(u64::MAX)));
        assert_eq!(said(&first, reported(0, ReportedState::Applied)), Err(UnknownVersion(0)));
    }

    #[test]
    fn long_messages_are_cut() {
        let first = settle(&Twin::default(), Ok(digest(1)));
        let many = vec!["x".repeat(9000); 500];
        let told = said(&first, Reported { messages: many, ..reported(1, ReportedState::Reverted) }).unwrap();
        let kept = told.reported.unwrap().messages;
        assert_eq!((kept.len(), kept[0].len()), (limit::CONFIGURATION_MESSAGES_MAX, limit::MESSAGE_CHARS_MAX));
    }
}
