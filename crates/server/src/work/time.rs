//! What has time alone moved? Starts, soaking, silence.

use std::sync::atomic::Ordering;

use muster_vocab::limit;
use tracing::error;

use crate::flow::error::FlowError;
use crate::flow::{actions, rollouts};
use crate::{App, clock};

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    pub rollouts: usize,
    pub silent: usize,
}

/// One bounded round.
pub async fn pass(app: &App) -> Passed {
    match pass_once(app).await {
        Ok(passed) => passed,
        Err(failed) => {
            error!(error = &failed as &dyn std::error::Error, "time could not pass: {failed}");
            Passed::default()
        }
    }
}

/// Once, before the first round: what fell silent while the server was away could not speak to anybody.
pub async fn excuse_downtime(app: &App) -> Result<usize, FlowError> {
    let now = clock::now();
    let mut excused = 0;
    loop {
        let silent = app.read(move |view| view.silent_actions(now, limit::WORK_BATCH_ACTIONS)).await?;
        let count = silent.len();
        app.write::<_, FlowError>(move |tx| {
            for (project, id) in silent {
                actions::excuse(tx, now, project, id)?;
            }
            Ok(())
        })
        .await?;
        excused += count;
        if count < limit::WORK_BATCH_ACTIONS as usize {
            return Ok(excused);
        }
    }
}

async fn pass_once(app: &App) -> Result<Passed, FlowError> {
    let now = clock::now();
    let due = app.read(move |view| view.due_rollouts(now, limit::WORK_BATCH_ACTIONS)).await?;
    for (project, id) in &due {
        let (project, id) = (*project, *id);
        app.write(move |tx| rollouts::tick(tx, now, project, id)).await?;
    }
    let silent = app.read(move |view| view.silent_actions(now, limit::WORK_BATCH_ACTIONS)).await?;
    let passed = Passed { rollouts: due.len(), silent: silent.len() };
    if !silent.is_empty() {
        app.counters.silent.fetch_add(silent.len() as u64, Ordering::Relaxed);
        app.write::<_, FlowError>(move |tx| {
            for (project, id) in silent {
                actions::silence(tx, now, project, id)?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(passed)
}
