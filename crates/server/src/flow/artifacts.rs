//! Artifacts: announced, uploaded, kept, removed.

use muster_domain::{Actor, Permission, release};
use muster_store::Tx;
use muster_store::artifacts::{Artifact, Upload};
use muster_store::blobs::Digests;
use muster_store::events::NewEvent;
use muster_trust::secret;
use muster_vocab::{Sha256, Timestamp, limit};
use serde_json::json;

use super::audit;
use super::error::FlowError;

/// An upload as somebody announces it.
#[derive(Debug, Clone)]
pub struct Announced {
    pub name: String,
    pub size: u64,
    pub digest: Sha256,
}

/// What becomes of an announcement.
#[derive(Debug)]
pub enum Begun {
    /// The bytes are here already.
    Known(Artifact),
    Upload(Upload),
}

pub fn begin(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, announced: Announced) -> Result<Begun, FlowError> {
    actor.may(Permission::ArtifactsWrite)?;
    release::check_file_name(&announced.name)?;
    if announced.size == 0 || announced.size > limit::ARTIFACT_BYTES_MAX {
        let most = limit::ARTIFACT_BYTES_MAX;
        return Err(FlowError::invalid("size", format!("an artifact has 1 to {most} bytes")));
    }
    if let Ok(known) = tx.artifact(actor.project(), announced.digest) {
        tx.touch_artifact(actor.project(), announced.digest, now)?;
        return Ok(Begun::Known(known));
    }
    let upload = Upload {
        id: secret::random_hex(16)?,
        project: actor.project(),
        name: announced.name,
        size: announced.size,
        digest: announced.digest,
        created_by: actor.to_string(),
        touched_at: now,
    };
    tx.save_upload(&upload)?;
    Ok(Begun::Upload(upload))
}

/// Somebody goes on with it: it is not abandoned.
pub fn touch(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: &str) -> Result<Upload, FlowError> {
    actor.may(Permission::ArtifactsWrite)?;
    let upload = Upload { touched_at: now, ..tx.upload(actor.project(), id)? };
    tx.save_upload(&upload)?;
    Ok(upload)
}

/// All bytes are here and are what was announced; they lie under their digest when this is called.
pub fn complete(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    digests: Digests,
) -> Result<Artifact, FlowError> {
    actor.may(Permission::ArtifactsWrite)?;
    let upload = tx.upload(actor.project(), id)?;
    assert_eq!(digests.sha256, upload.digest, "bytes are checked before they are kept");
    let artifact = Artifact {
        id: 0,
        digest: digests.sha256,
        name: upload.name,
        size: digests.size,
        sha1: digests.sha1,
        md5: digests.md5,
        created_at: now,
        created_by: actor.to_string(),
    };
    tx.insert_artifact(actor.project(), &artifact)?;
    tx.delete_upload(actor.project(), id)?;
    let label = artifact.digest.to_string();
    let event = NewEvent { kind: "artifact", target: &label, change: "created", rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    let detail = json!({ "name": artifact.name, "size": artifact.size });
    audit::record(tx, now, actor, ("artifact.create", format!("artifact:{label}")), &detail)?;
    Ok(tx.artifact(actor.project(), digests.sha256)?)
}

pub fn give_up(tx: &mut Tx<'_>, actor: &Actor, id: &str) -> Result<(), FlowError> {
    actor.may(Permission::ArtifactsWrite)?;
    tx.upload(actor.project(), id)?;
    tx.delete_upload(actor.project(), id)?;
    Ok(())
}

/// Its bytes are collected later, if nobody else has them.
pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, digest: Sha256) -> Result<(), FlowError> {
    actor.may(Permission::ArtifactsWrite)?;
    tx.artifact(actor.project(), digest)?;
    if let Some(by) = tx.artifact_used_by(actor.project(), digest)? {
        return Err(FlowError::Conflict(format!("{digest} is part of release {by}: delete that first")));
    }
    tx.delete_artifact(actor.project(), digest)?;
    let label = digest.to_string();
    let event = NewEvent { kind: "artifact", target: &label, change: "deleted", rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    audit::record(tx, now, actor, ("artifact.delete", format!("artifact:{label}")), &json!({}))
}
