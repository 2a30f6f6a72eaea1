//! Which devices match a dynamic rollout now and did not before?

use muster_vocab::limit;
use tracing::error;

use crate::flow::error::FlowError;
use crate::flow::rollouts;
use crate::{App, clock};

/// Dynamic rollouts looked at in one round, newest first.
const ROLLOUTS_PER_ROUND: u32 = 100;

/// How many devices joined.
pub async fn join_devices(app: &App) -> usize {
    match join_once(app).await {
        Ok(joined) => joined,
        Err(failed) => {
            error!(error = &failed as &dyn std::error::Error, "devices could not join: {failed}");
            0
        }
    }
}

async fn join_once(app: &App) -> Result<usize, FlowError> {
    let now = clock::now();
    let mut joined = 0;
    for (project, id) in app.read(|view| view.dynamic_rollouts(ROLLOUTS_PER_ROUND)).await? {
        let joining = app
            .read(move |view| {
                let rollout = view.rollout(project, id)?;
                rollouts::joiners(view, now, project, &rollout)
            })
            .await?;
        joined += joining.len();
        for batch in joining.chunks(limit::WORK_BATCH_ACTIONS as usize) {
            let batch = batch.to_vec();
            app.write(move |tx| rollouts::fill(tx, now, (project, id), &batch)).await?;
        }
    }
    Ok(joined)
}
