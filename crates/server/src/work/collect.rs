//! What does nobody need any more?

use muster_store::StoreError;
use muster_vocab::{Timestamp, limit};
use tracing::{error, info};

use crate::{App, clock};

/// Things collected in one round.
const COLLECTED_PER_ROUND: u32 = 100;
/// Blobs compared with the store in one round.
const BLOBS_PER_ROUND: usize = 100_000;
/// Tokens that ended are kept this long, so that a refusal can say "expired".
const EXPIRED_TOKENS_KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

/// One bounded round.
pub async fn collect(app: &App) {
    let now = clock::now();
    let outcomes = [
        rows(app, now).await,
        uploads(app, now).await,
        artifacts(app, now).await,
        routes(app, now).await,
        blobs(app).await,
        recordings(app).await,
    ];
    for outcome in outcomes {
        if let Err(failed) = outcome {
            error!(error = &failed as &dyn std::error::Error, "collecting what nobody needs failed: {failed}");
        }
    }
}

async fn rows(app: &App, now: Timestamp) -> Result<(), StoreError> {
    app.write(move |tx| {
        tx.delete_old_events(limit::EVENTS_KEPT)?;
        tx.delete_old_answers(now.minus(limit::IDEMPOTENCY_KEPT))?;
        tx.delete_old_commands(now.minus(limit::COMMANDS_KEPT), COLLECTED_PER_ROUND)?;
        tx.delete_expired_tokens(now.minus(EXPIRED_TOKENS_KEPT), COLLECTED_PER_ROUND)?;
        Ok(())
    })
    .await
}

async fn uploads(app: &App, now: Timestamp) -> Result<(), StoreError> {
    let before = now.minus(limit::UPLOAD_ABANDONED_AFTER);
    for upload in app.read(move |view| view.abandoned_uploads(before, COLLECTED_PER_ROUND)).await? {
        let (project, id) = (upload.project, upload.id.clone());
        app.write(move |tx| tx.delete_upload(project, &id)).await?;
        app.blobs.discard(&upload.id).await?;
        info!(upload = upload.id, "removed the abandoned upload of {}", upload.name);
    }
    Ok(())
}

async fn artifacts(app: &App, now: Timestamp) -> Result<(), StoreError> {
    let before = now.minus(limit::ARTIFACT_UNREFERENCED_KEPT);
    let unreferenced = app.read(move |view| view.unreferenced_artifacts(before, COLLECTED_PER_ROUND)).await?;
    for (project, digest) in unreferenced {
        app.write(move |tx| match tx.artifact_used_by(project, digest)? {
            Some(_) => Ok(()),
            None => tx.delete_artifact(project, digest),
        })
        .await?;
        info!(artifact = %digest, "removed the artifact {digest}, which no release uses");
    }
    Ok(())
}

/// Deltas to what no device will be brought to any more.
async fn routes(app: &App, now: Timestamp) -> Result<(), StoreError> {
    let unwanted = app.read(move |view| view.unwanted_routes(now)).await?;
    if unwanted.is_empty() {
        return Ok(());
    }
    app.write(move |tx| unwanted.iter().try_for_each(|(project, digest)| tx.delete_routes_to(*project, *digest))).await
}

/// Bytes whose last artifact is gone.
async fn blobs(app: &App) -> Result<(), StoreError> {
    for digest in app.blobs.stored(BLOBS_PER_ROUND).await? {
        let used = app.read(move |view| view.blob_is_used(digest)).await?;
        if !used {
            app.remove_unused_blob(digest).await?;
        }
    }
    Ok(())
}

/// By the files' own times: a recording is not touched once its session has ended.
async fn recordings(app: &App) -> Result<(), StoreError> {
    let folder = app.sessions.folder().to_owned();
    let removed = tokio::task::spawn_blocking(move || remove_old_files(&folder)).await;
    match removed.map_err(|_| StoreError::Stopped)? {
        Ok(0) => {}
        Ok(removed) => info!(removed, "removed {removed} old recordings of sessions"),
        Err(source) => return Err(StoreError::File { what: "removing old recordings", source }),
    }
    Ok(())
}

fn remove_old_files(folder: &std::path::Path) -> std::io::Result<usize> {
    let files = match std::fs::read_dir(folder) {
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        found => found?,
    };
    let mut removed = 0;
    for file in files {
        let file = file?;
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > limit::RECORDINGS_KEPT {
            std::fs::remove_file(file.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}
