//! May it be installed now, and is the new version well? The device's own rules and checks.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_wire::agent::Deployment;

use crate::hours::{self, Hours};
use crate::world::{Run, World};
use crate::{Consent, Judge};

/// Lines of a check's output that go into the report.
const LINES: usize = 10;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// The exit code by which a person says no.
const DENIES: i32 = 3;

/// When the device agrees to an update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Not below this charge, if there is a battery.
    pub battery_percent_min: Option<u8>,
    /// In local time; none: at any.
    pub hours: Vec<Hours>,
    /// Words of a command that says by exit code 0 that it may be installed now: nobody is being treated, no train runs.
    pub confirm: Vec<String>,
    /// Words of a command that asks the person at the device, for rollouts that want consent. It finds the order as JSON
    /// on its standard input, and ends with 0 for yes, 3 for no, anything else for no answer yet.
    pub consent: Vec<String>,
}

/// One thing that has to be so after an update. Exactly one of the ways is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Check {
    /// A systemd unit is active.
    Unit(String),
    /// A command ends with 0.
    Command(Vec<String>),
    /// A GET is answered with a status of 200 to 399.
    Http(String),
    /// A file was written in the last `seconds`.
    File { path: PathBuf, seconds: u64 },
    /// A command prints a number that is not below or above a bound.
    Metric {
        command: Vec<String>,
        #[serde(default)]
        min: Option<f64>,
        #[serde(default)]
        max: Option<f64>,
    },
}

/// The rules in the agent's file.
#[derive(Debug, Clone)]
pub struct Rules {
    pub policy: Policy,
    pub checks: Vec<Check>,
    /// One check may take this long.
    pub check_timeout: Duration,
}

impl Judge for Rules {
    fn objection(&self, world: &dyn World) -> Option<String> {
        let policy = &self.policy;
        if let (Some(min), Some(charge)) = (policy.battery_percent_min, world.host().battery_percent())
            && charge < min
        {
            return Some(format!("the battery is at {charge} %, and {min} % are asked for"));
        }
        if !policy.hours.is_empty()
            && let Some(why) = hours::objection(&policy.hours, hours::local_minute(world))
        {
            return Some(why);
        }
        if policy.confirm.is_empty() {
            return None;
        }
        let said = run(world, &policy.confirm, self.check_timeout).err()?;
        Some(format!("{} says no: {}", policy.confirm.join(" "), said.join("; ")))
    }

    fn consent(&self, world: &dyn World, order: &Deployment) -> Consent {
        let words = &self.policy.consent;
        if words.is_empty() {
            return Consent::NobodyToAsk;
        }
        let stdin = serde_json::to_vec(order).expect("messages have string keys only");
        let timeout = self.check_timeout;
        let run = Run { words, stdin: &stdin, timeout, output_bytes_max: OUTPUT_BYTES_MAX };
        match world.host().run(&run) {
            Ok(ran) if ran.succeeded() => Consent::Given,
            Ok(ran) if ran.exit_code == Some(DENIES) => Consent::Denied(ran.last_lines(LINES)),
            Ok(_) => Consent::NotYet,
            Err(failed) => {
                world.host().log(&format!("nobody could be asked for consent: {}: {failed}", words.join(" ")));
                Consent::NotYet
            }
        }
    }

    fn complaints(&self, world: &dyn World) -> Vec<String> {
        self.checks.iter().filter_map(|check| self.complaint(world, check)).flatten().collect()
    }
}

impl Rules {
    fn complaint(&self, world: &dyn World, check: &Check) -> Option<Vec<String>> {
        let timeout = self.check_timeout;
        match check {
            Check::Unit(unit) => {
                let words = ["systemctl", "is-active", unit].map(str::to_owned);
                let said = run(world, &words, timeout).err()?;
                let log = ["journalctl", "--no-pager", "-n", "10", "-u", unit].map(str::to_owned);
                let log = run(world, &log, timeout).unwrap_or_default();
                Some([vec![format!("unit {unit} is {}", said.join(" "))], log].concat())
            }
            Check::Command(words) => {
                let said = run(world, words, timeout).err()?;
                Some([vec![format!("{} failed", words.join(" "))], said].concat())
            }
            Check::Http(url) => match world.host().probe(url, timeout) {
                Ok((200..=399, _)) => None,
                Ok((status, _)) => Some(vec![format!("{url} answered {status}")]),
                Err(failed) => Some(vec![format!("{url} did not answer: {failed}")]),
            },
            Check::File { path, seconds } => {
                let age = world.host().now().since(match world.disk().modified(path) {
                    Ok(at) => at,
                    Err(failed) => return Some(vec![format!("{}: {failed}", path.display())]),
                });
                let is_fresh = age.as_secs() <= *seconds;
                (!is_fresh)
                    .then(|| vec![format!("{} is {} s old, more than {seconds} s", path.display(), age.as_secs())])
            }
            Check::Metric { command, min, max } => metric(world, command, (*min, *max), timeout),
        }
    }
}

fn metric(
    world: &dyn World,
    command: &[String],
    bounds: (Option<f64>, Option<f64>),
    timeout: Duration,
) -> Option<Vec<String>> {
    let words = command.join(" ");
    let said = match run(world, command, timeout) {
        Ok(said) => said,
        Err(said) => return Some([vec![format!("{words} failed")], said].concat()),
    };
    let Some(value) = said.last().and_then(|line| line.trim().parse::<f64>().ok()) else {
        return Some(vec![format!("{words} did not print a number")]);
    };
    match bounds {
        _ if value.is_nan() => Some(vec![format!("{words} is no number")]),
        (Some(min), _) if value < min => Some(vec![format!("{words} is {value}, below {min}")]),
        (_, Some(max)) if value > max => Some(vec![format!("{words} is {value}, above {max}")]),
        _ => None,
    }
}

/// The last lines of a program, as success or failure.
fn run(world: &dyn World, words: &[String], timeout: Duration) -> Result<Vec<String>, Vec<String>> {
    let run = Run { words, stdin: &[], timeout, output_bytes_max: OUTPUT_BYTES_MAX };
    match world.host().run(&run) {
        Ok(ran) if ran.succeeded() => Ok(ran.last_lines(LINES)),
        Ok(ran) if ran.exit_code.is_none() => {
            Err([vec![format!("killed after {} s", timeout.as_secs())], ran.last_lines(LINES)].concat())
        }
        Ok(ran) => Err(ran.last_lines(LINES)),
        Err(failed) => Err(vec![format!("{}: {failed}", words.first().map_or("", String::as_str))]),
    }
}
