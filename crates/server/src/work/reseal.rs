//! How is everything sealed again when the master key changes?
//!
//! Both keys open until all is done, so nothing waits and a stop in the middle loses nothing: it goes on at the next start.

use std::sync::Arc;

use muster_store::StoreError;
use muster_vocab::AccountId;

use crate::flow::error::FlowError;
use crate::flow::{oidc, secrets, totp};
use crate::vault::VaultError;
use crate::{App, audit_key, identity, signing};

#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    #[error(transparent)]
    Flow(#[from] FlowError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// A new key seals from now on; the one before still opens.
pub async fn take_up_new(app: &Arc<App>) -> Result<(), ResealError> {
    let vault = app.vault.clone();
    off_loop(move || vault.take_up_new()).await
}

/// All that is sealed, with the newest key; then the older ones are forgotten. May be done again at any time.
pub async fn reseal(app: &Arc<App>) -> Result<(), ResealError> {
    let mut after = 0;
    loop {
        let vault = app.vault.clone();
        let some = app.write(move |tx| secrets::reseal_some(tx, &vault, after)).await?;
        let Some(last) = some else { break };
        after = last;
    }
    let mut after = 0;
    loop {
        let vault = app.vault.clone();
        let some = app.write(move |tx| oidc::reseal_some(tx, &vault, after)).await?;
        let Some(last) = some else { break };
        after = last;
    }
    let mut after = AccountId(0);
    loop {
        let vault = app.vault.clone();
        let some = app.write(move |tx| totp::reseal_some(tx, &vault, after)).await?;
        let Some(last) = some else { break };
        after = last;
    }
    let vault = app.vault.clone();
    app.write(move |tx| secrets::reseal_authorities(tx, &vault)).await?;
    let (vault, data) = (app.vault.clone(), app.config.data.clone());
    off_loop(move || {
        for path in signing::files(&data) {
            vault.reseal_file(&path)?;
        }
        vault.reseal_file(&data.join(audit_key::FILE))?;
        vault.reseal_file(&data.join(identity::ROOT_KEY))?;
        vault.forget_older()
    })
    .await
}

/// At a start: a change of the key that was cut off goes on.
pub async fn finish(app: &Arc<App>) {
    let (_, older, is_own) = app.vault.shown();
    if older == 0 || !is_own {
        return;
    }
    match reseal(app).await {
        Ok(()) => tracing::info!("the change of the master key that was cut off is done"),
        Err(failed) => {
            let cause: &dyn std::error::Error = &failed;
            tracing::warn!(error = cause, "the change of the master key could not be finished: {failed}");
        }
    }
}

async fn off_loop(work: impl FnOnce() -> Result<(), VaultError> + Send + 'static) -> Result<(), ResealError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| FlowError::Store(StoreError::Stopped))??)
}
