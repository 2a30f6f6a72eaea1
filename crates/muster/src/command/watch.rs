//! `watch`: changes as they happen.

use std::time::Duration;

use clap::Args;

use super::Here;
use crate::exit::Outcome;
use crate::output::{self, Format, Row};
use crate::show;

/// Between two attempts to reach a server that has gone.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

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
    let mut events = here.client.events(&query, after)?;
    eprintln!("Watching {}; interrupt to end.", here.context.server);
    loop {
        for event in events.by_ref() {
            after = Some(event.sequence);
            let line = match here.format {
                Format::Table | Format::Wide => format!("{}\n", event.cells().join("  ")),
                Format::Name => format!("{}\n", event.id),
                Format::Json | Format::Jsonl | Format::Yaml => {
                    output::render(Format::Jsonl, std::slice::from_ref(&event))?
                }
            };
            output::print(&line)?;
            seen += 1;
            if args.count.is_some_and(|count| seen >= count) {
                return Ok(());
            }
        }
        eprintln!("The stream ended at {}; trying again.", show::word(&after));
        std::thread::sleep(RETRY_PAUSE);
        events = here.client.events(&query, after)?;
    }
}
