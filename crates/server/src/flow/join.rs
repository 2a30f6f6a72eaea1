//! How does a device of Muster's own agent come in?
//!
//! With the project's gateway token or with a join token, once. A join whose answer was lost may be repeated with the
//! same secret until the device has used its own token.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::device::{AttributeMode, Device, DeviceState, patch_labels};
use muster_domain::{Actor, Permission};
use muster_store::devices::NewDevice;
use muster_store::events::NewEvent;
use muster_store::join::JoinToken;
use muster_store::{StoreError, Tx};
use muster_trust::secret;
use muster_vocab::{DeviceId, Name, ProjectId, Timestamp, limit};
use serde_json::json;

use super::audit;
use super::devices::{check_name, register, report_difference, settle_interval, state_name};
use super::error::FlowError;
use super::twin;

const LIFE_MIN: Duration = Duration::from_secs(60);

/// What a device shows and says when it joins.
#[derive(Debug, Clone)]
pub struct Joining {
    pub device: String,
    /// SHA-256 of the secret it shows.
    pub proof: [u8; 32],
    pub attributes: BTreeMap<String, String>,
    /// It has used a token of its own since the server knows it.
    pub was_seen: bool,
}

/// What a join token shall be.
#[derive(Debug, Clone)]
pub struct JoinTokenSpec {
    pub name: String,
    /// Devices it lets in; none: any number.
    pub uses: Option<u64>,
    pub life: Duration,
    pub labels: BTreeMap<String, String>,
}

/// Whose secret it is.
enum Right {
    Gateway,
    Token(JoinToken),
}

/// Lets a device in. Returns the secret of its own token, which is shown only now.
pub fn join(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, joining: Joining) -> Result<String, FlowError> {
    check_name(&joining.device)?;
    let right = right(tx, project, &joining.proof)?;
    let id = match tx.device(project, &joining.device) {
        Ok(known) => again(tx, now, project, (&known, &right, &joining))?,
        Err(StoreError::NoDevice(_)) => first(tx, now, project, (&right, &joining.device))?,
        Err(other) => return Err(other.into()),
    };
    let own = secret::generate("")?;
    tx.save_device_token(project, id, secret::digest(&own))?;
    tx.save_joined_with(project, id, joining.proof, now)?;
    // Whoever joins has nothing yet, whatever a device of this name said before.
    twin::forget_reported(tx, project, id)?;
    if !joining.attributes.is_empty() {
        report_difference(tx, now, (project, id), AttributeMode::Merge, &joining.attributes)?;
    }
    // Whatever it told on the way in, it tells all of them once.
    tx.save_attributes_requested(project, id, true)?;
    Ok(own)
}

fn right(tx: &Tx<'_>, project: ProjectId, proof: &[u8; 32]) -> Result<Right, FlowError> {
    if tx.project(project)?.gateway_token.is_some_and(|gateway| secret::same(&gateway, proof)) {
        return Ok(Right::Gateway);
    }
    let token = tx.join_token_by_digest(project, proof)?;
    token.map(Right::Token).ok_or_else(|| {
        FlowError::JoinRefused("this is no join token of the project: ask its operator for a new one".into())
    })
}

/// A device that is known already: only if nothing is taken from anybody by it.
fn again(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    who: (&Device, &Right, &Joining),
) -> Result<DeviceId, FlowError> {
    let (known, right, joining) = who;
    if known.state == DeviceState::Rejected {
        return Err(FlowError::DeviceRejected);
    }
    let by_gateway = matches!(right, Right::Gateway);
    let joined_with = tx.joined_with(project, known.id)?;
    let answer_lost = !joining.was_seen && joined_with == Some(joining.proof);
    let waits = known.state == DeviceState::Pending && by_gateway;
    // It came by the gateway token, which speaks for all devices: the same token may give it one of its own.
    let has_token = tx.standing_of(project, &known.name)?.is_some_and(|standing| standing.token.is_some());
    let moves_over = by_gateway && !has_token;
    let name = &known.name;
    if !(answer_lost || waits || moves_over) {
        return Err(FlowError::Conflict(format!(
            "{name} has joined already: let it use its token, or have an operator delete the device (its history \
             goes) or make it a new token by hand (muster device token {name})"
        )));
    }
    let actor = Actor::Device { name: name.clone(), project };
    audit::record(tx, now, &actor, ("device.join-again", format!("device:{name}")), &json!({}))?;
    Ok(known.id)
}

fn first(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, who: (&Right, &str)) -> Result<DeviceId, FlowError> {
    let (right, name) = who;
    let token = match right {
        Right::Gateway => {
            let refused = || {
                FlowError::JoinRefused(
                    "the project takes no devices by its gateway token: ask its operator for a join token".into(),
                )
            };
            return register(tx, now, project, name)?.ok_or_else(refused);
        }
        Right::Token(token) => token,
    };
    if token.expires_at <= now {
        let name = &token.name;
        return Err(FlowError::JoinRefused(format!("join token {name} has expired: ask its operator for a new one")));
    }
    if token.uses_left == Some(0) {
        let name = &token.name;
        return Err(FlowError::JoinRefused(format!("join token {name} is used up: ask its operator for a new one")));
    }
    tx.count_join(project, token.id)?;
    let new = NewDevice { name: name.to_owned(), state: DeviceState::Accepted, token: None, poll_interval_s: 0 };
    let id = tx.insert_device(project, &new, now)?;
    let device = Device { labels: token.labels.clone(), ..tx.device_by_id(project, id)? };
    tx.save_labels(project, &device)?;
    settle_interval(tx, now, project, &device)?;
    let state = state_name(DeviceState::Accepted);
    tx.emit_event(project, now, &NewEvent { kind: "device", target: name, change: state, rollout: None })?;
    let actor = Actor::Device { name: name.to_owned(), project };
    let detail = json!({ "state": state, "join_token": token.name });
    audit::record(tx, now, &actor, ("device.register", format!("device:{name}")), &detail)?;
    Ok(id)
}

/// A person makes a join token. Returns its secret, which is shown only now.
pub fn create(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    spec: JoinTokenSpec,
) -> Result<(JoinToken, String), FlowError> {
    actor.may(Permission::DevicesWrite)?;
    let project = actor.project();
    Name::parse(&spec.name).map_err(|source| FlowError::Name { field: "name", source })?;
    if spec.uses == Some(0) || spec.uses.is_some_and(|uses| i64::try_from(uses).is_err()) {
        return Err(FlowError::invalid(
            "uses",
            "a join token lets in at least one device; leave uses out for any number",
        ));
    }
    if spec.life < LIFE_MIN || spec.life > limit::JOIN_TOKEN_LIFE_MAX {
        let days = limit::JOIN_TOKEN_LIFE_MAX.as_secs() / 86_400;
        return Err(FlowError::invalid("life_s", format!("a join token lives between 60 s and {days} days")));
    }
    if tx.count_join_tokens(project)? >= limit::JOIN_TOKENS_PER_PROJECT_MAX {
        return Err(FlowError::Conflict("the project has too many join tokens: delete some".into()));
    }
    let patch = spec.labels.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let new = JoinToken {
        id: 0,
        name: spec.name,
        uses: 0,
        uses_left: spec.uses,
        expires_at: now.plus(spec.life),
        labels: patch_labels(&BTreeMap::new(), &patch)?,
        created_at: now,
        created_by: actor.to_string(),
    };
    let made = secret::generate(secret::JOIN_TOKEN_PREFIX)?;
    tx.insert_join_token(project, &new, secret::digest(&made))?;
    let detail = json!({ "uses": new.uses_left, "expires_at": new.expires_at, "labels": new.labels });
    audit::record(tx, now, actor, ("join-token.create", target(&new.name)), &detail)?;
    Ok((tx.join_token(project, &new.name)?, made))
}

/// Nobody comes in with it any more; those who did stay.
pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::DevicesWrite)?;
    let token = tx.join_token(actor.project(), name)?;
    tx.delete_join_token(actor.project(), &token.name)?;
    audit::record(tx, now, actor, ("join-token.delete", target(name)), &json!({ "uses": token.uses }))
}

fn target(name: &str) -> String {
    format!("join-token:{name}")
}
