//! `GET /device/v1/actions/{action}`: what shall the device install?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use muster_domain::action::{Action, ActionState};
use muster_domain::standing::{Allowed, terms};
use muster_store::routes::pairs;
use muster_store::{StoreError, View};
use muster_vocab::{ActionId, ProjectId, Sha256};
use muster_wire::agent::{Artifact, Component, Deployment, Terms};

use super::artifacts::routes_for;
use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::flow::{actions, metadata};

/// Hands out the deployment and records that the device has it, if that is news.
pub(super) async fn fetch(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<Deployment>, Refusal> {
    let (project, device, now) = (caller.project(), caller.polled.device, app.now());
    let id: ActionId = id.parse().map_err(|_| nothing(&id))?;
    // Asked for at once: each question to the store costs two changes of thread.
    let (action, window, others, deployment) = app
        .read(move |view| {
            let (action, others) = (view.action(project, id)?, view.open_actions(project, device)?);
            let deployment = deployment(view, project, &action)?;
            Ok::<_, StoreError>((action, view.action_window(project, id)?, others, deployment))
        })
        .await?;
    if action.device != device {
        return Err(nothing(&id.to_string()));
    }
    let terms = terms(action.push, window.as_ref(), now);
    match action.state {
        ActionState::Offered | ActionState::Running => {}
        // For the person who is to consent; nothing of it may be begun.
        ActionState::AwaitingConfirmation => return Ok(Json(deployment)),
        ActionState::Scheduled | ActionState::Queued => return Err(nothing(&id.to_string())),
        ActionState::Canceling
        | ActionState::Finished
        | ActionState::Downloaded
        | ActionState::Failed
        | ActionState::Lost
        | ActionState::Canceled => {
            return Err(Refusal::new(StatusCode::GONE, "closed", format!("action {id} is over: ask for orders")));
        }
    }
    let skip = !terms.may_install();
    let cancels = others.iter().any(|other| other.state == ActionState::Canceling);
    let news = action.state == ActionState::Offered || action.told_skip != skip || cancels;
    if news {
        app.write(move |tx| actions::fetch(tx, now, (project, device), id, skip)).await?;
    }
    Ok(Json(Deployment { terms: words(terms.allowed()), ..deployment }))
}

/// What the device may do, as it is told.
pub(super) fn words(allowed: Allowed) -> Terms {
    let Allowed { download, install, forced } = allowed;
    Terms { download, install, forced }
}

fn nothing(id: &str) -> Refusal {
    Refusal::not_found(format!("there is no action {id} for this device"))
}

/// With terms that allow nothing.
fn deployment(view: &View<'_>, project: ProjectId, action: &Action) -> Result<Deployment, StoreError> {
    let release = view.release(project, action.release)?;
    let runs = view.installed_release(project, action.device)?.map(|id| view.release(project, id)).transpose()?;
    let before: BTreeMap<Sha256, Sha256> =
        runs.as_ref().map(|runs| pairs(&release, runs).collect()).unwrap_or_default();
    let downgrade = action.rollback || view.rollout(project, action.rollout)?.spec.allow_downgrade;
    let signed = metadata::vouched(view, project, &release)?.into_iter().map(|vouched| vouched.by).collect();
    let mut components = Vec::with_capacity(release.components.len());
    for component in release.components {
        let mut artifacts = Vec::with_capacity(component.artifacts.len());
        for artifact in component.artifacts {
            let known = view.artifact(project, artifact.digest)?;
            let routes = routes_for(view, project, &known, before.get(&known.digest).copied())?;
            artifacts.push(Artifact { file_name: artifact.file_name, size: known.size, digest: known.digest, routes });
        }
        components.push(Component {
            name: component.name.to_string(),
            version: component.version.to_string(),
            metadata: component.metadata,
            artifacts,
        });
    }
    Ok(Deployment {
        action: action.id,
        release: release.name.to_string(),
        version: release.version.to_string(),
        downgrade,
        signed,
        terms: Terms { download: false, install: false, forced: false },
        components,
    })
}
