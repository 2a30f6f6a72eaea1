//! Does the server show a certificate that is good for a while yet?
//!
//! Its own is made anew after two thirds of its life. Files are read again when they change, so that an ACME client
//! may replace them; a pair that does not fit is refused, and what was shown before stays.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use crate::App;
use crate::edge::tls::TlsError;

/// Looks again and again until the server stops.
pub async fn run(app: Arc<App>, interval: Duration) {
    let mut stopping = app.stopping.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        renew(&app).await;
    }
}

/// Whether there is a new certificate.
pub async fn renew(app: &Arc<App>) -> bool {
    let here = app.clone();
    let renewed = tokio::task::spawn_blocking(move || renew_once(&here)).await;
    match renewed {
        Ok(Ok(None)) => false,
        Ok(Ok(Some(end))) => {
            info!("the server shows a new certificate, valid until {end}");
            true
        }
        Ok(Err(failed)) => {
            let text = "the server's new certificate was refused and the present one stays";
            error!(error = &failed as &dyn std::error::Error, "{text}: {failed}");
            false
        }
        Err(failed) => {
            error!(error = &failed as &dyn std::error::Error, "renewing the server's certificate broke: {failed}");
            false
        }
    }
}

fn renew_once(app: &App) -> Result<Option<muster_vocab::Timestamp>, TlsError> {
    let Some(tls) = &app.tls else { return Ok(None) };
    let is_new = tls.renew(&app.config.tls, &app.identity, app.now())?;
    Ok(is_new.then(|| tls.not_after()))
}
