//! Is every project's timestamp signed again before devices refuse it?

use tracing::{error, info};

use crate::flow::error::FlowError;
use crate::flow::metadata;
use crate::{App, clock};

/// How many were signed again.
pub async fn renew_timestamps(app: &App) -> usize {
    match renew(app).await {
        Ok(renewed) => renewed,
        Err(failed) => {
            error!(error = &failed as &dyn std::error::Error, "a timestamp could not be signed again: {failed}");
            0
        }
    }
}

async fn renew(app: &App) -> Result<usize, FlowError> {
    let now = clock::now();
    let mut renewed = 0;
    for project in app.read(|view| view.projects()).await? {
        let (id, signing) = (project.id, app.signing.clone());
        if app.write(move |tx| metadata::renew(tx, now, id, &signing.online)).await? {
            info!(project.name = %project.name, "signed the timestamp of project {} again", project.name);
            renewed += 1;
        }
    }
    Ok(renewed)
}
