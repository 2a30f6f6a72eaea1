//! What is a device told when it asks?
//!
//! Pure and cheap: the device table keeps the answer until [`Answer::valid_until`].

use std::time::Duration;

use muster_vocab::{ActionId, DeviceId, ProjectId, Timestamp};

use crate::action::{ActionState, Push};
use crate::device::DeviceState;
use crate::identity::Keys;
use crate::project::poll_sleep_s;
use crate::window::{Window, WindowState};

/// All that a poll needs to know of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub device: DeviceId,
    pub project: ProjectId,
    pub name: String,
    pub state: DeviceState,
    /// SHA-256 of its own token.
    pub token: Option<[u8; 32]>,
    /// Of the certificates that it may show.
    pub keys: Option<Keys>,
    pub attributes_requested: bool,
    /// The action that installed what it runs.
    pub installed: Option<ActionId>,
    pub poll_interval_s: u32,
    pub last_seen: Option<Timestamp>,
    /// A command waits for it, or a configuration that it has not tried.
    pub twin: bool,
    /// The action that holds the device, and those being canceled.
    pub open: Vec<OnOffer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OnOffer {
    pub action: ActionId,
    pub state: ActionState,
    pub push: Push,
    pub window: Option<Window>,
    pub changed_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Nothing,
    /// `tag` changes when what the deployment says changes.
    Deployment {
        action: ActionId,
        tag: u8,
        allowed: Allowed,
    },
    Cancel {
        action: ActionId,
    },
    Confirmation {
        action: ActionId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub link: Link,
    pub sleep_s: u32,
    /// Time alone changes the answer then.
    pub valid_until: Option<Timestamp>,
}

/// How the device shall treat a part of the deployment; hawkBit's handling types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    Skip,
    Attempt,
    Forced,
}

/// What the device may do, in yes and no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    pub download: bool,
    pub install: bool,
    /// The device's own policies don't count.
    pub forced: bool,
}

/// The terms of a deployment at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub download: Handling,
    pub update: Handling,
    /// Its push is forced by now, whether or not its window is open.
    pub forced: bool,
    /// Whether the window is open, if there is one.
    pub window_open: Option<bool>,
    /// When time alone changes them.
    pub until: Option<Timestamp>,
    pub opens_at: Option<Timestamp>,
}

/// What the device may do with an action now.
#[must_use]
pub fn terms(push: Push, window: Option<&Window>, now: Timestamp) -> Terms {
    let (by_push, push_until) = match push {
        Push::Forced | Push::DownloadOnly => (Handling::Forced, None),
        Push::Soft => (Handling::Attempt, None),
        Push::ForcedFrom { at } if now >= at => (Handling::Forced, None),
        Push::ForcedFrom { at } => (Handling::Attempt, Some(at)),
    };
    let update = if push == Push::DownloadOnly { Handling::Skip } else { by_push };
    let forced = by_push == Handling::Forced;
    let open = Terms { download: by_push, update, forced, window_open: None, until: push_until, opens_at: None };
    match window.map(|window| window.state(now)) {
        None => open,
        Some(WindowState::Open { until }) => {
            Terms { window_open: Some(true), until: earlier(open.until, Some(until)), ..open }
        }
        Some(WindowState::Closed { opens_at }) => Terms {
            download: Handling::Forced,
            update: Handling::Skip,
            window_open: Some(false),
            until: earlier(open.until, Some(opens_at)),
            opens_at: Some(opens_at),
            ..open
        },
    }
}

impl Terms {
    /// A number that differs between any two terms one action can have.
    #[must_use]
    pub fn tag(&self) -> u8 {
        let handling = |handling| match handling {
            Handling::Skip => 0,
            Handling::Attempt => 1,
            Handling::Forced => 2,
        };
        let window = match self.window_open {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        1 + handling(self.download) + 3 * handling(self.update) + 9 * window
    }

    #[must_use]
    pub fn may_install(&self) -> bool {
        self.update != Handling::Skip
    }

    #[must_use]
    pub fn allowed(&self) -> Allowed {
        Allowed { download: self.download != Handling::Skip, install: self.may_install(), forced: self.forced }
    }
}

/// The answer to a poll at this moment.
#[must_use]
pub fn answer(standing: &Standing, now: Timestamp) -> Answer {
    let sleep = |until_window| poll_sleep_s(standing.poll_interval_s, until_window);
    let nothing = Answer { link: Link::Nothing, sleep_s: sleep(None), valid_until: None };
    if standing.state != DeviceState::Accepted {
        return nothing;
    }
    let canceling = standing.open.iter().find(|on| on.state == ActionState::Canceling);
    let held = standing.open.iter().find(|on| on.state.holds_device());
    match (canceling, held) {
        (None, None) => nothing,
        (Some(cancel), None) => Answer { link: Link::Cancel { action: cancel.action }, ..nothing },
        (None, Some(held)) => offer(held, &nothing, now, sleep),
        (Some(cancel), Some(held)) => {
            let until = cancel.changed_at.plus(cancel_first(standing));
            if now < until {
                return Answer { link: Link::Cancel { action: cancel.action }, valid_until: Some(until), ..nothing };
            }
            offer(held, &nothing, now, sleep)
        }
    }
}

/// A device that is busy should hear of the cancel before it hears of the next update; but a pending
/// cancel never blocks the update: two polls are enough to be told.
fn cancel_first(standing: &Standing) -> Duration {
    Duration::from_secs(u64::from(standing.poll_interval_s) * 2)
}

fn offer(held: &OnOffer, nothing: &Answer, now: Timestamp, sleep: impl Fn(Option<u32>) -> u32) -> Answer {
    if held.state == ActionState::AwaitingConfirmation {
        return Answer { link: Link::Confirmation { action: held.action }, ..*nothing };
    }
    let terms = terms(held.push, held.window.as_ref(), now);
    let link = Link::Deployment { action: held.action, tag: terms.tag(), allowed: terms.allowed() };
    let until_window = terms.opens_at.map(|at| u32::try_from(at.since(now).as_secs()).unwrap_or(u32::MAX));
    // The shortened interval depends on the time left, so it has to be worked out again each half minute.
    let shortened = sleep(until_window) < nothing.sleep_s;
    let soon = now.plus(Duration::from_secs(30));
    let before_shortening = terms.opens_at.map(|at| at.minus(Duration::from_secs(3 * u64::from(nothing.sleep_s))));
    let valid_until = match (shortened, before_shortening.filter(|at| *at > now)) {
        (true, _) => earlier(terms.until, Some(soon)),
        (false, at) => earlier(terms.until, at),
    };
    Answer { link, sleep_s: sleep(until_window), valid_until }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (at, None) | (None, at) => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::T0;

    fn standing(open: Vec<OnOffer>) -> Standing {
        Standing {
            device: DeviceId(1),
            project: ProjectId(1),
            name: "sn-1".into(),
            state: DeviceState::Accepted,
            token: None,
            keys: None,
            attributes_requested: false,
            installed: None,
            poll_interval_s: 300,
            last_seen: None,
            twin: false,
            open,
        }
    }

    fn on_offer(action: i64, state: ActionState) -> OnOffer {
        OnOffer { action: ActionId(action), state, push: Push::Forced, window: None, changed_at: T0 }
    }

    #[test]
    fn a_device_nobody_accepted_is_told_nothing() {
        let pending = Standing { state: DeviceState::Pending, ..standing(vec![on_offer(1, ActionState::Offered)]) };
        assert_eq!(answer(&pending, T0).link, Link::Nothing);
    }

    #[test]
    fn a_pending_cancel_is_told_first_but_never_blocks_the_next_update() {
        let both = standing(vec![on_offer(1, ActionState::Canceling), on_offer(2, ActionState::Offered)]);
        let first = answer(&both, T0);
        assert_eq!(first.link, Link::Cancel { action: ActionId(1) });
        let later = first.valid_until.unwrap();
        assert!(matches!(answer(&both, later).link, Link::Deployment { action: ActionId(2), .. }));
    }

    #[test]
    fn a_time_forced_update_changes_its_tag_at_its_time() {
        let at = T0.plus(Duration::from_secs(60));
        let soft = terms(Push::ForcedFrom { at }, None, T0);
        let forced = terms(Push::ForcedFrom { at }, None, at);
        assert_eq!((soft.update, soft.until), (Handling::Attempt, Some(at)));
        assert_eq!((forced.update, forced.until), (Handling::Forced, None));
        assert_ne!(soft.tag(), forced.tag());
    }

    #[test]
    fn a_closed_window_allows_the_download_and_does_not_make_a_soft_push_a_forced_one() {
        let window = Window::parse("sat 02:00-05:00 UTC").unwrap();
        let closed = terms(Push::Soft, Some(&window), T0).allowed();
        assert_eq!(closed, Allowed { download: true, install: false, forced: false });
        assert!(terms(Push::Forced, Some(&window), T0).allowed().forced);
    }

    #[test]
    fn download_only_downloads_and_skips_the_update() {
        let terms = terms(Push::DownloadOnly, None, T0);
        assert_eq!((terms.download, terms.update), (Handling::Forced, Handling::Skip));
    }
}
