//! What did decisions leave to do? Carried out in bounded batches; each is safe to repeat.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use muster_domain::action::EndReason;
use muster_domain::rollout::Phase;
use muster_domain::rollout::step::Effect;
use muster_store::outbox::Pending;
use muster_vocab::{DeviceId, limit};
use tracing::{error, warn};

use crate::flow::error::FlowError;
use crate::flow::rollouts;
use crate::{App, clock};

/// Effects looked at in one round.
const EFFECTS_PER_ROUND: u32 = 100;

/// Waits for work and does it until the server stops.
pub async fn run(app: Arc<App>, interval: Duration) {
    let mut stopping = app.stopping.subscribe();
    loop {
        let worked = match carry_out(&app).await {
            Ok(worked) => worked,
            Err(failed) => {
                error!(error = &failed as &dyn std::error::Error, "the outbox could not be worked off: {failed}");
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
            () = app.outbox.notified() => {}
            () = tokio::time::sleep(interval) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// One batch of each pending effect, so that a big rollout doesn't keep a small one waiting. `false`: nothing was pending.
pub async fn carry_out(app: &App) -> Result<bool, FlowError> {
    let pending = app.read(|view| view.pending_effects(EFFECTS_PER_ROUND)).await?;
    let mut worked = false;
    for one in &pending {
        app.counters.effects.fetch_add(1, Ordering::Relaxed);
        match carry_out_one(app, one).await {
            Ok(()) => worked = true,
            Err(FlowError::Store(muster_store::StoreError::NoRollout(_))) => {
                let id = one.id;
                app.write::<_, FlowError>(move |tx| Ok(tx.delete_effect(id)?)).await?;
            }
            Err(failed) => {
                let (rollout, effect) = (one.rollout, one.effect);
                warn!(rollout.id = %rollout, ?effect, error = &failed as &dyn std::error::Error, "{effect:?} of rollout {rollout} failed and is tried again: {failed}");
            }
        }
    }
    Ok(worked)
}

async fn carry_out_one(app: &App, pending: &Pending) -> Result<(), FlowError> {
    match pending.effect {
        Effect::Fill => fill(app, pending).await,
        Effect::Open => batch(app, pending).await,
        Effect::Cancel => batch(app, pending).await,
        Effect::RollBack => batch(app, pending).await,
    }
}

/// One transaction's worth; the effect goes away in the transaction that finds nothing left.
async fn batch(app: &App, pending: &Pending) -> Result<(), FlowError> {
    let (pending, now) = (pending.clone(), clock::now());
    app.write(move |tx| {
        let of = (pending.project, pending.rollout);
        // Taken away first: if the batch itself asks for the same effect again, that request has to stay.
        tx.delete_effect(pending.id)?;
        let more = match pending.effect {
            Effect::Open => rollouts::open(tx, now, of)?,
            Effect::Cancel => rollouts::cancel_some(tx, now, of, &EndReason::RolloutAborted)?,
            Effect::RollBack => rollouts::roll_back_some(tx, now, of)?,
            Effect::Fill => false,
        };
        if more {
            tx.emit(of, &[pending.effect], now)?;
        }
        Ok(())
    })
    .await
}

/// Works the division out once and writes it in batches; after a crash the rest is worked out again.
async fn fill(app: &App, pending: &Pending) -> Result<(), FlowError> {
    let (project, id) = (pending.project, pending.rollout);
    let now = clock::now();
    let division = app
        .read(move |view| {
            let rollout = view.rollout(project, id)?;
            match rollout.phase {
                Phase::Filling => rollouts::division(view, now, project, &rollout),
                _ => Ok(Vec::new()),
            }
        })
        .await?;
    for batch in division.chunks(limit::WORK_BATCH_ACTIONS as usize) {
        let batch: Vec<(DeviceId, u16)> = batch.to_vec();
        let goes_on = app.write(move |tx| rollouts::fill(tx, now, (project, id), &batch)).await?;
        if !goes_on || *app.stopping.borrow() {
            break;
        }
    }
    if *app.stopping.borrow() {
        return Ok(());
    }
    let effect = pending.id;
    app.write(move |tx| {
        tx.delete_effect(effect)?;
        rollouts::filled(tx, clock::now(), (project, id))
    })
    .await
}
