//! Rollouts: made and ordered by people, moved on in bounded batches by workers.

use std::collections::HashMap;

use muster_domain::action::{Action, ActionState, EndReason, Input as ActionInput, Push};
use muster_domain::release::ReleaseState;
use muster_domain::rollout::divide::{Candidate, divide};
use muster_domain::rollout::spec::{Spec, Take};
use muster_domain::rollout::step::Input;
use muster_domain::rollout::step::waiting_waves;
use muster_domain::rollout::{Clearance, Person, Phase, Rollout, WaveState};
use muster_domain::{Actor, Permission};
use muster_store::actions::Part;
use muster_store::events::NewEvent;
use muster_store::{Tx, View};
use muster_vocab::selector::Selector;
use muster_vocab::selector::schema::DEVICE_SCHEMA;
use muster_vocab::{ActionId, DeviceId, Name, ProjectId, ReleaseId, RolloutId, Sha256, Timestamp, limit};
use serde_json::json;

use super::actions::{advance, after_end, give_turn, tell_rollout};
use super::error::FlowError;
use super::{approvals, audit, reviews};

/// A rollout as somebody asks for it.
#[derive(Debug, Clone)]
pub struct NewRollout {
    /// Made from the release when left out.
    pub name: Option<String>,
    pub release: ReleaseId,
    pub spec: Spec,
}

/// What somebody says to an order.
#[derive(Debug, Clone, Default)]
pub struct Remark {
    pub reason: String,
    /// Digest of the plan that he has looked at; only approvals say it.
    pub plan: Option<Sha256>,
}

/// What an operator orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Start,
    BreakGlass,
    Approve,
    Deny,
    Pause,
    Resume,
    Abort,
    RollBack,
    NextWave,
}

impl Order {
    /// As the audit log and the URL name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::BreakGlass => "break-glass",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::RollBack => "rollback",
            Self::NextWave => "next-wave",
        }
    }

    #[must_use]
    pub fn permission(self) -> Permission {
        match self {
            Self::Approve | Self::Deny => Permission::RolloutsApprove,
            Self::BreakGlass => Permission::RolloutsBreakGlass,
            Self::Start | Self::Pause | Self::Resume | Self::Abort | Self::RollBack | Self::NextWave => {
                Permission::RolloutsWrite
            }
        }
    }
}

pub fn create(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: NewRollout) -> Result<Rollout, FlowError> {
    actor.may(Permission::RolloutsWrite)?;
    check_selectors(&new.spec)?;
    new.spec.check()?;
    let release = tx.release(actor.project(), new.release)?;
    let label = format!("{}@{}", release.name, release.version);
    match release.state {
        ReleaseState::Published => {}
        ReleaseState::Draft => {
            return Err(FlowError::Conflict(format!("release {label} is a draft: publish it first")));
        }
        ReleaseState::Yanked => return Err(FlowError::Conflict(format!("release {label} was yanked: choose another"))),
    }
    insert(tx, now, actor, (new, label, None))
}

/// A new rollout of the same release to the devices that failed in an old one; starts at once.
pub fn retry(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: RolloutId) -> Result<Rollout, FlowError> {
    actor.may(Permission::RolloutsWrite)?;
    let old = tx.rollout(actor.project(), id)?;
    let failed = old.sum(|wave| wave.counts.failed());
    if failed == 0 {
        return Err(FlowError::Conflict(format!("no device of {id} has failed, so there is nothing to retry")));
    }
    let release = tx.release(actor.project(), old.release)?;
    if release.state != ReleaseState::Published {
        return Err(FlowError::Conflict(format!("release {}@{} was yanked", release.name, release.version)));
    }
    let spec = Spec { start: true, start_at: None, dynamic: false, ..old.spec.clone() };
    let label = format!("{}-retry", old.name);
    let new = NewRollout { name: None, release: old.release, spec };
    insert(tx, now, actor, (new, label, Some(id)))
}

fn insert(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    what: (NewRollout, String, Option<RolloutId>),
) -> Result<Rollout, FlowError> {
    let (project, (new, label, retry_of)) = (actor.project(), what);
    let waves = waiting_waves(new.spec.waves.len());
    let phase = match (new.spec.approval, new.spec.start) {
        (true, _) => Phase::AwaitingApproval,
        (false, true) => Phase::Ready,
        (false, false) => Phase::Draft,
    };
    let mut rollout = Rollout {
        id: RolloutId(0),
        name: rollout_name(tx, project, new.name, &label)?,
        release: new.release,
        spec: new.spec,
        phase,
        waves,
        retry_of,
        author: person(actor)?,
        approved_by: None,
        clearance: Clearance::default(),
        created_at: now,
        started_at: None,
        revision: 1,
    };
    rollout.id = tx.insert_rollout(project, &rollout)?;
    let id = rollout.id;
    tx.save_rollout(project, rollout);
    let event = NewEvent { kind: "rollout", target: &id.to_string(), change: "created", rollout: Some(id) };
    tx.emit_event(project, now, &event)?;
    let detail = json!({ "release": label, "retry_of": retry_of.map(|old| old.to_string()) });
    audit::record(tx, now, actor, ("rollout.create", format!("rollout:{id}")), &detail)?;
    // Starts at once if it may.
    tell_rollout(tx, now, (project, id), Input::Tick)?;
    Ok(tx.rollout(project, id)?)
}

/// A name given is kept; a made one gets a number if it is taken.
fn rollout_name(tx: &Tx<'_>, project: ProjectId, given: Option<String>, label: &str) -> Result<String, FlowError> {
    if let Some(name) = given {
        Name::parse(&name).map_err(|source| FlowError::Name { field: "name", source })?;
        if name.parse::<RolloutId>().is_ok() {
            return Err(FlowError::invalid("name", "a name that looks like a rollout's id would be mistaken for one"));
        }
        return Ok(name);
    }
    let base: String = label.replace('@', "-").chars().take(limit::NAME_CHARS_MAX - 6).collect();
    for number in 1..=99_999 {
        let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        if tx.rollout_named(project, &name).is_err() {
            return Ok(name);
        }
    }
    Err(FlowError::invalid("name", "give the rollout a name: too many were made from this release"))
}

pub fn order(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    to: (RolloutId, Order),
    remark: &Remark,
) -> Result<Rollout, FlowError> {
    let ((id, order), reason, project) = (to, remark.reason.as_str(), actor.project());
    actor.may(order.permission())?;
    let by = person(actor)?;
    let input = match order {
        Order::Start => {
            check_matches_something(tx, now, project, id)?;
            Input::Start
        }
        Order::BreakGlass => {
            check_matches_something(tx, now, project, id)?;
            reviews::open(tx, now, actor, (id, by.clone()), reason)?;
            Input::BreakGlass { by }
        }
        // It has its own record, and what it leads to comes with time.
        Order::Approve => {
            approvals::approve(tx, now, actor, (id, by), (remark.plan, reason))?;
            Input::Tick
        }
        Order::Deny => Input::Deny { by },
        Order::Pause => Input::Pause { by },
        Order::Resume => Input::Resume,
        Order::Abort => Input::Abort { by },
        Order::RollBack => Input::RollBack { by },
        Order::NextWave => Input::NextWave,
    };
    tell_rollout(tx, now, (project, id), input)?;
    if order != Order::Approve {
        let action = format!("rollout.{}", order.name());
        audit::record(tx, now, actor, (&action, format!("rollout:{id}")), &json!({ "reason": reason }))?;
    }
    Ok(tx.rollout(project, id)?)
}

/// Starting a rollout that reaches nobody is a misspelt selector, unless devices may join later.
fn check_matches_something(tx: &Tx<'_>, now: Timestamp, project: ProjectId, id: RolloutId) -> Result<(), FlowError> {
    let rollout = tx.rollout(project, id)?;
    if rollout.spec.dynamic || rollout.retry_of.is_some() {
        return Ok(());
    }
    let select = device_selector("select", &rollout.spec.select)?;
    match tx.candidates(project, &select, (DeviceId(0), 1), now)?.is_empty() {
        true => Err(FlowError::Conflict(format!(
            "no accepted device matches {:?}: check the selector, or make the rollout dynamic",
            rollout.spec.select
        ))),
        false => Ok(()),
    }
}

/// Only rollouts that no device depends on.
pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: RolloutId) -> Result<(), FlowError> {
    actor.may(Permission::RolloutsWrite)?;
    let rollout = tx.rollout(actor.project(), id)?;
    let not_started = matches!(rollout.phase, Phase::Draft | Phase::AwaitingApproval | Phase::Ready);
    if !not_started && rollout.sum(|wave| wave.counts.total()) > 0 {
        return Err(FlowError::Conflict(format!("{id} has touched devices and stays as their history")));
    }
    if !not_started && !rollout.phase.has_ended() {
        return Err(FlowError::Conflict(format!("{id} is under way: abort it first")));
    }
    tx.delete_rollout(actor.project(), id)?;
    let event = NewEvent { kind: "rollout", target: &id.to_string(), change: "deleted", rollout: Some(id) };
    tx.emit_event(actor.project(), now, &event)?;
    audit::record(tx, now, actor, ("rollout.delete", format!("rollout:{id}")), &json!({ "name": rollout.name }))
}

/// Time may have moved it: starts, soaking.
pub fn tick(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, id: RolloutId) -> Result<(), FlowError> {
    tell_rollout(tx, now, (project, id), Input::Tick)
}

/// Which devices still have to be put into which wave. Reads only; for a million devices it takes seconds.
pub fn division(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    rollout: &Rollout,
) -> Result<Vec<(DeviceId, u16)>, FlowError> {
    let known: std::collections::HashSet<DeviceId> =
        view.devices_of_rollout(project, rollout.id)?.into_iter().collect();
    let all = match rollout.retry_of {
        Some(old) => view.failed_devices(project, old)?,
        None => all_candidates(view, now, project, &rollout.spec.select)?,
    };
    let mut selected: HashMap<DeviceId, u128> = HashMap::new();
    for (at, wave) in rollout.spec.waves.iter().enumerate() {
        if let Take::Select(select) = &wave.take {
            for device in all_candidates(view, now, project, select)? {
                *selected.entry(device).or_default() |= 1 << at;
            }
        }
    }
    let candidates: Vec<Candidate> = all
        .into_iter()
        .filter(|device| !known.contains(device))
        .map(|device| Candidate { device, selected: selected.get(&device).copied().unwrap_or(0) })
        .collect();
    let already: Vec<u32> = rollout.waves.iter().map(|wave| wave.counts.total()).collect();
    Ok(divide(rollout.id, &rollout.spec.waves, &candidates, &already))
}

fn all_candidates(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    select: &str,
) -> Result<Vec<DeviceId>, FlowError> {
    const PAGE: u32 = 10_000;
    let select = device_selector("select", select)?;
    let mut all: Vec<DeviceId> = Vec::new();
    loop {
        let after = all.last().copied().unwrap_or(DeviceId(0));
        let page = view.candidates(project, &select, (after, PAGE), now)?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// Puts some devices into their waves. `false`: the rollout is no longer being filled.
pub fn fill(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, RolloutId),
    batch: &[(DeviceId, u16)],
) -> Result<bool, FlowError> {
    let (project, id) = of;
    let rollout = tx.rollout(project, id)?;
    let joins_later = rollout.spec.dynamic && matches!(rollout.phase, Phase::Running { .. });
    if rollout.phase != Phase::Filling && !joins_later {
        return Ok(false);
    }
    let withheld = approvals::withheld(tx, project, &rollout)?;
    let mut joined: HashMap<u16, u32> = HashMap::new();
    for (device, wave) in batch {
        if is_withheld(tx, now, (project, *device), &withheld)? {
            tracing::warn!(rollout.id = %id, "a device came under a rule of approval after rollout {id} started; it is left out");
            continue;
        }
        // It may have been deleted since the division was worked out.
        let Ok(previous) = tx.installed_release(project, *device) else { continue };
        let action = new_action(&rollout, (*device, *wave), previous, now);
        if tx.insert_action(project, &action, rollout.spec.window.as_ref())?.is_some() {
            *joined.entry(*wave).or_default() += 1;
        }
    }
    for (wave, count) in joined {
        tell_rollout(tx, now, of, Input::Joined { wave, count })?;
    }
    Ok(true)
}

/// Its labels were changed after the start so that it comes under a rule that nobody was asked about.
fn is_withheld(
    tx: &Tx<'_>,
    now: Timestamp,
    (project, device): (ProjectId, DeviceId),
    withheld: &[Selector],
) -> Result<bool, FlowError> {
    for select in withheld {
        if tx.device_matches(project, device, select, now)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub fn filled(tx: &mut Tx<'_>, now: Timestamp, of: (ProjectId, RolloutId)) -> Result<(), FlowError> {
    tell_rollout(tx, now, of, Input::Filled)
}

fn new_action(rollout: &Rollout, at: (DeviceId, u16), previous: Option<ReleaseId>, now: Timestamp) -> Action {
    let (device, wave) = at;
    Action {
        id: ActionId(0),
        device,
        rollout: rollout.id,
        wave,
        rollback: false,
        release: rollout.release,
        previous,
        priority: rollout.spec.priority,
        push: rollout.spec.push,
        confirmation: rollout.spec.confirmation,
        silence: rollout.spec.silence(),
        state: ActionState::Scheduled,
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

/// Opens some scheduled actions of open waves. `false`: none is left, or the rollout is not running.
pub fn open(tx: &mut Tx<'_>, now: Timestamp, of: (ProjectId, RolloutId)) -> Result<bool, FlowError> {
    let (project, id) = of;
    let rollout = tx.rollout(project, id)?;
    let Phase::Running { .. } = rollout.phase else { return Ok(false) };
    for (at, wave) in rollout.waves.iter().enumerate() {
        let is_open = matches!(wave.state, WaveState::Open | WaveState::Passed);
        if !is_open || wave.counts.of(ActionState::Scheduled) == 0 {
            continue;
        }
        let part = Part { rollout: id, rollback: false, wave: u16::try_from(at).ok() };
        let batch = tx.actions_in_state(project, part, ActionState::Scheduled, limit::WORK_BATCH_ACTIONS)?;
        for action in &batch {
            open_one(tx, now, project, action)?;
        }
        return Ok(!batch.is_empty());
    }
    Ok(false)
}

fn open_one(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, action: &Action) -> Result<(), FlowError> {
    advance(tx, now, project, action, ActionInput::Open)?;
    give_turn(tx, now, project, action.device)
}

/// Cancels some open actions on the way there. `false`: none is left to cancel.
pub fn cancel_some(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, RolloutId),
    reason: &EndReason,
) -> Result<bool, FlowError> {
    const CANCELABLE: [ActionState; 5] = [
        ActionState::Scheduled,
        ActionState::Queued,
        ActionState::AwaitingConfirmation,
        ActionState::Offered,
        ActionState::Running,
    ];
    let (project, rollout) = of;
    let part = Part { rollout, rollback: false, wave: None };
    for state in CANCELABLE {
        let batch = tx.actions_in_state(project, part, state, limit::WORK_BATCH_ACTIONS)?;
        for action in &batch {
            let next = advance(tx, now, project, action, ActionInput::Cancel(reason.clone()))?;
            after_end(tx, now, project, (action, &next))?;
        }
        if !batch.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Begins some ways back. `false`: every device that took the release is on its way.
pub fn roll_back_some(tx: &mut Tx<'_>, now: Timestamp, of: (ProjectId, RolloutId)) -> Result<bool, FlowError> {
    let (project, id) = of;
    if cancel_some(tx, now, of, &EndReason::RolloutRolledBack)? {
        return Ok(true);
    }
    let rollout = tx.rollout(project, id)?;
    let Phase::RollingBack { .. } = rollout.phase else { return Ok(false) };
    let batch = tx.without_way_back(project, id, limit::WORK_BATCH_ACTIONS)?;
    for action in &batch {
        let Some(previous) = action.previous else { continue };
        let back = Action {
            rollback: true,
            release: previous,
            previous: Some(action.release),
            push: Push::Forced,
            confirmation: false,
            state: ActionState::Queued,
            ..new_action(&rollout, (action.device, action.wave), None, now)
        };
        if tx.insert_action(project, &back, rollout.spec.window.as_ref())?.is_some() {
            tell_rollout(tx, now, of, Input::BackMade { wave: back.wave, count: 1 })?;
            give_turn(tx, now, project, back.device)?;
        }
    }
    if batch.is_empty() {
        tell_rollout(tx, now, of, Input::BackSettled)?;
    }
    Ok(!batch.is_empty())
}

/// Devices that match a dynamic rollout now and are in neither it nor a newer one. Reads only.
pub fn joiners(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    rollout: &Rollout,
) -> Result<Vec<(DeviceId, u16)>, FlowError> {
    let last = u16::try_from(rollout.waves.len() - 1).expect("a rollout has few waves");
    let mut joining = Vec::new();
    for device in all_candidates(view, now, project, &rollout.spec.select)? {
        if view.newest_rollout_of(project, device)?.is_none_or(|newest| newest < rollout.id) {
            joining.push((device, last));
        }
    }
    Ok(joining)
}

fn check_selectors(spec: &Spec) -> Result<(), FlowError> {
    device_selector("select", &spec.select)?;
    for (at, wave) in spec.waves.iter().enumerate() {
        if let Take::Select(select) = &wave.take {
            device_selector(&format!("waves/{at}/take/select"), select)?;
        }
    }
    Ok(())
}

/// A selector over devices that came in under `field`.
pub fn device_selector(field: &str, text: &str) -> Result<Selector, FlowError> {
    Selector::parse(text, &DEVICE_SCHEMA).map_err(|source| FlowError::Selector { field: field.to_owned(), source })
}

fn person(actor: &Actor) -> Result<Person, FlowError> {
    match actor {
        Actor::Account { id, name, .. } => Ok(Person { id: *id, name: name.clone() }),
        Actor::Device { .. } | Actor::Muster { .. } => {
            Err(FlowError::NotAllowed(muster_domain::actor::NotAllowed(Permission::RolloutsWrite)))
        }
    }
}
