//! Channels: moving names for releases.

use muster_domain::release::ReleaseState;
use muster_domain::{Actor, Permission};
use muster_store::channels::Channel;
use muster_store::events::NewEvent;
use muster_store::{StoreError, Tx};
use muster_vocab::{Name, Timestamp};
use serde_json::json;

use super::audit;
use super::devices::check_revision;
use super::error::FlowError;
use super::metadata;

/// Points a channel at a published release; makes the channel if it is new.
pub fn put(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, Option<u64>),
    release: (&str, &str),
) -> Result<Channel, FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let (name, revision) = of;
    Name::parse(name).map_err(|source| FlowError::Name { field: "name", source })?;
    match tx.channel(actor.project(), name) {
        Ok(known) => check_revision(revision, known.revision)?,
        // A condition on what is not there yet can't be met.
        Err(StoreError::Missing { .. }) if revision.is_some() => return Err(FlowError::Revision),
        Err(StoreError::Missing { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let found = tx.release_named(actor.project(), release.0, release.1)?;
    let label = format!("{}@{}", release.0, release.1);
    if found.state != ReleaseState::Published {
        return Err(FlowError::Conflict(format!("release {label} is not published, so a channel can't name it")));
    }
    if metadata::is_signed_channel(tx, actor.project(), name)? {
        let vouched = metadata::vouched(tx, actor.project(), &found)?;
        if !vouched.iter().any(|vouched| vouched.by.channel == name) {
            return Err(FlowError::Conflict(format!(
                "channel {name} takes releases only that are signed for it offline: \
                 `muster release sign {label} --channel {name}`"
            )));
        }
    }
    let channel = Channel {
        id: 0,
        name: name.to_owned(),
        release: found.id,
        updated_at: now,
        updated_by: actor.to_string(),
        revision: 0,
    };
    tx.save_channel(actor.project(), &channel)?;
    event(tx, now, actor, (name, "changed"))?;
    audit::record(tx, now, actor, ("channel.put", format!("channel:{name}")), &json!({ "release": label }))?;
    Ok(tx.channel(actor.project(), name)?)
}

pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, of: (&str, Option<u64>)) -> Result<(), FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let known = tx.channel(actor.project(), of.0)?;
    check_revision(of.1, known.revision)?;
    tx.delete_channel(actor.project(), of.0)?;
    event(tx, now, actor, (of.0, "deleted"))?;
    audit::record(tx, now, actor, ("channel.delete", format!("channel:{}", of.0)), &json!({}))
}

fn event(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, what: (&str, &str)) -> Result<(), FlowError> {
    let event = NewEvent { kind: "channel", target: what.0, change: what.1, rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    Ok(())
}
