//! Releases: drafted, published, yanked.

use muster_domain::attestation::Inner;
use muster_domain::release::{self, Component, Release, ReleaseState};
use muster_domain::{Actor, Permission};
use muster_store::Tx;
use muster_store::events::NewEvent;
use muster_vocab::{Name, ReleaseId, Timestamp};
use serde_json::json;

use super::devices::check_revision;
use super::error::FlowError;
use super::{attestations, audit};

/// A release as somebody asks for it.
#[derive(Debug, Clone)]
pub struct NewRelease {
    pub name: String,
    pub version: String,
    pub components: Vec<Component>,
    pub notes: String,
}

/// Notes are prose for people, not a place for files.
const NOTES_BYTES_MAX: usize = 64 * 1024;

pub fn create(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: NewRelease) -> Result<Release, FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let name = Name::parse(&new.name).map_err(|source| FlowError::Name { field: "name", source })?;
    let version = Name::parse(&new.version).map_err(|source| FlowError::Name { field: "version", source })?;
    if new.notes.len() > NOTES_BYTES_MAX {
        return Err(FlowError::invalid("notes", format!("notes have at most {NOTES_BYTES_MAX} bytes")));
    }
    let mut components = new.components;
    for component in &mut components {
        for artifact in &mut component.artifacts {
            let known = tx.artifact(actor.project(), artifact.digest)?;
            if artifact.file_name.is_empty() {
                artifact.file_name = known.name;
            }
        }
    }
    release::check(&components)?;
    let release = Release {
        id: ReleaseId(0),
        name,
        version,
        state: ReleaseState::Draft,
        components,
        notes: new.notes,
        created_at: now,
        created_by: actor.to_string(),
        published_at: None,
        revision: 1,
    };
    let id = tx.insert_release(actor.project(), &release)?;
    told(tx, now, actor, (&label(&release), "created", "release.create"))?;
    Ok(tx.release(actor.project(), id)?)
}

/// From now on rollouts and channels can use it, and nothing in it can change.
/// `inner`: what its images say of themselves.
pub fn publish(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, &str),
    inner: &[Inner],
) -> Result<Release, FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let release = tx.release_named(actor.project(), of.0, of.1)?;
    match release.state {
        ReleaseState::Published => return Ok(release),
        ReleaseState::Yanked => return Err(FlowError::Conflict(format!("{} was yanked", label(&release)))),
        ReleaseState::Draft => {}
    }
    attestations::check_published(tx, actor, &release, inner)?;
    tx.save_release_state(actor.project(), release.id, ReleaseState::Published, Some(now))?;
    told(tx, now, actor, (&label(&release), "published", "release.publish"))?;
    Ok(tx.release(actor.project(), release.id)?)
}

/// No new rollout can use it; devices that run it keep it.
pub fn yank(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, &str),
    reason: &str,
) -> Result<Release, FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let release = tx.release_named(actor.project(), of.0, of.1)?;
    if release.state == ReleaseState::Draft {
        return Err(FlowError::Conflict(format!("{} is a draft: delete it instead", label(&release))));
    }
    tx.save_release_state(actor.project(), release.id, ReleaseState::Yanked, release.published_at)?;
    let event = NewEvent { kind: "release", target: &label(&release), change: "yanked", rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    let target = format!("release:{}", label(&release));
    audit::record(tx, now, actor, ("release.yank", target), &json!({ "reason": reason }))?;
    Ok(tx.release(actor.project(), release.id)?)
}

/// Drafts, and what nothing ever used.
pub fn delete(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, &str),
    revision: Option<u64>,
) -> Result<(), FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let release = tx.release_named(actor.project(), of.0, of.1)?;
    check_revision(revision, release.revision)?;
    if let Some(by) = tx.release_used_by(actor.project(), release.id)? {
        return Err(FlowError::Conflict(format!("{} is used by {by}; yank it instead", label(&release))));
    }
    tx.delete_release(actor.project(), release.id)?;
    told(tx, now, actor, (&label(&release), "deleted", "release.delete"))
}

fn told(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, what: (&str, &str, &str)) -> Result<(), FlowError> {
    let (label, change, action) = what;
    let event = NewEvent { kind: "release", target: label, change, rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    audit::record(tx, now, actor, (action, format!("release:{label}")), &json!({}))
}

fn label(release: &Release) -> String {
    format!("{}@{}", release.name, release.version)
}
