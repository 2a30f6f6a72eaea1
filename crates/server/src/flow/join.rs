//! How does a device of Muster's own agent come in?
//!
//! With the project's gateway token, a join token, a key that was announced, a certificate of an authority that the
//! project believes, or nothing but its own key; the project's enrolment policy says who comes in by itself. A join
//! whose answer was lost may be repeated with the same secret until the device has used its own token, and with the
//! same key at any time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use muster_domain::device::{AttributeMode, Device, DeviceState, patch_labels};
use muster_domain::enrollment::{Decision, Newcomer, Shows, Verdict, counted_as, decide};
use muster_domain::{Actor, Permission};
use muster_store::devices::NewDevice;
use muster_store::events::NewEvent;
use muster_store::identity::Claim;
use muster_store::join::JoinToken;
use muster_store::{StoreError, Tx};
use muster_trust::authority::short_fingerprint;
use muster_trust::secret;
use muster_vocab::{DeviceId, Name, ProjectId, Timestamp, limit};
use serde_json::json;

use super::audit;
use super::devices::{check_name, register, report_difference, settle_interval, state_name};
use super::error::FlowError;
use super::rollouts::device_selector;
use super::{identity, twin};

/// In which a rule of the policy counts whom it lets in.
pub const HOUR: Duration = Duration::from_secs(3600);

const LIFE_MIN: Duration = Duration::from_secs(60);

/// What a device shows and says when it joins.
#[derive(Debug, Clone)]
pub struct Joining {
    pub device: String,
    pub proof: Proof,
    /// SHA-256 of the key that it wants a certificate for. None: it wants a token.
    pub key: Option<[u8; 32]>,
    pub attributes: BTreeMap<String, String>,
    /// It has used a token of its own since the server knows it.
    pub was_seen: bool,
    pub by_est: bool,
    /// Where it calls from.
    pub address: Option<IpAddr>,
}

/// What speaks for a device that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// SHA-256 of a join token or of the project's gateway token.
    Secret([u8; 32]),
    /// It has the key with this digest, which was told in advance.
    Claimed([u8; 32]),
    /// An authority of the project has given it this name.
    Authority,
    /// Its key lies in this TPM, whose maker the project believes.
    Tpm([u8; 32]),
    Nothing,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// The secret of its own token, shown only now.
    Token(String),
    /// It gets a certificate for its key.
    Certificate,
    /// A person has to let it in.
    Waits,
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

/// What it comes in by.
enum Right {
    Gateway,
    Token(JoinToken),
    Claim(Claim),
    Authority,
    Tpm([u8; 32]),
    Nothing,
}

/// Lets a device in, or has it wait.
pub fn join(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, joining: Joining) -> Result<Joined, FlowError> {
    check_name(&joining.device)?;
    let right = right(tx, project, &joining)?;
    let (id, state) = match tx.device(project, &joining.device) {
        Ok(known) => match again(tx, now, project, (&known, &right, &joining))? {
            Again::In => (known.id, known.state),
            Again::SameKey => return Ok(waits_or(known.state, Joined::Certificate)),
            Again::Nobody => return Ok(Joined::Waits),
        },
        Err(StoreError::NoDevice(_)) => first(tx, now, project, (&right, &joining))?,
        Err(other) => return Err(other.into()),
    };
    if let Proof::Secret(proof) = joining.proof {
        tx.save_joined_with(project, id, proof, now)?;
    }
    tx.save_device_hold(project, id, None)?;
    // Whoever joins has nothing yet, whatever a device of this name said before.
    twin::forget_reported(tx, project, id)?;
    tx.forget_queues(id)?;
    if !joining.attributes.is_empty() {
        report_difference(tx, now, (project, id), AttributeMode::Merge, &joining.attributes)?;
    }
    // Whatever it told on the way in, it tells all of them once.
    tx.save_attributes_requested(project, id, true)?;
    let Some(key) = joining.key else {
        let own = secret::generate("")?;
        tx.save_device_token(project, id, secret::digest(&own))?;
        return Ok(Joined::Token(own));
    };
    tx.delete_device_credentials(project, id)?;
    identity::save_first_key(tx, now, (project, id), key)?;
    Ok(waits_or(state, Joined::Certificate))
}

/// Devices with a token may poll while they wait; a certificate is not made before.
fn waits_or(state: DeviceState, joined: Joined) -> Joined {
    if state == DeviceState::Accepted { joined } else { Joined::Waits }
}

fn right(tx: &Tx<'_>, project: ProjectId, joining: &Joining) -> Result<Right, FlowError> {
    let refused =
        || FlowError::JoinRefused("this is no join token of the project: ask its operator for a new one".into());
    match &joining.proof {
        Proof::Secret(proof) => {
            if tx.project(project)?.gateway_token.is_some_and(|gateway| secret::same(&gateway, proof)) {
                return Ok(Right::Gateway);
            }
            tx.join_token_by_digest(project, proof)?.map(Right::Token).ok_or_else(refused)
        }
        Proof::Claimed(key) => match tx.claim_by_key(project, key)? {
            Some(claim) if claim.name == joining.device => Ok(Right::Claim(claim)),
            Some(claim) => Err(FlowError::JoinRefused(format!(
                "this key was announced for a device of another name: join with --device {}",
                claim.name
            ))),
            None => Ok(Right::Nothing),
        },
        Proof::Authority => Ok(Right::Authority),
        Proof::Tpm(tpm) => Ok(Right::Tpm(*tpm)),
        Proof::Nothing => Ok(Right::Nothing),
    }
}

enum Again {
    /// It comes in anew.
    In,
    /// It asks for the certificate of the key that it has already.
    SameKey,
    /// Somebody who shows nothing names a device that is known: he learns nothing.
    Nobody,
}

/// A device that is known already: only if nothing is taken from anybody by it.
fn again(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    who: (&Device, &Right, &Joining),
) -> Result<Again, FlowError> {
    let (known, right, joining) = who;
    let keys = tx.device_keys(project, known.id)?;
    // The request was signed with the key itself.
    let is_same_key = keys.is_some_and(|(keys, _)| joining.key == Some(keys.key));
    if matches!(right, Right::Nothing) && !is_same_key {
        return Ok(Again::Nobody);
    }
    if known.state.has_left() {
        return Err(FlowError::JoinRefused(format!(
            "{} was decommissioned or belongs to another project: have an operator delete what is left of it here, so \
             that the name is free",
            known.name
        )));
    }
    if matches!(known.state, DeviceState::Rejected | DeviceState::Quarantined) {
        return Err(FlowError::DeviceRejected);
    }
    if is_same_key {
        return Ok(Again::SameKey);
    }
    let by_gateway = matches!(right, Right::Gateway);
    let proof = match joining.proof {
        Proof::Secret(proof) => Some(proof),
        Proof::Claimed(_) | Proof::Authority | Proof::Tpm(_) | Proof::Nothing => None,
    };
    let joined_with = tx.joined_with(project, known.id)?;
    let answer_lost = !joining.was_seen && proof.is_some() && joined_with == proof;
    let waits = known.state == DeviceState::Pending && (by_gateway || matches!(right, Right::Token(_)));
    let has_token = tx.standing_of(project, &known.name)?.is_some_and(|standing| standing.token.is_some());
    let has_nothing = !has_token && keys.is_none();
    // It came by what speaks for all devices, or its credentials were taken away.
    let moves_over = has_nothing && by_gateway;
    let comes_back =
        has_nothing && !by_gateway && !matches!(right, Right::Tpm(_)) && tx.device_hold(project, known.id)?.is_some();
    // Both speak for this one device.
    let is_its_tpm = match right {
        Right::Tpm(shown) => tx.device_tpm(project, known.id)? == Some(*shown),
        Right::Gateway | Right::Token(_) | Right::Claim(_) | Right::Authority | Right::Nothing => false,
    };
    let is_its_own = matches!(right, Right::Claim(_) | Right::Authority) && !has_token && !joining.was_seen;
    let name = &known.name;
    if !(answer_lost || waits || moves_over || comes_back || is_its_own || is_its_tpm) {
        return Err(FlowError::Conflict(format!(
            "{name} has joined already: let it use its token, or have an operator delete the device (its history \
             goes), revoke what it has (muster device revoke {name}) or make it a new token by hand (muster device \
             token {name})"
        )));
    }
    if comes_back && let Right::Token(token) = right {
        spend(tx, now, project, token)?;
    }
    let actor = Actor::Device { name: name.clone(), project };
    audit::record(tx, now, &actor, ("device.join-again", format!("device:{name}")), &json!({}))?;
    Ok(Again::In)
}

/// One device less may come in by it.
fn spend(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, token: &JoinToken) -> Result<(), FlowError> {
    let name = &token.name;
    if token.expires_at <= now {
        return Err(FlowError::JoinRefused(format!("join token {name} has expired: ask its operator for a new one")));
    }
    if token.uses_left == Some(0) {
        return Err(FlowError::JoinRefused(format!("join token {name} is used up: ask its operator for a new one")));
    }
    Ok(tx.count_join(project, token.id)?)
}

fn first(
    tx: &mut Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    who: (&Right, &Joining),
) -> Result<(DeviceId, DeviceState), FlowError> {
    let (right, joining) = who;
    let name = &joining.device;
    let (shows, labels, by) = match right {
        Right::Gateway => {
            let refused = || {
                FlowError::JoinRefused(
                    "the project takes no devices by its gateway token: ask its operator for a join token".into(),
                )
            };
            let id = register(tx, now, project, name)?.ok_or_else(refused)?;
            return Ok((id, tx.device_by_id(project, id)?.state));
        }
        Right::Token(token) => {
            spend(tx, now, project, token)?;
            (Shows::Token, token.labels.clone(), json!({ "join_token": token.name }))
        }
        Right::Claim(claim) => {
            tx.save_claimed(project, claim.id, now)?;
            (Shows::Claim, claim.labels.clone(), json!({ "claim": claim.name }))
        }
        Right::Authority => (Shows::Authority, BTreeMap::new(), json!({ "authority": true })),
        Right::Tpm(tpm) => (Shows::Tpm, BTreeMap::new(), json!({ "tpm": short_fingerprint(tpm) })),
        Right::Nothing => (Shows::Nothing, BTreeMap::new(), json!({})),
    };
    let new = NewDevice { name: name.clone(), state: DeviceState::Pending, token: None, poll_interval_s: 0 };
    let id = tx.insert_device(project, &new, now)?;
    let device = Device { labels, ..tx.device_by_id(project, id)? };
    tx.save_labels(project, &device)?;
    if !joining.attributes.is_empty() {
        report_difference(tx, now, (project, id), AttributeMode::Merge, &joining.attributes)?;
    }
    settle_interval(tx, now, project, &device)?;
    if let Right::Tpm(tpm) = right {
        tx.save_device_tpm(project, id, *tpm)?;
    }
    let decision = enrolled(tx, now, (project, id), (shows, joining))?;
    let state = admitted(tx, project, shows, &decision)?;
    if !decision.labels.is_empty() {
        let patch = decision.labels.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        let labels = patch_labels(&device.labels, &patch)?;
        tx.save_labels(project, &Device { labels, ..tx.device_by_id(project, id)? })?;
    }
    if state != DeviceState::Pending {
        tx.save_device_state(project, id, state)?;
    }
    let event = NewEvent { kind: "device", target: name, change: state_name(state), rollout: None };
    tx.emit_event(project, now, &event)?;
    let actor = Actor::Device { name: name.clone(), project };
    let mut detail = by;
    detail["state"] = json!(state_name(state));
    if let Some(rule) = decision.rule {
        detail["rule"] = json!(rule);
    }
    if let Some(key) = &joining.key {
        detail["key"] = json!(short_fingerprint(key));
    }
    audit::record(tx, now, &actor, ("device.register", format!("device:{name}")), &detail)?;
    Ok((id, state))
}

/// What the project's policy says, and counts whom a rule lets in.
fn enrolled(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    who: (Shows, &Joining),
) -> Result<Decision, FlowError> {
    let ((project, device), (shows, joining)) = (of, who);
    let rules = tx.project(project)?.settings.enrollment;
    let newcomer = Newcomer { shows, by_est: joining.by_est, name: &joining.device, address: joining.address, now };
    let matches = |select: &str| {
        let select = device_selector("enrollment", select)?;
        Ok::<_, FlowError>(tx.device_matches(project, device, &select, now)?)
    };
    let since = now.minus(HOUR);
    let came = |rule: &str| Ok(tx.count_enrolled(project, rule, since)?);
    let decision = decide(&rules, &newcomer, matches, came)?;
    if let (Verdict::Accept, Some(at)) = (decision.verdict, decision.rule) {
        tx.save_enrolled(project, (&counted_as(&rules, at), device), now, since)?;
    }
    Ok(decision)
}

/// A refusal leaves nothing of the device behind.
fn admitted(tx: &Tx<'_>, project: ProjectId, shows: Shows, decision: &Decision) -> Result<DeviceState, FlowError> {
    match decision.verdict {
        Verdict::Accept => Ok(DeviceState::Accepted),
        Verdict::Wait if tx.count_pending(project)? > limit::PENDING_DEVICES_MAX => Err(FlowError::JoinRefused(
            "too many devices wait for this project's operator: ask him to accept or reject them".into(),
        )),
        Verdict::Wait => Ok(DeviceState::Pending),
        Verdict::Refuse if shows == Shows::Nothing => Err(FlowError::JoinRefused(
            "this project lets in nobody who shows nothing: ask its operator for a join token".into(),
        )),
        Verdict::Refuse => {
            Err(FlowError::JoinRefused("the project's enrolment policy refuses this device: ask its operator".into()))
        }
    }
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
