//! When was each device last heard of? Written down in batches, because polls touch no disk.

use muster_store::StoreError;
use muster_vocab::limit;
use tracing::error;

use crate::App;

/// How many devices were written down.
pub async fn flush_seen(app: &App) -> usize {
    let mut flushed = 0;
    for tenant in app.table.tenants() {
        let seen = tenant.take_seen();
        for batch in seen.chunks(limit::WORK_BATCH_ACTIONS as usize) {
            let batch = batch.to_vec();
            flushed += batch.len();
            if let Err(failed) = app.write::<_, StoreError>(move |tx| tx.save_last_seen(&batch)).await {
                error!(error = &failed as &dyn std::error::Error, "last seen could not be written down: {failed}");
                return flushed;
            }
        }
    }
    flushed
}
