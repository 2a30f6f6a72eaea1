//! Remote sessions: the operator's end, and what is left of past ones.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use muster_domain::Permission;
use muster_domain::session::SessionState;
use muster_store::StoreError;
use muster_wire::Page;
use muster_wire::command::Session;
use muster_wire::page::PageQuery;
use tokio_util::io::ReaderStream;

use super::auth::Operator;
use super::body::{Asked, Named};
use super::problem::{Refusal, Refusals};
use super::{page, show_twin};
use crate::App;
use crate::edge::upgrade::{Upgrade, switching};
use crate::flow::error::FlowError;
use crate::flow::twin::sessions::operator_may_join;
use crate::sessions::{Full, Side, join};

/// Remote sessions, newest first.
#[utoipa::path(get, path = "/sessions", operation_id = "list_sessions", tag = "sessions",
    params(PageQuery), responses((status = 200, body = Page<Session>), Refusals))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Session>>, Refusal> {
    operator.may_read()?;
    let page = page::plain(&query)?;
    let project = operator.project();
    let page = app
        .read::<_, StoreError>(move |view| {
            let paged = view.sessions(project, page)?;
            let next = paged.next.map(|cursor| cursor.to_string());
            let shown = paged.rows.into_iter().map(|one| show_twin::session(view, project, one));
            Ok(Page { items: shown.collect::<Result<_, _>>()?, next })
        })
        .await?;
    Ok(JsonBody(page))
}

/// One remote session. With `Connection: Upgrade` and `Upgrade: muster-session` whoever opened it connects to it.
#[utoipa::path(get, path = "/sessions/{session}", operation_id = "get_session", tag = "sessions",
    params(("session" = String, Path)), responses((status = 200, body = Session),
        (status = 101, description = "Upgraded: the session's bytes follow, see docs/sessions.md."), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let Some(upgrade) = upgrade else {
        let shown =
            app.read::<_, StoreError>(move |view| show_twin::session(view, project, view.session(project, &id)?));
        return Ok(JsonBody(shown.await?).into_response());
    };
    let now = app.now();
    let session = app.read(move |view| operator_may_join(view, now, &operator.actor, &id)).await?;
    join(&app, project, (session, Side::Operator), upgrade)?;
    Ok(switching())
}

/// What passed in an ended session: an asciicast v2 file. Needs the scope `sessions:write`.
#[utoipa::path(get, path = "/sessions/{session}/recording", operation_id = "get_session_recording", tag = "sessions",
    params(("session" = String, Path)),
    responses((status = 200, body = String, content_type = "application/x-asciicast"), Refusals))]
pub(super) async fn recording(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
) -> Result<Response, Refusal> {
    operator.actor.may(Permission::SessionsWrite).map_err(FlowError::from)?;
    let project = operator.project();
    let session = app.read::<_, StoreError>(move |view| view.session(project, &id)).await?;
    let SessionState::Ended { recording: Some(_), .. } = session.state else {
        return Err(Refusal::not_found("the session has no recording: it has not ended, or it never began"));
    };
    let gone = |_| Refusal::not_found("the recording was removed, because it was old");
    let file = tokio::fs::File::open(app.sessions.recording(&session.id)).await.map_err(gone)?;
    let mut response = Response::new(Body::from_stream(ReaderStream::new(file)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-asciicast"));
    Ok(response)
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Self::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "busy", full.to_string())
            .with(header::RETRY_AFTER, HeaderValue::from_static("60"))
    }
}
