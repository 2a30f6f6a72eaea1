//! The server's part in a board's world: it orders updates, and knows only what it was told.
//!
//! What becomes of an action is decided by `muster_domain::action`, as on a real server; which reports count is decided
//! by their numbers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use muster_agent::world::{Call, Net, NetError, Reply};
use muster_delta::packed::find;
use muster_domain::action::{self, Action, CancelSaid, EndReason, Push, Said as DomainSaid};
use muster_domain::{ActionState, action::Input};
use muster_vocab::{ActionId, DeviceId, ReleaseId, RolloutId, Sha256, Timestamp};
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
    /// To the system's image, beside its own bytes.
    pub shortcut: Option<Shortcut>,
}

/// A delta from another image, or the compressed image.
#[derive(Debug, Clone)]
pub struct Shortcut {
    pub form: wire::Form,
    pub bytes: Arc<Vec<u8>>,
}

impl Shortcut {
    #[must_use]
    pub fn delta(old: &Image, new: &Image) -> Self {
        let mut bytes = Vec::new();
        muster_delta::make(&old.bytes, &new.bytes, &mut bytes).expect("memory takes what is written");
        Self { form: wire::Form::Delta { from: old.digest }, bytes: Arc::new(bytes) }
    }

    /// A delta between their unpacked blocks.
    #[must_use]
    pub fn packed(old: &Image, new: &Image) -> Self {
        let mut bytes = Vec::new();
        let maps = (find::find(&old.bytes), find::find(&new.bytes));
        find::make((&old.bytes, &new.bytes), (&maps.0, &maps.1), &mut bytes).expect("memory takes what is written");
        Self { form: wire::Form::Delta { from: old.digest }, bytes: Arc::new(bytes) }
    }

    #[must_use]
    pub fn compressed(new: &Image) -> Self {
        let mut bytes = Vec::new();
        muster_delta::whole::compress(&new.bytes, &mut bytes).expect("memory takes what is written");
        Self { form: wire::Form::Compressed, bytes: Arc::new(bytes) }
    }

    /// One bit of it is wrong.
    pub fn spoil(&mut self, chance: &mut Chance) {
        let bytes = Arc::make_mut(&mut self.bytes);
        let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap_or(0);
        bytes[at] ^= 1 << chance.below(8);
    }
}

impl Order {
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&Image> {
        self.components.iter().find(|(component, _)| component == name).map(|(_, image)| image)
    }
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
    bytes_fetched: u64,
    now: Timestamp,
}

#[derive(Debug)]
pub struct Depot(Mutex<Inner>);

impl Depot {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Inner { placed: Vec::new(), queues: BTreeMap::new(), told: Vec::new(), bytes_fetched: 0, now }))
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

    /// Bytes of artifacts and deltas that were sent.
    pub fn bytes_fetched(&self) -> u64 {
        self.0.lock().bytes_fetched
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
        let artifact = |name: &str, image: &Image| wire::Artifact {
            file_name: format!("{}.{}", image.version, if image.is_archive { "tar" } else { "img" }),
            size: image.bytes.len() as u64,
            digest: match placed.order.lies_about_digest {
                true => Sha256([7; 32]),
                false => image.digest,
            },
            routes: routes(&placed.order, name, image),
        };
        let component = |(name, image): &(String, Image)| wire::Component {
            name: name.clone(),
            version: image.version.clone(),
            metadata: [("after".to_owned(), if name == "os" { "app" } else { "" }.to_owned())].into(),
            artifacts: vec![artifact(name, image)],
        };
        answered(&wire::Deployment {
            action: id,
            release: "board".into(),
            version: placed.order.version.clone(),
            downgrade: placed.order.downgrade,
            signed: vec![],
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
}

/// The shortcut first, if there is one, and the whole at last.
fn routes(order: &Order, name: &str, image: &Image) -> Vec<wire::Route> {
    let path = format!("/device/v1/artifacts/{}", image.digest.hex());
    let whole = wire::Route { path: path.clone(), size: image.bytes.len() as u64, form: wire::Form::Whole };
    let shortcut = order.shortcut.as_ref().filter(|_| name == "os").map(|shortcut| wire::Route {
        path: format!("{path}/shortcut"),
        size: shortcut.bytes.len() as u64,
        form: shortcut.form,
    });
    shortcut.into_iter().chain([whole]).collect()
}

/// The bytes behind one of the routes.
fn behind(order: &Order, path: &str) -> Option<Arc<Vec<u8>>> {
    for (name, image) in &order.components {
        let found = routes(order, name, image).into_iter().find(|route| route.path == path);
        match found.map(|route| route.form) {
            Some(wire::Form::Whole) => return Some(Arc::new(image.bytes.clone())),
            Some(wire::Form::Delta { .. } | wire::Form::Compressed) => {
                return order.shortcut.as_ref().map(|shortcut| Arc::clone(&shortcut.bytes));
            }
            None => {}
        }
    }
    None
}

fn answered(message: &impl Serialize) -> Reply {
    Reply { status: 200, body: serde_json::to_vec(message).expect("messages have string keys only") }
}

fn refused(status: u16) -> Reply {
    Reply { status, body: Vec::new() }
}

impl Net for Depot {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        Ok(self.0.lock().answer(call))
    }

    fn fetch(
        &self,
        path: &str,
        range: (u64, u64),
        taken: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, NetError> {
        let piece = {
            let inner = self.0.lock();
            let bytes = inner.placed.iter().find_map(|placed| behind(&placed.order, path));
            let Some(bytes) = bytes else {
                return Err(NetError::Refused { status: 404, detail: String::new() });
            };
            let start = usize::try_from(range.0).unwrap_or(usize::MAX).min(bytes.len());
            let end = usize::try_from(range.0 + range.1).unwrap_or(usize::MAX).min(bytes.len());
            bytes[start..end].to_vec()
        };
        for packet in piece.chunks(PACKET_BYTES) {
            taken(packet).map_err(NetError::Disk)?;
            self.0.lock().bytes_fetched += packet.len() as u64;
        }
        Ok(piece.len() as u64)
    }
}
