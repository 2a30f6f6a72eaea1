//! A life of a board with everything going wrong that can, drawn from one seed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_vocab::Timestamp;

use super::case::{self, Case};
use super::depot::{Order, Shortcut};
use super::device::{Board, Setup};
use super::disk::{Cut, Loss};
use super::image::{Image, Nature};
use super::machine::{STATE, slot_path};
use super::rough::Weather;
use crate::chance::Chance;

/// Steps with faults; afterwards the weather clears, so that the story can end.
const STORM_STEPS: u32 = 1500;

/// Which kinds of faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    pub power: bool,
    pub disk: bool,
    pub net: bool,
    pub clock: bool,
}

impl Kinds {
    pub const ALL: Self = Self { power: true, disk: true, net: true, clock: true };
    pub const NONE: Self = Self { power: false, disk: false, net: false, clock: false };
}

/// `all`, `none`, or some of `power,disk,net,clock`.
impl std::str::FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut kinds = Self::NONE;
        for word in text.split(',').map(str::trim) {
            match word {
                "all" => kinds = Self::ALL,
                "none" => kinds = Self::NONE,
                "power" => kinds.power = true,
                "disk" => kinds.disk = true,
                "net" => kinds.net = true,
                "clock" => kinds.clock = true,
                other => {
                    return Err(format!("{other:?} is no kind of fault: all, none, or some of power,disk,net,clock"));
                }
            }
        }
        Ok(kinds)
    }
}

/// Lives so many lives, one after the other on each core. Calls `ended` after each with its seed.
pub fn live_all(seeds: std::ops::Range<u64>, kinds: Kinds, ended: &(dyn Fn(u64, &Case) + Sync)) {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    ended(seed, &live(seed, kinds));
                }
            });
        }
    });
}

/// Lives one life. The failures are in the case.
#[must_use]
pub fn live(seed: u64, kinds: Kinds) -> Case {
    let mut chance = Chance::keyed(seed, &[0x5c4e]);
    let clock = if kinds.clock && chance.happens(0.3) { Timestamp(0) } else { case::START };
    let setup = Setup { clock, ..case::setup(seed) };
    let orders = draw_orders(seed, &mut chance);
    let mut images = vec![Image::new("1.0", Nature::Good, 6000, seed)];
    images.extend(orders.iter().flat_map(|order| order.components.iter().map(|(_, image)| image.clone())));
    let mut case = Case::new(setup, &images);
    let mut waiting = orders;
    waiting.reverse();
    let mut storm = Storm::new(Chance::keyed(chance.draw(), &[1]), kinds);
    let mut newest = None;
    for step in 0..STORM_STEPS {
        if (step == 0 || chance.happens(0.01) || case.depot.is_quiet())
            && let Some(order) = waiting.pop()
        {
            newest = Some(case.order(order));
        }
        if let Some(newest) = newest
            && storm.happens(0.002)
        {
            case.depot.cancel(newest);
        }
        storm.shake(&mut case.board);
        if !case.step() && (waiting.is_empty() || !case.failures.is_empty()) {
            break;
        }
    }
    Storm::clear(&case.board);
    while let Some(order) = waiting.pop() {
        case.order(order);
    }
    if case.failures.is_empty() {
        case.run();
    }
    case
}

fn draw_orders(seed: u64, chance: &mut Chance) -> Vec<Order> {
    let count = 1 + chance.below(4);
    let with_app = chance.happens(0.5);
    let mut orders = Vec::new();
    for number in 1..=count {
        let nature = match chance.below(20) {
            0..=10 => Nature::Good,
            11..=13 => Nature::Dead,
            14..=16 => Nature::Sick,
            _ => Nature::Deaf,
        };
        let (older, ordered) = (chance.happens(0.1), chance.happens(0.5));
        let version = if older { format!("0.{number}") } else { format!("1.{number}") };
        let size = 3000 + usize::try_from(chance.below(13_000)).unwrap_or(0);
        let image = Image::new(&version, nature, size, seed);
        let mut components = vec![("os".to_owned(), image)];
        if with_app {
            components.push(("app".into(), Image::app(&format!("app-{version}"), seed)));
        }
        let shortcut = draw_shortcut(&orders, &components[0].1, chance);
        orders.push(Order {
            shortcut,
            version,
            components,
            downgrade: older && ordered,
            lies_about_digest: chance.happens(0.05),
        });
    }
    orders
}

/// From one of the versions before, which may not be the one that runs, or compressed; some are spoilt.
fn draw_shortcut(orders: &[Order], image: &Image, chance: &mut Chance) -> Option<Shortcut> {
    let olds: Vec<&Image> = orders.iter().filter_map(|order| order.component("os")).collect();
    let mut shortcut = match olds.get(usize::try_from(chance.below(olds.len() as u64)).unwrap_or(0)) {
        Some(old) => Shortcut::delta(old, image),
        None if chance.happens(0.5) => Shortcut::compressed(image),
        None => return None,
    };
    if chance.happens(0.2) {
        shortcut.spoil(chance);
    }
    Some(shortcut)
}

/// What goes wrong with a board, and when.
#[derive(Debug)]
pub struct Storm {
    kinds: Kinds,
    chance: Chance,
    /// How rough it is, from 0 to 1.
    force: f64,
}

impl Storm {
    #[must_use]
    pub fn new(mut chance: Chance, kinds: Kinds) -> Self {
        let force = chance.share();
        Self { kinds, chance, force }
    }

    fn happens(&mut self, share: f64) -> bool {
        self.chance.happens(share * self.force)
    }

    /// Before each step of the board.
    pub fn shake(&mut self, board: &mut Board) {
        if self.kinds.net && self.chance.happens(0.05) {
            board.world.net.set_weather(self.weather());
        }
        if self.kinds.power {
            self.power(board);
        }
        if self.kinds.disk {
            self.disk(board);
        }
        if self.kinds.clock && self.happens(0.01) {
            let days = self.chance.below(20_000);
            board.world.machine.set_clock(Timestamp(0).plus(Duration::from_secs(days * 24 * 3600)));
        }
    }

    fn weather(&mut self) -> Weather {
        let force = self.force;
        let mut share = |most: f64| self.chance.share() * most * force;
        Weather {
            lost: share(0.3),
            answer_lost: share(0.2),
            doubled: share(0.2),
            portal: share(0.1),
            restarting: share(0.2),
            replayed: share(0.3),
        }
    }

    fn power(&mut self, board: &mut Board) {
        let loss = match self.chance.below(4) {
            0 => Loss::All,
            1 => Loss::Nothing,
            _ => Loss::Torn { seed: self.chance.draw() },
        };
        if self.happens(0.01) {
            let at = board.world.disk.operations() + 1 + self.chance.below(30);
            board.world.disk.cut_power(Some(Cut { at, loss }));
        }
        if self.happens(0.005) {
            board.world.disk.pull_plug(loss);
        }
    }

    fn disk(&mut self, board: &mut Board) {
        let disk = &board.world.disk;
        if self.happens(0.01) {
            let bytes = usize::try_from(self.chance.below(40_000)).unwrap_or(0);
            disk.limit(Some(bytes));
        }
        if self.chance.happens(0.05) {
            disk.limit(None);
        }
        if self.happens(0.02) {
            let share = self.chance.share() * 0.1;
            disk.lie(share, self.chance.draw());
        }
        if self.chance.happens(0.1) {
            disk.lie(0.0, 0);
        }
        if self.happens(0.01) {
            self.flip(board);
        }
    }

    /// Bits flip in the agent's state, or in the slot that nobody needs to get back.
    fn flip(&mut self, board: &Board) {
        // A medium that changes under the system that runs is past any update's help.
        let idle_slot = board.idle_slot().filter(|slot| board.world.machine.slot() != Some(*slot));
        let disk = &board.world.disk;
        match self.chance.below(3) {
            0 => disk.flip(&Path::new(STATE).join("state.0"), &mut self.chance),
            1 => disk.flip(&Path::new(STATE).join("state.1"), &mut self.chance),
            _ => idle_slot.is_some_and(|slot| disk.flip(&slot_path(slot), &mut self.chance)),
        };
    }

    /// The weather clears.
    pub fn clear(board: &Board) {
        board.world.net.set_weather(Weather::default());
        board.world.disk.limit(None);
        board.world.disk.lie(0.0, 0);
        board.world.disk.cut_power_unless_off();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_hundred_lives_end_well() {
        for seed in 0..300 {
            let case = live(seed, Kinds::ALL);
            assert!(case.failures.is_empty(), "seed {seed}: {:#?}", case.failures);
        }
    }

    #[test]
    fn a_life_follows_from_its_seed_alone() {
        let story = |seed| live(seed, Kinds::ALL).board.world.machine.log();
        assert_eq!(story(7), story(7));
        assert_ne!(story(7), story(8));
    }
}
