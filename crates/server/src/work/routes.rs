//! Which deltas and compressed wholes are missing? Each is made by a process of its own, one after the other.
//!
//! Making one takes minutes and most of a gigabyte: in a process of low priority it takes neither from the server, and
//! what goes wrong with it, be it memory, ends only that process.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_store::StoreError;
use muster_store::blobs::Blobs;
use muster_store::routes::{DueRoute, Outcome, Route};
use muster_vocab::limit;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tracing::{error, info, warn};

use crate::{App, clock};

/// This program, also after it was replaced on the disk.
const PROGRAM: &str = "/proc/self/exe";
/// Of a failed process's last words.
const WORDS_BYTES_MAX: u64 = 2000;
/// Between two looks for what is missing: so many times as long as the last look took, and at least this.
const PAUSE_FACTOR: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A compressed whole is offered if it spares at least a twentieth.
const WORTH: (u64, u64) = (19, 20);

/// Makes what is missing until the server stops.
pub async fn run(app: Arc<App>, interval: Duration) {
    let mut stopping = app.stopping.subscribe();
    if app.config.delta_memory_bytes == 0 {
        return;
    }
    if let Err(failed) = app.write::<_, StoreError>(|tx| tx.delete_failed_routes()).await {
        error!(error = &failed as &dyn std::error::Error, "what failed can't be tried again: {failed}");
    }
    loop {
        let begun = Instant::now();
        let made = tokio::select! {
            made = make_next(&app) => made,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match made {
            Ok(true) => continue,
            Ok(false) => {}
            Err(failed) => error!(error = &failed as &dyn std::error::Error, "no deltas were made: {failed}"),
        }
        // While a million devices join, each of them is news.
        let pause = PAUSE_MIN.max(begun.elapsed() * PAUSE_FACTOR);
        let news = async {
            tokio::time::sleep(pause).await;
            app.routes.notified().await;
        };
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(interval) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// `false`: nothing is missing.
async fn make_next(app: &App) -> Result<bool, StoreError> {
    let now = clock::now();
    let Some(due) = app.read::<_, StoreError>(move |view| Ok(view.due_routes(now, 1)?.pop())).await? else {
        return Ok(false);
    };
    let outcome = make(app, &due).await?;
    tell(&due, &outcome);
    let route = Route { digest: due.digest, from: due.from.map(|(from, _)| from), outcome, made_at: clock::now() };
    // The bytes have their name already: nobody may collect them before the row says what they are for.
    let _keeping = app.keeping.read().await;
    if let Outcome::Made(digest, _) = route.outcome {
        app.blobs.keep_made(digest).await?;
    }
    app.write::<_, StoreError>(move |tx| tx.save_route(due.project, &route)).await?;
    Ok(true)
}

async fn make(app: &App, due: &DueRoute) -> Result<Outcome, StoreError> {
    let mut command = Command::new(PROGRAM);
    command.args([
        "delta",
        if due.chain.is_some() {
            "chain"
        } else if due.from.is_some() {
            "make"
        } else {
            "compress"
        },
    ]);
    command.args(["--end-with-parent", "--memory-mib", &(app.config.delta_memory_bytes / (1024 * 1024)).to_string()]);
    command.args(due.from.map(|(from, _)| app.blobs.file(from)));
    match due.chain {
        Some((first, second)) => command.args([first, second].map(|delta| app.blobs.file(delta))),
        None => command.arg(app.blobs.file(due.digest)),
    };
    command.arg(app.blobs.made_file());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    match run_to_end(command).await {
        Ok((status, _)) if status.success() => {}
        Ok((status, words)) if words.is_empty() => return Ok(Outcome::Failed(format!("it ended with {status}"))),
        Ok((_, words)) => return Ok(Outcome::Failed(words)),
        Err(failed) => return Ok(Outcome::Failed(failed.to_string())),
    }
    let file = app.blobs.made_file();
    let digested = tokio::task::spawn_blocking(move || Blobs::digest_file(&file)).await;
    let made = digested.map_err(|_| StoreError::Stopped)??;
    let (project, digest) = (due.project, due.digest);
    let routes = app.read::<_, StoreError>(move |view| view.routes(project, digest)).await?;
    let compressed = routes.iter().find_map(|route| match route {
        Route { from: None, outcome: Outcome::Made(_, size), .. } => Some(*size),
        Route { .. } => None,
    });
    let most = compressed.unwrap_or(due.size * WORTH.0 / WORTH.1);
    Ok(if made.size < most { Outcome::Made(made.sha256, made.size) } else { Outcome::NotSmaller })
}

async fn run_to_end(mut command: Command) -> std::io::Result<(ExitStatus, String)> {
    let mut child = command.spawn()?;
    let mut stderr = child.stderr.take();
    let ended = tokio::time::timeout(limit::DELTA_TIME_MAX, async {
        let mut words = Vec::new();
        if let Some(stderr) = &mut stderr {
            stderr.take(WORDS_BYTES_MAX).read_to_end(&mut words).await?;
        }
        Ok((child.wait().await?, String::from_utf8_lossy(&words).trim().to_owned()))
    });
    ended.await.unwrap_or_else(|_| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long")))
}

fn tell(due: &DueRoute, outcome: &Outcome) {
    let (to, devices) = (due.digest, due.devices);
    let what = match due.from {
        Some((from, _)) => format!("delta from {from} to {to}, for {devices} devices"),
        None => format!("compressed {to}"),
    };
    match outcome {
        Outcome::Made(_, size) => info!(artifact = %to, size, "made the {what}: {size} of {} bytes", due.size),
        Outcome::NotSmaller => info!(artifact = %to, "made the {what}, and it spares nothing"),
        Outcome::Failed(why) => warn!(artifact = %to, "could not make the {what}: {why}"),
    }
}
