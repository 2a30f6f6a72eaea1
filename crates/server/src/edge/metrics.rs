//! How is the server itself? `/healthz`, `/readyz` and `/metrics`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use muster_store::StoreError;

use crate::App;

/// A store that doesn't answer for this long is not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pending effects counted at the most.
const PENDING_COUNTED: u32 = 10_000;

pub fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(app.clone())
}

/// Ready is who can read and write.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let answers = async {
        app.read::<_, StoreError>(|view| view.event_range()).await?;
        app.write::<_, StoreError>(|_| Ok(())).await
    };
    match tokio::time::timeout(READY_TIMEOUT, answers).await {
        Ok(Ok(())) => "ready\n".into_response(),
        Ok(Err(failed)) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {failed}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready: the store does not answer\n").into_response(),
    }
}

/// Prometheus text format 0.0.4.
async fn metrics(State(app): State<Arc<App>>) -> Result<Response, StatusCode> {
    let stored = app.read::<_, StoreError>(|view| {
        Ok((view.rollouts_by_state()?, view.pending_effects(PENDING_COUNTED)?.len(), view.open_reviews()?))
    });
    let (rollouts, pending, reviews) = stored.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let mut text = String::new();
    let counters = &app.counters;
    let written = app.store.writer().counters();
    let counted: [(&str, &str, &AtomicU64); 12] = [
        ("muster_polls_total", "Polls of devices answered.", &counters.polls),
        ("muster_reports_total", "Reports of devices received.", &counters.reports),
        ("muster_downloads_total", "Downloads of artifacts begun by devices.", &counters.downloads),
        ("muster_download_bytes_total", "Bytes of artifacts offered in these downloads.", &counters.download_bytes),
        ("muster_api_requests_total", "Requests to the operator API.", &counters.api_requests),
        ("muster_devices_refused_total", "Requests of devices that were not let in.", &counters.refused),
        ("muster_effects_total", "Effects carried out, batch by batch.", &counters.effects),
        ("muster_silent_actions_total", "Actions whose silence was looked at.", &counters.silent),
        ("muster_commits_total", "Durable commits.", &written.commits),
        ("muster_flows_total", "Flows in these commits.", &written.flows),
        ("muster_flows_refused_total", "Flows that were refused or failed.", &written.refused),
        ("muster_invariants_broken_total", "Invariants of Muster's own that broke: report each.", &written.broken),
    ];
    for (name, help, value) in counted {
        one(&mut text, (name, help, "counter"), value.load(Ordering::Relaxed));
    }
    let devices: usize = app.table.tenants().iter().map(|tenant| tenant.devices()).sum();
    one(&mut text, ("muster_devices", "Devices known.", "gauge"), devices as u64);
    let waiting = app.table.waiting.taken() as u64;
    one(&mut text, ("muster_devices_waiting", "Devices that wait for orders.", "gauge"), waiting);
    one(&mut text, ("muster_effects_pending", "Effects that wait to be carried out.", "gauge"), pending as u64);
    one(
        &mut text,
        ("muster_reviews_open", "Rollouts started by breaking the glass that nobody has reviewed.", "gauge"),
        reviews,
    );
    let untold: [(&str, &AtomicU64, bool); 2] = [
        ("syslog", &counters.audit_syslog_waiting, app.config.audit.syslog.is_some()),
        ("webhook", &counters.audit_webhook_waiting, app.config.audit.webhook.is_some()),
    ];
    for (stream, waiting, _) in untold.into_iter().filter(|(_, _, is_on)| *is_on) {
        let (name, help) = (format!("muster_audit_{stream}_waiting"), "Audit records that it was not told yet.");
        one(&mut text, (&name, help, "gauge"), waiting.load(Ordering::Relaxed));
    }
    let uptime_s = app.now().since(app.started_at).as_secs();
    one(&mut text, ("muster_uptime_seconds", "Since the server started.", "gauge"), uptime_s);
    if let Some(tls) = &app.tls {
        let end_s = u64::try_from(tls.not_after().0 / 1000).unwrap_or_default();
        let help = "When the certificate of the HTTPS address runs out, in seconds since 1970.";
        one(&mut text, ("muster_tls_certificate_not_after_seconds", help, "gauge"), end_s);
    }
    head(&mut text, ("muster_rollouts", "Rollouts by state.", "gauge"));
    for (state, count) in rollouts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "muster_rollouts{{state=\"{state}\"}} {count}");
    }
    process(&mut text);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn one(text: &mut String, what: (&str, &str, &str), value: u64) {
    head(text, what);
    let _ = writeln!(text, "{} {value}", what.0);
}

fn head(text: &mut String, what: (&str, &str, &str)) {
    let (name, help, kind) = what;
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// From the kernel's own books; left out where there are none.
fn process(text: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident_kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(kib) = resident_kib {
        one(text, ("process_resident_memory_bytes", "Resident memory.", "gauge"), kib * 1024);
    }
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    if let Some(ns) = schedstat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()) {
        head(text, ("process_cpu_seconds_total", "CPU time used by the main thread's group.", "counter"));
        let _ = writeln!(text, "process_cpu_seconds_total {}.{:03}", ns / 1_000_000_000, ns / 1_000_000 % 1000);
    }
}
