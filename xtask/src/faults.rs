//! Does anything get lost when the server is killed, again and again, in the middle of a rollout?
//!
//! A real server, 2,000 simulated devices with faults of their own, one rollout in waves. The server is killed with
//! SIGKILL at random moments and started again on the same folder and port. Afterwards the books are compared: the
//! actions, the rollout's counts, the devices' own journal, and every write that was acknowledged on the way.

mod books;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;

use crate::figure::{self, Figure};
use crate::process;
use books::Books;
use world::World;

/// A rollout that has not ended by then hangs.
const END_PATIENCE: Duration = Duration::from_secs(600);
/// Between two kills, at random: from a commit's length to several polls.
const KILL_AFTER_MS: std::ops::Range<u64> = 30..900;

/// Kill the server in the middle of a rollout and look for what was lost.
#[derive(Debug, Args)]
pub struct Faults {
    /// How often the server is killed.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    #[arg(long, default_value_t = 2000)]
    devices: u32,
    /// Of the moments of the kills and of the devices' own faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON line per figure.
    #[arg(long)]
    json: bool,
}

impl Faults {
    pub fn run(self) -> anyhow::Result<()> {
        process::run(&mut process::cargo(&["build", "--package", "muster"]))?;
        let mut world = World::start(self.devices, self.seed).context("setting the stage")?;
        let began = Instant::now();
        let kills = self.kill_again_and_again(&mut world)?;
        eprintln!("{kills} kills in {} s; waiting for the rollout to end", began.elapsed().as_secs());
        world.wait_for_end(END_PATIENCE)?;
        let report = world.stop_devices()?;
        let books = Books::compare(&world, &report)?;
        figure::print(
            &[
                Figure::new("kills", f64::from(kills), "1"),
                Figure::new("actions_lost", books.lost.len() as f64, "1"),
                Figure::new("actions_installed_twice", books.twice.len() as f64, "1"),
                Figure::new("acknowledged_writes", f64::from(world.acknowledged()), "1"),
            ],
            self.json,
        )?;
        for found in books.lost.iter().chain(&books.twice) {
            eprintln!("{found}");
        }
        ensure!(
            books.lost.is_empty() && books.twice.is_empty(),
            "the books don't agree: replay with --seed {}",
            self.seed
        );
        ensure!(kills == self.kills, "the rollout ended after {kills} of {} kills: give it more --devices", self.kills);
        Ok(())
    }

    fn kill_again_and_again(&self, world: &mut World) -> anyhow::Result<u32> {
        let mut chance = self.seed;
        for kill in 0..self.kills {
            chance = mixed(chance);
            let span = KILL_AFTER_MS.end - KILL_AFTER_MS.start;
            let until = Instant::now() + Duration::from_millis(KILL_AFTER_MS.start + chance % span);
            while Instant::now() < until {
                world.write_and_remember();
            }
            if world.has_ended() {
                return Ok(kill);
            }
            world.kill_and_restart().with_context(|| format!("after kill {}", kill + 1))?;
            world.check_acknowledged()?;
            if (kill + 1) % 10 == 0 {
                eprintln!("{} kills: {}", kill + 1, world.rollout_text());
            }
        }
        Ok(self.kills)
    }
}

/// The next number of SplitMix64.
fn mixed(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
