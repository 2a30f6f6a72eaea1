//! What does a device do when it is told to, and what does it refuse?
//!
//! Only what its own file allows, once, before the deadline, in bounded time and with bounded output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_vocab::{Timestamp, limit};
use muster_wire::agent::{Command, CommandKind, CommandSaid, CommandState, SessionKind};

use crate::redact::redact;
use crate::world::{Ran, Run, World};

/// The end is what is sent, and what comes beyond this is not collected: ten thousand lines of a log fit.
const COLLECTED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Of a file of which the last lines are sent.
const TAIL_BYTES_MAX: usize = 4 * limit::COMMAND_OUTPUT_BYTES_MAX;
/// Bytes of one argument: every character that the server takes, and it takes fewer characters than this has bytes.
const ARGUMENT_BYTES_MAX: usize = 4096;
/// Logs that are kept in memory or on a slow disk are read in far less.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Nothing else is done meanwhile, so a script may not take as long as its deadline is away.
const SCRIPT_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// What the device's own file allows; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandSettings {
    /// Words of the program to run, by the script's name; arguments are appended.
    pub scripts: BTreeMap<String, Vec<String>>,
    pub logs: Logs,
    pub reboot: bool,
    pub shell: bool,
    /// `host:port` to which connections may be forwarded.
    pub forward: Vec<String>,
}

/// Where the device's log is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Logs {
    #[default]
    NotAllowed,
    /// systemd's, by unit.
    Journal,
    /// Files by the name that a command gives as its unit; without one, all of them.
    Files(Vec<PathBuf>),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    Said(CommandSaid),
    /// The machine is to be restarted; the next start tells of it.
    Reboot,
    OpenSession {
        session: String,
        kind: SessionKind,
        seconds_max: u32,
    },
}

/// Carries a command out to its end, or says why not. A restart and a session are the caller's to begin.
#[must_use]
pub fn begin(world: &dyn World, settings: &CommandSettings, command: &Command, now: Timestamp) -> CommandOutcome {
    if now > command.deadline {
        return told(command, CommandState::Late, "its deadline had passed when it arrived");
    }
    match &command.what {
        CommandKind::Reboot if settings.reboot => CommandOutcome::Reboot,
        CommandKind::Reboot => refused(command, "restarts are not allowed; set `reboot = true` under [commands]"),
        CommandKind::CollectLogs { unit, lines } => collect(world, settings, command, (unit.as_deref(), *lines)),
        CommandKind::RunScript { script, arguments } => {
            let left = Duration::from_millis(u64::try_from(command.deadline.0 - now.0).unwrap_or(0));
            match script_words(settings, script, arguments) {
                Ok(words) => run_script(world, command, &words, left.min(SCRIPT_TIMEOUT_MAX)),
                Err(why) => refused(command, &why),
            }
        }
        CommandKind::OpenSession { session, kind, seconds_max } => match session_allowed(settings, kind) {
            Ok(()) => {
                CommandOutcome::OpenSession { session: session.clone(), kind: kind.clone(), seconds_max: *seconds_max }
            }
            Err(why) => refused(command, &why),
        },
    }
}

/// A restart was ordered, and the machine has started since.
#[must_use]
pub fn rebooted(command: i64) -> CommandSaid {
    CommandSaid { command, state: CommandState::Succeeded, exit_code: None, output: String::new() }
}

/// It was begun, and the agent or the machine stopped in the middle of it: nobody knows how far it came.
#[must_use]
pub fn interrupted(command: i64) -> CommandSaid {
    let output = "the agent was stopped while this ran; how far it came is not known".into();
    CommandSaid { command, state: CommandState::Failed, exit_code: None, output }
}

fn told(command: &Command, state: CommandState, text: &str) -> CommandOutcome {
    CommandOutcome::Said(CommandSaid { command: command.id, state, exit_code: None, output: text.to_owned() })
}

fn refused(command: &Command, why: &str) -> CommandOutcome {
    told(command, CommandState::Refused, &format!("{why} in the agent's file on the device"))
}

fn session_allowed(settings: &CommandSettings, kind: &SessionKind) -> Result<(), String> {
    match kind {
        SessionKind::Shell if settings.shell => Ok(()),
        SessionKind::Shell => Err("a shell is not allowed; set `shell = true` under [commands]".into()),
        SessionKind::Forward { host, port } => {
            let target = format!("{host}:{port}");
            match settings.forward.contains(&target) {
                true => Ok(()),
                false => Err(format!("forwarding to {target} is not allowed; add it to `forward` under [commands]")),
            }
        }
    }
}

/// No shell ever sees them: each argument is one word, whatever is in it.
fn script_words(settings: &CommandSettings, script: &str, arguments: &[String]) -> Result<Vec<String>, String> {
    let Some(words) = settings.scripts.get(script).filter(|words| !words.is_empty()) else {
        let name: String = script.chars().take(64).collect();
        return Err(format!("no script {name:?} is allowed; name it under [commands.scripts]"));
    };
    let is_sane = |argument: &String| argument.len() <= ARGUMENT_BYTES_MAX && !argument.contains('\0');
    if arguments.len() > limit::COMMAND_WORDS_MAX || !arguments.iter().all(is_sane) {
        return Err(format!(
            "its arguments are not taken: {} of {ARGUMENT_BYTES_MAX} bytes without a NUL are; see [commands.scripts]",
            limit::COMMAND_WORDS_MAX
        ));
    }
    Ok(words.iter().chain(arguments).cloned().collect())
}

fn run_script(world: &dyn World, command: &Command, words: &[String], timeout: Duration) -> CommandOutcome {
    let run = Run { words, stdin: b"", timeout, output_bytes_max: COLLECTED_BYTES_MAX };
    CommandOutcome::Said(match world.host().run(&run) {
        Ok(ran) => said(command, &ran, timeout),
        Err(failed) => failure(command, &format!("{} could not be run: {failed}", words[0])),
    })
}

fn said(command: &Command, ran: &Ran, timeout: Duration) -> CommandSaid {
    let state = if ran.succeeded() { CommandState::Succeeded } else { CommandState::Failed };
    let mut output = redact(&printable(&ran.output));
    if ran.exit_code.is_none() {
        output.push_str(&format!("\nkilled, by a signal or because {} s were over\n", timeout.as_secs()));
    }
    CommandSaid { command: command.id, state, exit_code: ran.exit_code, output: last_bytes(&output) }
}

fn failure(command: &Command, why: &str) -> CommandSaid {
    CommandSaid { command: command.id, state: CommandState::Failed, exit_code: None, output: why.to_owned() }
}

fn collect(
    world: &dyn World,
    settings: &CommandSettings,
    command: &Command,
    (unit, lines): (Option<&str>, u32),
) -> CommandOutcome {
    let lines = lines.clamp(1, limit::LOG_LINES_MAX);
    let files = match &settings.logs {
        Logs::NotAllowed => return refused(command, "logs are not sent; set `logs` under [commands]"),
        Logs::Journal => {
            return match journal_words(unit, lines) {
                Ok(words) => run_script(world, command, &words, COLLECT_TIMEOUT),
                Err(why) => refused(command, &why),
            };
        }
        Logs::Files(files) => files,
    };
    let is_meant = |file: &&PathBuf| unit.is_none_or(|unit| file.file_name().is_some_and(|name| name == unit));
    let files: Vec<&PathBuf> = files.iter().filter(is_meant).collect();
    if files.is_empty() {
        return refused(command, "no such log is sent; add its file to `logs` under [commands]");
    }
    let mut output = String::new();
    // Each gets its share, so that one long log does not push the others out.
    let share = limit::COMMAND_OUTPUT_BYTES_MAX / files.len();
    for file in &files {
        if files.len() > 1 {
            output.push_str(&format!("==> {} <==\n", file.display()));
        }
        match tail(world, file, lines as usize) {
            Ok(text) => output.push_str(last(&redact(&text), share)),
            Err(failed) => output.push_str(&format!("{} can't be read: {failed}\n", file.display())),
        }
    }
    let output = last_bytes(&output);
    CommandOutcome::Said(CommandSaid { command: command.id, state: CommandState::Succeeded, exit_code: None, output })
}

/// A unit's name is one word; what begins with a dash would be an option.
fn journal_words(unit: Option<&str>, lines: u32) -> Result<Vec<String>, String> {
    let lines = lines.to_string();
    let mut words = vec!["journalctl", "--no-pager", "--quiet", "--output=short-iso", "--lines", &lines];
    if let Some(unit) = unit {
        let is_name = |char: char| char.is_ascii_alphanumeric() || "@._:-\\".contains(char);
        if unit.is_empty() || unit.len() > 256 || unit.starts_with('-') || !unit.chars().all(is_name) {
            return Err(format!("{unit:?} is no name of a unit; see `logs`"));
        }
        words.extend(["--unit", unit]);
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

/// The last lines of a file, of which no more than the last part is read.
fn tail(world: &dyn World, file: &Path, lines: usize) -> std::io::Result<String> {
    let size = world.disk().size(file)?;
    let from = size.saturating_sub(TAIL_BYTES_MAX as u64);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or(TAIL_BYTES_MAX)];
    let count = world.disk().read_at(file, from, &mut bytes)?;
    let text = printable(&bytes[..count]);
    let mut all: Vec<&str> = text.split_inclusive('\n').collect();
    if from > 0 && !all.is_empty() {
        // Cut in its middle.
        all.remove(0);
    }
    Ok(all[all.len().saturating_sub(lines)..].concat())
}

/// Text without what would move a terminal's cursor or double its size as JSON.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\t')).collect()
}

fn last_bytes(text: &str) -> String {
    last(text, limit::COMMAND_OUTPUT_BYTES_MAX).to_owned()
}

/// The end of a text, from a whole line on if there is one.
fn last(text: &str, bytes_max: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let end = &text[from..];
    if from == 0 {
        return end;
    }
    end.split_once('\n').map_or(end, |(_, whole)| whole)
}

#[cfg(test)]
mod tests;
