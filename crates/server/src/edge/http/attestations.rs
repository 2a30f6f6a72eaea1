//! Documents about releases, the keys that sign them, and what is demanded.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_domain::attestation as domain;
use muster_store::StoreError;
use muster_store::attestations as store;
use muster_trust::attestation::Attestation as Read;
use muster_vocab::{Sha256, limit};
use muster_wire::Page;
use muster_wire::attestation::{
    Attestation, AttestationCreate, AttestationKind, ReleasePolicy, RingKey, RingKeyCreate,
};

use super::auth::Operator;
use super::body::{Json, Named};
use super::problem::{Refusal, Refusals};
use crate::App;
use crate::flow::attestations::{self, Document};
use crate::flow::error::FlowError;

/// What is said of a release.
#[utoipa::path(get, path = "/releases/{name}/{version}/attestations", operation_id = "list_attestations",
    tag = "releases", params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Page<Attestation>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named((name, version)): Named<(String, String)>,
) -> Result<JsonBody<Page<Attestation>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let all = app
        .read::<_, StoreError>(move |view| {
            let release = view.release_named(project, &name, &version)?;
            view.attestations(project, release.id)
        })
        .await?;
    Ok(JsonBody(Page { items: all.into_iter().map(shown).collect(), next: None }))
}

/// Attach a bill of materials or provenance: an artifact that was uploaded before.
#[utoipa::path(post, path = "/releases/{name}/{version}/attestations", operation_id = "attach_attestation",
    tag = "releases", params(("name" = String, Path), ("version" = String, Path)), request_body = AttestationCreate,
    responses((status = 200, body = Page<Attestation>), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named((name, version)): Named<(String, String)>,
    body: Json<AttestationCreate>,
) -> Result<JsonBody<Page<Attestation>>, Refusal> {
    let AttestationCreate { document, artifact } = body.value;
    let read = read(&app, &operator, (&name, &version), document).await?;
    let (now, document) = (app.now(), Document { digest: document, read, artifact });
    let all = app.write(move |tx| attestations::attach(tx, now, &operator.actor, (&name, &version), document)).await?;
    Ok(JsonBody(Page { items: all.into_iter().map(shown).collect(), next: None }))
}

/// Nothing is read for somebody who may not attach it, and nothing that is larger than any such document.
async fn read(app: &App, operator: &Operator, of: (&str, &str), document: Sha256) -> Result<Read, Refusal> {
    operator.actor.may(muster_domain::Permission::ReleasesWrite).map_err(FlowError::from)?;
    let (project, of) = (operator.project(), (of.0.to_owned(), of.1.to_owned()));
    let artifact = app
        .read::<_, StoreError>(move |view| {
            view.release_named(project, &of.0, &of.1)?;
            view.artifact(project, document)
        })
        .await?;
    if artifact.size > limit::ATTESTATION_BYTES_MAX {
        let most = limit::ATTESTATION_BYTES_MAX;
        return Err(Refusal::bad("document", format!("a document about a release has at most {most} bytes")));
    }
    let path = app.blobs.file(document);
    let parsed = tokio::task::spawn_blocking(move || std::fs::read(path).map(|bytes| Read::read(&bytes))).await;
    match parsed {
        Ok(Ok(read)) => read.map_err(|bad| Refusal::bad("document", bad.to_string())),
        Ok(Err(failed)) => Err(Refusal::internal(&failed)),
        Err(panicked) => Err(Refusal::internal(&panicked)),
    }
}

/// Take a document off a release again.
#[utoipa::path(delete, path = "/releases/{name}/{version}/attestations/{document}",
    operation_id = "detach_attestation", tag = "releases",
    params(("name" = String, Path), ("version" = String, Path), ("document" = String, Path)),
    responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named((name, version, document)): Named<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    operator.actor.may(muster_domain::Permission::ReleasesWrite).map_err(FlowError::from)?;
    let now = app.now();
    let document = document.parse::<Sha256>().map_err(|_| Refusal::not_found("no document has such a digest"))?;
    app.write(move |tx| attestations::detach(tx, now, &operator.actor, (&name, &version), document)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose signatures on documents count.
#[utoipa::path(get, path = "/key-ring", operation_id = "list_ring_keys", tag = "releases",
    responses((status = 200, body = Page<RingKey>), Refusals))]
pub(super) async fn keys(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<Page<RingKey>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let all = app.read::<_, StoreError>(move |view| view.ring(project)).await?;
    Ok(JsonBody(Page { items: all.into_iter().map(shown_key).collect(), next: None }))
}

/// Believe a key's signatures on documents that are attached from now on.
#[utoipa::path(post, path = "/key-ring", operation_id = "add_ring_key", tag = "releases",
    request_body = RingKeyCreate, responses((status = 201, body = RingKey), Refusals))]
pub(super) async fn add_key(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<RingKeyCreate>,
) -> Result<(StatusCode, JsonBody<RingKey>), Refusal> {
    let (now, RingKeyCreate { name, public }) = (app.now(), body.value);
    let made = app.write(move |tx| attestations::add_key(tx, now, &operator.actor, (&name, &public))).await?;
    Ok((StatusCode::CREATED, JsonBody(shown_key(made))))
}

/// Believe a key no more: what it signed counts as signed by nobody.
#[utoipa::path(delete, path = "/key-ring/{name}", operation_id = "remove_ring_key", tag = "releases",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn remove_key(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| attestations::remove_key(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a release needs before it is published.
#[utoipa::path(get, path = "/release-policy", operation_id = "get_release_policy", tag = "releases",
    responses((status = 200, body = ReleasePolicy), Refusals))]
pub(super) async fn policy(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<ReleasePolicy>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let policy = app.read::<_, StoreError>(move |view| view.release_policy(project)).await?;
    let domain::ReleasePolicy { sbom, signed_sbom, provenance, builders, inner_signature } = policy;
    Ok(JsonBody(ReleasePolicy { sbom, signed_sbom, provenance, builders, inner_signature }))
}

/// Say what releases need that are published from now on.
#[utoipa::path(put, path = "/release-policy", operation_id = "put_release_policy", tag = "releases",
    request_body = ReleasePolicy, responses((status = 200, body = ReleasePolicy), Refusals))]
pub(super) async fn put_policy(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<ReleasePolicy>,
) -> Result<JsonBody<ReleasePolicy>, Refusal> {
    let (now, asked) = (app.now(), body.value);
    let ReleasePolicy { sbom, signed_sbom, provenance, builders, inner_signature } = asked.clone();
    let policy = domain::ReleasePolicy { sbom, signed_sbom, provenance, builders, inner_signature };
    app.write(move |tx| attestations::set_policy(tx, now, &operator.actor, &policy)).await?;
    Ok(JsonBody(asked))
}

fn shown(one: domain::Attestation) -> Attestation {
    Attestation {
        artifact: one.artifact,
        document: one.document,
        kind: match one.kind {
            domain::AttestationKind::CycloneDx => AttestationKind::CycloneDx,
            domain::AttestationKind::Spdx => AttestationKind::Spdx,
            domain::AttestationKind::Provenance => AttestationKind::Provenance,
        },
        signed: one.is_signed,
        signer: one.signer,
        builder: one.builder,
        created_at: one.created_at,
        created_by: one.created_by,
    }
}

fn shown_key(key: store::RingKey) -> RingKey {
    let store::RingKey { name, public, created_at, created_by } = key;
    RingKey { name, public, created_at, created_by }
}
