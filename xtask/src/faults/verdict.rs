//! Did the server keep its word?
//!
//! Pure: compares what the server says with what the devices wrote down and what it promised before it was killed.

use std::collections::{BTreeMap, BTreeSet};

use muster_sim::{Install, Outcome};
use muster_wire::action::{Action, ActionState};
use muster_wire::rollout::{Counts, Wave};

/// Everything that was said, by everyone.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The devices the rollout was for.
    pub devices: Vec<String>,
    pub actions: Vec<Action>,
    pub waves: Vec<Wave>,
    /// The devices' own journal.
    pub installs: Vec<Install>,
    /// Names of what the server said it had stored, and of what it has.
    pub promised: Vec<String>,
    pub stored: BTreeSet<String>,
    /// Whether the audit log's chain of digests holds.
    pub audit_intact: bool,
}

/// Sentences, each about one thing that is wrong.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// Devices without exactly one ended action, or whose action says something else than they do.
    pub lost: Vec<String>,
    pub installed_twice: Vec<String>,
    pub promises_broken: Vec<String>,
    pub miscounted: Vec<String>,
}

impl Verdict {
    pub fn complaints(&self) -> impl Iterator<Item = &String> {
        self.lost.iter().chain(&self.installed_twice).chain(&self.promises_broken).chain(&self.miscounted)
    }
}

pub fn judge(evidence: &Evidence) -> Verdict {
    Verdict {
        lost: lost(evidence),
        installed_twice: installed_twice(&evidence.installs),
        promises_broken: promises_broken(evidence),
        miscounted: miscounted(evidence),
    }
}

fn lost(evidence: &Evidence) -> Vec<String> {
    let actions = by(&evidence.actions, |action| &action.device);
    let installs = by(&evidence.installs, |install| &install.device);
    let mut lost = Vec::new();
    for device in &evidence.devices {
        let told: Vec<Outcome> = installs.get(device.as_str()).into_iter().flatten().map(|it| it.outcome).collect();
        match actions.get(device.as_str()).map_or(&[][..], Vec::as_slice) {
            [] => lost.push(format!("{device} has no action")),
            [action] if !is_end(action.state) => {
                lost.push(format!("action {} of {device} never ended: it is {:?}", action.id, action.state));
            }
            [action] if !agrees(action.state, &told) => {
                let (id, state) = (action.id, action.state);
                lost.push(format!("action {id} of {device} is {state:?}, but the device's journal says {told:?}"));
            }
            [_] => {}
            several => lost.push(format!("{device} has {} actions", several.len())),
        }
    }
    lost
}

/// The journal has one line for each install, so a device that ended its action otherwise has none.
fn agrees(state: ActionState, told: &[Outcome]) -> bool {
    match state {
        ActionState::Finished => told.contains(&Outcome::Installed),
        _ => !told.contains(&Outcome::Installed),
    }
}

fn is_end(state: ActionState) -> bool {
    match state {
        ActionState::Finished
        | ActionState::Downloaded
        | ActionState::Failed
        | ActionState::Lost
        | ActionState::Canceled => true,
        ActionState::Scheduled
        | ActionState::Queued
        | ActionState::AwaitingConfirmation
        | ActionState::Offered
        | ActionState::Running
        | ActionState::Canceling => false,
    }
}

fn installed_twice(installs: &[Install]) -> Vec<String> {
    let done: Vec<&Install> = installs.iter().filter(|install| install.outcome == Outcome::Installed).collect();
    let by_device = by(&done, |install| &install.device);
    let several = by_device.into_iter().filter(|(_, installs)| installs.len() > 1);
    several.map(|(device, installs)| format!("{device} installed {} times", installs.len())).collect()
}

fn promises_broken(evidence: &Evidence) -> Vec<String> {
    let promised = evidence.promised.iter().chain(&evidence.devices);
    let gone = promised.filter(|name| !evidence.stored.contains(*name));
    let mut broken: Vec<String> = gone.map(|name| format!("device {name} was acknowledged and is gone")).collect();
    if !evidence.audit_intact {
        broken.push("the audit log is broken; see muster audit verify".to_owned());
    }
    broken
}

fn miscounted(evidence: &Evidence) -> Vec<String> {
    let mut complaints = Vec::new();
    for wave in &evidence.waves {
        let mut recount = Counts::default();
        for action in evidence.actions.iter().filter(|action| action.wave == wave.number && !action.rollback) {
            recount.total += 1;
            *place(&mut recount, action.state) += 1;
        }
        if recount != wave.counts {
            complaints.push(format!("wave {} says {:?}, a recount says {recount:?}", wave.number, wave.counts));
        }
    }
    complaints
}

fn place(counts: &mut Counts, state: ActionState) -> &mut u32 {
    match state {
        ActionState::Scheduled => &mut counts.scheduled,
        ActionState::Queued => &mut counts.queued,
        ActionState::AwaitingConfirmation => &mut counts.awaiting_confirmation,
        ActionState::Offered => &mut counts.offered,
        ActionState::Running => &mut counts.running,
        ActionState::Canceling => &mut counts.canceling,
        ActionState::Finished => &mut counts.finished,
        ActionState::Downloaded => &mut counts.downloaded,
        ActionState::Failed => &mut counts.failed,
        ActionState::Lost => &mut counts.lost,
        ActionState::Canceled => &mut counts.canceled,
    }
}

fn by<'t, T>(rows: &'t [T], key: impl Fn(&'t T) -> &'t String) -> BTreeMap<&'t str, Vec<&'t T>> {
    let mut groups: BTreeMap<&str, Vec<&T>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(row).as_str()).or_default().push(row);
    }
    groups
}

#[cfg(test)]
mod tests {
    use muster_vocab::{ActionId, Timestamp};
    use muster_wire::rollout::{Advance, OnError, Take, Threshold, WaveState};

    use super::*;

    fn action(id: i64, device: &str, state: ActionState) -> Action {
        Action {
            id,
            device: device.to_owned(),
            rollout: "r-1".to_owned(),
            wave: 1,
            rollback: false,
            state,
            release: "box@1.1".to_owned(),
            previous_release: None,
            reason: None,
            progress: None,
            created_at: Timestamp(0),
            changed_at: Timestamp(0),
            revision: 1,
        }
    }

    fn install(action: i64, device: &str, outcome: Outcome) -> Install {
        let (device, version) = (device.to_owned(), "1.1".to_owned());
        Install { device, action: ActionId(action), version, outcome, at: Timestamp(0) }
    }

    fn wave(counts: Counts) -> Wave {
        Wave {
            number: 1,
            take: Take::Rest,
            success: Threshold::Percent(95),
            errors: Threshold::Count(0),
            on_error: OnError::Pause,
            soak_s: 0,
            advance: Advance::Auto,
            state: WaveState::Open,
            counts,
            rollback: None,
            opened_at: None,
        }
    }

    /// One device that installed, one that failed, and one that the operator made.
    fn in_order() -> Evidence {
        Evidence {
            devices: vec!["a".to_owned(), "b".to_owned()],
            actions: vec![action(1, "a", ActionState::Finished), action(2, "b", ActionState::Failed)],
            waves: vec![wave(Counts { total: 2, finished: 1, failed: 1, ..Counts::default() })],
            installs: vec![install(1, "a", Outcome::Installed), install(2, "b", Outcome::Failed)],
            promised: vec!["w".to_owned()],
            stored: ["a", "b", "w"].map(str::to_owned).into(),
            audit_intact: true,
        }
    }

    #[test]
    fn a_rollout_in_order_has_no_complaints() {
        assert_eq!(judge(&in_order()), Verdict::default());
    }

    #[test]
    fn a_device_needs_exactly_one_ended_action() {
        let mut evidence = in_order();
        evidence.actions = vec![action(1, "a", ActionState::Running)];
        assert_eq!(lost(&evidence), ["action 1 of a never ended: it is Running", "b has no action"]);
        evidence.actions = [1, 2].map(|id| action(id, "a", ActionState::Finished)).into();
        assert_eq!(lost(&evidence), ["a has 2 actions", "b has no action"]);
    }

    #[test]
    fn an_install_that_the_server_forgot_is_noticed() {
        let mut evidence = in_order();
        evidence.actions[0].state = ActionState::Failed;
        evidence.actions[1].state = ActionState::Finished;
        assert_eq!(
            lost(&evidence),
            [
                "action 1 of a is Failed, but the device's journal says [Installed]",
                "action 2 of b is Finished, but the device's journal says [Failed]"
            ]
        );
    }

    #[test]
    fn a_second_install_is_noticed_whatever_its_action() {
        let mut evidence = in_order();
        evidence.installs.push(install(9, "a", Outcome::Installed));
        assert_eq!(installed_twice(&evidence.installs), ["a installed 2 times"]);
    }

    #[test]
    fn what_was_acknowledged_has_to_be_there() {
        let mut evidence = in_order();
        evidence.stored.clear();
        let gone = |name| format!("device {name} was acknowledged and is gone");
        assert_eq!(promises_broken(&evidence), ["w", "a", "b"].map(gone));
    }

    #[test]
    fn a_broken_audit_log_is_a_broken_promise() {
        let evidence = Evidence { audit_intact: false, ..in_order() };
        assert_eq!(promises_broken(&evidence), ["the audit log is broken; see muster audit verify"]);
    }

    #[test]
    fn counts_are_held_against_a_recount() {
        let mut evidence = in_order();
        evidence.waves[0].counts.finished = 2;
        assert_eq!(miscounted(&evidence).len(), 1);
    }
}
