//! Signed metadata.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_store::StoreError;
use muster_trust::tuf::document::{Document, Role, RootRole, Spelling, TargetsRole};
use muster_trust::tuf::shelf::Shelf;
use muster_vocab::Timestamp;
use muster_wire::metadata::{Metadata, MetadataPut, MetadataRole};

use super::auth::Operator;
use super::body::{Json, Named};
use super::problem::{Refusal, Refusals};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::metadata;

/// The signed metadata of the project, and the public keys with which the server signs.
#[utoipa::path(get, path = "/metadata", operation_id = "get_metadata", tag = "metadata",
    responses((status = 200, body = Metadata), Refusals))]
pub(super) async fn get(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<Metadata>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let files = app.read::<_, StoreError>(move |view| view.metadata(project)).await?;
    let public = |key: &muster_trust::tuf::secret_key::SecretKey| key.public().keyval.public;
    let (online_key, director_key) = (public(&app.signing.online), public(&app.signing.director));
    Ok(JsonBody(Metadata { online_key, director_key, roles: roles(&Shelf { files }) }))
}

/// Put a document there that was signed offline: `root`, `targets`, or `channel-NAME`.
#[utoipa::path(put, path = "/metadata/{role}", operation_id = "put_metadata", tag = "metadata",
    params(("role" = String, Path)), request_body = MetadataPut,
    responses((status = 204), Refusals))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(role): Named<String>,
    body: Json<MetadataPut>,
) -> Result<StatusCode, Refusal> {
    let (now, signing) = (app.now(), app.signing.clone());
    app.write::<_, FlowError>(move |tx| {
        metadata::put(tx, now, &operator.actor, (&role, &body.value.document), &signing.online)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn roles(shelf: &Shelf) -> Vec<MetadataRole> {
    let channels = shelf.channels().unwrap_or_default();
    let names = ["root".to_owned(), "targets".to_owned()].into_iter().chain(channels);
    let role = |role: String| {
        let (version, bytes) = shelf.newest(&role)?;
        let expires = if role == "root" {
            expires::<RootRole>(bytes, |root| root.expires)
        } else {
            expires::<TargetsRole>(bytes, |targets| targets.expires)
        };
        let document = String::from_utf8(bytes.to_vec()).ok()?;
        Some(MetadataRole { role, version, expires: expires?, document })
    };
    names.filter_map(role).collect()
}

fn expires<T: Role>(bytes: &[u8], of: fn(&T) -> Timestamp) -> Option<Timestamp> {
    Document::<T>::read(bytes, Spelling::Exact).ok().map(|document| of(&document.signed))
}
