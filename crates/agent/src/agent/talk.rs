//! When does the agent talk to the server, and what does it make of the answer?

use std::time::Duration;

use muster_vocab::{ActionId, Timestamp, limit};
use muster_wire::agent::{ActionOrder, Counters, Deployment, Orders, Reports, Taken};
use serde::de::DeserializeOwned;

use super::{Agent, Wait};
use crate::keep::KeepError;
use crate::machine::{Due, Input};
use crate::world::{Call, NetError, World};

/// An exchange of messages; longer and the way is taken for broken.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Codes of refusals of a device that has left.
const DECOMMISSIONED: &str = "decommissioned";
const TRANSFERRED: &str = "transferred";
/// While an update is under way.
const POLL_BUSY: Duration = Duration::from_secs(30);
/// The first pause after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// A server that was away for long isn't missed for longer than this once it is back.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A wall clock that differs by more is corrected in reports by the server's.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// The way to the server, as this run of the agent has found it.
#[derive(Debug)]
pub(super) struct Link {
    /// Not before, by uptime: the server did not answer, or not well.
    pub open_at: Duration,
    pub poll_at: Duration,
    failures: u32,
    tag: String,
    /// Of the server's clock to ours.
    offset_ms: i64,
    /// The server was reached since the agent started, or since the trial began.
    pub is_reached: bool,
    /// The server says that the device does not belong here any more.
    pub told: Option<Wait>,
}

impl Link {
    pub(super) fn new(world: &dyn World) -> Self {
        let uptime = world.host().uptime();
        Self {
            open_at: uptime,
            poll_at: uptime,
            failures: 0,
            tag: String::new(),
            offset_ms: 0,
            is_reached: false,
            told: None,
        }
    }

    pub(super) fn is_open(&self, uptime: Duration) -> bool {
        uptime >= self.open_at
    }

    /// When there is something to send or to ask next.
    pub(super) fn next(&self, nothing_to_send: bool) -> Duration {
        if nothing_to_send { self.poll_at.max(self.open_at) } else { self.open_at }
    }

    /// The wall clock, put right by the server's if it is far off.
    pub(super) fn now(&self, world: &dyn World) -> Timestamp {
        Timestamp(world.host().now().0.saturating_add(self.offset_ms))
    }

    fn answered(&mut self) {
        self.failures = 0;
        self.is_reached = true;
    }

    /// Pauses for longer each time, half of it by chance, so that a fleet doesn't come back at once.
    fn failed(&mut self, world: &dyn World) {
        let pause = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.open_at = world.host().uptime() + pause / 2 + part(pause / 2, world.host().chance());
    }
}

/// Does a refusal say that the device has left?
fn gone(status: u16, body: &[u8]) -> Option<Wait> {
    if status != 403 {
        return None;
    }
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    match problem.get("code")?.as_str()? {
        DECOMMISSIONED => Some(Wait::Leave),
        TRANSFERRED => Some(Wait::Move),
        _ => None,
    }
}

/// Some of a duration, by chance.
fn part(whole: Duration, chance: u64) -> Duration {
    whole.mul_f64(((chance >> 11) as f64 / (1_u64 << 53) as f64).clamp(0.0, 1.0))
}

impl Agent {
    pub(super) fn send_reports(&mut self, world: &dyn World) -> Result<Wait, KeepError> {
        let queue = &self.state.queue;
        let counters = queue.through().map(|taken| Counters { taken, boots: self.state.boots });
        let body = Reports { queue: queue.name.clone(), reports: queue.batch().to_vec(), counters };
        let last = body.reports.last().map_or(0, |report| report.sequence);
        match self.exchange::<Taken>(world, ("POST", "/device/v1/reports"), Some(&body), CALL_TIMEOUT) {
            Ok(taken) => {
                // A server that took none of them would be asked for ever.
                if taken.through < body.reports.first().map_or(0, |report| report.sequence) {
                    self.link.failed(world);
                    return Ok(Wait::No);
                }
                // A counter that is told has to be durable: it may never go back.
                let before = self.state.clone();
                self.state.queue.taken(taken.through.min(last));
                self.save(world).inspect_err(|_| self.state = before)?;
                Ok(Wait::No)
            }
            Err(failed) => {
                self.unanswered(world, &failed);
                Ok(Wait::No)
            }
        }
    }

    /// Asks for orders, and carries what they say into the state.
    pub(super) fn poll(&mut self, world: &dyn World) -> Result<Wait, KeepError> {
        let is_idle = self.due() == Due::Nothing && world.host().uptime() >= self.rest_until;
        let wait = if is_idle { self.settings.long_poll } else { Duration::ZERO };
        let path = format!("/device/v1/orders?wait={}&tag={}", wait.as_secs(), self.link.tag);
        let orders = match self.exchange::<Orders>(world, ("GET", &path), None::<&()>, wait + CALL_TIMEOUT) {
            Ok(orders) => orders,
            Err(failed) => {
                // What needs no server goes on without it.
                self.unanswered(world, &failed);
                return Ok(Wait::No);
            }
        };
        let uptime = world.host().uptime();
        // The server sets the pace; who fetches, and may be told to stop, asks a little more often.
        let most = if is_idle { limit::POLL_MAX } else { POLL_BUSY };
        let pause = Duration::from_secs(u64::from(orders.poll_s)).clamp(Duration::from_secs(1), most);
        self.link.poll_at = uptime + pause.mul_f64(0.9) + part(pause / 5, world.host().chance());
        let offset_ms = orders.time.0.saturating_sub(world.host().now().0);
        self.link.offset_ms = if offset_ms.saturating_abs() > CLOCK_TOLERANCE_MS { offset_ms } else { 0 };
        self.obey(world, &orders)?;
        Ok(Wait::No)
    }

    fn obey(&mut self, world: &dyn World, orders: &Orders) -> Result<(), KeepError> {
        let known = self.state.update.as_ref().map(|update| (update.order.action, update.order.terms));
        match orders.action {
            Some(ActionOrder::Install { action, .. }) if self.has_ended(action) => {
                self.apply(world, Input::Reminded(action))?;
            }
            Some(ActionOrder::Install { action, terms }) if known.is_some_and(|(known, _)| known == action) => {
                self.apply(world, Input::Terms { action, terms })?;
            }
            Some(ActionOrder::Install { action, .. }) => {
                let path = format!("/device/v1/actions/{}", action.0);
                match self.exchange::<Deployment>(world, ("GET", &path), None::<&()>, CALL_TIMEOUT) {
                    Ok(order) if order.action == action => self.apply(world, Input::Order(order))?,
                    Ok(order) => world.host().log(&format!("asked for action {action} and got {}", order.action)),
                    Err(failed) => {
                        self.unanswered(world, &failed);
                        return Ok(());
                    }
                }
            }
            Some(ActionOrder::Cancel { action }) => self.apply(world, Input::Cancel(action))?,
            Some(ActionOrder::Confirm { .. }) | None => {}
        }
        self.check_standing(world, orders)?;
        if orders.attributes {
            let known = self.gather(world).unwrap_or_else(|| self.state.attributes.clone());
            self.tell_attributes(world, &known, true)?;
        }
        self.note_chores(orders);
        self.link.tag.clone_from(&orders.tag);
        Ok(())
    }

    /// An update that the server doesn't order any more is given up, as long as nothing that runs was touched.
    fn check_standing(&mut self, world: &dyn World, orders: &Orders) -> Result<(), KeepError> {
        self.is_doubtful = false;
        let Some(update) = &self.state.update else { return Ok(()) };
        let (action, is_before_switch) = (update.order.action, update.phase.is_before_switch());
        let stands = matches!(orders.action, Some(ActionOrder::Install { action: ordered, .. }) if ordered == action);
        if stands || !is_before_switch { Ok(()) } else { self.apply(world, Input::Withdrawn(action)) }
    }

    fn has_ended(&self, action: ActionId) -> bool {
        self.state.ended.iter().any(|ended| ended.action == action)
    }

    /// The server could not be asked: try again later.
    pub(super) fn unanswered(&mut self, world: &dyn World, failed: &NetError) -> Wait {
        world.host().log(&format!("the server could not be asked: {failed}"));
        self.link.failed(world);
        self.wait(world.host().uptime())
    }

    pub(super) fn exchange<A: DeserializeOwned>(
        &mut self,
        world: &dyn World,
        what: (&'static str, &str),
        body: Option<&impl serde::Serialize>,
        timeout: Duration,
    ) -> Result<A, NetError> {
        let (method, path) = what;
        let body = body.map(|body| serde_json::to_vec(body).expect("messages have string keys only"));
        let reply = world.net().call(&Call { method, path, body: body.as_deref(), timeout })?;
        if !(200..300).contains(&reply.status) {
            self.link.told = self.link.told.or(gone(reply.status, &reply.body));
            let detail = String::from_utf8_lossy(&reply.body).chars().take(limit::MESSAGE_CHARS_MAX).collect();
            return Err(NetError::Refused { status: reply.status, detail });
        }
        // Captive portals answer anything with a page of theirs.
        let answer = serde_json::from_slice(&reply.body)
            .map_err(|bad| NetError::Unreachable(format!("the answer isn't one of a Muster server: {bad}")))?;
        self.link.answered();
        Ok(answer)
    }
}
