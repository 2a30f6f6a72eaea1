//! What does a device's queue say, and how much of it is news?
//!
//! One transaction per batch. A report that was taken before is skipped; one that can't be taken is noted and skipped,
//! because a device must never be stuck behind something it said.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::Actor;
use muster_domain::action::{CancelSaid, Progress, Said};
use muster_domain::command::Input;
use muster_domain::configuration::twin::Reported;
use muster_domain::device::AttributeMode;
use muster_store::departures::Counters;
use muster_store::queue::Queue;
use muster_store::{StoreError, Tx};
use muster_vocab::{ActionId, DeviceId, ProjectId, Timestamp, limit};
use serde_json::json;
use tracing::debug;

use super::actions::{self, Word};
use super::audit;
use super::error::FlowError;
use super::identity;
use super::twin;
use super::{departures, devices};

/// Beyond this the device's clock is worth a mention: it was offline, or its clock is wrong.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(3600);

/// A device and its batch, as understood by its edge.
#[derive(Debug, Clone)]
pub struct Batch {
    pub device: DeviceId,
    pub queue: String,
    pub reports: Vec<Report>,
    /// By agents that tell them.
    pub counters: Option<Told>,
}

/// Counters that never go back, told on a connection that was opened at `connected_at`.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub taken: u64,
    pub boots: u64,
    pub connected_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Report {
    pub sequence: u64,
    /// By the device's clock.
    pub at: Option<Timestamp>,
    pub news: News,
}

#[derive(Debug, Clone)]
pub enum News {
    /// On one of its actions.
    Action {
        action: ActionId,
        answer: Answer,
        /// For the history.
        text: String,
        messages: Vec<String>,
        /// Why it does not believe the order.
        distrust: Option<String>,
    },
    Attributes {
        all: bool,
        set: BTreeMap<String, String>,
        removed: Vec<String>,
    },
    /// On a version of its configuration.
    Configuration(Reported),
    /// On one of its commands.
    Command((i64, Input)),
    /// A newer agent says something that this server does not know, or it makes no sense.
    Unknown(String),
}

#[derive(Debug, Clone)]
pub enum Answer {
    Progress(Said, Option<Progress>),
    Cancel(CancelSaid),
    Consent(bool),
}

/// Takes a batch. Returns the last report that is in now.
pub fn take(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, batch: Batch) -> Result<u64, FlowError> {
    let Batch { device, queue, mut reports, counters } = batch;
    let known = tx.device_queue(project, device)?;
    if let Some(former) = known.as_ref().filter(|known| known.name != queue) {
        // A queue's name is drawn anew when a device has lost its state, so that none comes back.
        if tx.queue_is_past(device, &queue)? {
            let reason = format!(
                "its queue of reports {queue} came back after {}: two devices use its identity in turn, or it was \
                 restored from an old backup",
                former.name
            );
            identity::quarantine(tx, now, (project, device), &reason)?;
            return Ok(0);
        }
        tx.save_queue_past(device, &former.name, now)?;
    }
    let before = known.as_ref().filter(|known| known.name == queue).map_or(0, |known| known.through);
    let says_new = reports.iter().any(|report| report.sequence > before);
    if let Some(told) = counters
        && went_back(tx, now, (project, device), (&queue, told, says_new))?
    {
        return Ok(0);
    }
    reports.sort_by_key(|report| report.sequence);
    let mut through = before;
    for report in reports {
        if report.sequence <= through {
            continue;
        }
        if report.sequence > through + 1 {
            let (first, last) = (through + 1, report.sequence - 1);
            debug!(device.id = %device, first, last, "device {device} dropped reports {first} to {last} unsent");
        }
        through = report.sequence;
        take_one(tx, now, (project, device), report)?;
    }
    if known.is_none() {
        // The first of its kind, maybe: there were no deltas to make before.
        tx.touch_routes();
        departures::arrived(tx, now, (project, device))?;
    }
    if known.is_none_or(|known| known.name != queue || known.through != through) {
        tx.save_device_queue(project, device, &Queue { name: queue, through })?;
    }
    Ok(through)
}

/// Keeps the counters; lower ones than before put the device into quarantine.
///
/// A request that lay in the network while newer ones passed is no copy: it came on a connection from before them, or says
/// nothing that was not taken since. A copy has something new to say sooner or later.
fn went_back(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    (queue, told, says_new): (&str, Told, bool),
) -> Result<bool, FlowError> {
    let (project, device) = of;
    let known = tx.counters(project, device)?.filter(|known| known.queue == queue);
    if let Some(known) = &known {
        let is_lower = told.taken < known.taken || told.boots < known.boots;
        if is_lower && (!says_new || told.connected_at <= known.at) {
            return Ok(false);
        }
        if is_lower {
            let reason = format!(
                "its counters went back: {} starts and report {} after {} and {}; two devices use its identity, or it was \
                 restored from an old backup",
                told.boots, told.taken, known.boots, known.taken
            );
            identity::quarantine(tx, now, of, &reason)?;
            return Ok(true);
        }
        if (told.taken, told.boots) == (known.taken, known.boots) {
            return Ok(false);
        }
    }
    let counters = Counters { queue: queue.to_owned(), boots: told.boots, taken: told.taken, at: now };
    tx.save_counters(project, device, &counters)?;
    Ok(false)
}

fn take_one(tx: &mut Tx<'_>, now: Timestamp, of: (ProjectId, DeviceId), report: Report) -> Result<(), FlowError> {
    let (sequence, (project, device)) = (report.sequence, of);
    let outcome = match report.news {
        News::Action { action, answer, text, messages, distrust } => {
            if let Some(why) = distrust {
                distrusted(tx, now, of, (action, &why))?;
            }
            let word = Word { device, action, text: dated(text, report.at, now), code: None, messages };
            let outcome = refusal(tx.attempt(|tx| take_answer(tx, now, project, (word.clone(), answer))))?;
            if let Some(why) = &outcome {
                refusal(tx.attempt(|tx| note(tx, now, project, word, why)))?;
            }
            outcome
        }
        News::Attributes { all, set, removed } => {
            refusal(tx.attempt(|tx| take_attributes(tx, now, of, (all, &set, removed))))?
        }
        News::Configuration(said) => {
            refusal(tx.attempt(|tx| twin::configuration_said(tx, now, project, device, &said)))?
        }
        News::Command(said) => refusal(tx.attempt(|tx| twin::command_said(tx, now, project, device, said)))?,
        News::Unknown(why) => Some(why),
    };
    if let Some(why) = outcome {
        debug!(device.id = %device, sequence, "report {sequence} of device {device} changed nothing: {why}");
    }
    Ok(())
}

/// A device that does not believe an order is the first to see that somebody has the server, or has forgotten to sign.
fn distrusted(
    tx: &mut Tx<'_>,
    now: Timestamp,
    (project, device): (ProjectId, DeviceId),
    (action, why): (ActionId, &str),
) -> Result<(), FlowError> {
    let name = tx.device_name(project, device)?;
    let why: String = why.chars().take(limit::MESSAGE_CHARS_MAX).collect();
    let target = format!("device:{name}");
    let detail = json!({ "action": action, "why": why });
    audit::record(tx, now, &Actor::Device { name, project }, ("device.distrust", target), &detail)
}

/// A refusal concerns one report; anything else stops the batch, which the device sends again.
fn refusal(outcome: Result<(), FlowError>) -> Result<Option<String>, FlowError> {
    match outcome {
        Ok(()) => Ok(None),
        Err(
            refused @ (FlowError::Action(_)
            | FlowError::Attributes(_)
            | FlowError::TooManyReports
            | FlowError::UnknownVersion(_)
            | FlowError::Store(StoreError::Missing { .. })
            | FlowError::Store(StoreError::NoAction(_))),
        ) => Ok(Some(refused.to_string())),
        Err(other) => Err(other),
    }
}

fn take_answer(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, said: (Word, Answer)) -> Result<(), FlowError> {
    let (word, answer) = said;
    match answer {
        Answer::Progress(said, progress) => actions::report(tx, now, project, word, (said, progress)),
        Answer::Cancel(said) => actions::cancel_report(tx, now, project, word, said),
        Answer::Consent(consents) => actions::confirm(tx, now, project, word, consents),
    }
}

/// What came too late stands in the action's history all the same, if the action is the device's.
fn note(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, word: Word, why: &str) -> Result<(), FlowError> {
    let action = tx.action(project, word.action)?;
    if action.device != word.device {
        return Err(StoreError::NoAction(word.action).into());
    }
    if tx.report_count(project, word.action)? >= limit::REPORTS_PER_ACTION_MAX {
        return Err(FlowError::TooManyReports);
    }
    let text = format!("{}, which changed nothing: {why}", word.text);
    actions::keep(tx, now, project, Word { text, ..word })
}

fn take_attributes(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    said: (bool, &BTreeMap<String, String>, Vec<String>),
) -> Result<(), FlowError> {
    let (all, set, removed) = said;
    if all {
        return devices::report(tx, now, of, AttributeMode::Replace, set);
    }
    let removed: BTreeMap<String, String> = removed.into_iter().map(|key| (key, String::new())).collect();
    if !removed.is_empty() {
        devices::report_difference(tx, now, of, AttributeMode::Remove, &removed)?;
    }
    if set.is_empty() {
        return Ok(());
    }
    devices::report_difference(tx, now, of, AttributeMode::Merge, set)
}

/// The server's time is the truth; a device's that is far off says that it was offline, or that its clock is wrong.
fn dated(text: String, at: Option<Timestamp>, now: Timestamp) -> String {
    match at {
        Some(at) if at.since(now) > CLOCK_DIFFERENCE || now.since(at) > CLOCK_DIFFERENCE => {
            format!("{text} (at {at} by the device's clock)")
        }
        Some(_) | None => text,
    }
}
