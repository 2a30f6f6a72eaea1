//! What does the device still have to tell the server?
//!
//! A bounded queue with sequence numbers; it lies in the state file, so a report and the step it tells of are durable
//! together or not at all. The server takes each number once.

use muster_vocab::{Timestamp, limit};
use muster_wire::agent::{Report, Said};
use serde::{Deserialize, Serialize};

/// What surrounds the reports of a batch: the queue's name and a few words.
const ENVELOPE_BYTES: usize = 512;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Names this queue to the server; a new one is drawn if the state was lost.
    pub name: String,
    last: u64,
    /// The server has said that it has them up to here. None: not yet, or an older agent has written this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    through: Option<u64>,
    waiting: Vec<Report>,
}

impl Queue {
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, last: 0, through: None, waiting: Vec::new() }
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

    /// The next ones to send: as many as the server takes at once, and at least one.
    #[must_use]
    pub fn batch(&self) -> &[Report] {
        let mut left = limit::REPORTS_BYTES_MAX.saturating_sub(ENVELOPE_BYTES);
        let fits = |report: &&Report| {
            // The comma, too.
            let bytes = serde_json::to_vec(report).map_or(usize::MAX, |text| text.len()).saturating_add(1);
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        };
        let count = self.waiting.iter().take(limit::REPORTS_PER_BATCH_MAX).take_while(fits).count();
        &self.waiting[..count.max(1).min(self.waiting.len())]
    }

    /// The server has them up to here.
    pub fn taken(&mut self, through: u64) {
        self.waiting.retain(|report| report.sequence > through);
        // A server that restored an older backup can't make the device repeat a number.
        self.last = self.last.max(through);
        self.through = self.through.max(Some(through));
    }

    /// Its numbers begin anew for what still waits.
    pub fn rename(&mut self, name: String) {
        self.name = name;
        self.last = 0;
        self.through = None;
        for report in &mut self.waiting {
            self.last += 1;
            report.sequence = self.last;
        }
    }

    /// The last report that the server is known to have.
    #[must_use]
    pub fn through(&self) -> Option<u64> {
        self.through
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

#[cfg(test)]
mod tests {
    use muster_wire::agent::{CommandSaid, CommandState, Reports};

    use super::*;

    fn output(bytes: usize) -> Said {
        let output = "\u{1}".repeat(bytes);
        Said::Command(CommandSaid { command: 1, state: CommandState::Succeeded, exit_code: Some(0), output })
    }

    #[test]
    fn a_batch_is_what_the_server_takes_at_once() {
        let mut queue = Queue::new("q".into());
        for _ in 0..8 {
            queue.push(Timestamp(0), output(64 * 1024));
        }
        let batch = Reports { queue: "q".into(), reports: queue.batch().to_vec(), counters: None };
        assert_eq!(batch.reports.len(), 2);
        assert!(serde_json::to_vec(&batch).unwrap().len() <= limit::REPORTS_BYTES_MAX);
        queue.taken(2);
        assert_eq!(queue.batch()[0].sequence, 3);
    }

    #[test]
    fn many_small_reports_go_in_several_batches_and_none_is_ever_empty() {
        let mut queue = Queue::new("q".into());
        assert!(queue.batch().is_empty());
        for _ in 0..100 {
            queue.push(Timestamp(0), output(1));
        }
        assert_eq!(queue.batch().len(), limit::REPORTS_PER_BATCH_MAX);
        let mut huge = Queue::new("q".into());
        huge.push(Timestamp(0), output(limit::REPORTS_BYTES_MAX));
        assert_eq!(huge.batch().len(), 1);
    }
}
