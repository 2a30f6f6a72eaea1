//! How does a device get the files that it shall have: all of them or none, whatever happens in between?
//!
//! New files are written beside the old ones and checked there; then an intent is made durable, names are switched and
//! services are told. Until the agent has saved what became of it, the intent stays, and [`resume`] at the next start
//! brings a cut-off attempt to its end: finished if services had taken it, taken back otherwise. Each step may be
//! repeated. Files that a newer version names no longer stay where they are.

mod accounts;
mod check;
mod intent;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use muster_vocab::{Sha256, limit};
use muster_wire::agent::{Configuration, ConfigurationSaid, ConfigurationState};
use sha2::Digest;

use self::check::Planned;
use self::intent::{Intent, Stage};
use crate::disk;
use crate::redact::redact;
use crate::secrets::Secrets;
use crate::state::Configured;
use crate::world::{Run, World};

/// A check that takes longer hangs.
const VALIDATE_TIMEOUT: Duration = Duration::from_secs(60);
/// Services may take a while to restart.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// What a failed command says at its end is what counts; this is ample for the lines that are kept.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Lines that are told when a command fails; the server keeps as many.
const LINES_MAX: usize = 20;
/// A managed file that has grown beyond this is not read: it has drifted.
const FILE_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationSettings {
    /// Folders in which files may be written. None: no configuration is taken.
    pub roots: Vec<PathBuf>,
    /// Commands that may check files and reload services, each by its first words: `systemctl reload`. They run as the
    /// agent does.
    pub commands: Vec<Vec<String>>,
    /// The agent's own; set by the agent, and kept out of reach of every configuration.
    pub folder: PathBuf,
    /// Holds `passwd` and `group`.
    pub accounts: PathBuf,
    /// Between two looks at whether somebody has changed a file.
    pub look_every: Duration,
}

impl Default for ConfigurationSettings {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            commands: Vec::new(),
            folder: PathBuf::from("/var/lib/muster"),
            accounts: PathBuf::from("/etc"),
            look_every: Duration::from_secs(600),
        }
    }
}

/// Storage failed in the middle; [`resume`] later brings it to an end.
#[derive(Debug, thiserror::Error)]
#[error("a configuration could not be brought to an end")]
pub struct Unfinished(#[from] io::Error);

/// Brings the device's files to what is wanted, with the secrets filled in, or leaves them as they were and says why. [`forget`] once the outcome
/// is durable.
///
/// # Errors
/// If storage fails so that neither is possible now.
pub fn apply(
    world: &dyn World,
    settings: &ConfigurationSettings,
    (wanted, secrets): (&Configuration, &Secrets),
    configured: &mut Configured,
) -> Result<ConfigurationSaid, Unfinished> {
    let files = match check::plan(world.disk(), settings, wanted) {
        Ok(files) => files,
        Err(why) => return Ok(refused(configured, wanted.version, vec![why])),
    };
    let mut intent = Intent::new(wanted.version, &files);
    if let Err(why) = prepare(world, settings, &files, &intent) {
        intent.clean(world.disk())?;
        return Ok(refused(configured, wanted.version, secrets.hide(why)));
    }
    if let Err(why) = switch(world, settings, &mut intent) {
        let why = secrets.hide(why);
        intent.stage = Stage::Reverting { why: why.clone() };
        intent.save(world.disk(), settings)?;
        let why = take_back(world, settings, &intent, why)?;
        return Ok(refused(configured, wanted.version, secrets.hide(why)));
    }
    intent.stage = Stage::Applied;
    intent.save(world.disk(), settings)?;
    Ok(applied(configured, &intent))
}

/// Brings what the last run of the agent left to an end; says what became of it. [`forget`] once that is durable.
///
/// # Errors
/// If storage fails; nothing may be applied until this has worked.
pub fn resume(
    world: &dyn World,
    settings: &ConfigurationSettings,
    configured: &mut Configured,
) -> Result<Option<ConfigurationSaid>, Unfinished> {
    let Some(mut intent) = Intent::load(world.disk(), settings)? else { return Ok(None) };
    match intent.stage.clone() {
        Stage::Writing => {
            intent.clean(world.disk())?;
            Ok(None)
        }
        Stage::Switching => {
            let before = configured.interrupted.filter(|(version, _)| *version == intent.version);
            let times = before.map_or(0, |(_, times)| times) + 1;
            configured.interrupted = Some((intent.version, times));
            if times <= limit::AGENT_TRIAL_RESTARTS_MAX {
                take_back(world, settings, &intent, Vec::new())?;
                return Ok(None);
            }
            let why = vec![format!("the device or its agent stopped {times} times while this was being applied")];
            intent.stage = Stage::Reverting { why: why.clone() };
            intent.save(world.disk(), settings)?;
            let why = take_back(world, settings, &intent, why)?;
            Ok(Some(refused(configured, intent.version, why)))
        }
        Stage::Reverting { .. } if configured.refused == Some(intent.version) => Ok(None),
        Stage::Reverting { why } => {
            let why = take_back(world, settings, &intent, why)?;
            Ok(Some(refused(configured, intent.version, why)))
        }
        Stage::Applied if configured.version >= intent.version => Ok(None),
        Stage::Applied => Ok(Some(applied(configured, &intent))),
    }
}

/// The outcome is durable elsewhere: intent and copies go.
///
/// # Errors
/// If storage fails; [`resume`] does it then.
pub fn forget(world: &dyn World, settings: &ConfigurationSettings) -> Result<(), Unfinished> {
    Ok(Intent::forget(world.disk(), settings)?)
}

/// Files that are not as they were written, sorted.
#[must_use]
pub fn drift(world: &dyn World, configured: &Configured) -> Vec<String> {
    let is_as_written = |(path, digest): &(&String, &Sha256)| {
        disk::read(world.disk(), path.as_ref(), FILE_BYTES_MAX).is_ok_and(|bytes| digest_of(&bytes) == **digest)
    };
    configured.files.iter().filter(|file| !is_as_written(file)).map(|(path, _)| path.clone()).collect()
}

fn digest_of(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

fn applied(configured: &mut Configured, intent: &Intent) -> ConfigurationSaid {
    *configured = Configured {
        version: intent.version,
        refused: None,
        interrupted: None,
        files: intent.all.clone(),
        drifted: Vec::new(),
    };
    ConfigurationSaid { version: intent.version, state: ConfigurationState::Applied, messages: Vec::new() }
}

fn refused(configured: &mut Configured, version: u64, why: Vec<String>) -> ConfigurationSaid {
    configured.refused = Some(version);
    configured.interrupted = None;
    let cut = |line: String| redact(&line).chars().take(limit::MESSAGE_CHARS_MAX).collect();
    let messages = why.into_iter().take(LINES_MAX + 1).map(cut).collect();
    ConfigurationSaid { version, state: ConfigurationState::Reverted, messages }
}

/// New files are beside the old ones and good, and the old ones are copied: all that a switch and a way back need.
fn prepare(
    world: &dyn World,
    settings: &ConfigurationSettings,
    files: &[Planned],
    intent: &Intent,
) -> Result<(), Vec<String>> {
    let disk = world.disk();
    let failed = |what: &str, failed: io::Error| vec![format!("{what}: {failed}")];
    intent.start(disk, settings).map_err(|why| failed("writing what is intended", why))?;
    for change in &intent.changes {
        intent.keep(disk, settings, change).map_err(|why| failed(&format!("copying {}", change.named), why))?;
    }
    let changed = |file: &&Planned| file.is_changed;
    for file in files.iter().filter(changed) {
        write_beside(disk, file).map_err(|why| failed(&format!("writing {}", file.named), why))?;
    }
    for file in files.iter().filter(changed).filter(|file| !file.validate.is_empty()) {
        let beside = check::beside(&file.path).display().to_string();
        let words: Vec<String> = file.validate.iter().map(|word| word.replace("{}", &beside)).collect();
        run(world, &words, VALIDATE_TIMEOUT, &format!("{} is not valid", file.named))?;
    }
    Ok(())
}

fn write_beside(disk: &dyn disk::Disk, file: &Planned) -> io::Result<()> {
    disk.make_folder(disk::folder_of(&file.path))?;
    intent::write_with(disk, &check::beside(&file.path), file.content.as_bytes(), file.permissions)
}

/// The new files take their names, and services are told.
fn switch(world: &dyn World, settings: &ConfigurationSettings, intent: &mut Intent) -> Result<(), Vec<String>> {
    intent.stage = Stage::Switching;
    intent.save(world.disk(), settings).map_err(|why| vec![format!("writing what is intended: {why}")])?;
    for change in &intent.changes {
        disk::rename(world.disk(), &check::beside(&change.path), &change.path)
            .map_err(|why| vec![format!("replacing {}: {why}", change.named)])?;
    }
    intent.reload.iter().try_for_each(|words| run(world, words, RELOAD_TIMEOUT, "reloading failed"))
}

/// The old files get their names back, and services are told of those. What fails of the latter joins the reasons.
fn take_back(
    world: &dyn World,
    settings: &ConfigurationSettings,
    intent: &Intent,
    mut why: Vec<String>,
) -> io::Result<Vec<String>> {
    for change in &intent.changes {
        intent.restore(world.disk(), settings, change)?;
    }
    intent.clean(world.disk())?;
    for words in &intent.reload {
        if let Err(mut lines) = run(world, words, RELOAD_TIMEOUT, "reloading what was before failed") {
            world.host().log(&lines.join("; "));
            why.append(&mut lines);
        }
    }
    Ok(why)
}

/// Runs it to its end; otherwise what was wrong, with the last lines of its output.
fn run(world: &dyn World, words: &[String], timeout: Duration, wrong: &str) -> Result<(), Vec<String>> {
    let command = words.join(" ");
    let ran = world.host().run(&Run { words, stdin: b"", timeout, output_bytes_max: OUTPUT_BYTES_MAX });
    let (how, lines) = match ran {
        Ok(ran) if ran.succeeded() => return Ok(()),
        Ok(ran) => match ran.exit_code {
            Some(code) => (format!("ended with {code}"), ran.last_lines(LINES_MAX)),
            None => (format!("did not end within {} s or was killed", timeout.as_secs()), ran.last_lines(LINES_MAX)),
        },
        Err(failed) => (format!("could not be run: {failed}"), Vec::new()),
    };
    Err(std::iter::once(format!("{wrong}: {command} {how}")).chain(lines).collect())
}

#[cfg(test)]
mod tests;
