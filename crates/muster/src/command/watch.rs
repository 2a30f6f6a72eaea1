//! `watch`: changes as they happen.

use std::time::{Duration, Instant};

use clap::Args;
use muster_wire::event::Event;

use super::Here;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format, Row};

/// Between two attempts to reach a server that has gone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A server that stays away this long is not just restarting.
pub const ABSENCE_MAX: Duration = Duration::from_secs(300);

/// Show changes as they happen, until interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster watch
  muster watch --kind rollout,device
  muster watch --rollout r-12 -o jsonl")]
pub struct WatchArgs {
    /// Kinds, separated by commas: rollout, action, device, release, artifact, channel.
    #[arg(long)]
    kind: Option<String>,
    /// Only what belongs to this rollout.
    #[arg(long)]
    rollout: Option<String>,
    /// End after this many changes.
    #[arg(long)]
    count: Option<usize>,
}

pub fn watch(here: &Here, args: &WatchArgs) -> Outcome<()> {
    let mut query = Vec::new();
    query.extend(args.kind.as_deref().map(|kind| ("kind", kind)));
    query.extend(args.rollout.as_deref().map(|rollout| ("rollout", rollout)));
    let mut after = None;
    let mut seen = 0;
    // Whoever starts to watch wants to know at once that there is no server; later it may be restarting.
    let mut patience = Duration::ZERO;
    loop {
        let events = opened(here, &query, after, patience)?;
        if patience.is_zero() {
            eprintln!("Watching {}; interrupt to end.", here.context.server);
        }
        for event in events {
            after = Some(event.sequence);
            output::print(&line(here.format, &event)?)?;
            seen += 1;
            if args.count.is_some_and(|count| seen >= count) {
                return Ok(());
            }
        }
        eprintln!("The stream ended; going on where it was.");
        patience = ABSENCE_MAX;
        std::thread::sleep(RETRY_PAUSE);
    }
}

fn line(format: Format, event: &Event) -> Outcome<String> {
    match format {
        Format::Table | Format::Wide => Ok(format!("{}\n", output::clean(&event.cells().join("  ")))),
        Format::Name => Ok(format!("{}\n", event.id)),
        Format::Json | Format::Jsonl | Format::Yaml => output::render(Format::Jsonl, std::slice::from_ref(event)),
    }
}

/// The stream, once the server is there. A refusal ends the watch, because asking again changes nothing.
fn opened(
    here: &Here,
    query: &[(&str, &str)],
    after: Option<u64>,
    patience: Duration,
) -> Outcome<impl Iterator<Item = Event> + use<>> {
    let asked = Instant::now();
    loop {
        match here.client.events(query, after) {
            Err(Failed::Other(_)) if asked.elapsed() < patience => std::thread::sleep(RETRY_PAUSE),
            answer => return answer,
        }
    }
}
