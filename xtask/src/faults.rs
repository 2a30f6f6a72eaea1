//! Do devices and server keep their word when everything goes wrong?
//!
//! First virtual boards, see `boards`. Then the server is killed again and again:
//!
//! A real server on a real disk, a rollout to simulated devices, and SIGKILL at moments drawn from a seed. Kills are
//! tied to the rollout's progress, so that they fall into all of it and not only into its quiet parts.

mod boards;
mod devices;
mod server;
mod verdict;
mod witness;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use muster_sim::chance::Chance;
use muster_sim::{Payload, journal};
use muster_wire::rollout::RolloutState;

use self::devices::{Devices, Fleet};
use self::server::Server;
use self::verdict::{Evidence, Verdict};
use self::witness::Witness;
use self::world::World;
use crate::figure::{self, Figure};
use crate::process;

const PASSWORD: &str = "a password for faults only";
const WAVES: u8 = 5;
const ARTIFACT_BYTES: usize = 32 * 1024;
/// Devices take this long to install, and longer by this for each kill: all kills have to find the rollout running.
const INSTALL_MS: u64 = 500;
const INSTALL_MS_PER_KILL: u64 = 80;
/// Between the progress a kill waits for and the kill itself.
const AIM_MS_MAX: u64 = 400;
/// Also the quiet times between two waves get their kills.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(3);
const GLANCE: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(300);
/// A fleet that gets nothing done for this long is stuck.
const QUIET_MAX: Duration = Duration::from_secs(90);
/// Keeps the draws of the kills apart from those of the devices, which have the same seed.
const AIM: u64 = 0xfa17;
const COMPLAINTS_SHOWN_MAX: usize = 20;

/// Cut the power of virtual devices at every moment, give them every fault there is, then kill the server again and
/// again during a rollout; and check that nothing is bricked, lost, or done twice.
#[derive(Debug, clap::Args)]
pub struct Faults {
    /// Print each figure as one JSON line
    #[arg(long)]
    json: bool,
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 50)]
    kills: u32,
    /// How many simulated devices the rollout is for
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,
    /// Draws the moments of the kills and what goes wrong on the devices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many virtual boards live through faults of every kind
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    lives: u64,
    /// Only the boards; the server is left alone
    #[arg(long)]
    boards: bool,
    /// Tell the life of the one board with this seed
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
}

impl Faults {
    pub fn run(&self) -> anyhow::Result<()> {
        if let Some(seed) = self.replay {
            return boards::replay(seed);
        }
        let figures = boards::run(self.lives, self.seed)?;
        figure::print(&figures, self.json)?;
        if self.boards { Ok(()) } else { self.kill_servers() }
    }

    fn kill_servers(&self) -> anyhow::Result<()> {
        eprintln!("building muster");
        process::run(&mut process::cargo(&["build", "--quiet", "--package", "muster"]))?;
        let program = process::root().join("target/debug/muster");
        let mut server = Server::start(&program, PASSWORD)?;
        let world = World::log_in(server.origin(), PASSWORD)?;
        let token = world.open_for_devices()?;
        let install_ms = INSTALL_MS + INSTALL_MS_PER_KILL * u64::from(self.kills);
        let payload = Payload { version: Some("1.1".to_owned()), install_ms, ..Payload::default() };
        let release = world.publish(&payload, ARTIFACT_BYTES)?;

        let fleet = Fleet { devices: self.devices, seed: self.seed };
        let mut devices = Devices::start(&program, &server, &token, fleet)?;
        let registered = self.registered(&world)?;
        let witness = Witness::start(world.clone());
        let rollout = world.roll_out(&release, &format!("name like \"{}*\"", devices::PREFIX), WAVES)?;
        eprintln!("rollout {} to {} devices in {WAVES} waves; killing the server now", rollout.id, self.devices);

        let kills = self.kill_again_and_again(&program, &mut server, &devices)?;
        wait_for_the_end(&world, &rollout.id)?;
        let promised = witness.stop()?;
        let report = devices.stop()?;

        let acknowledged = report.stats.reports + promised.len() as u64;
        let evidence = Evidence {
            devices: registered,
            actions: world.actions(&rollout.id)?,
            waves: world.rollout(&rollout.id)?.waves,
            installs: journal::read(devices.journal()).context("reading the devices' journal")?,
            stored: world.devices("all")?.into_iter().map(|device| device.name).collect(),
            promised,
            audit_intact: world.audit()?.intact,
        };
        let verdict = verdict::judge(&evidence);
        figure::print(&figures(&verdict, kills, acknowledged), self.json)?;
        let concluded = conclude(&verdict, &report.stats.breach_samples);
        if concluded.is_err() {
            eprintln!("what is left of the server and the devices is in {}", server.keep_folder().display());
        }
        concluded?;
        ensure!(kills == self.kills, "the rollout ended after {kills} of {} kills; use more devices", self.kills);
        Ok(())
    }

    /// The names of all devices, once the last one has registered itself.
    fn registered(&self, world: &World) -> anyhow::Result<Vec<String>> {
        let expected = self.devices as usize;
        let deadline = Instant::now() + QUIET_MAX;
        loop {
            let known = world.devices("all")?;
            if known.len() == expected {
                return Ok(known.into_iter().map(|device| device.name).collect());
            }
            ensure!(Instant::now() < deadline, "only {} of {expected} devices registered themselves", known.len());
            std::thread::sleep(LOOK);
        }
    }

    /// Answers how often it killed: less than asked for if the rollout was faster.
    fn kill_again_and_again(&self, program: &Path, server: &mut Server, devices: &Devices) -> anyhow::Result<u32> {
        let mut chance = Chance::keyed(self.seed, &[AIM]);
        let aims = aims(&mut chance, self.kills, self.devices);
        for (killed, aim) in (0..).zip(aims) {
            let quiet = Instant::now();
            while devices.installs()? < aim && quiet.elapsed() < PROGRESS_TIMEOUT {
                std::thread::sleep(GLANCE);
            }
            std::thread::sleep(Duration::from_millis(chance.below(AIM_MS_MAX)));
            let ended = devices.installs()?;
            if ended >= u64::from(self.devices) {
                return Ok(killed);
            }
            server.kill()?;
            eprintln!("kill {} of {}: {ended} of {} devices were through", killed + 1, self.kills, self.devices);
            server.restart(program)?;
        }
        Ok(self.kills)
    }
}

/// After how many finished devices each kill is due: anywhere in the rollout, but not in its last quarter, where a kill
/// could come too late.
fn aims(chance: &mut Chance, kills: u32, devices: u32) -> Vec<u64> {
    let mut aims: Vec<u64> = (0..kills).map(|_| chance.below(u64::from(devices) * 3 / 4)).collect();
    aims.sort_unstable();
    aims
}

/// Waits as long as there is progress.
fn wait_for_the_end(world: &World, rollout: &str) -> anyhow::Result<()> {
    let mut progress = (Instant::now(), 0);
    loop {
        let now = world.rollout(rollout)?;
        if now.state == RolloutState::Finished {
            return Ok(());
        }
        let ended: u32 = now.waves.iter().map(|wave| wave.counts.finished + wave.counts.failed).sum();
        if ended > progress.1 {
            progress = (Instant::now(), ended);
        }
        let (stalled, state) = (progress.0.elapsed() > QUIET_MAX, now.state);
        ensure!(!stalled, "rollout {rollout} does not end. It is {state:?}: {}", now.text);
        std::thread::sleep(LOOK);
    }
}

fn figures(verdict: &Verdict, kills: u32, acknowledged: u64) -> Vec<Figure> {
    let count = |name: &str, count: usize| Figure::new(name, count as f64, "1");
    vec![
        count("actions_lost", verdict.lost.len()),
        count("actions_installed_twice", verdict.installed_twice.len()),
        count("acknowledged_lost", verdict.promises_broken.len()),
        count("waves_miscounted", verdict.miscounted.len()),
        Figure::new("acknowledged", acknowledged as f64, "1"),
        Figure::new("kills", f64::from(kills), "1"),
    ]
}

/// Says what is wrong, if anything is.
fn conclude(verdict: &Verdict, breaches: &[String]) -> anyhow::Result<()> {
    let complaints: Vec<&String> = verdict.complaints().chain(breaches).collect();
    for complaint in complaints.iter().take(COMPLAINTS_SHOWN_MAX) {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() {
        Ok(())
    } else {
        bail!("the server did not keep its word: {} complaints", complaints.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_rollout_and_follow_from_the_seed() {
        let drawn = |seed| aims(&mut Chance::keyed(seed, &[AIM]), 50, 2_000);
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert!(drawn(7).is_sorted());
        assert!(drawn(7).first() < Some(&400) && drawn(7).last() > Some(&1_200), "{:?}", drawn(7));
        assert!(drawn(7).last() < Some(&1_500));
    }
}
