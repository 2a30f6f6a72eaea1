//! What does the device still have to tell the server?
//!
//! A bounded queue with sequence numbers; it lies in the state file, so a report and the step it tells of are durable
//! together or not at all. The server takes each number once.

use muster_vocab::{Timestamp, limit};
use muster_wire::agent::{Report, Said};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Names this queue to the server; a new one is drawn if the state was lost.
    pub name: String,
    last: u64,
    waiting: Vec<Report>,
}

impl Queue {
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, last: 0, waiting: Vec::new() }
    }

    /// Adds a report. When full, the oldest that nobody needs goes first: progress, then what a later one replaces.
    pub fn push(&mut self, at: Timestamp, said: Said) {
        if let Some(newest) = self.waiting.last_mut()
            && replaces(&said, &newest.said)
        {
            self.last += 1;
            *newest = Report { sequence: self.last, at, said };
            return;
        }
        if self.waiting.len() >= limit::AGENT_QUEUE_REPORTS_MAX {
            let dropped = self.waiting.iter().position(|report| !matters(&report.said)).unwrap_or(0);
            self.waiting.remove(dropped);
        }
        self.last += 1;
        self.waiting.push(Report { sequence: self.last, at, said });
    }

    /// The next ones to send.
    #[must_use]
    pub fn batch(&self) -> &[Report] {
        &self.waiting[..self.waiting.len().min(limit::REPORTS_PER_BATCH_MAX)]
    }

    /// The server has them up to here.
    pub fn taken(&mut self, through: u64) {
        self.waiting.retain(|report| report.sequence > through);
        // A server that restored an older backup can't make the device repeat a number.
        self.last = self.last.max(through);
    }

    /// Its numbers begin anew for what still waits.
    pub fn rename(&mut self, name: String) {
        self.name = name;
        self.last = 0;
        for report in &mut self.waiting {
            self.last += 1;
            report.sequence = self.last;
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    #[must_use]
    pub fn waiting(&self) -> &[Report] {
        &self.waiting
    }
}

/// Progress of the same download replaces itself.
fn replaces(new: &Said, old: &Said) -> bool {
    match (new, old) {
        (Said::Action(new), Said::Action(old)) => {
            new.action == old.action && new.state == old.state && new.progress.is_some() && old.progress.is_some()
        }
        _ => false,
    }
}

/// Ends of actions and commands are never dropped for something newer while anything else is left.
fn matters(said: &Said) -> bool {
    match said {
        Said::Action(said) => said.state.is_end(),
        Said::Command(said) => said.exit_code.is_some(),
        Said::Configuration(_) => true,
        Said::Attributes(_) => false,
    }
}
