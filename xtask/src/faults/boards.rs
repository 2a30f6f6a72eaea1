//! Does a device always start something whole, and is what it says so?
//!
//! Virtual boards run the agent's own code: the power goes at every single moment of an update, and then thousands of
//! boards live through faults of all kinds, each drawn from a seed that repeats its life.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{bail, ensure};
use muster_sim::board::image::Nature;
use muster_sim::board::power::{self, Outcome, Parts};
use muster_sim::board::schedule::{self, Kinds};
use parking_lot::Mutex;

use crate::figure::Figure;

/// Lives between two lines that tell how far it is.
const TELL_EVERY: u64 = 1000;
const FAILURES_SHOWN_MAX: usize = 3;

/// The updates whose every moment is tried: to versions that stay, and to versions that don't.
const UPDATES: [(Parts, Nature); 10] = [
    (Parts::System, Nature::Good),
    (Parts::System, Nature::Dead),
    (Parts::System, Nature::Sick),
    (Parts::System, Nature::Deaf),
    (Parts::SystemByDelta, Nature::Good),
    (Parts::SystemByPackedDelta, Nature::Good),
    (Parts::SystemCompressed, Nature::Good),
    (Parts::SystemAndApp, Nature::Good),
    (Parts::SystemAndApp, Nature::Dead),
    (Parts::SystemAndApp, Nature::Sick),
];

/// Figures of the power cuts, and of so many lives.
pub fn run(lives: u64, seed: u64) -> anyhow::Result<Vec<Figure>> {
    let cuts = every_power_cut();
    let (wrong, shown) = all_lives(lives, seed);
    let failed = cuts.bricked + cuts.wrong;
    let figures = vec![
        Figure::new("power_cut_cases", cuts.cases as f64, "1"),
        Figure::new("power_cut_bricked", cuts.bricked as f64, "1"),
        Figure::new("power_cut_wrong", cuts.wrong as f64, "1"),
        Figure::new("fault_schedules", lives as f64, "1"),
        Figure::new("fault_schedules_wrong", wrong as f64, "1"),
    ];
    if let Some((name, failure)) = &cuts.first {
        eprintln!("{name}: {failure:#?}");
    }
    for line in &shown {
        eprintln!("{line}");
    }
    if failed > 0 || wrong > 0 {
        crate::figure::print(&figures, false)?;
        bail!("{failed} of {} power cuts and {wrong} of {lives} lives did not end well", cuts.cases);
    }
    Ok(figures)
}

/// Tells one life from its seed.
pub fn replay(seed: u64) -> anyhow::Result<()> {
    let case = schedule::live(seed, Kinds::ALL);
    for line in case.board.world.machine.log() {
        println!("{line}");
    }
    println!("{} power cuts", case.board.power_cuts);
    ensure!(case.failures.is_empty(), "the life with seed {seed} did not end well: {:#?}", case.failures);
    println!("the life with seed {seed} ended well");
    Ok(())
}

fn every_power_cut() -> Outcome {
    let mut all = Outcome::default();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let started: Vec<_> =
            UPDATES.iter().map(|(parts, nature)| scope.spawn(|| power::every_boundary(*parts, *nature))).collect();
        started.into_iter().map(|thread| thread.join().expect("no board panics")).collect()
    });
    for (outcome, (parts, nature)) in outcomes.into_iter().zip(UPDATES) {
        let failed = outcome.bricked + outcome.wrong;
        eprintln!("power cut at every moment, {parts:?}, {nature:?}: {} cases tried, {failed} failed", outcome.cases);
        all.cases += outcome.cases;
        all.bricked += outcome.bricked;
        all.wrong += outcome.wrong;
        all.first = all.first.or(outcome.first);
    }
    all
}

/// How many did not end well, and the first of them.
fn all_lives(lives: u64, seed: u64) -> (u64, Vec<String>) {
    let (ended, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
    let shown = Mutex::new(Vec::new());
    let first = seed.wrapping_mul(1_000_000);
    schedule::live_all(first..first + lives, Kinds::ALL, &|seed, case| {
        if !case.failures.is_empty() {
            wrong.fetch_add(1, Ordering::Relaxed);
            let mut shown = shown.lock();
            if shown.len() < FAILURES_SHOWN_MAX {
                shown.push(format!("cargo xtask faults --replay {seed}: {:#?}", case.failures));
            }
        }
        let ended = ended.fetch_add(1, Ordering::Relaxed) + 1;
        if ended.is_multiple_of(TELL_EVERY) {
            eprintln!("{ended} of {lives} lives of boards with faults of every kind");
        }
    });
    (wrong.into_inner(), shown.into_inner())
}
