//! What may a flow ask and change?
//!
//! A [`View`] asks; a [`Tx`] also changes. Rollouts that a group of flows touches are kept in memory and
//! written once before the commit: every device report counts in its rollout's row.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use muster_domain::Rollout;
use muster_domain::standing::Standing;
use muster_vocab::{DeviceId, ProjectId, RolloutId, Sha256};
use rusqlite::Connection;

use crate::StoreError;
use crate::error::Doing;
use crate::projects::Project;

/// Questions to one consistent state of the database.
#[derive(Debug)]
pub struct View<'c> {
    pub(crate) conn: &'c Connection,
}

/// One flow's transaction.
#[derive(Debug)]
pub struct Tx<'c> {
    view: View<'c>,
    /// Sees the last commit, without what this group of flows has changed.
    pub(crate) past: &'c Connection,
    /// Rollouts as this flow and earlier flows of the same commit left them.
    pub(crate) rollouts: &'c mut Held,
    /// What this flow alone changed.
    pub(crate) own: Touched,
}

/// Rollouts changed and not yet written.
#[derive(Debug, Default)]
pub struct Held {
    pub(crate) rollouts: BTreeMap<RolloutId, (ProjectId, Rollout)>,
    /// What audit records of this commit said of their targets last.
    pub(crate) states: States,
}

pub(crate) type States = BTreeMap<(ProjectId, String), Option<Sha256>>;

/// What a flow touched, for caches and event streams.
#[derive(Debug, Default, Clone)]
pub struct Touched {
    pub(crate) rollouts: BTreeMap<RolloutId, (ProjectId, Rollout)>,
    /// Deleted rollouts: what earlier flows of the commit held of them must not be seen or written any more.
    pub(crate) deleted: BTreeSet<RolloutId>,
    pub(crate) states: States,
    pub(crate) devices: BTreeSet<DeviceId>,
    pub(crate) gone: Vec<(ProjectId, String)>,
    pub(crate) projects: BTreeSet<ProjectId>,
    pub(crate) tokens: bool,
    pub(crate) outbox: bool,
    pub(crate) renders: bool,
    pub(crate) routes: bool,
    pub(crate) events: bool,
}

/// What a commit changed: enough to bring every cache up to date.
#[derive(Debug, Default, Clone)]
pub struct Changes {
    pub devices: Vec<Standing>,
    /// Deleted, by the name they had.
    pub gone: Vec<(ProjectId, String)>,
    pub projects: Vec<Project>,
    pub tokens: bool,
    pub outbox: bool,
    /// Devices are to be rendered again.
    pub renders: bool,
    /// Releases are wanted that were not before.
    pub routes: bool,
    pub events: bool,
}

impl<'c> Deref for Tx<'c> {
    type Target = View<'c>;

    fn deref(&self) -> &View<'c> {
        &self.view
    }
}

impl<'c> View<'c> {
    pub(crate) fn new(conn: &'c Connection) -> Self {
        Self { conn }
    }
}

impl<'c> Tx<'c> {
    pub(crate) fn new((conn, past): (&'c Connection, &'c Connection), rollouts: &'c mut Held) -> Self {
        Self { view: View::new(conn), past, rollouts, own: Touched::default() }
    }

    /// The device's answer to its next poll may have changed.
    pub fn touch_device(&mut self, device: DeviceId) {
        self.own.devices.insert(device);
    }

    /// Runs a part of a flow that may be refused without harm to the rest: a refusal leaves nothing of it behind.
    pub fn attempt<T, E: From<StoreError>>(&mut self, part: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let before = self.own.clone();
        self.conn.prepare_cached("SAVEPOINT part").and_then(|mut it| it.execute([])).doing("a savepoint")?;
        let outcome = part(self);
        if outcome.is_err() {
            self.conn.prepare_cached("ROLLBACK TO part").and_then(|mut it| it.execute([])).doing("a savepoint")?;
            self.own = before;
        }
        self.conn.prepare_cached("RELEASE part").and_then(|mut it| it.execute([])).doing("a savepoint")?;
        outcome
    }

    /// Makes this flow's rollouts visible to the next flow of the same commit.
    pub(crate) fn settle(self) -> Touched {
        for id in &self.own.deleted {
            self.rollouts.rollouts.remove(id);
        }
        self.rollouts.rollouts.extend(self.own.rollouts.iter().map(|(id, row)| (*id, row.clone())));
        self.rollouts.states.extend(self.own.states.iter().map(|(target, state)| (target.clone(), *state)));
        self.own
    }
}

impl Touched {
    pub(crate) fn join(&mut self, other: Self) {
        self.rollouts.extend(other.rollouts);
        self.deleted.extend(other.deleted);
        self.devices.extend(other.devices);
        self.gone.extend(other.gone);
        self.projects.extend(other.projects);
        self.tokens |= other.tokens;
        self.outbox |= other.outbox;
        self.renders |= other.renders;
        self.routes |= other.routes;
        self.events |= other.events;
    }
}

/// Writes each changed rollout once.
pub(crate) fn write_held(conn: &Connection, held: &mut Held) -> Result<(), StoreError> {
    for (id, (project, rollout)) in std::mem::take(&mut held.rollouts) {
        crate::rollouts::write_row(conn, project, id, &rollout)?;
    }
    Ok(())
}
