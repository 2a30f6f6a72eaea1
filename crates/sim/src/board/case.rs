//! One board through one story, and the referee who compares what it runs with what it said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_agent::Agent;
use muster_agent::world::Net;
use muster_domain::ActionState;
use muster_vocab::{ActionId, Timestamp};
use muster_wire::agent::ActionState as Said;
use parking_lot::Mutex;

use super::depot::{Depot, Order, Told};
use super::device::{Board, Setup, Stepped};
use super::disk::{Cut, Loss};
use super::image::Image;

/// A story that goes on for longer than this, in steps, never ends.
const STEPS_MAX: u32 = 60_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A board that lost its power gets it back after this.
const POWER_BACK: Duration = Duration::from_secs(20);
/// 2026-11-23T00:00:00Z
pub const START: Timestamp = Timestamp(1_795_392_000_000);

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Bricked(String),
    /// A report that says what isn't so.
    Untrue(String),
    /// It neither committed nor went back, or the depot never heard.
    Unfinished(String),
    /// Components of different releases run together.
    Mixed(String),
}

#[derive(Debug)]
pub struct Case {
    pub board: Board,
    pub depot: Arc<Depot>,
    factory: String,
    orders: BTreeMap<ActionId, Order>,
    pub failures: Vec<Failure>,
}

#[must_use]
pub fn setup(seed: u64) -> Setup {
    Setup {
        seed,
        slot_bytes: 16 * 1024,
        piece_bytes: 4096,
        clock: START,
        trial: Duration::from_secs(120),
        check_every: Duration::from_secs(5),
    }
}

impl Case {
    /// The first image is the factory's.
    #[must_use]
    pub fn new(setup: Setup, images: &[Image]) -> Self {
        let depot = Arc::new(Depot::new(START));
        let way: Arc<dyn Net> = depot.clone();
        let board = Board::new(setup, Arc::new(Mutex::new(images.to_vec())), way);
        let factory = images[0].version.clone();
        Self { board, depot, factory, orders: BTreeMap::new(), failures: Vec::new() }
    }

    pub fn order(&mut self, order: Order) -> ActionId {
        let id = self.depot.place(order.clone());
        self.orders.insert(id, order);
        id
    }

    /// The power goes at this operation of the disk.
    pub fn cut_at(&self, at: u64, loss: Loss) {
        self.board.world.disk.cut_power(Some(Cut { at, loss }));
    }

    /// Lets the board live until everything is said and done, or it can't be.
    pub fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                return;
            }
        }
        self.fail(Failure::Unfinished, &format!("it went on for {STEPS_MAX} steps"));
    }

    /// False: all is quiet, or all is lost.
    pub fn step(&mut self) -> bool {
        if self.board.world.disk.is_off() {
            self.pass(POWER_BACK);
        }
        let stepped = self.board.step();
        self.check_told();
        match stepped {
            Stepped::On => {}
            Stepped::Waits(time) => {
                if self.is_quiet() {
                    self.check_end();
                    return false;
                }
                self.pass(time.min(DAY));
            }
            Stepped::Bricked(why) => {
                self.fail(Failure::Bricked, &why);
                return false;
            }
        }
        self.failures.is_empty()
    }

    fn pass(&self, time: Duration) {
        self.board.world.machine.pass(time);
        self.depot.pass(time);
    }

    fn fail(&mut self, kind: impl Fn(String) -> Failure, what: &str) {
        self.failures.push(kind(format!("{what}\n    {}", self.board.last_lines())));
    }

    fn is_quiet(&self) -> bool {
        let is_idle =
            |agent: &Agent| agent.is_settled() && agent.state().update.is_none() && agent.state().queue.is_empty();
        self.depot.is_quiet() && self.board.agent.as_ref().is_some_and(is_idle)
    }

    /// Everything that was said has to be so at the moment at which it arrives.
    fn check_told(&mut self) {
        for told in self.depot.take_told() {
            if let Err(untrue) = self.check_one(&told) {
                self.fail(Failure::Untrue, &untrue);
            }
        }
    }

    fn check_one(&self, told: &Told) -> Result<(), String> {
        let Some(order) = self.orders.get(&told.action) else { return Ok(()) };
        let good = self.board.good_version();
        let os = order.component("os").map(|image| image.version.as_str());
        let stays = os.is_some() && good.as_deref() == os;
        match told.state {
            Said::Committed if order.lies_about_digest => {
                Err("a release was committed although its digest did not match".into())
            }
            Said::Committed if !stays => {
                let memory = self.board.boot_memory();
                Err(format!("{} was reported as committed, and what stays is {good:?} by {memory:?}", order.version))
            }
            Said::Reverted | Said::Failed | Said::Canceled if stays && !self.had_before(told.action, os) => {
                Err(format!("{} was reported as {:?}, and it is what stays", order.version, told.state))
            }
            _ => Ok(()),
        }
    }

    /// An order for what runs already may end either way.
    fn had_before(&self, action: ActionId, version: Option<&str>) -> bool {
        let mut before = self.orders.range(..action).filter_map(|(_, order)| order.component("os"));
        version == Some(&self.factory) || before.any(|image| Some(image.version.as_str()) == version)
    }

    /// All is quiet: the depot's truth and the board's have to be the same.
    fn check_end(&mut self) {
        let (good, running, app) = (self.board.good_version(), self.board.running_version(), self.board.app_version());
        if good != running {
            self.fail(Failure::Unfinished, &format!("it runs {running:?} and would start {good:?}"));
        }
        let finished = |id: &ActionId| self.depot.state(*id) == Some(ActionState::Finished);
        let newest = self.orders.iter().rev().find(|(id, _)| finished(id)).map(|(_, order)| order);
        let expected = |name: &str| newest.and_then(|order| order.component(name)).map(|image| image.version.clone());
        let os = expected("os").unwrap_or_else(|| self.factory.clone());
        let expected_app = expected("app");
        // An app that no finished release brought must not be there, and the other way round.
        let is_mixed = app != expected_app && (newest.is_none() || expected_app.is_some());
        if good.as_ref() != Some(&os) {
            self.fail(Failure::Untrue, &format!("the depot believes in {os}, and the board stays with {good:?}"));
        }
        if is_mixed {
            self.fail(Failure::Mixed, &format!("with {os} goes app {expected_app:?}, and {app:?} runs"));
        }
    }
}
