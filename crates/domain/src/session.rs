//! How does a remote session go: who opened it, how long, and how did it end?

use std::time::Duration;

use muster_vocab::{DeviceId, Sha256, Timestamp, limit};
use serde::{Deserialize, Serialize};

use crate::command::SessionKind;

/// A way through the server from an operator to one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Random, so that nobody finds it by guessing.
    pub id: String,
    pub device: DeviceId,
    /// The command that tells the device to connect.
    pub command: i64,
    pub kind: SessionKind,
    pub seconds_max: u32,
    pub opened_by: String,
    pub created_at: Timestamp,
    pub state: SessionState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SessionState {
    /// For both ends to come.
    Waiting,
    Open {
        connected_at: i64,
    },
    Ended {
        connected_at: Option<i64>,
        ended_at: i64,
        end: End,
        /// Bytes that passed towards the device and towards the operator.
        to_device: u64,
        to_operator: u64,
        recording: Option<Recording>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    OperatorLeft,
    DeviceLeft,
    /// Its time was over.
    TimeOut,
    /// Nobody said anything for [`limit::SESSION_IDLE`].
    Idle,
    ServerStopped,
    /// One end never came.
    NobodyCame,
    /// Its recording could not be written.
    RecordingFailed,
    /// The device refused it or is gone, or the project allows no sessions any more.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    pub digest: Sha256,
    pub bytes: u64,
    /// Nothing was left out.
    pub complete: bool,
}

/// What ended a session that was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub end: End,
    pub to_device: u64,
    pub to_operator: u64,
    pub recording: Option<Recording>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the session has ended")]
    Ended,
    #[error("somebody is connected to the session already")]
    Taken,
    #[error("the session waited too long for its other end")]
    TooLate,
}

impl Session {
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, SessionState::Ended { .. })
    }

    /// An end that comes after this comes too late.
    #[must_use]
    pub fn waits_until(&self) -> Timestamp {
        self.created_at.plus(limit::SESSION_WAIT)
    }

    #[must_use]
    pub fn time_max(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds_max))
    }

    /// May an end still join?
    pub fn may_join(&self, now: Timestamp) -> Result<(), Refused> {
        match self.state {
            SessionState::Ended { .. } => Err(Refused::Ended),
            SessionState::Open { .. } => Err(Refused::Taken),
            SessionState::Waiting if now > self.waits_until() => Err(Refused::TooLate),
            SessionState::Waiting => Ok(()),
        }
    }

    /// Both ends are there.
    pub fn connected(&self, now: Timestamp) -> Result<Self, Refused> {
        self.may_join(now)?;
        Ok(Self { state: SessionState::Open { connected_at: now.0 }, ..self.clone() })
    }

    /// `None`: it had ended already.
    #[must_use]
    pub fn ended(&self, now: Timestamp, how: Ended) -> Option<Self> {
        let connected_at = match self.state {
            SessionState::Waiting => None,
            SessionState::Open { connected_at } => Some(connected_at),
            SessionState::Ended { .. } => return None,
        };
        let Ended { end, to_device, to_operator, recording } = how;
        let state = SessionState::Ended { connected_at, ended_at: now.0, end, to_device, to_operator, recording };
        Some(Self { state, ..self.clone() })
    }
}

/// As the audit log and operators read it.
impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OperatorLeft => "operator_left",
            Self::DeviceLeft => "device_left",
            Self::TimeOut => "time_out",
            Self::Idle => "idle",
            Self::ServerStopped => "server_stopped",
            Self::NobodyCame => "nobody_came",
            Self::RecordingFailed => "recording_failed",
            Self::Refused => "refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);

    fn session() -> Session {
        Session {
            id: "5e55".into(),
            device: DeviceId(1),
            command: 1,
            kind: SessionKind::Shell,
            seconds_max: 60,
            opened_by: "account:ann".into(),
            created_at: T0,
            state: SessionState::Waiting,
        }
    }

    #[test]
    fn a_session_is_joined_once_in_time_and_ends_once() {
        let open = session().connected(T0).unwrap();
        assert_eq!(open.may_join(T0), Err(Refused::Taken));
        let how = Ended { end: End::OperatorLeft, to_device: 1, to_operator: 2, recording: None };
        let ended = open.ended(T0, how).unwrap();
        assert!(ended.is_over());
        assert_eq!((ended.may_join(T0), ended.ended(T0, how)), (Err(Refused::Ended), None));
        let late = session().waits_until().plus(Duration::from_millis(1));
        assert_eq!(session().connected(late), Err(Refused::TooLate));
    }
}
