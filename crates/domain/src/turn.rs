//! Which of a device's actions goes first?
//!
//! A rollback goes before everything, then the higher priority, then the older action. What the device
//! has fetched is never interrupted; what it has only been offered yields to something more urgent.

use std::cmp::Reverse;

use muster_vocab::ActionId;

use crate::action::{Action, ActionState};

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
    fn a_pending_cancel_blocks_nothing() {
        let open = [numbered(1, ActionState::Canceling, 9), numbered(2, ActionState::Queued, 1)];
        assert_eq!(of_device(&open).offer, Some(ActionId(2)));
    }
}
