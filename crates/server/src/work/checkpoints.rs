//! Does somebody vouch for every audit record?

use muster_vocab::ProjectId;
use tracing::error;

use crate::App;
use crate::flow::audit::{self, CheckpointError};

/// How many records were signed.
pub async fn sign_checkpoints(app: &App) -> usize {
    match sign_all(app).await {
        Ok(signed) => signed,
        Err(failed) => {
            error!(error = &failed as &dyn std::error::Error, "the audit log could not be signed: {failed}");
            0
        }
    }
}

async fn sign_all(app: &App) -> Result<usize, CheckpointError> {
    let mut signed = 0;
    let mut first_failed = None;
    for project in app.read::<_, CheckpointError>(|view| Ok(view.projects()?)).await? {
        // One project's broken log must not keep the others' from being signed.
        match sign_project(app, project.id, &project.name).await {
            Ok(records) => signed += records,
            Err(failed) => first_failed = first_failed.or(Some(failed)),
        }
    }
    first_failed.map_or(Ok(signed), Err)
}

/// Signs until nothing is left.
pub async fn sign_project(app: &App, project: ProjectId, name: &str) -> Result<usize, CheckpointError> {
    let mut signed = 0;
    loop {
        let (now, signer, name) = (app.now(), app.audit_signer.clone(), name.to_owned());
        match app.write(move |tx| audit::sign(tx, now, &signer, (project, &name))).await? {
            0 => return Ok(signed),
            records => signed += records,
        }
    }
}
