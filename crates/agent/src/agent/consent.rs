//! Does the person at the device consent? A program of the device's maker is asked, again and again until there is an
//! answer; each answer is told once.

use std::time::Duration;

use muster_vocab::ActionId;
use muster_wire::agent::{ActionOrder, ActionSaid, ActionState, Deployment, Orders, Said};

use super::Agent;
use super::talk::CALL_TIMEOUT;
use crate::keep::KeepError;
use crate::world::World;

/// Before a person who has not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the person says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consent {
    Given,
    /// With the last words of the program.
    Denied(Vec<String>),
    NotYet,
    /// The device has no way to ask: an operator consents in its place.
    NobodyToAsk,
}

/// The action that somebody is to be asked about, if there was no answer yet.
pub(super) fn to_ask(orders: &Orders, answered: Option<ActionId>) -> Option<ActionId> {
    match orders.action {
        Some(ActionOrder::Confirm { action }) if answered != Some(action) => Some(action),
        Some(ActionOrder::Confirm { .. } | ActionOrder::Install { .. } | ActionOrder::Cancel { .. }) | None => None,
    }
}

impl Agent {
    pub(super) fn ask_for_consent(&mut self, world: &dyn World, action: ActionId) -> Result<(), KeepError> {
        self.chores.ask_at = world.host().uptime() + ASK_AGAIN;
        let path = format!("/device/v1/actions/{}", action.0);
        let order: Deployment = match self.exchange(world, ("GET", &path), None::<&()>, CALL_TIMEOUT) {
            Ok(order) => order,
            Err(failed) => {
                self.unanswered(world, &failed);
                return Ok(());
            }
        };
        let (state, messages) = match self.judge.consent(world, &order) {
            Consent::Given => (ActionState::Consented, Vec::new()),
            Consent::Denied(words) => (ActionState::Denied, words),
            Consent::NotYet => return Ok(()),
            Consent::NobodyToAsk => {
                let name = format!("{}@{}", order.release, order.version);
                world.host().log(&format!("{name} waits for consent, and there is no policy.consent to ask"));
                // Somebody may consent in its place, which is seen with the next orders.
                self.chores.ask_at = Duration::MAX;
                return Ok(());
            }
        };
        self.chores.consent = None;
        let before = self.state.clone();
        self.state.answered = Some(action);
        let said = ActionSaid { action, state, messages, progress: None };
        self.state.queue.push(self.link.now(world), Said::Action(said));
        self.save(world).inspect_err(|_| self.state = before)?;
        // What follows from the answer is asked for once it is told.
        self.link.poll_at = world.host().uptime();
        Ok(())
    }
}
