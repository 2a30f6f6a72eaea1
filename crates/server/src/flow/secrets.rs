//! What do devices need that nobody else shall read?
//!
//! A value comes in once and goes out sealed for one device. Here it is known by name and version.

use std::collections::BTreeMap;

use muster_domain::{Actor, Permission};
use muster_store::events::NewEvent;
use muster_store::secrets::SecretEntry;
use muster_store::{Cursor, StoreError, Tx, View};
use muster_trust::authority::proof::{is_signed_by, key_digest};
use muster_trust::delivery;
use muster_vocab::secret_mark::{Mark, marks};
use muster_vocab::{DeviceId, Name, ProjectId, Timestamp, limit};
use serde_json::json;
use zeroize::Zeroizing;

use super::audit;
use super::error::FlowError;
use crate::vault::Vault;

/// A value, and where it belongs. Sealed before it gets here.
#[derive(Debug)]
pub struct NewSecret {
    pub name: String,
    /// One more than the version there was.
    pub version: u64,
    pub sealed: Vec<u8>,
}

/// What a value is sealed for: no row can be passed off as another.
#[must_use]
pub fn purpose(project: ProjectId, name: &str, version: u64) -> String {
    format!("secret {}/{name}/{version}", project.0)
}

/// Before the value is looked at: may they, and which version will it be?
pub fn next_version(view: &View<'_>, actor: &Actor, name: &str) -> Result<u64, FlowError> {
    actor.may(Permission::SecretsWrite)?;
    Name::parse(name).map_err(|source| FlowError::Name { field: "name", source })?;
    Ok(view.secret_version(actor.project(), name)? + 1)
}

/// Devices whose files hold it get the new value as soon as they ask.
pub fn put(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: &NewSecret) -> Result<SecretEntry, FlowError> {
    if next_version(tx, actor, &new.name)? != new.version {
        return Err(FlowError::Conflict("somebody else set this secret at the same time: set it again".into()));
    }
    let project = actor.project();
    let is_new = matches!(tx.secret(project, &new.name), Err(StoreError::Missing { .. }));
    if is_new && tx.count_secrets(project)? >= limit::SECRETS_PER_PROJECT_MAX {
        let most = limit::SECRETS_PER_PROJECT_MAX;
        return Err(FlowError::Conflict(format!("a project has at most {most} secrets: delete one")));
    }
    let entry = SecretEntry {
        id: 0,
        name: new.name.clone(),
        version: new.version,
        updated_at: now,
        updated_by: actor.to_string(),
    };
    tx.save_secret(project, &entry, &new.sealed)?;
    tx.begin_render_sweep(project)?;
    event(tx, now, actor, (&new.name, "changed"))?;
    let target = format!("secret:{}", new.name);
    audit::record(tx, now, actor, ("secret.put", target), &json!({ "version": new.version }))?;
    Ok(tx.secret(project, &new.name)?)
}

/// Refused while a template names it: its devices would get nothing at all.
pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::SecretsWrite)?;
    let project = actor.project();
    tx.secret(project, name)?;
    if let Some(user) = user_of(tx, project, name)? {
        return Err(FlowError::Conflict(format!("configuration {user:?} uses it: take it out there first")));
    }
    tx.delete_secret(project, name)?;
    event(tx, now, actor, (name, "deleted"))?;
    audit::record(tx, now, actor, ("secret.delete", format!("secret:{name}")), &json!({}))
}

/// A configuration one of whose templates names the secret.
fn user_of(view: &View<'_>, project: ProjectId, name: &str) -> Result<Option<String>, FlowError> {
    let all = view.configurations(project, Cursor(0), limit::CONFIGURATIONS_PER_PROJECT_MAX)?;
    let spelt = [format!("secret.{name}"), format!("secret[\"{name}\"]"), format!("secret['{name}']")];
    let names_it = |template: &str| spelt.iter().any(|one| mentions(template, one));
    let found = all.rows.into_iter().find(|one| one.spec.files.iter().any(|file| names_it(&file.content)));
    Ok(found.map(|one| one.name))
}

/// The spelling is there, and doesn't go on as a longer name.
fn mentions(template: &str, spelt: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    template.match_indices(spelt).any(|(at, _)| !goes_on(&template[at + spelt.len()..]))
}

/// A device's question for the values in its files.
#[derive(Debug)]
pub struct Question {
    pub configuration: u64,
    /// X25519, made for this question.
    pub key: Vec<u8>,
    /// The device's own, DER, and its signature over the other.
    pub public_key: Vec<u8>,
    pub scheme: u16,
    pub signature: Vec<u8>,
}

/// Sealed for the device alone: an object of marks and values.
pub fn answer(
    view: &View<'_>,
    vault: &Vault,
    (project, device): (ProjectId, DeviceId),
    asked: &Question,
) -> Result<Vec<u8>, FlowError> {
    check_signature(view, (project, device), asked)?;
    let changed = || FlowError::Conflict("this configuration is not the newest any more: ask for orders again".into());
    let Some((version, files)) = super::twin::configuration_for(view, project, device)? else {
        return Err(changed());
    };
    if version != asked.configuration {
        return Err(changed());
    }
    let mut values = BTreeMap::new();
    for mark in files.iter().flat_map(|file| marks(&file.content)) {
        values.insert(mark.to_string(), value(view, vault, project, mark)?.ok_or_else(changed)?);
    }
    let shown: BTreeMap<&String, &str> = values.iter().map(|(mark, value)| (mark, value.as_str())).collect();
    let plain = Zeroizing::new(serde_json::to_vec(&shown).map_err(|bad| FlowError::Conflict(bad.to_string()))?);
    delivery::seal(&asked.key, &plain).map_err(|bad| FlowError::Invalid { field: "key", detail: bad.to_string() })
}

/// Only with the key that the project knows the device by.
fn check_signature(view: &View<'_>, of: (ProjectId, DeviceId), asked: &Question) -> Result<(), FlowError> {
    let none = "this device has no key of its own, and secrets are sealed for one: let it join over HTTPS";
    let Some((keys, _)) = view.device_keys(of.0, of.1)? else {
        return Err(FlowError::Conflict(none.into()));
    };
    let shown = key_digest(&asked.public_key);
    let bad = |detail: &str| Err(FlowError::Invalid { field: "signature", detail: detail.into() });
    if shown != keys.key && Some(shown) != keys.next {
        return bad("this is not the key that the device joined with");
    }
    if !is_signed_by(&asked.public_key, asked.scheme, &delivery::asked(&asked.key), &asked.signature) {
        return bad("the key for the answer is not signed by the device's own");
    }
    Ok(())
}

fn value(
    view: &View<'_>,
    vault: &Vault,
    project: ProjectId,
    mark: Mark<'_>,
) -> Result<Option<Zeroizing<String>>, FlowError> {
    let Some(sealed) = view.sealed_secret(project, mark.name, mark.version)? else { return Ok(None) };
    let opened = vault.unseal(&purpose(project, mark.name, mark.version), &sealed)?;
    let text = String::from_utf8(opened.to_vec());
    Ok(Some(Zeroizing::new(text.map_err(|_| FlowError::Conflict(format!("secret {:?} is not text", mark.name)))?)))
}

fn event(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, what: (&str, &str)) -> Result<(), FlowError> {
    let event = NewEvent { kind: "secret", target: what.0, change: what.1, rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    Ok(())
}

/// Seals a batch of values again with the newest master key; says after which one it goes on.
pub fn reseal_some(tx: &mut Tx<'_>, vault: &Vault, after: i64) -> Result<Option<i64>, FlowError> {
    let some = tx.sealed_secrets(after, limit::WORK_BATCH_ACTIONS)?;
    for one in &some {
        let purpose = purpose(one.project, &one.name, one.version);
        if let Some(sealed) = vault.resealed(&purpose, &one.sealed)? {
            tx.replace_sealed_secret(one.id, &one.sealed, &sealed)?;
        }
    }
    Ok(some.last().map(|one| one.id))
}

/// The keys of the server's own authorities.
pub fn reseal_authorities(tx: &mut Tx<'_>, vault: &Vault) -> Result<(), FlowError> {
    for authority in tx.authorities()? {
        let Some(key) = &authority.key else { continue };
        if let Some(sealed) = vault.resealed(&crate::identity::purpose(&authority.name), key)? {
            tx.replace_authority_key(authority.id, &sealed)?;
        }
    }
    Ok(())
}

/// That it happened, for the log. Only admins of the server's first project get here.
pub fn rotated(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: &str) -> Result<(), FlowError> {
    audit::record(tx, now, actor, ("master_key.rotate", format!("master_key:{id}")), &json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_names_a_secret_is_found_and_a_longer_name_is_another() {
        for template in ["a={{ secret.db }}", "{{secret.db|x}}", "{% if secret.db %}"] {
            assert!(mentions(template, "secret.db"), "{template}");
        }
        assert!(!mentions("{{ secret.db_2 }}", "secret.db"));
        assert!(mentions("{{ secret.db_2 }} {{ secret.db }}", "secret.db"));
    }
}
