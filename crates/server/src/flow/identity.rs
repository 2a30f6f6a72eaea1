//! How do devices' keys and certificates change, and who is kept out?

use std::collections::BTreeMap;

use muster_domain::device::{Device, DeviceState, patch_labels};
use muster_domain::identity::{Keys, Recognised};
use muster_domain::{Actor, Permission};
use muster_store::Tx;
use muster_store::events::NewEvent;
use muster_store::identity::{Authority, AuthorityKind, Claim, Hold, IssuingRequest};
use muster_trust::authority::pem;
use muster_trust::authority::short_fingerprint;
use muster_trust::authority::verify::is_issued;
use muster_vocab::{DeviceId, Name, ProjectId, Timestamp, limit};
use serde_json::json;

use super::devices::{check_name, check_stays, end_actions, state_name};
use super::error::FlowError;
use super::projects::check_owner;
use super::{access, audit};
use crate::identity::purpose;
use crate::vault::Vault;

/// A certificate for a new key was asked for by the device itself. It counts from its first use on.
pub fn renew(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    key: [u8; 32],
) -> Result<Timestamp, FlowError> {
    let (project, device) = of;
    let (keys, _) = tx
        .device_keys(project, device)?
        .ok_or_else(|| FlowError::Conflict("this device has no certificate to renew: let it join again".into()))?;
    let not_after = now.plus(limit::DEVICE_CERTIFICATE_LIFE);
    tx.save_device_keys(project, device, &keys.renew(key), not_after)?;
    Ok(not_after)
}

/// A key that was asked for is used for the first time.
pub fn promote(tx: &mut Tx<'_>, now: Timestamp, of: (ProjectId, DeviceId), key: [u8; 32]) -> Result<(), FlowError> {
    let (project, device) = of;
    let Some((keys, not_after)) = tx.device_keys(project, device)? else { return Ok(()) };
    if keys.recognise(&key, now) != Recognised::Next {
        return Ok(());
    }
    tx.save_device_keys(project, device, &keys.promote(now), not_after)?;
    let name = tx.device_name(project, device)?;
    let actor = Actor::Device { name: name.clone(), project };
    let detail = json!({ "key": short_fingerprint(&key), "not_after": not_after });
    audit::record(tx, now, &actor, ("device.renew-key", format!("device:{name}")), &detail)
}

/// A key came back that the device had given up.
pub fn noticed_copy(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    key: [u8; 32],
) -> Result<(), FlowError> {
    let short = short_fingerprint(&key);
    let reason = format!(
        "its former key {short} came back after the key was renewed: somebody has a copy of its identity, or the \
         device was restored from an old backup"
    );
    quarantine(tx, now, of, &reason)
}

/// Keeps a device out until a person has looked. Its open actions end; what it runs goes on.
pub fn quarantine(tx: &mut Tx<'_>, now: Timestamp, of: (ProjectId, DeviceId), reason: &str) -> Result<(), FlowError> {
    let (project, id) = of;
    let device = tx.device_by_id(project, id)?;
    if matches!(device.state, DeviceState::Quarantined | DeviceState::Rejected) || device.state.has_left() {
        return Ok(());
    }
    end_actions(tx, now, project, id)?;
    tx.save_device_state(project, id, DeviceState::Quarantined)?;
    tx.save_device_hold(project, id, Some(&Hold { reason: reason.to_owned(), since: now }))?;
    let (name, state) = (&device.name, state_name(DeviceState::Quarantined));
    tx.emit_event(project, now, &NewEvent { kind: "device", target: name, change: state, rollout: None })?;
    let target = format!("device:{name}");
    audit::record(tx, now, &Actor::Muster { project }, ("device.quarantine", target), &json!({ "reason": reason }))
}

/// A person has looked: the device goes on, with the counters that it tells next.
pub fn release(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<Device, FlowError> {
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    if device.state != DeviceState::Quarantined {
        return Err(FlowError::Conflict(format!("{name} is {}, not in quarantine", state_name(device.state))));
    }
    super::devices::decide(tx, now, actor, name, DeviceState::Accepted)
}

/// The device's key and token open nothing any more; it keeps its place and may join again.
pub fn revoke(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<Device, FlowError> {
    let project = actor.project();
    let device = access::device(tx, now, actor, Permission::DevicesWrite, name)?;
    check_stays(&device)?;
    tx.delete_device_credentials(project, device.id)?;
    tx.forget_join(project, device.id)?;
    let reason = "what it proved itself by was revoked; it may join again".to_owned();
    tx.save_device_hold(project, device.id, Some(&Hold { reason, since: now }))?;
    tx.emit_event(project, now, &NewEvent { kind: "device", target: name, change: "revoked", rollout: None })?;
    audit::record(tx, now, actor, ("device.revoke", format!("device:{name}")), &json!({}))?;
    Ok(tx.device_by_id(project, device.id)?)
}

/// One key told in advance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClaim {
    pub name: String,
    pub key: [u8; 32],
    pub labels: BTreeMap<String, String>,
}

/// Keys of devices that will come. All of them, or none.
pub fn claim(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, claims: Vec<NewClaim>) -> Result<usize, FlowError> {
    actor.may(Permission::DevicesWrite)?;
    let project = actor.project();
    if claims.len() > limit::CLAIMS_PER_REQUEST_MAX {
        let max = limit::CLAIMS_PER_REQUEST_MAX;
        return Err(FlowError::invalid("claims", format!("at most {max} at a time: send the manifest in parts")));
    }
    let count = claims.len();
    for new in claims {
        check_name(&new.name)?;
        let patch = new.labels.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let claim = Claim {
            id: 0,
            name: new.name,
            key: new.key,
            labels: patch_labels(&BTreeMap::new(), &patch)?,
            created_at: now,
            created_by: actor.to_string(),
            claimed_at: None,
        };
        tx.insert_claim(project, &claim)?;
    }
    audit::record(tx, now, actor, ("claim.create", "claim:*".into()), &json!({ "count": count }))?;
    Ok(count)
}

pub fn delete_claim(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::DevicesWrite)?;
    if !tx.delete_claim(actor.project(), name)? {
        return Err(muster_store::StoreError::Missing { kind: "claim", name: name.to_owned() }.into());
    }
    audit::record(tx, now, actor, ("claim.delete", format!("claim:{name}")), &json!({}))
}

/// Devices with certificates of this authority are believed to be who it says.
pub fn register_authority(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (name, kind): (&str, AuthorityKind),
    certificate: &str,
) -> Result<Authority, FlowError> {
    actor.may(Permission::Admin)?;
    let project = actor.project();
    Name::parse(name).map_err(|source| FlowError::Name { field: "name", source })?;
    let ders = pem::ders(certificate);
    let [der] = ders.as_slice() else {
        return Err(FlowError::invalid("certificate", "send one certificate in PEM form: -----BEGIN CERTIFICATE-----"));
    };
    if !muster_trust::authority::verify::is_authority(der) {
        return Err(FlowError::invalid(
            "certificate",
            "this certificate is of no authority (basicConstraints CA:TRUE): send the one that signs the devices'",
        ));
    }
    if tx.project_authorities(project)?.len() >= limit::AUTHORITIES_PER_PROJECT_MAX {
        return Err(FlowError::Conflict("the project has too many authorities: delete some".into()));
    }
    let mut new = Authority {
        id: 0,
        kind,
        project: Some(project),
        name: name.to_owned(),
        certificate: pem::certificate(der),
        key: None,
        is_retired: false,
        created_at: now,
        created_by: actor.to_string(),
    };
    new.id = tx.insert_authority(&new)?;
    let detail = json!({ "tpm": kind == AuthorityKind::Tpm });
    audit::record(tx, now, actor, ("authority.register", format!("authority:{name}")), &detail)?;
    Ok(new)
}

/// A new issuing authority of the whole server, which signs from now on: no business of other projects.
pub fn rotate(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: Authority) -> Result<(), FlowError> {
    check_owner(tx, actor)?;
    tx.insert_authority(&new)?;
    audit::record(tx, now, actor, ("identity.rotate", format!("authority:{}", new.name)), &json!({}))
}

/// A key for an issuing authority whose root is elsewhere. Returns the request that the root is to sign.
pub fn request_issuing(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, vault: &Vault) -> Result<String, FlowError> {
    check_owner(tx, actor)?;
    let number = tx.authorities()?.iter().filter(|one| one.kind == AuthorityKind::Issuing).count() + 1;
    let made = muster_trust::authority::issue::request_issuing(&format!("Muster issuing {number}"));
    let (request, key) = made.map_err(|failed| FlowError::Conflict(failed.to_string()))?;
    let name = format!("issuing-{number}");
    let key = vault.seal(&purpose(&name), key.as_bytes()).map_err(|bad| FlowError::Conflict(bad.to_string()))?;
    let new = IssuingRequest { name: name.clone(), request, key, created_at: now, created_by: actor.to_string() };
    tx.save_issuing_request(Some(&new))?;
    audit::record(tx, now, actor, ("identity.request-issuing", format!("authority:{name}")), &json!({}))?;
    Ok(new.request)
}

/// The root has signed the authority that was asked for last; it signs from now on. `root`: PEM.
pub fn accept_issuing(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (root, certificate): (&str, &str),
    vault: &Vault,
) -> Result<(), FlowError> {
    check_owner(tx, actor)?;
    let asked = tx
        .issuing_request()?
        .ok_or_else(|| FlowError::Conflict("no issuing authority was asked for: make a request first".into()))?;
    let is_it = is_issued(root, certificate, &asked.request)
        .map_err(|bad| FlowError::invalid("certificate", bad.to_string()))?;
    if !is_it {
        return Err(FlowError::invalid(
            "certificate",
            "this is not the answer of this server's root to the newest request: sign that one",
        ));
    }
    // The master key may have been changed in between.
    let resealed = vault.resealed(&purpose(&asked.name), &asked.key).map_err(|_| {
        FlowError::Conflict("the request's key can't be opened with this master key: make another request".into())
    })?;
    let der = pem::ders(certificate).into_iter().next().unwrap_or_default();
    let new = Authority {
        id: 0,
        kind: AuthorityKind::Issuing,
        project: None,
        name: asked.name,
        certificate: pem::certificate(&der),
        key: Some(resealed.unwrap_or(asked.key)),
        is_retired: false,
        created_at: now,
        created_by: actor.to_string(),
    };
    tx.save_issuing_request(None)?;
    rotate(tx, now, actor, new)
}

pub fn delete_authority(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    if !tx.delete_project_authority(actor.project(), name)? {
        return Err(muster_store::StoreError::Missing { kind: "authority", name: name.to_owned() }.into());
    }
    audit::record(tx, now, actor, ("authority.delete", format!("authority:{name}")), &json!({}))
}

/// The device's first key, or another one after it was let in anew.
pub fn save_first_key(
    tx: &mut Tx<'_>,
    now: Timestamp,
    of: (ProjectId, DeviceId),
    key: [u8; 32],
) -> Result<Timestamp, FlowError> {
    let not_after = now.plus(limit::DEVICE_CERTIFICATE_LIFE);
    tx.save_device_keys(of.0, of.1, &Keys::first(key, now), not_after)?;
    Ok(not_after)
}
