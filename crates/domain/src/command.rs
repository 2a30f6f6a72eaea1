//! What may a device be told to do once, and how far is it?
//!
//! ```text
//! pending ─ sent ─ started ─ succeeded | failed
//!    └──────┴─────────┴───── refused | late | expired
//! ```
//! Orders are repeated until the device speaks, and its words may arrive twice or late: both change nothing or the truth.

use std::time::Duration;

use muster_vocab::{DeviceId, Timestamp, limit};
use serde::{Deserialize, Serialize};

use crate::configuration::check::check_words;

/// One thing to do once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub id: i64,
    pub device: DeviceId,
    pub what: What,
    pub state: CommandState,
    /// Not begun after this moment.
    pub deadline: Timestamp,
    pub exit_code: Option<i32>,
    pub output: String,
    pub created_at: Timestamp,
    pub created_by: String,
    pub changed_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum What {
    Reboot,
    CollectLogs {
        unit: Option<String>,
        lines: u32,
    },
    /// A script that the device's own configuration allows, by name.
    RunScript {
        script: String,
        arguments: Vec<String>,
    },
    OpenSession {
        session: String,
        kind: SessionKind,
        seconds_max: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "session_kind", rename_all = "snake_case")]
pub enum SessionKind {
    Shell,
    Forward { host: String, port: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// The device has not asked yet.
    Pending,
    /// It was told, and has not said a word about it.
    Sent,
    Started,
    Succeeded,
    Failed,
    /// The device's own configuration doesn't allow it.
    Refused,
    /// Its deadline had passed when the device got it.
    Late,
    /// Nothing was heard of it in time, or its device is gone.
    Expired,
}

/// What happened to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The device was told.
    Sent,
    Said {
        state: Said,
        exit_code: Option<i32>,
        output: String,
    },
    TimePassed,
    /// The device was deleted.
    Gone,
}

/// What a device says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Started,
    Succeeded,
    Failed,
    Refused,
    Late,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    #[error("a deadline lies between {min} and {max} seconds", min = limit::COMMAND_DEADLINE_MIN.as_secs(), max = limit::COMMAND_DEADLINE_MAX.as_secs())]
    Deadline,
    #[error("1 to {max} log lines", max = limit::LOG_LINES_MAX)]
    Lines,
    #[error("a unit has letters, digits and any of @ . _ : \\ -, begins with a letter or digit, and at most {max} characters", max = UNIT_CHARS_MAX)]
    Unit,
    #[error("a script is named by 1 to {max} letters, digits, '.', '_' and '-', beginning with a letter or digit", max = limit::NAME_CHARS_MAX)]
    Script,
    #[error("the command {0}")]
    Arguments(String),
    #[error("a session lasts 1 to {max} seconds", max = limit::SESSION_SECONDS_MAX)]
    Seconds,
    #[error("{0:?} is not a host name or address")]
    Host(String),
    #[error("a port is 1 to 65535")]
    Port,
}

/// systemd's own limit.
const UNIT_CHARS_MAX: usize = 255;
/// DNS's limit.
const HOST_CHARS_MAX: usize = 253;

impl CommandState {
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Pending | Self::Sent | Self::Started => true,
            Self::Succeeded | Self::Failed | Self::Refused | Self::Late | Self::Expired => false,
        }
    }

    /// The device is still told.
    #[must_use]
    pub fn is_due(self) -> bool {
        matches!(self, Self::Pending | Self::Sent)
    }
}

impl Command {
    /// When time alone moves it.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            CommandState::Pending | CommandState::Sent => Some(self.deadline.plus(GRACE)),
            CommandState::Started => Some(self.changed_at.plus(limit::COMMAND_SILENCE)),
            _ => None,
        }
    }
}

/// The device judges the deadline by its own clock and needs time to say so.
const GRACE: Duration = Duration::from_secs(60);

/// Refuses what no device could do.
pub fn check(what: &What, deadline: Duration) -> Result<(), BadCommand> {
    if deadline < limit::COMMAND_DEADLINE_MIN || deadline > limit::COMMAND_DEADLINE_MAX {
        return Err(BadCommand::Deadline);
    }
    match what {
        What::Reboot => Ok(()),
        What::CollectLogs { unit, lines } => {
            if !(1..=limit::LOG_LINES_MAX).contains(lines) {
                return Err(BadCommand::Lines);
            }
            if unit.as_ref().is_some_and(|unit| !is_word(unit, UNIT_CHARS_MAX, "@._:\\-")) {
                return Err(BadCommand::Unit);
            }
            Ok(())
        }
        What::RunScript { script, arguments } => {
            if !is_word(script, limit::NAME_CHARS_MAX, "._-") {
                return Err(BadCommand::Script);
            }
            match arguments.iter().position(String::is_empty) {
                // An empty first word is refused for commands, but an empty argument means something.
                Some(0) => check_words(&arguments[1..]),
                Some(_) | None => check_words(arguments),
            }
            .map_err(BadCommand::Arguments)
        }
        What::OpenSession { kind, seconds_max, .. } => {
            if *seconds_max == 0 || *seconds_max > limit::SESSION_SECONDS_MAX {
                return Err(BadCommand::Seconds);
            }
            check_session(kind)
        }
    }
}

fn check_session(kind: &SessionKind) -> Result<(), BadCommand> {
    match kind {
        SessionKind::Shell => Ok(()),
        SessionKind::Forward { port: 0, .. } => Err(BadCommand::Port),
        SessionKind::Forward { host, .. } => {
            let is_address = host.parse::<std::net::IpAddr>().is_ok();
            if is_address || is_word(host, HOST_CHARS_MAX, ".-_") {
                Ok(())
            } else {
                Err(BadCommand::Host(host.clone()))
            }
        }
    }
}

fn is_word(text: &str, chars_max: usize, marks: &str) -> bool {
    text.len() <= chars_max
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}

/// The command after what happened; `None`: it changes nothing.
#[must_use]
pub fn step(command: &Command, now: Timestamp, input: Input) -> Option<Command> {
    use CommandState as S;
    let to = |state| Some(Command { state, changed_at: now, ..command.clone() });
    match (command.state, input) {
        (S::Pending, Input::Sent) => to(S::Sent),
        (S::Pending | S::Sent, Input::Said { state: Said::Started, .. }) => to(S::Started),
        // It was given up, but it had begun.
        (S::Expired, Input::Said { state: Said::Started, .. }) => None,
        (S::Pending | S::Sent | S::Started | S::Expired, Input::Said { state, exit_code, output }) => {
            let ended = match state {
                Said::Started => return None,
                Said::Succeeded => S::Succeeded,
                Said::Failed => S::Failed,
                Said::Refused => S::Refused,
                Said::Late => S::Late,
            };
            Some(Command { state: ended, changed_at: now, exit_code, output: cut(output), ..command.clone() })
        }
        (S::Pending | S::Sent | S::Started, Input::TimePassed) if command.due_at().is_some_and(|at| at <= now) => {
            to(S::Expired)
        }
        (S::Pending | S::Sent | S::Started, Input::Gone) => to(S::Expired),
        (S::Succeeded | S::Failed | S::Refused | S::Late, _)
        | (S::Expired, Input::Sent | Input::TimePassed | Input::Gone)
        | (S::Sent | S::Started, Input::Sent)
        | (S::Pending | S::Sent | S::Started, Input::TimePassed) => None,
    }
}

/// The end says how it went, so the beginning goes.
fn cut(output: String) -> String {
    let Some(over) = output.len().checked_sub(limit::COMMAND_OUTPUT_BYTES_MAX) else { return output };
    let from = (over..output.len()).find(|at| output.is_char_boundary(*at)).unwrap_or(output.len());
    output[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);

    fn command(state: CommandState) -> Command {
        Command {
            id: 1,
            device: DeviceId(1),
            what: What::Reboot,
            state,
            deadline: T0.plus(Duration::from_secs(600)),
            exit_code: None,
            output: String::new(),
            created_at: T0,
            created_by: "account:ann".into(),
            changed_at: T0,
        }
    }

    fn says(state: Said) -> Input {
        Input::Said { state, exit_code: Some(3), output: "out".into() }
    }

    #[test]
    fn a_command_is_told_begun_and_ended() {
        let sent = step(&command(CommandState::Pending), T0, Input::Sent).unwrap();
        assert!(sent.state == CommandState::Sent && sent.state.is_due());
        let started = step(&sent, T0, says(Said::Started)).unwrap();
        assert!(started.state == CommandState::Started && !started.state.is_due() && started.state.is_open());
        let ended = step(&started, T0, says(Said::Failed)).unwrap();
        assert_eq!((ended.state, ended.exit_code, ended.output.as_str()), (CommandState::Failed, Some(3), "out"));
        assert!(!ended.state.is_open());
    }

    #[test]
    fn the_same_word_twice_and_words_after_the_end_change_nothing() {
        assert_eq!(step(&command(CommandState::Started), T0, says(Said::Started)), None);
        for end in [CommandState::Succeeded, CommandState::Failed, CommandState::Refused, CommandState::Late] {
            for said in [Said::Started, Said::Succeeded, Said::Failed] {
                assert_eq!(step(&command(end), T0, says(said)), None);
            }
            assert_eq!(step(&command(end), T0, Input::Gone), None);
        }
    }

    #[test]
    fn a_command_nobody_took_expires_and_the_truth_still_counts_later() {
        let late = T0.plus(Duration::from_secs(660));
        let pending = command(CommandState::Pending);
        assert_eq!(step(&pending, T0.plus(Duration::from_secs(659)), Input::TimePassed), None);
        let expired = step(&pending, late, Input::TimePassed).unwrap();
        assert_eq!(expired.state, CommandState::Expired);
        assert_eq!(step(&expired, late, says(Said::Succeeded)).unwrap().state, CommandState::Succeeded);
        let begun = command(CommandState::Started);
        assert_eq!(step(&begun, late, Input::TimePassed), None, "what has begun has its own time");
        assert!(step(&begun, T0.plus(limit::COMMAND_SILENCE), Input::TimePassed).is_some());
    }

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let output = format!("{}é!", "é".repeat(limit::COMMAND_OUTPUT_BYTES_MAX));
        let said = Input::Said { state: Said::Succeeded, exit_code: None, output };
        let kept = step(&command(CommandState::Started), T0, said).unwrap().output;
        assert!(kept.len() <= limit::COMMAND_OUTPUT_BYTES_MAX && kept.ends_with("é!"));
    }

    #[test]
    fn commands_no_device_could_carry_out_are_refused() {
        let hour = Duration::from_secs(3600);
        let script =
            |script: &str| What::RunScript { script: script.into(), arguments: vec!["a".into(), String::new()] };
        let forward = |host: &str, port| What::OpenSession {
            session: "x".into(),
            kind: SessionKind::Forward { host: host.into(), port },
            seconds_max: 60,
        };
        let logs = |unit: &str, lines| What::CollectLogs { unit: Some(unit.into()), lines };
        for good in [
            script("fix-clock"),
            forward("127.0.0.1", 80),
            forward("::1", 1),
            forward("db.local", 5432),
            logs("app@1.service", 10),
        ] {
            assert_eq!(check(&good, hour), Ok(()), "{good:?}");
        }
        for bad in [
            script("../x"),
            script(""),
            script("-rf"),
            script("a b"),
            forward("a b", 1),
            forward("x", 0),
            forward("-x", 1),
            logs("--all", 10),
            logs("a", 0),
            logs("a", limit::LOG_LINES_MAX + 1),
            What::OpenSession { session: "x".into(), kind: SessionKind::Shell, seconds_max: 0 },
        ] {
            assert!(check(&bad, hour).is_err(), "{bad:?} was taken");
        }
        assert_eq!(check(&What::Reboot, Duration::from_secs(1)), Err(BadCommand::Deadline));
        assert_eq!(check(&What::Reboot, limit::COMMAND_DEADLINE_MAX * 2), Err(BadCommand::Deadline));
    }
}
