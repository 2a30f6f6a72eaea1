//! What is said of a release, whose word counts, and what is demanded before it is published.

use muster_domain::attestation::{Attestation, AttestationKind, Inner, ReleasePolicy};
use muster_domain::release::Release;
use muster_domain::{Actor, Permission};
use muster_store::attestations::RingKey;
use muster_store::{StoreError, Tx, View};
use muster_trust::attestation::{Attestation as Read, Said, SbomFormat};
use muster_trust::inner::keys::Trusted;
use muster_trust::tuf::key::{Key, KeyValue};
use muster_vocab::{Name, Sha256, Timestamp, limit};
use serde_json::json;

use super::audit;
use super::error::FlowError;

/// A document that was read, and where it lies.
#[derive(Debug)]
pub struct Document {
    pub digest: Sha256,
    pub read: Read,
    /// What it is about, if it does not say so itself.
    pub artifact: Option<Sha256>,
}

/// Attaches a document to the artifacts of the release that it is about. Also after publishing: what becomes known
/// later is said later.
pub fn attach(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, &str),
    document: Document,
) -> Result<Vec<Attestation>, FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let project = actor.project();
    let release = tx.release_named(project, of.0, of.1)?;
    tx.artifact(project, document.digest)?;
    let ring = keys(&tx.ring(project)?);
    let signer = document.read.envelope.as_ref().and_then(|envelope| envelope.signer(&ring)).cloned();
    let (kind, builder, packages) = match document.read.said {
        Said::Provenance { builder } => (AttestationKind::Provenance, Some(builder), Vec::new()),
        Said::Sbom { format, packages } => {
            let kind = match format {
                SbomFormat::CycloneDx => AttestationKind::CycloneDx,
                SbomFormat::Spdx => AttestationKind::Spdx,
            };
            (kind, None, packages.into_iter().map(|one| (one.name, one.version, one.purl)).collect())
        }
    };
    for artifact in about(&release, &document.read.subjects, document.artifact)? {
        let new = Attestation {
            id: 0,
            artifact,
            document: document.digest,
            kind,
            is_signed: document.read.envelope.is_some(),
            signer: signer.clone(),
            builder: builder.clone(),
            created_at: now,
            created_by: actor.to_string(),
        };
        tx.save_attestation(project, release.id, &new, &packages)?;
    }
    let detail = json!({ "document": document.digest.to_string(), "kind": kind, "signer": signer });
    audit::record(tx, now, actor, ("release.attach", target(&release)), &detail)?;
    Ok(tx.attestations(project, release.id)?)
}

/// Which of the release's artifacts a document is about.
fn about(release: &Release, subjects: &[Sha256], named: Option<Sha256>) -> Result<Vec<Sha256>, FlowError> {
    let invalid = |detail: &str| FlowError::Invalid { field: "artifact", detail: detail.to_owned() };
    let all: Vec<Sha256> = artifacts(release).into_iter().map(|(digest, _)| digest).collect();
    if let Some(named) = named.filter(|named| !all.contains(named)) {
        return Err(invalid(&format!("{named} is no artifact of this release")));
    }
    if !subjects.is_empty() {
        let meant: Vec<Sha256> = all.into_iter().filter(|digest| subjects.contains(digest)).collect();
        return match named {
            Some(named) if !meant.contains(&named) => Err(invalid("the document is about another artifact")),
            Some(named) => Ok(vec![named]),
            None if meant.is_empty() => Err(invalid("the document is about no artifact of this release")),
            None => Ok(meant),
        };
    }
    match (named, all.as_slice()) {
        (Some(named), _) => Ok(vec![named]),
        (None, [one]) => Ok(vec![*one]),
        (None, _) => Err(invalid("the release has several artifacts: say which one the document is about")),
    }
}

pub fn detach(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, &str),
    document: Sha256,
) -> Result<(), FlowError> {
    actor.may(Permission::ReleasesWrite)?;
    let project = actor.project();
    let release = tx.release_named(project, of.0, of.1)?;
    if !tx.delete_attestation(project, release.id, document)? {
        return Err(StoreError::Missing { kind: "attestation", name: document.to_string() }.into());
    }
    let detail = json!({ "document": document.to_string() });
    audit::record(tx, now, actor, ("release.detach", target(&release)), &detail)
}

/// Refused with all that is missing.
pub fn check_published(view: &View<'_>, actor: &Actor, release: &Release, inner: &[Inner]) -> Result<(), FlowError> {
    let project = actor.project();
    let said = view.attestations(project, release.id)?;
    let (policy, artifacts) = (view.release_policy(project)?, artifacts(release));
    let mut missing = policy.missing(&artifacts, &said);
    missing.extend(policy.wrong_inside(&artifacts, inner, !view.ring(project)?.is_empty()));
    if missing.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Err(FlowError::Conflict(format!("the project's policy for releases is not met: {}", told.join("; "))))
}

/// Digests and file names, each artifact once.
pub fn artifacts(release: &Release) -> Vec<(Sha256, String)> {
    let mut all: Vec<(Sha256, String)> = Vec::new();
    for artifact in release.components.iter().flat_map(|component| &component.artifacts) {
        if !all.iter().any(|(digest, _)| *digest == artifact.digest) {
            all.push((artifact.digest, artifact.file_name.clone()));
        }
    }
    all
}

/// A key whose signatures on documents count from now on, for what is attached from now on.
pub fn add_key(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (name, public): (&str, &str),
) -> Result<RingKey, FlowError> {
    actor.may(Permission::Admin)?;
    Name::parse(name).map_err(|source| FlowError::Name { field: "name", source })?;
    let what = "public: a key is PEM as `openssl pkey -pubout` writes it, or the 64 hex digits of an Ed25519 key; a \
                certificate in PEM vouches for images";
    if key(public).is_none() && Trusted::parse(public).is_err() {
        return Err(FlowError::Invalid { field: "public", detail: what.into() });
    }
    let project = actor.project();
    if tx.ring(project)?.len() >= limit::RING_KEYS_PER_PROJECT_MAX {
        let most = limit::RING_KEYS_PER_PROJECT_MAX;
        return Err(FlowError::Conflict(format!("a key ring has at most {most} keys: remove one")));
    }
    let new = RingKey {
        name: name.to_owned(),
        public: public.trim().to_owned(),
        created_at: now,
        created_by: actor.to_string(),
    };
    tx.insert_ring_key(project, &new)?;
    audit::record(tx, now, actor, ("ring.add", format!("key:{name}")), &json!({ "public": new.public }))?;
    Ok(new)
}

/// What it signed counts as signed by nobody.
pub fn remove_key(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    tx.delete_ring_key(actor.project(), name)?;
    audit::record(tx, now, actor, ("ring.remove", format!("key:{name}")), &json!({}))
}

/// Counts for what is published from now on.
pub fn set_policy(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, policy: &ReleasePolicy) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    let too_long =
        policy.builders.iter().any(|builder| builder.is_empty() || builder.len() > limit::NAME_CHARS_MAX * 8);
    if policy.builders.len() > limit::RING_KEYS_PER_PROJECT_MAX || too_long {
        let detail = "builders: at most 100 ids, such as https://github.com/actions/runner";
        return Err(FlowError::Invalid { field: "builders", detail: detail.into() });
    }
    tx.save_release_policy(actor.project(), policy)?;
    let detail = serde_json::to_value(policy).unwrap_or_default();
    audit::record(tx, now, actor, ("release_policy.put", "release_policy".to_owned()), &detail)
}

fn keys(ring: &[RingKey]) -> Vec<(String, Key)> {
    ring.iter().filter_map(|one| Some((one.name.clone(), key(&one.public)?))).collect()
}

fn key(text: &str) -> Option<Key> {
    let text = text.trim();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let keyval = KeyValue { public: text.to_owned() };
        return Some(Key { keytype: "ed25519".into(), scheme: "ed25519".into(), keyval });
    }
    Key::from_pem(text)
}

fn target(release: &Release) -> String {
    format!("release:{}@{}", release.name, release.version)
}
