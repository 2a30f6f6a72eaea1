//! Which devices' files are out of date, and which commands and sessions has time ended?

use std::sync::Arc;
use std::time::Duration;

use muster_domain::session::End;
use muster_store::StoreError;
use muster_vocab::{DeviceId, ProjectId, limit};
use tracing::error;

use crate::flow::error::FlowError;
use crate::flow::twin::render::{Catalogue, settle_some};
use crate::flow::twin::{commands, sessions};
use crate::{App, clock};

/// Renders what is to be rendered until the server stops.
pub async fn run(app: Arc<App>, interval: Duration) {
    let mut stopping = app.stopping.subscribe();
    loop {
        let worked = match render_some(&app).await {
            Ok(worked) => worked,
            Err(failed) => {
                error!(error = &failed as &dyn std::error::Error, "configurations could not be rendered: {failed}");
                false
            }
        };
        if *stopping.borrow() {
            return;
        }
        if worked {
            continue;
        }
        tokio::select! {
            () = app.renders.notified() => {}
            () = tokio::time::sleep(interval) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// One batch of changed devices, and one of each project that is looked at as a whole. `false`: nothing was to do.
pub async fn render_some(app: &App) -> Result<bool, FlowError> {
    let due = app.read::<_, StoreError>(|view| view.due_renders(limit::WORK_BATCH_RENDERED)).await?;
    let mut worked = !due.is_empty();
    for batch in due.chunk_by(|one, other| one.0 == other.0) {
        let (project, now) = (batch[0].0, clock::now());
        let devices: Vec<DeviceId> = batch.iter().map(|(_, device)| *device).collect();
        app.write(move |tx| settle_some(tx, now, project, &devices)).await?;
    }
    for (project, after) in app.read::<_, StoreError>(|view| view.render_sweeps()).await? {
        sweep(app, project, after).await?;
        worked = true;
    }
    Ok(worked)
}

/// Read first: of a million devices that are looked at, few change.
async fn sweep(app: &App, project: ProjectId, after: DeviceId) -> Result<(), FlowError> {
    let now = clock::now();
    let (last, outdated) = app
        .read::<_, FlowError>(move |view| {
            let some = view.accepted_after(project, after, limit::WORK_BATCH_RENDERED)?;
            let outdated = Catalogue::read(view, project)?.outdated(view, &some, now)?;
            Ok((some.last().copied(), outdated))
        })
        .await?;
    app.write(move |tx| {
        // Somebody may have changed a configuration since: then it began again, and this batch is looked at again.
        let is_current = tx.render_sweeps()?.contains(&(project, after));
        if !is_current {
            return Ok(());
        }
        settle_some(tx, now, project, &outdated)?;
        match last {
            Some(last) => tx.save_render_sweep(project, last)?,
            None => tx.end_render_sweep(project)?,
        }
        Ok(())
    })
    .await
}

/// Selectors may hang on time alone, so that all devices are looked at from time to time.
pub async fn begin_sweeps(app: &App) {
    let begun = app
        .write::<_, StoreError>(|tx| {
            for project in tx.projects_with_configurations()? {
                let is_under_way = tx.render_sweeps()?.iter().any(|(under_way, _)| *under_way == project);
                if !is_under_way {
                    tx.begin_render_sweep(project)?;
                }
            }
            Ok(())
        })
        .await;
    if let Err(failed) = begun {
        error!(error = &failed as &dyn std::error::Error, "no sweep of configurations could begin: {failed}");
    }
}

/// Ends commands and sessions whose time is over.
pub async fn pass_time(app: &App) {
    if let Err(failed) = pass_once(app).await {
        error!(error = &failed as &dyn std::error::Error, "commands and sessions could not be ended: {failed}");
    }
}

async fn pass_once(app: &App) -> Result<(), FlowError> {
    let now = clock::now();
    let due = app.read::<_, StoreError>(move |view| view.due_commands(now, limit::WORK_BATCH_ACTIONS)).await?;
    if !due.is_empty() {
        app.write(move |tx| commands::pass_time(tx, now, &due)).await?;
    }
    app.sessions.drop_late(now);
    for id in app.sessions.open() {
        let asked = id.clone();
        if !app.read::<_, FlowError>(move |view| sessions::goes_on(view, &asked)).await? {
            app.sessions.forbid(&id);
        }
    }
    let before = now.minus(limit::SESSION_WAIT);
    let late = app.read::<_, StoreError>(move |view| view.open_sessions(before, limit::WORK_BATCH_ACTIONS)).await?;
    let waiting: Vec<_> = late.into_iter().filter(|(_, one)| one.may_join(now).is_err_and(is_late)).collect();
    if !waiting.is_empty() {
        app.write::<_, FlowError>(move |tx| {
            for (project, session) in waiting {
                sessions::end_waiting(tx, now, project, (&session.id, End::NobodyCame))?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn is_late(refused: muster_domain::session::Refused) -> bool {
    refused == muster_domain::session::Refused::TooLate
}

/// Once, before the first round: nobody pipes what was open when the server went.
pub async fn end_left_sessions(app: &App) -> Result<(), FlowError> {
    let now = clock::now();
    loop {
        let end_of_time = muster_vocab::Timestamp(i64::MAX);
        let left =
            app.read::<_, StoreError>(move |view| view.open_sessions(end_of_time, limit::WORK_BATCH_ACTIONS)).await?;
        let left: Vec<_> = left.into_iter().filter(|(_, one)| one.may_join(now).is_err()).collect();
        if left.is_empty() {
            return Ok(());
        }
        app.write(move |tx| sessions::end_left(tx, now, left)).await?;
    }
}

/// Waits until the server stops, and then until every session has left its record.
pub async fn outlive_sessions(app: Arc<App>) {
    let mut stopping = app.stopping.subscribe();
    // A sender that is gone means that the server is gone.
    let _ = stopping.wait_for(|stop| *stop).await;
    app.sessions.all_ended().await;
}
