//! Signed metadata: what was signed offline is put on the shelf, and what depends on it is signed here.

use std::collections::BTreeMap;

use muster_domain::release::Release;
use muster_domain::{Actor, Permission};
use muster_store::{StoreError, Tx, View};
use muster_trust::tuf::document::{Document, Spelling, Target, TargetsRole};
use muster_trust::tuf::make::{TargetPlan, TargetsPlan};
use muster_trust::tuf::secret_key::SecretKey;
use muster_trust::tuf::shelf::{Shelf, ShelfError, TIMESTAMP_LIFE};
use muster_trust::tuf::statement::{self, SignedArtifact, SignedComponent, Statement};
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use muster_wire::agent::SignedBy;
use serde_json::json;

use super::audit;
use super::error::FlowError;

/// Takes a document of `root`, `targets` or a channel's role.
pub fn put(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (role, document): (&str, &str),
    online: &SecretKey,
) -> Result<(), FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    if !matches!(role, "root" | "targets") && !role.starts_with("channel-") {
        return Err(invalid(format!("there is no role {role:?}: root, targets, or channel- and a channel's name")));
    }
    let before = Shelf { files: tx.metadata(actor.project())? };
    let mut after = before.clone();
    after.put(role, document.as_bytes(), online, now).map_err(|refused| invalid(sentence(&refused)))?;
    tx.save_metadata(actor.project(), &before.files, &after.files)?;
    let version = after.newest(role).map_or(0, |(version, _)| version);
    audit::record(tx, now, actor, ("metadata.put", format!("metadata:{role}")), &json!({ "version": version }))
}

/// Signs the timestamp again before it expires; says whether it had to.
pub fn renew(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, online: &SecretKey) -> Result<bool, FlowError> {
    let before = Shelf { files: tx.metadata(project)? };
    let mut after = before.clone();
    let renewed = after.renew(online, now).map_err(|refused| FlowError::Conflict(sentence(&refused)))?;
    if renewed {
        tx.save_metadata(project, &before.files, &after.files)?;
    }
    Ok(renewed)
}

/// A release that a channel vouches for, as it was signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Vouched {
    pub by: SignedBy,
    pub statement: Statement,
    pub path: String,
}

/// Which channels vouch for a release as it is in the store.
pub fn vouched(view: &View<'_>, project: ProjectId, release: &Release) -> Result<Vec<Vouched>, StoreError> {
    let shelf = Shelf { files: view.metadata(project)? };
    let Some(channels) = shelf.channels().ok().filter(|channels| !channels.is_empty()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut statement = statement(view, project, release)?;
    for role in channels {
        let Some(channel) = role.strip_prefix("channel-") else { continue };
        let path = statement::release_path(channel, &statement.release, &statement.version);
        let Some(target) = shelf.newest(&role).and_then(|(_, bytes)| target(bytes, &path)) else { continue };
        statement.counter = statement::counter_of(&target).unwrap_or_default();
        if statement.is(&target) {
            let by = SignedBy { channel: channel.to_owned(), counter: statement.counter };
            found.push(Vouched { by, statement: statement.clone(), path });
        }
    }
    Ok(found)
}

/// Whether only signed releases may be in this channel: its keys are in the targets that were signed offline.
pub fn is_signed_channel(view: &View<'_>, project: ProjectId, channel: &str) -> Result<bool, StoreError> {
    let shelf = Shelf { files: view.metadata(project)? };
    let role = statement::channel_role(channel);
    let top = shelf.newest("targets").and_then(|(_, bytes)| read(bytes));
    let delegations = top.and_then(|top| top.delegations);
    Ok(delegations.is_some_and(|delegations| delegations.roles.iter().any(|known| known.name == role)))
}

/// What the director says to a device: the release of its action, and nothing if it has none.
///
/// The version is the time in seconds: a device refuses what is older than what it was told.
pub fn director(
    view: &View<'_>,
    now: Timestamp,
    (project, device, name): (ProjectId, DeviceId, &str),
    key: &SecretKey,
) -> Result<Vec<u8>, StoreError> {
    let mut targets = BTreeMap::new();
    for action in view.open_actions(project, device)? {
        for found in vouched(view, project, &view.release(project, action.release)?)? {
            let plan = TargetPlan { bytes: found.statement.bytes(), custom: found.statement.custom() };
            targets.insert(found.path, plan);
        }
    }
    let version = u64::try_from(now.0 / 1000).unwrap_or_default().max(1);
    let expires = now.plus(TIMESTAMP_LIFE);
    let plan = TargetsPlan { version, expires, targets, delegations: Vec::new(), device: Some(name.to_owned()) };
    let draft = plan.draft().expect("a statement has whole numbers only");
    Ok(draft.document(&[key.sign(&draft)]))
}

/// A release as it is signed, with no counter yet.
pub fn statement(view: &View<'_>, project: ProjectId, release: &Release) -> Result<Statement, StoreError> {
    let mut components = Vec::with_capacity(release.components.len());
    for component in &release.components {
        let mut artifacts = Vec::with_capacity(component.artifacts.len());
        for artifact in &component.artifacts {
            let size = view.artifact(project, artifact.digest)?.size;
            artifacts.push(SignedArtifact { file_name: artifact.file_name.clone(), size, digest: artifact.digest });
        }
        components.push(SignedComponent {
            name: component.name.clone(),
            version: component.version.to_string(),
            metadata: component.metadata.clone(),
            artifacts,
        });
    }
    Ok(Statement { release: release.name.to_string(), version: release.version.to_string(), counter: 0, components })
}

fn target(document: &[u8], path: &str) -> Option<Target> {
    read(document)?.targets.remove(path)
}

/// What is on the shelf was read as devices read it before it came there.
fn read(document: &[u8]) -> Option<TargetsRole> {
    Document::<TargetsRole>::read(document, Spelling::Exact).ok().map(|document| document.signed)
}

fn invalid(detail: String) -> FlowError {
    FlowError::Invalid { field: "document", detail }
}

/// With what is behind it: operators see no chain of causes.
fn sentence(refused: &ShelfError) -> String {
    let mut text = refused.to_string();
    let mut cause = std::error::Error::source(refused);
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    text
}
