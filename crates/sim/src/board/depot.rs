//! The server's part in a board's world: it orders updates, and knows only what it was told.
//!
//! What becomes of an action is decided by `muster_domain::action`, as on a real server; which reports count is decided
//! by their numbers. On the way messages may be lost, repeated or answered by somebody else.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use muster_agent::world::{Call, Net, NetError, Reply};
use muster_domain::action::{self, Action, CancelSaid, EndReason, Push, Said as DomainSaid};
use muster_domain::{ActionState, action::Input};
use muster_vocab::{ActionId, DeviceId, ReleaseId, RolloutId, Timestamp};
use muster_wire::agent as wire;
use parking_lot::Mutex;
use serde::Serialize;

use super::image::Image;
use crate::chance::Chance;

/// The poll interval that the depot gives.
const POLL_S: u32 = 30;
/// Bytes of a download that are delivered at once.
const PACKET_BYTES: usize = 1460;

/// One update that the depot orders.
#[derive(Debug, Clone)]
pub struct Order {
    pub version: String,
    pub components: Vec<(String, Image)>,
    pub downgrade: bool,
    /// What the offer says differs from what is there.
    pub lies_about_digest: bool,
}

/// What goes wrong between board and depot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    /// Share of exchanges that don't reach the depot.
    pub lost: f64,
    /// Share of exchanges that are carried out and whose answer is lost.
    pub answer_lost: f64,
    /// Share of exchanges that arrive twice.
    pub doubled: f64,
    /// Share of exchanges answered by a captive portal.
    pub portal: f64,
    /// Share of exchanges that meet a server which restarts.
    pub restarting: f64,
    /// Share of old reports that arrive once more, late.
    pub replayed: f64,
}

#[derive(Debug)]
pub struct Placed {
    pub order: Order,
    pub action: Action,
}

/// A report that the depot took.
#[derive(Debug, Clone)]
pub struct Told {
    pub action: ActionId,
    pub state: wire::ActionState,
    pub messages: Vec<String>,
}

#[derive(Debug)]
struct Inner {
    placed: Vec<Placed>,
    /// The last number taken of each queue.
    queues: BTreeMap<String, u64>,
    told: Vec<Told>,
    weather: Weather,
    chance: Chance,
    is_off: bool,
    is_deaf: bool,
    old: Option<Vec<u8>>,
    now: Timestamp,
}

#[derive(Debug)]
pub struct Depot(Mutex<Inner>);

impl Depot {
    #[must_use]
    pub fn new(seed: u64, now: Timestamp) -> Self {
        Self(Mutex::new(Inner {
            placed: Vec::new(),
            queues: BTreeMap::new(),
            told: Vec::new(),
            weather: Weather::default(),
            chance: Chance::keyed(seed, &[0x000d_e907]),
            is_off: false,
            is_deaf: false,
            old: None,
            now,
        }))
    }

    pub fn place(&self, order: Order) -> ActionId {
        let mut inner = self.0.lock();
        let id = ActionId(inner.placed.len() as i64 + 1);
        let action = new_action(id, inner.now);
        inner.placed.push(Placed { order, action });
        id
    }

    pub fn cancel(&self, id: ActionId) {
        let mut inner = self.0.lock();
        inner.advance(id, Input::Cancel(EndReason::Operator(String::new())));
    }

    pub fn set_weather(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    /// The board has no power, or a system that reaches nobody.
    pub fn cut_off(&self, is_off: bool, is_deaf: bool) {
        let mut inner = self.0.lock();
        inner.is_off = is_off;
        inner.is_deaf = is_deaf;
    }

    pub fn pass(&self, time: Duration) {
        let mut inner = self.0.lock();
        inner.now = inner.now.plus(time);
    }

    /// Reports taken since the last call.
    pub fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().told)
    }

    pub fn state(&self, id: ActionId) -> Option<ActionState> {
        let inner = self.0.lock();
        inner.placed.iter().find(|placed| placed.action.id == id).map(|placed| placed.action.state)
    }

    pub fn reason(&self, id: ActionId) -> String {
        let inner = self.0.lock();
        let placed = inner.placed.iter().find(|placed| placed.action.id == id);
        placed.and_then(|placed| placed.action.reason.as_ref()).map(ToString::to_string).unwrap_or_default()
    }

    pub fn is_quiet(&self) -> bool {
        self.0.lock().placed.iter().all(|placed| placed.action.state.is_terminal())
    }
}

fn new_action(id: ActionId, now: Timestamp) -> Action {
    Action {
        id,
        device: DeviceId(1),
        rollout: RolloutId(1),
        wave: 0,
        rollback: false,
        release: ReleaseId(id.0),
        previous: None,
        priority: 0,
        push: Push::Forced,
        confirmation: false,
        silence: Duration::from_secs(365 * 24 * 3600),
        state: ActionState::Offered,
        installed: false,
        told_skip: false,
        silent_at: None,
        reason: None,
        progress: None,
        created_at: now,
        changed_at: now,
        revision: 1,
    }
}

impl Inner {
    fn advance(&mut self, id: ActionId, input: Input) {
        let now = self.now;
        let Some(placed) = self.placed.iter_mut().find(|placed| placed.action.id == id) else { return };
        // A refusal changes nothing: late and repeated reports are refused.
        if let Ok(next) = action::step(&placed.action, now, input) {
            placed.action = next;
        }
    }

    fn answer(&mut self, call: &Call<'_>) -> Reply {
        let (path, _) = call.path.split_once('?').unwrap_or((call.path, ""));
        match (call.method, path.strip_prefix("/device/v1/")) {
            ("GET", Some("orders")) => self.orders(),
            ("POST", Some("reports")) => self.reports(call.body.unwrap_or_default()),
            ("GET", Some(rest)) => match rest.strip_prefix("actions/").and_then(|id| id.parse().ok()) {
                Some(id) => self.deployment(ActionId(id)),
                None => refused(404),
            },
            _ => refused(404),
        }
    }

    fn open(&self) -> Option<&Placed> {
        self.placed.iter().find(|placed| !placed.action.state.is_terminal())
    }

    fn orders(&self) -> Reply {
        let terms = wire::Terms { download: true, install: true, forced: true };
        let action = self.open().map(|placed| match placed.action.state {
            ActionState::Canceling => wire::ActionOrder::Cancel { action: placed.action.id },
            _ => wire::ActionOrder::Install { action: placed.action.id, terms },
        });
        answered(&wire::Orders {
            tag: format!("{action:?}"),
            poll_s: POLL_S,
            time: self.now,
            action,
            configuration: None,
            commands: Vec::new(),
            attributes: false,
        })
    }

    fn deployment(&mut self, id: ActionId) -> Reply {
        self.advance(id, Input::Fetch { skip: false });
        let Some(placed) = self.open().filter(|placed| placed.action.id == id) else { return refused(404) };
        let artifact = |image: &Image| wire::Artifact {
            file_name: format!("{}.img", image.version),
            size: image.bytes.len() as u64,
            digest: match placed.order.lies_about_digest {
                true => muster_vocab::Sha256([7; 32]),
                false => image.digest,
            },
            routes: vec![wire::Route {
                path: format!("/device/v1/artifacts/{}", image.digest.hex()),
                size: image.bytes.len() as u64,
                form: wire::Form::Whole,
            }],
        };
        let component = |(name, image): &(String, Image)| wire::Component {
            name: name.clone(),
            version: image.version.clone(),
            metadata: [("after".to_owned(), if name == "os" { "app" } else { "" }.to_owned())].into(),
            artifacts: vec![artifact(image)],
        };
        answered(&wire::Deployment {
            action: id,
            release: "board".into(),
            version: placed.order.version.clone(),
            downgrade: placed.order.downgrade,
            terms: wire::Terms { download: true, install: true, forced: true },
            components: placed.order.components.iter().map(component).collect(),
        })
    }

    fn reports(&mut self, body: &[u8]) -> Reply {
        let Ok(reports) = serde_json::from_slice::<wire::Reports>(body) else { return refused(400) };
        let mut through = self.queues.get(&reports.queue).copied().unwrap_or_default();
        for report in reports.reports {
            if report.sequence <= through {
                continue;
            }
            through = report.sequence;
            if let wire::Said::Action(said) = report.said {
                self.said(said);
            }
        }
        self.queues.insert(reports.queue, through);
        answered(&wire::Taken { through })
    }

    fn said(&mut self, said: wire::ActionSaid) {
        use wire::ActionState as W;
        let report = |said| Input::Report { said, progress: None };
        let input = match said.state {
            W::Accepted | W::Downloading | W::Staged | W::AwaitingRestart | W::TrialBoot => report(DomainSaid::Working),
            W::Downloaded => report(DomainSaid::Downloaded),
            W::Committed => report(DomainSaid::Succeeded),
            W::Reverted | W::Failed => report(DomainSaid::Failed { words: said.messages.join("; ") }),
            W::Canceled => Input::CancelReport(CancelSaid::Stopped),
            W::CancelRefused => Input::CancelReport(CancelSaid::Refused),
            W::Consented => Input::Confirm,
            W::Denied => Input::Deny,
        };
        self.advance(said.action, input);
        self.told.push(Told { action: said.action, state: said.state, messages: said.messages });
    }

    fn unreachable(&mut self) -> Option<NetError> {
        if self.is_off || self.is_deaf || self.chance.happens(self.weather.lost) {
            return Some(NetError::Unreachable("nobody answered".into()));
        }
        if self.chance.happens(self.weather.restarting) {
            return Some(NetError::Refused { status: 503, detail: "starting".into() });
        }
        None
    }
}

fn answered(message: &impl Serialize) -> Reply {
    Reply { status: 200, body: serde_json::to_vec(message).expect("messages have string keys only") }
}

fn refused(status: u16) -> Reply {
    Reply { status, body: Vec::new() }
}

impl Net for Depot {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        let mut inner = self.0.lock();
        if let Some(failed) = inner.unreachable() {
            return Err(failed);
        }
        if inner.weather.portal > 0.0 && {
            let share = inner.weather.portal;
            inner.chance.happens(share)
        } {
            return Ok(Reply { status: 200, body: b"<html>Welcome to our free Wi-Fi</html>".to_vec() });
        }
        let Weather { answer_lost, doubled, replayed, .. } = inner.weather;
        if call.method == "POST" {
            if inner.chance.happens(replayed)
                && let Some(old) = inner.old.clone()
            {
                inner.reports(&old);
            }
            if inner.chance.happens(0.5) {
                inner.old = call.body.map(<[u8]>::to_vec);
            }
        }
        let mut reply = inner.answer(call);
        if inner.chance.happens(doubled) {
            reply = inner.answer(call);
        }
        if inner.chance.happens(answer_lost) {
            return Err(NetError::Unreachable("the answer was lost".into()));
        }
        Ok(reply)
    }

    fn fetch(
        &self,
        path: &str,
        range: (u64, u64),
        taken: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, NetError> {
        let piece = {
            let mut inner = self.0.lock();
            if let Some(failed) = inner.unreachable() {
                return Err(failed);
            }
            let digest = path.strip_prefix("/device/v1/artifacts/").unwrap_or_default();
            let mut images = inner.placed.iter().flat_map(|placed| &placed.order.components);
            let Some((_, image)) = images.find(|(_, image)| image.digest.hex() == digest) else {
                return Err(NetError::Refused { status: 404, detail: String::new() });
            };
            let start = usize::try_from(range.0).unwrap_or(usize::MAX).min(image.bytes.len());
            let end = usize::try_from(range.0 + range.1).unwrap_or(usize::MAX).min(image.bytes.len());
            image.bytes[start..end].to_vec()
        };
        let mut sent = 0;
        for packet in piece.chunks(PACKET_BYTES) {
            let mut inner = self.0.lock();
            let share = inner.weather.lost;
            if inner.is_off || inner.chance.happens(share) {
                return Err(NetError::Unreachable("the connection broke".into()));
            }
            drop(inner);
            taken(packet).map_err(NetError::Disk)?;
            sent += packet.len() as u64;
        }
        Ok(sent)
    }
}
