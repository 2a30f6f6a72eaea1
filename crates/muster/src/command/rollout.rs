//! `rollout …`: make, watch, order, ask why.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use muster_vocab::Timestamp;
use muster_wire::device::Why;
use muster_wire::rollout::{
    Counts, OnError, Push, Remark, Rollout, RolloutCreate, RolloutState, Threshold, WaveCreate,
};

use super::watch::ABSENCE_MAX;
use super::{Here, approval};
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};
use crate::read;
use crate::show;

/// How often a watched rollout is read again when nothing is heard of it.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    Create(Box<CreateArgs>),
    /// Where it stands, and who has approved it.
    #[command(visible_alias = "show")]
    Status {
        rollout: String,
    },
    Watch(WatchArgs),
    /// Start one that was made without --start.
    Start(StartArgs),
    /// Open no further wave for now; devices under way go on.
    Pause(OrderArgs),
    /// Go on; failures so far count as accepted.
    Resume(OrderArgs),
    /// End it; devices under way are asked to stop.
    Abort(OrderArgs),
    /// Bring each device that took it back to the release it ran before.
    Rollback(OrderArgs),
    /// Open the next wave by hand.
    NextWave(OrderArgs),
    /// Approve somebody else's rollout: shows the plan, and approves exactly that.
    Approve(OrderArgs),
    /// Deny a rollout its approval.
    Deny(OrderArgs),
    /// Try again on the devices that failed: makes a new rollout and starts it.
    Retry(OrderArgs),
    /// Why is a device where it is: which rollout, wave, gate or window holds it?
    Why {
        device: String,
    },
}

#[derive(Debug, Args)]
pub struct OrderArgs {
    /// r-12, or the rollout's name.
    rollout: String,
    /// Why; kept in the audit log.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster rollout start r-12
  muster rollout start r-12 --break-glass --reason 'the fleet is down, nobody else is awake'")]
pub struct StartArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Start without the approvals it needs: raises an alarm, and somebody else has to review it.
    #[arg(long, requires = "reason")]
    break_glass: bool,
}

/// Make a rollout.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster rollout create gateway@1.1 --select all --waves 5%,25%,rest --on-error roll-back --start --watch
  muster rollout create gateway@1.1 --select 'label.site == berlin' --window 'sat,sun 02:00-05:00 Europe/Berlin'
  muster rollout create --channel stable --select all \\
      --wave 'take=label.ring == lab;success=100%;soak=1h' --wave 'take=rest;errors=2%'")]
pub struct CreateArgs {
    /// name@version of a published release.
    #[arg(required_unless_present = "channel", conflicts_with = "channel")]
    release: Option<String>,
    /// The release this channel names now.
    #[arg(long)]
    channel: Option<String>,
    /// Which devices; `all` for every accepted one.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    select: String,
    /// Waves by share or count: 5%,25%,rest. The last takes what is left.
    #[arg(long, value_name = "LIST", value_parser = read_waves, conflicts_with = "wave")]
    waves: Option<Waves>,
    /// One wave in full; repeat for more.
    #[arg(long, value_name = "SPEC", value_parser = read::wave)]
    wave: Vec<WaveCreate>,
    /// Of all waves: devices that must succeed before the next wave [default: 95%]
    #[arg(long, value_parser = read::threshold)]
    success: Option<Threshold>,
    /// Of all waves: failures tolerated; one more stops it [default: 0]
    #[arg(long, value_parser = read::threshold)]
    errors: Option<Threshold>,
    /// pause, or roll-back [default: pause]
    #[arg(long, value_parser = read::on_error)]
    on_error: Option<OnError>,
    /// forced, soft, download-only, forced-from=TIME [default: forced]
    #[arg(long, value_parser = read::push)]
    push: Option<Push>,
    /// Start at once, or as soon as it is approved.
    #[arg(long)]
    start: bool,
    /// Start at this time: 2026-12-01T02:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    start_at: Option<Timestamp>,
    /// When devices may install: 'sat,sun 02:00-05:00 Europe/Berlin'.
    #[arg(long)]
    window: Option<String>,
    /// Somebody else has to approve it.
    #[arg(long)]
    approval: bool,
    /// Each device (or its user) has to consent.
    #[arg(long)]
    confirmation: bool,
    /// 0 to 1000; of two rollouts that want a device the higher goes first [default: 500]
    #[arg(long)]
    priority: Option<u16>,
    /// Devices that match later join the last wave.
    #[arg(long)]
    dynamic: bool,
    /// Install it also where a newer version runs.
    #[arg(long)]
    allow_downgrade: bool,
    /// A device silent about it for this long counts as failed [default: 24h]
    #[arg(long, value_parser = read::duration)]
    silence: Option<Duration>,
    /// For people; made from the release if left out.
    #[arg(long)]
    name: Option<String>,
    /// Watch it to its end.
    #[arg(long)]
    watch: bool,
}

/// A list of waves as one argument.
#[derive(Debug, Clone)]
pub struct Waves(Vec<WaveCreate>);

fn read_waves(text: &str) -> Result<Waves, String> {
    read::waves(text).map(Waves)
}

/// Follow a rollout to its end. Exit code 0: finished; 8: stopped, rolled back or aborted; 7: timed out.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// r-12, or the rollout's name.
    rollout: String,
    /// Give up after this long; the rollout goes on.
    #[arg(long, value_parser = read::duration)]
    timeout: Option<Duration>,
}

pub fn run(here: &Here, command: RolloutCommand) -> Outcome<()> {
    match command {
        RolloutCommand::Create(args) => create(here, *args),
        RolloutCommand::Status { rollout } => status(here, &rollout),
        RolloutCommand::Watch(args) => watch(here, &args.rollout, args.timeout),
        RolloutCommand::Start(args) if args.break_glass => order(here, &args.order, "break-glass"),
        RolloutCommand::Start(args) => order(here, &args.order, "start"),
        RolloutCommand::Pause(args) => order(here, &args, "pause"),
        RolloutCommand::Resume(args) => order(here, &args, "resume"),
        RolloutCommand::Abort(args) => order(here, &args, "abort"),
        RolloutCommand::Rollback(args) => order(here, &args, "rollback"),
        RolloutCommand::NextWave(args) => order(here, &args, "next-wave"),
        RolloutCommand::Approve(args) => tell(here, &approval::approve(here, &args.rollout, &args.reason)?),
        RolloutCommand::Deny(args) => order(here, &args, "deny"),
        RolloutCommand::Retry(args) => order(here, &args, "retry"),
        RolloutCommand::Why { device } => why(here, &device),
    }
}

fn create(here: &Here, args: CreateArgs) -> Outcome<()> {
    if args.watch && !args.start && args.start_at.is_none() {
        return Err(Failed::Usage("--watch needs --start or --start-at: a draft would never end".into()));
    }
    let listed = args.waves.map(|waves| waves.0).unwrap_or(args.wave);
    let with_defaults = |wave: WaveCreate| WaveCreate {
        success: wave.success.or(args.success),
        errors: wave.errors.or(args.errors),
        ..wave
    };
    let waves = if listed.is_empty() && (args.success.is_some() || args.errors.is_some()) {
        read::waves("rest").map_err(Failed::Usage)?
    } else {
        listed
    };
    let new = RolloutCreate {
        name: args.name,
        release: args.release,
        channel: args.channel,
        select: args.select,
        waves: waves.into_iter().map(with_defaults).collect(),
        on_error: args.on_error,
        push: args.push,
        start: args.start,
        start_at: args.start_at,
        window: args.window,
        approval: args.approval,
        confirmation: args.confirmation,
        priority: args.priority,
        dynamic: args.dynamic,
        allow_downgrade: args.allow_downgrade,
        silence_s: args.silence.map(|silence| u32::try_from(silence.as_secs()).unwrap_or(u32::MAX)),
    };
    let rollout: Rollout = here.client.create("/rollouts", &new)?;
    if args.watch { watch(here, &rollout.id, None) } else { tell(here, &rollout) }
}

fn tell(here: &Here, rollout: &Rollout) -> Outcome<()> {
    if here.format == Format::Table {
        return output::print(&format!(
            "{} {} is {}. {}\n",
            rollout.id,
            rollout.name,
            show::word(&rollout.state),
            rollout.text
        ));
    }
    output::one(here.format, rollout)
}

fn order(here: &Here, args: &OrderArgs, order: &str) -> Outcome<()> {
    let path = format!("/rollouts/{}/{order}", part(&args.rollout));
    let remark = Remark { reason: args.reason.clone() };
    // Only a retry makes a new thing.
    let rollout: Rollout =
        if order == "retry" { here.client.create(&path, &remark)? } else { here.client.post(&path, &remark)? };
    tell(here, &rollout)
}

fn status(here: &Here, name: &str) -> Outcome<()> {
    let rollout: Rollout = here.client.get(&format!("/rollouts/{}", part(name)))?;
    if here.format != Format::Table {
        return output::one(here.format, &rollout);
    }
    tell(here, &rollout)?;
    output::print(&approval::lines(&rollout))?;
    output::print(&waves_table(&rollout))
}

fn why(here: &Here, device: &str) -> Outcome<()> {
    let why: Why = here.client.get(&format!("/devices/{}/why", part(device)))?;
    if here.format != Format::Table {
        return output::document(here.format, &why);
    }
    output::print(&why.reasons.iter().map(|reason| format!("{}\n", output::clean(&reason.text))).collect::<String>())
}

/// One line per wave, and one more where a wave is rolled back.
pub fn waves_table(rollout: &Rollout) -> String {
    let headers =
        vec!["WAVE", "STATE", "DEVICES", "WAITING", "OFFERED", "RUNNING", "DONE", "FAILED", "LOST", "CANCELED"];
    let line = |name: String, state: String, counts: &Counts| {
        let waiting = counts.scheduled + counts.queued + counts.awaiting_confirmation;
        let done = counts.finished + counts.downloaded;
        let numbers = [
            counts.total,
            waiting,
            counts.offered,
            counts.running + counts.canceling,
            done,
            counts.failed,
            counts.lost,
            counts.canceled,
        ];
        [vec![name, state], numbers.iter().map(u32::to_string).collect()].concat()
    };
    let mut rows = Vec::new();
    for wave in &rollout.waves {
        rows.push(line(wave.number.to_string(), show::word(&wave.state), &wave.counts));
        if let Some(back) = &wave.rollback {
            rows.push(line(format!("{} back", wave.number), "rolling back".into(), back));
        }
    }
    output::table(headers, rows)
}

/// How far a watched rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    done: u32,
    total: u32,
}

impl Ended {
    fn of(rollout: &Rollout) -> Self {
        let done =
            |counts: &Counts| counts.finished + counts.downloaded + counts.failed + counts.lost + counts.canceled;
        let both = |wave: &muster_wire::rollout::Wave| {
            let back = wave.rollback.unwrap_or_default();
            (done(&wave.counts) + done(&back), wave.counts.total + back.total)
        };
        let sums = rollout.waves.iter().map(both).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Self { done: sums.0, total: sums.1 }
    }
}

/// Follows a rollout until it ends or stops.
pub fn watch(here: &Here, name: &str, timeout: Option<Duration>) -> Outcome<()> {
    let path = format!("/rollouts/{}", part(name));
    let began = Instant::now();
    let first: Rollout = here.client.get(&path)?;
    let mut screen =
        Screen { live: output::is_terminal() && here.format == Format::Table, drawn: 0, last: String::new() };
    let start = Ended::of(&first);
    let mut rollout = first;
    let mut gone: Option<Instant> = None;
    loop {
        screen.show(here, &rollout, pace(start, Ended::of(&rollout), began.elapsed()))?;
        if let Some(end) = end(&rollout) {
            return end;
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            return Err(Failed::TimedOut(format!("{} has not ended yet: {}", rollout.id, rollout.text)));
        }
        std::thread::sleep(WATCH_INTERVAL);
        match here.client.get(&path) {
            Ok(read) => (rollout, gone) = (read, None),
            // The server may be restarting; the rollout goes on when it is back.
            Err(Failed::Other(error)) => match gone {
                None => {
                    eprintln!("{error}; waiting for the server");
                    gone = Some(Instant::now());
                }
                Some(since) if since.elapsed() < ABSENCE_MAX => {}
                Some(_) => return Err(Failed::Other(error)),
            },
            Err(other) => return Err(other),
        }
    }
}

fn end(rollout: &Rollout) -> Option<Outcome<()>> {
    let stopped = || Some(Err(Failed::Stopped(format!("{} {}", rollout.id, rollout.text))));
    match rollout.state {
        RolloutState::Finished => Some(Ok(())),
        RolloutState::Paused | RolloutState::RolledBack | RolloutState::Aborted | RolloutState::Denied => stopped(),
        RolloutState::Draft
        | RolloutState::AwaitingApproval
        | RolloutState::Ready
        | RolloutState::Filling
        | RolloutState::Running
        | RolloutState::RollingBack
        | RolloutState::Aborting => None,
    }
}

/// Devices a minute since the watch began, and the time left at that pace.
fn pace(start: Ended, now: Ended, elapsed: Duration) -> String {
    let ended = u64::from(now.done.saturating_sub(start.done));
    let seconds = elapsed.as_secs().max(1);
    if ended == 0 {
        return format!("{} of {} ended", now.done, now.total);
    }
    let left_s = u64::from(now.total.saturating_sub(now.done)) * seconds / ended;
    let per_minute = ended * 60 / seconds;
    let left = if left_s < 120 { format!("{left_s} s") } else { format!("{} min", left_s / 60) };
    format!("{} of {} ended, {per_minute} devices/min, about {left} left", now.done, now.total)
}

/// Redrawn in place for a person; a line per change for a file.
#[derive(Debug)]
struct Screen {
    live: bool,
    drawn: usize,
    last: String,
}

impl Screen {
    fn show(&mut self, here: &Here, rollout: &Rollout, pace: String) -> Outcome<()> {
        if here.format != Format::Table {
            let line = output::render(Format::Jsonl, std::slice::from_ref(rollout))?;
            return if line == self.last { Ok(()) } else { self.keep(line) };
        }
        if !self.live {
            let line = format!("{} {}: {}\n", rollout.id, show::word(&rollout.state), rollout.text);
            return if line == self.last { Ok(()) } else { self.keep(line) };
        }
        let head =
            format!("{} {} is {} ({pace})\n{}\n", rollout.id, rollout.name, show::word(&rollout.state), rollout.text);
        let text = output::fit(&(head + &waves_table(rollout)));
        // Up over what was drawn before, clearing each line.
        let up = if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\x1b[J", self.drawn) };
        self.drawn = text.lines().count();
        output::print(&(up + &text))
    }

    fn keep(&mut self, line: String) -> Outcome<()> {
        output::print(&line)?;
        self.last = line;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_tells_how_long_it_takes() {
        let at = |done| Ended { done, total: 100 };
        assert_eq!(pace(at(0), at(0), Duration::from_secs(9)), "0 of 100 ended");
        let told = pace(at(0), at(50), Duration::from_secs(60));
        assert_eq!(told, "50 of 100 ended, 50 devices/min, about 60 s left");
    }
}
