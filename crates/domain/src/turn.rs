//! Which of a device's actions goes first?
//!
//! A rollback goes before everything, then the higher priority, then the older action. What the device
//! has fetched is never interrupted; what it has only been offered yields to something more urgent.

use std::cmp::Reverse;

use muster_vocab::{ActionId, ReleaseId};

use crate::action::{Action, ActionState, EndReason, Input};

/// What has to change for the device to have the right action on offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    pub offer: Option<ActionId>,
    pub step_back: Option<ActionId>,
}

/// Looks at the open actions of one device.
#[must_use]
pub fn of_device(open: &[Action]) -> Turn {
    let holder = open.iter().find(|action| action.state.holds_device());
    let next = open.iter().filter(|action| action.state == ActionState::Queued).max_by_key(|action| urgency(action));
    match (holder, next) {
        (_, None) => Turn::default(),
        (None, Some(next)) => Turn { offer: Some(next.id), step_back: None },
        (Some(holder), Some(next)) if holder.state != ActionState::Running && urgency(next) > urgency(holder) => {
            Turn { offer: Some(next.id), step_back: Some(holder.id) }
        }
        (Some(_), Some(_)) => Turn::default(),
    }
}

/// Does this step of an action let another one have its turn?
///
/// Also when the device closed what it may not install yet: what is only on offer again can yield.
#[must_use]
pub fn is_due_after(before: ActionState, after: ActionState) -> bool {
    let lets_go = before.holds_device() && !after.holds_device();
    lets_go || (before == ActionState::Running && after == ActionState::Offered)
}

/// How an action ends whose turn has come when there is nothing left for it to do.
///
/// A way back is only for a device that still runs what its rollout brought: one that another rollout has
/// moved on meanwhile stays where it is.
#[must_use]
pub fn instead_of_offer(next: &Action, installed: Option<ReleaseId>) -> Option<Input> {
    match (installed, next.rollback) {
        (Some(runs), _) if runs == next.release => Some(Input::AlreadyInstalled),
        (runs, true) if runs != next.previous => Some(Input::Cancel(EndReason::Superseded)),
        _ => None,
    }
}

fn urgency(action: &Action) -> (bool, u16, Reverse<ActionId>) {
    (action.rollback, action.priority, Reverse(action.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::action;

    fn numbered(id: i64, state: ActionState, priority: u16) -> Action {
        Action { id: ActionId(id), priority, ..action(state) }
    }

    #[test]
    fn the_higher_priority_goes_first_and_of_equals_the_older() {
        let open = [
            numbered(1, ActionState::Queued, 5),
            numbered(2, ActionState::Queued, 9),
            numbered(3, ActionState::Queued, 9),
        ];
        assert_eq!(of_device(&open), Turn { offer: Some(ActionId(2)), step_back: None });
    }

    #[test]
    fn what_the_device_has_fetched_is_not_interrupted() {
        let open = [numbered(1, ActionState::Running, 1), numbered(2, ActionState::Queued, 9)];
        assert_eq!(of_device(&open), Turn::default());
    }

    #[test]
    fn what_was_only_offered_yields_to_something_more_urgent() {
        let open = [numbered(1, ActionState::Offered, 1), numbered(2, ActionState::Queued, 9)];
        assert_eq!(of_device(&open), Turn { offer: Some(ActionId(2)), step_back: Some(ActionId(1)) });
    }

    #[test]
    fn a_rollback_goes_before_any_priority() {
        let back = Action { rollback: true, ..numbered(3, ActionState::Queued, 0) };
        let open = [numbered(1, ActionState::Queued, 1000), back];
        assert_eq!(of_device(&open).offer, Some(ActionId(3)));
    }

    #[test]
    fn what_lets_go_or_can_yield_again_makes_room() {
        use ActionState as S;
        let due: Vec<_> = S::ALL
            .iter()
            .flat_map(|before| S::ALL.iter().map(move |after| (*before, *after)))
            .filter(|(before, after)| is_due_after(*before, *after) && after.holds_device())
            .collect();
        assert_eq!(due, [(S::Running, S::Offered)]);
        assert!(is_due_after(S::Running, S::Canceling) && !is_due_after(S::Canceling, S::Canceled));
    }

    #[test]
    fn a_device_that_was_moved_on_is_not_brought_back() {
        let back = Action { rollback: true, previous: Some(ReleaseId(1)), ..numbered(3, ActionState::Queued, 0) };
        assert_eq!(instead_of_offer(&back, Some(ReleaseId(1))), None);
        assert_eq!(instead_of_offer(&back, Some(back.release)), Some(Input::AlreadyInstalled));
        assert_eq!(instead_of_offer(&back, Some(ReleaseId(9))), Some(Input::Cancel(EndReason::Superseded)));
    }

    #[test]
    fn a_pending_cancel_blocks_nothing() {
        let open = [numbered(1, ActionState::Canceling, 9), numbered(2, ActionState::Queued, 1)];
        assert_eq!(of_device(&open).offer, Some(ActionId(2)));
    }
}
