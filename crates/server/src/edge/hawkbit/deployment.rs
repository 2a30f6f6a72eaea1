//! `…/deploymentBase/{id}` and `…/installedBase/{id}`: what to install, and what was.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use muster_domain::action::{Action, ActionState};
use muster_domain::standing::terms;
use muster_domain::window::Window;
use muster_store::{StoreError, View};
use muster_vocab::{ActionId, ProjectId, ReleaseId, Timestamp, limit};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::caller::{Address, Caller, action_id};
use super::refusal::Refusal;
use super::words::{
    ActionHistory, Artifact, Chunk, Deployment, DeploymentBase, Hashes, Href, KeyValue, handling, part_and_name,
};
use crate::App;
use crate::flow::actions;

#[derive(Debug, Deserialize)]
pub(super) struct FetchQuery {
    /// How many messages of its history the device wants; below 0: all.
    #[serde(rename = "actionHistory", default)]
    history: Option<String>,
}

/// Hands out the deployment and records that the device has it, if that is news.
pub(super) async fn fetch(
    State(app): State<Arc<App>>,
    Path((_, _, id)): Path<(String, String, String)>,
    Query(query): Query<FetchQuery>,
    caller: Caller,
) -> Result<Json<DeploymentBase>, Refusal> {
    let (project, device, id) = (caller.project(), caller.polled.device, action_id(&id)?);
    let (now, address) = (app.now(), caller.address.clone());
    // Asked for at once: each question to the store costs two changes of thread.
    let (action, window, others, chunks) = app
        .read(move |view| {
            let (action, others) = (view.action(project, id)?, view.open_actions(project, device)?);
            let chunks = chunks(view, project, action.release, &address)?;
            Ok::<_, StoreError>((action, view.action_window(project, id)?, others, chunks))
        })
        .await?;
    let readable = matches!(action.state, ActionState::Offered | ActionState::Running);
    if action.device != device || !readable {
        return Err(Refusal::NotFound);
    }
    let skip = !terms(action.push, window.as_ref(), now).may_install();
    let cancels = others.iter().any(|other| other.state == ActionState::Canceling);
    let news = action.state == ActionState::Offered || action.told_skip != skip || cancels;
    if news {
        app.write(move |tx| actions::fetch(tx, now, (project, device), id, skip)).await?;
    }
    let wanted = query.history.as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let deployment = told(chunks, (&action, window.as_ref(), now));
    let action_history = history(&app, (project, id), ("RUNNING", wanted)).await?;
    Ok(Json(DeploymentBase { id: id.to_string(), deployment, action_history }))
}

/// The same shape for what the device runs; its artifacts stay downloadable.
pub(super) async fn installed(
    State(app): State<Arc<App>>,
    Path((_, _, id)): Path<(String, String, String)>,
    Query(query): Query<FetchQuery>,
    caller: Caller,
) -> Result<Json<DeploymentBase>, Refusal> {
    let (project, id) = (caller.project(), action_id(&id)?);
    let action = app.read(move |view| view.action(project, id)).await?;
    if action.device != caller.polled.device || action.state != ActionState::Finished {
        return Err(Refusal::NotFound);
    }
    let wanted = query.history.as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let deployment = deployment(&app, &caller, (&action, None, app.now())).await?;
    let action_history = history(&app, (project, id), ("FINISHED", wanted)).await?;
    Ok(Json(DeploymentBase { id: id.to_string(), deployment, action_history }))
}

/// The body of deployments and confirmations.
pub(super) async fn deployment(
    app: &Arc<App>,
    caller: &Caller,
    of: (&Action, Option<Window>, Timestamp),
) -> Result<Deployment, Refusal> {
    let (action, window, now) = of;
    let (project, release, address) = (caller.project(), action.release, caller.address.clone());
    let chunks = app.read(move |view| chunks(view, project, release, &address)).await?;
    Ok(told(chunks, (action, window.as_ref(), now)))
}

fn told(chunks: Vec<Chunk>, of: (&Action, Option<&Window>, Timestamp)) -> Deployment {
    let (action, window, now) = of;
    let terms = terms(action.push, window, now);
    Deployment {
        download: handling(terms.download),
        update: handling(terms.update),
        maintenance_window: terms.window_open.map(|open| if open { "available" } else { "unavailable" }),
        chunks,
    }
}

fn chunks(
    view: &View<'_>,
    project: ProjectId,
    release: ReleaseId,
    address: &Address,
) -> Result<Vec<Chunk>, StoreError> {
    let mut chunks = Vec::new();
    for component in view.release(project, release)?.components {
        let (part, name) = part_and_name(&component.name);
        let mut artifacts = Vec::with_capacity(component.artifacts.len());
        for artifact in component.artifacts {
            let known = view.artifact(project, artifact.digest)?;
            artifacts.push(describe(&known, artifact.file_name, (address, component.module.0)));
        }
        let metadata = component.metadata.into_iter().map(|(key, value)| KeyValue { key, value }).collect();
        chunks.push(Chunk { part, name, version: component.version.to_string(), metadata, artifacts });
    }
    Ok(chunks)
}

/// One artifact with its digests and links; clients over plain HTTP look for the `-http` ones.
pub(super) fn describe(known: &muster_store::artifacts::Artifact, filename: String, at: (&Address, i64)) -> Artifact {
    let (address, module) = at;
    let file = utf8_percent_encode(&filename, NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".")
        .replace("%2D", "-")
        .replace("%5F", "_");
    let download = address.link(format_args!("softwaremodules/{module}/artifacts/{file}"));
    let md5sum = format!("{download}.MD5SUM");
    let names = if address.is_https { ["download", "md5sum"] } else { ["download-http", "md5sum-http"] };
    Artifact {
        filename,
        size: known.size,
        hashes: Hashes { sha1: known.sha1.clone(), md5: known.md5.clone(), sha256: known.digest.hex() },
        links: BTreeMap::from([(names[0], Href::new(download)), (names[1], Href::new(md5sum))]),
    }
}

async fn history(
    app: &Arc<App>,
    of: (ProjectId, ActionId),
    wanted: (&'static str, i64),
) -> Result<Option<ActionHistory>, Refusal> {
    let (status, wanted) = wanted;
    if wanted == 0 {
        return Ok(None);
    }
    let most = i64::from(limit::ACTION_HISTORY_MAX);
    let count = u32::try_from(if wanted < 0 { most } else { wanted.min(most) }).unwrap_or(0);
    let reports = app.read(move |view| view.reports(of.0, of.1, (None, count))).await?;
    let all = reports.rows.into_iter().flat_map(|entry| {
        if entry.messages.is_empty() { vec![entry.text] } else { entry.messages.into_iter().rev().collect() }
    });
    let messages = all.take(usize::try_from(count).unwrap_or(0)).collect();
    Ok(Some(ActionHistory { status, messages }))
}
