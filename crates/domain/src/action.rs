//! What can become of one device's part of a rollout?
//!
//! ```text
//! scheduled → queued → [awaiting_confirmation →] offered → running → finished | failed | downloaded
//!     every open state → canceled | lost        running → canceling → canceled | finished | failed | running
//!     lost, canceled without an answer → finished, when the device comes back and says so
//!     canceled → finished, when a device that says so only of what it runs says so
//! ```
//!
//! Pure. Every input that is not listed for a state is refused and changes nothing.

use std::time::Duration;

use muster_vocab::{ActionId, DeviceId, ReleaseId, RolloutId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::window::{Window, WindowState};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// Its wave is not open.
    Scheduled,
    /// Its wave is open; another action of the device goes first.
    Queued,
    /// Offered, and the device or its user has to consent.
    AwaitingConfirmation,
    /// The device may fetch it.
    Offered,
    /// The device has fetched it.
    Running,
    /// The device was asked to stop and has not answered.
    Canceling,
    Finished,
    /// A download-only action that was downloaded.
    Downloaded,
    Failed,
    /// Silent for too long; counts as failed.
    Lost,
    Canceled,
}

impl ActionState {
    pub const ALL: [Self; 11] = [
        Self::Scheduled,
        Self::Queued,
        Self::AwaitingConfirmation,
        Self::Offered,
        Self::Running,
        Self::Canceling,
        Self::Finished,
        Self::Downloaded,
        Self::Failed,
        Self::Lost,
        Self::Canceled,
    ];

    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Finished | Self::Downloaded | Self::Failed | Self::Lost | Self::Canceled => true,
            Self::Scheduled
            | Self::Queued
            | Self::AwaitingConfirmation
            | Self::Offered
            | Self::Running
            | Self::Canceling => false,
        }
    }

    /// Does it occupy the device? A device has at most one such action.
    ///
    /// A pending cancel does not: it never blocks the next update.
    #[must_use]
    pub fn holds_device(self) -> bool {
        matches!(self, Self::AwaitingConfirmation | Self::Offered | Self::Running)
    }
}

/// How hard the device is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Push {
    Forced,
    Soft,
    DownloadOnly,
    ForcedFrom { at: Timestamp },
}

/// Why it ended other than well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The device's last words.
    Device(String),
    /// Nothing was heard for this many seconds.
    Silent(u32),
    /// It ran the release already.
    AlreadyInstalled,
    RolloutAborted,
    RolloutRolledBack,
    /// It was canceled for that reason, and the device never answered: it may have installed it all the same.
    Unanswered(Box<EndReason>),
    /// A person canceled it, with their reason.
    Operator(String),
    /// A newer action was fetched while this one's cancel was pending.
    Superseded,
    DeviceRemoved,
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(words) if words.is_empty() => f.write_str("the device gave no reason"),
            Self::Device(words) => f.write_str(words),
            Self::Silent(seconds) => write!(f, "the device said nothing about it for {seconds} s"),
            Self::AlreadyInstalled => f.write_str("the device ran this release already"),
            Self::RolloutAborted => f.write_str("its rollout was aborted"),
            Self::RolloutRolledBack => f.write_str("its rollout was rolled back"),
            Self::Unanswered(reason) => write!(f, "{reason}, and the device has not confirmed that it stopped"),
            Self::Operator(reason) if reason.is_empty() => f.write_str("canceled by an operator"),
            Self::Operator(reason) => write!(f, "canceled by an operator: {reason}"),
            Self::Superseded => f.write_str("the device took a newer action instead"),
            Self::DeviceRemoved => f.write_str("the device was deleted"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    pub id: ActionId,
    pub device: DeviceId,
    pub rollout: RolloutId,
    pub wave: u16,
    /// On the way back to the release before.
    pub rollback: bool,
    pub release: ReleaseId,
    /// What the device ran when the action was made.
    pub previous: Option<ReleaseId>,
    pub priority: u16,
    pub push: Push,
    /// Ask for consent before offering it.
    pub confirmation: bool,
    pub silence: Duration,
    pub state: ActionState,
    /// The device itself reported that it installed this.
    pub installed: bool,
    /// At its last fetch the device was told not to install.
    pub told_skip: bool,
    /// When silence makes it lost; none while nothing is expected of the device.
    pub silent_at: Option<Timestamp>,
    pub reason: Option<EndReason>,
    pub progress: Option<Progress>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub revision: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub of: u64,
}

/// What the device said on the deployment channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Proceeding, scheduled, resumed, downloading, refused for now: worth a history entry only.
    Working,
    Downloaded,
    Succeeded,
    /// It runs the release: said by a device that never says so of what it skipped.
    Installed,
    Failed {
        words: String,
    },
}

/// What the device said on the cancel channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelSaid {
    Stopped,
    /// It is too late; the update goes on.
    Refused,
    Working,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Its wave opened.
    Open,
    /// The device runs the release already.
    AlreadyInstalled,
    /// Its turn on the device has come. `consent`: nobody has consented yet.
    Offer {
        consent: bool,
    },
    /// A more urgent action takes its turn.
    Yield,
    Confirm,
    Deny,
    /// The device read the deployment. `skip`: it was told not to install now.
    Fetch {
        skip: bool,
    },
    Report {
        said: Said,
        progress: Option<Progress>,
    },
    CancelReport(CancelSaid),
    Cancel(EndReason),
    /// End it without the device.
    ForceCancel(EndReason),
    /// Soft becomes forced.
    Force,
    /// `silent_at` has come. `until`: silence is in order until then, as [`excused_until`] says.
    Silence {
        until: Option<Timestamp>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the action is closed")]
    Closed,
    #[error("the action is not offered to the device yet")]
    NotOffered,
    #[error("the action waits for confirmation")]
    NotConfirmed,
    #[error("the action does not wait for confirmation")]
    NotWaiting,
    #[error("the action is not being canceled")]
    NotCanceling,
    #[error("the action is forced already")]
    AlreadyForced,
    #[error("the action can't take this step in its state")]
    Illegal,
}

/// The action after an input. A refusal changes nothing.
pub fn step(action: &Action, now: Timestamp, input: Input) -> Result<Action, Refused> {
    use ActionState as S;
    let next = match (action.state, input) {
        (S::Scheduled, Input::Open) => moved(action, S::Queued),
        (S::Scheduled | S::Queued, Input::AlreadyInstalled) => {
            ended(action, S::Finished, Some(EndReason::AlreadyInstalled))
        }
        (S::Queued, Input::Offer { consent: true }) => watched(moved(action, S::AwaitingConfirmation), now),
        (S::Queued, Input::Offer { consent: false }) => watched(moved(action, S::Offered), now),
        (S::AwaitingConfirmation | S::Offered, Input::Yield) => Action { silent_at: None, ..moved(action, S::Queued) },
        (S::AwaitingConfirmation, Input::Confirm) => {
            watched(Action { confirmation: false, ..moved(action, S::Offered) }, now)
        }
        (S::AwaitingConfirmation, Input::Deny) => watched(action.clone(), now),
        (S::Offered | S::Running, Input::Fetch { skip }) => {
            watched(Action { told_skip: skip, ..moved(action, S::Running) }, now)
        }
        (S::Finished | S::Downloaded, Input::Fetch { .. }) => return Err(Refused::Closed),
        (S::Offered | S::Running | S::Canceling | S::Lost | S::Downloaded, Input::Report { said, progress }) => {
            report(action, now, said, progress)?
        }
        (S::Canceled, Input::Report { said: Said::Succeeded, .. }) if never_answered(action) => {
            Action { installed: true, ..ended(action, S::Finished, None) }
        }
        // It was taken from the device without its word, or the word crossed the cancel: what it runs is the truth.
        (S::Canceled, Input::Report { said: Said::Installed, .. })
            if action.reason != Some(EndReason::DeviceRemoved) =>
        {
            Action { installed: true, ..ended(action, S::Finished, None) }
        }
        (S::Canceling, Input::CancelReport(said)) => cancel_report(action, now, &said),
        (state, Input::Cancel(reason)) if !state.is_terminal() => cancel(action, now, reason),
        (state, Input::ForceCancel(reason)) if !state.is_terminal() => ended(action, S::Canceled, Some(reason)),
        (state, Input::Force) if !state.is_terminal() => force(action)?,
        (state, Input::Silence { until }) if !state.is_terminal() => silence(action, now, until)?,
        (state, input) => return Err(refusal(state, &input)),
    };
    let changed_at = if next.state == action.state { action.changed_at } else { now };
    let revision = if next == *action { action.revision } else { action.revision + 1 };
    Ok(Action { changed_at, revision, ..next })
}

/// Silence is in order if the window was closed all the while: until it opens next.
///
/// An opening that passed without a word excuses nothing, or a device that an update broke would wait for ever
/// behind a window shorter than the silence that counts.
#[must_use]
pub fn excused_until(action: &Action, window: Option<&Window>, now: Timestamp) -> Option<Timestamp> {
    let heard_at = action.silent_at?.minus(action.silence);
    match window?.state(heard_at) {
        WindowState::Closed { opens_at } if opens_at > now => Some(opens_at),
        WindowState::Closed { .. } | WindowState::Open { .. } => None,
    }
}

fn refusal(state: ActionState, input: &Input) -> Refused {
    if state.is_terminal() {
        return Refused::Closed;
    }
    match (state, input) {
        (_, Input::Confirm | Input::Deny) => Refused::NotWaiting,
        (_, Input::CancelReport(_)) => Refused::NotCanceling,
        (ActionState::AwaitingConfirmation, Input::Fetch { .. } | Input::Report { .. }) => Refused::NotConfirmed,
        (_, Input::Fetch { .. } | Input::Report { .. }) => Refused::NotOffered,
        _ => Refused::Illegal,
    }
}

fn report(action: &Action, now: Timestamp, said: Said, progress: Option<Progress>) -> Result<Action, Refused> {
    use ActionState as S;
    let closed_before = action.state.is_terminal();
    let action = &Action { progress: progress.or(action.progress), ..action.clone() };
    Ok(match said {
        Said::Working if closed_before => return Err(Refused::Closed),
        Said::Downloaded if action.state == S::Downloaded => return Err(Refused::Closed),
        Said::Working if action.state == S::Canceling => watched(action.clone(), now),
        Said::Working => watched(moved(action, S::Running), now),
        Said::Downloaded if action.push == Push::DownloadOnly => ended(action, S::Downloaded, None),
        Said::Downloaded if closed_before => return Err(Refused::Closed),
        Said::Downloaded if action.state == S::Canceling => watched(action.clone(), now),
        Said::Downloaded => watched(moved(action, S::Running), now),
        Said::Succeeded if action.told_skip && action.state != S::Downloaded => skipped(action, now),
        // Also when it was being canceled or given up as lost: what the device says it runs is the truth.
        Said::Succeeded | Said::Installed => Action { installed: true, ..ended(action, S::Finished, None) },
        Said::Failed { words } => ended(action, S::Failed, Some(EndReason::Device(words))),
    })
}

/// The device closed an action that it was told not to install: swupdate does so without even downloading.
fn skipped(action: &Action, now: Timestamp) -> Action {
    match (action.state, action.push) {
        (ActionState::Canceling, _) => ended(action, ActionState::Canceled, action.reason.clone()),
        (_, Push::DownloadOnly) => ended(action, ActionState::Downloaded, None),
        (ActionState::Lost, _) => action.clone(),
        // Its window is closed: it stays on offer until the window opens.
        _ => watched(moved(action, ActionState::Offered), now),
    }
}

fn cancel_report(action: &Action, now: Timestamp, said: &CancelSaid) -> Action {
    match said {
        CancelSaid::Stopped => ended(action, ActionState::Canceled, action.reason.clone()),
        CancelSaid::Refused => watched(Action { reason: None, ..moved(action, ActionState::Running) }, now),
        CancelSaid::Working => watched(action.clone(), now),
    }
}

/// A device that never fetched it has nothing to stop.
fn cancel(action: &Action, now: Timestamp, reason: EndReason) -> Action {
    match action.state {
        ActionState::Running => watched(Action { reason: Some(reason), ..moved(action, ActionState::Canceling) }, now),
        ActionState::Canceling => action.clone(),
        _ => ended(action, ActionState::Canceled, Some(reason)),
    }
}

fn force(action: &Action) -> Result<Action, Refused> {
    match action.push {
        Push::Soft | Push::ForcedFrom { .. } => Ok(Action { push: Push::Forced, ..action.clone() }),
        Push::Forced | Push::DownloadOnly => Err(Refused::AlreadyForced),
    }
}

fn silence(action: &Action, now: Timestamp, until: Option<Timestamp>) -> Result<Action, Refused> {
    let Some(silent_at) = action.silent_at else { return Err(Refused::Illegal) };
    if now < silent_at {
        return Err(Refused::Illegal);
    }
    Ok(match (action.state, until) {
        (ActionState::Canceling, _) => ended(action, ActionState::Canceled, unanswered(action)),
        (_, Some(opens_at)) => Action { silent_at: Some(opens_at.plus(action.silence)), ..action.clone() },
        (_, None) => {
            let seconds = u32::try_from(action.silence.as_secs()).unwrap_or(u32::MAX);
            ended(action, ActionState::Lost, Some(EndReason::Silent(seconds)))
        }
    })
}

/// A device that went silent while it was asked to stop may have finished all the same; it is believed then.
fn unanswered(action: &Action) -> Option<EndReason> {
    action.reason.clone().map(|reason| EndReason::Unanswered(Box::new(reason)))
}

fn never_answered(action: &Action) -> bool {
    matches!(action.reason, Some(EndReason::Unanswered(_))) && !action.told_skip
}

fn moved(action: &Action, state: ActionState) -> Action {
    Action { state, ..action.clone() }
}

fn ended(action: &Action, state: ActionState, reason: Option<EndReason>) -> Action {
    Action { silent_at: None, reason, ..moved(action, state) }
}

/// From now on silence counts.
fn watched(action: Action, now: Timestamp) -> Action {
    Action { silent_at: Some(now.plus(action.silence)), ..action }
}

#[cfg(test)]
pub(crate) mod tests {
    use muster_vocab::limit;

    use super::*;

    pub(crate) const T0: Timestamp = Timestamp(1_795_000_000_000);

    pub(crate) fn action(state: ActionState) -> Action {
        let expected = !state.is_terminal() && !matches!(state, ActionState::Scheduled | ActionState::Queued);
        Action {
            id: ActionId(7),
            device: DeviceId(1),
            rollout: RolloutId(1),
            wave: 0,
            rollback: false,
            release: ReleaseId(2),
            previous: Some(ReleaseId(1)),
            priority: limit::PRIORITY_DEFAULT,
            push: Push::Forced,
            confirmation: false,
            silence: limit::ACTION_SILENCE_DEFAULT,
            state,
            installed: false,
            told_skip: false,
            silent_at: expected.then_some(T0),
            reason: None,
            progress: None,
            created_at: T0,
            changed_at: T0,
            revision: 1,
        }
    }

    fn said(said: Said) -> Input {
        Input::Report { said, progress: None }
    }

    fn every_input() -> Vec<Input> {
        vec![
            Input::Open,
            Input::AlreadyInstalled,
            Input::Offer { consent: true },
            Input::Offer { consent: false },
            Input::Yield,
            Input::Confirm,
            Input::Deny,
            Input::Fetch { skip: false },
            Input::Fetch { skip: true },
            said(Said::Working),
            said(Said::Downloaded),
            said(Said::Succeeded),
            said(Said::Installed),
            said(Said::Failed { words: "x".into() }),
            Input::CancelReport(CancelSaid::Stopped),
            Input::CancelReport(CancelSaid::Refused),
            Input::CancelReport(CancelSaid::Working),
            Input::Cancel(EndReason::RolloutAborted),
            Input::ForceCancel(EndReason::RolloutAborted),
            Input::Force,
            Input::Silence { until: None },
            Input::Silence { until: Some(T0) },
        ]
    }

    /// The whole machine as a table, so that a new arrow shows as a changed line here.
    #[test]
    fn only_the_listed_arrows_exist() {
        use ActionState as S;
        let mut arrows = std::collections::BTreeSet::new();
        for state in S::ALL {
            for push in [Push::Forced, Push::Soft, Push::DownloadOnly] {
                for told_skip in [false, true] {
                    for input in every_input() {
                        let from = Action { push, told_skip, ..action(state) };
                        if let Ok(next) = step(&from, T0, input) {
                            arrows.insert((state, next.state));
                        }
                    }
                }
            }
        }
        let targets = |state| arrows.iter().filter(|(from, _)| *from == state).map(|(_, to)| *to).collect::<Vec<_>>();
        assert_eq!(targets(S::Scheduled), [S::Scheduled, S::Queued, S::Finished, S::Canceled]);
        assert_eq!(targets(S::Queued), [S::Queued, S::AwaitingConfirmation, S::Offered, S::Finished, S::Canceled]);
        assert_eq!(
            targets(S::AwaitingConfirmation),
            [S::Queued, S::AwaitingConfirmation, S::Offered, S::Lost, S::Canceled]
        );
        let fetched = [S::Finished, S::Downloaded, S::Failed, S::Lost, S::Canceled];
        assert_eq!(targets(S::Offered), [&[S::Queued, S::Offered, S::Running][..], &fetched].concat());
        assert_eq!(
            targets(S::Running),
            [S::Offered, S::Running, S::Canceling, S::Finished, S::Downloaded, S::Failed, S::Lost, S::Canceled]
        );
        assert_eq!(
            targets(S::Canceling),
            [S::Running, S::Canceling, S::Finished, S::Downloaded, S::Failed, S::Canceled]
        );
        assert_eq!(targets(S::Finished), []);
        assert_eq!(targets(S::Downloaded), [S::Finished, S::Failed]);
        assert_eq!(targets(S::Failed), []);
        assert_eq!(targets(S::Lost), [S::Finished, S::Downloaded, S::Failed, S::Lost]);
        // A device of Muster's own that says so only of what it runs.
        assert_eq!(targets(S::Canceled), [S::Finished]);
    }

    #[test]
    fn terminal_actions_expect_nothing_and_open_ones_that_the_device_knows_expect_something() {
        for state in ActionState::ALL {
            for input in every_input() {
                let Ok(next) = step(&action(state), T0, input) else { continue };
                if next.state.is_terminal() {
                    assert_eq!(next.silent_at, None);
                }
                if next.state.holds_device() || next.state == ActionState::Canceling {
                    assert!(next.silent_at.is_some(), "{state:?} became {:?} and nobody watches it", next.state);
                }
            }
        }
    }

    #[test]
    fn a_device_that_finishes_although_it_was_being_canceled_has_finished() {
        let next = step(&action(ActionState::Canceling), T0, said(Said::Succeeded)).unwrap();
        assert_eq!((next.state, next.installed), (ActionState::Finished, true));
    }

    #[test]
    fn a_lost_device_that_comes_back_is_believed_once() {
        let next = step(&action(ActionState::Lost), T0, said(Said::Succeeded)).unwrap();
        assert_eq!(next.state, ActionState::Finished);
        assert_eq!(step(&next, T0, said(Said::Succeeded)), Err(Refused::Closed));
        assert_eq!(step(&action(ActionState::Lost), T0, said(Said::Working)), Err(Refused::Closed));
    }

    #[test]
    fn a_device_that_never_answered_a_cancel_is_believed_when_it_says_that_it_installed() {
        let asked = Action { reason: Some(EndReason::RolloutRolledBack), ..action(ActionState::Canceling) };
        let silent = step(&asked, T0, Input::Silence { until: None }).unwrap();
        assert_eq!(silent.state, ActionState::Canceled);
        let next = step(&silent, T0, said(Said::Succeeded)).unwrap();
        assert_eq!((next.state, next.installed, next.reason), (ActionState::Finished, true, None));
        assert_eq!(step(&silent, T0, said(Said::Working)), Err(Refused::Closed));
        let stopped = step(&asked, T0, Input::CancelReport(CancelSaid::Stopped)).unwrap();
        assert_eq!(step(&stopped, T0, said(Said::Succeeded)), Err(Refused::Closed));
    }

    #[test]
    fn a_step_that_changes_nothing_is_no_revision_and_any_other_is() {
        for state in ActionState::ALL {
            for input in every_input() {
                let from = action(state);
                let Ok(next) = step(&from, T0.plus(Duration::from_secs(1)), input) else { continue };
                let same = Action { revision: from.revision, ..next.clone() } == from;
                assert_eq!(next.revision == from.revision, same, "{state:?} became {next:?}");
            }
        }
    }

    #[test]
    fn closing_without_having_been_allowed_to_install_is_not_success() {
        let waiting = Action { told_skip: true, ..action(ActionState::Running) };
        let next = step(&waiting, T0, said(Said::Succeeded)).unwrap();
        assert_eq!((next.state, next.installed), (ActionState::Offered, false));
        let download_only = Action { push: Push::DownloadOnly, ..waiting };
        let next = step(&download_only, T0, said(Said::Succeeded)).unwrap();
        assert_eq!((next.state, next.installed), (ActionState::Downloaded, false));
    }

    #[test]
    fn a_device_that_says_so_only_of_what_it_runs_is_believed_whatever_it_was_told() {
        let skip = Action { told_skip: true, ..action(ActionState::Running) };
        let taken = Action { reason: Some(EndReason::Superseded), ..action(ActionState::Canceled) };
        let download_only = Action { push: Push::DownloadOnly, ..action(ActionState::Downloaded) };
        for before in [skip, taken, download_only, action(ActionState::Canceling), action(ActionState::Lost)] {
            let next = step(&before, T0, said(Said::Installed)).unwrap();
            assert_eq!((next.state, next.installed, next.reason.clone()), (ActionState::Finished, true, None));
            assert_eq!(step(&next, T0, said(Said::Installed)), Err(Refused::Closed));
        }
        let removed = Action { reason: Some(EndReason::DeviceRemoved), ..action(ActionState::Canceled) };
        assert_eq!(step(&removed, T0, said(Said::Installed)), Err(Refused::Closed));
    }

    #[test]
    fn canceling_what_the_device_never_fetched_needs_no_answer() {
        let reason = EndReason::Operator("wrong site".into());
        let next = step(&action(ActionState::Offered), T0, Input::Cancel(reason.clone())).unwrap();
        assert_eq!((next.state, next.reason), (ActionState::Canceled, Some(reason)));
    }

    #[test]
    fn silence_behind_a_closed_window_is_in_order() {
        let opens_at = T0.plus(Duration::from_secs(3600));
        let next = step(&action(ActionState::Offered), T0, Input::Silence { until: Some(opens_at) }).unwrap();
        assert_eq!(next.state, ActionState::Offered);
        assert_eq!(next.silent_at, Some(opens_at.plus(limit::ACTION_SILENCE_DEFAULT)));
    }

    #[test]
    fn a_window_that_opened_meanwhile_excuses_no_silence() {
        // T0 is a Wednesday, 11:06 UTC.
        let window = Window::parse("sat 02:00-05:00 UTC").unwrap();
        let hours = |count: u64| T0.plus(Duration::from_secs(count * 3600));
        let offered = Action { silent_at: Some(hours(24)), ..action(ActionState::Offered) };
        let opens_at = excused_until(&offered, Some(&window), hours(24)).unwrap();
        let deferred = step(&offered, hours(24), Input::Silence { until: Some(opens_at) }).unwrap();
        let again_at = deferred.silent_at.unwrap();
        assert!(matches!(window.state(again_at), WindowState::Closed { .. }));
        assert_eq!(excused_until(&deferred, Some(&window), again_at), None);
        assert_eq!(excused_until(&offered, None, hours(24)), None);
    }

    #[test]
    fn silence_before_its_time_is_refused() {
        let early = Timestamp(T0.0 - 1);
        assert!(step(&action(ActionState::Running), early, Input::Silence { until: None }).is_err());
    }
}
