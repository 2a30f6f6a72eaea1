//! A life of a board with everything going wrong that can, drawn from one seed.

use std::path::Path;
use std::time::Duration;

use muster_vocab::{ActionId, Timestamp};

use super::case::{self, Case};
use super::depot::Order;
use super::device::Setup;
use super::disk::Loss;
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
    let mut storm = Storm::new(&mut chance, kinds, orders);
    for step in 0..STORM_STEPS {
        storm.blow(&mut case, step);
        if !case.step() && (storm.orders.is_empty() || !case.failures.is_empty()) {
            break;
        }
    }
    storm.clear(&mut case);
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
        orders.push(Order {
            version,
            components,
            downgrade: older && ordered,
            lies_about_digest: chance.happens(0.05),
        });
    }
    orders
}

/// What goes wrong, and when.
struct Storm {
    kinds: Kinds,
    /// Not placed yet.
    orders: Vec<Order>,
    chance: Chance,
    /// How rough it is, from 0 to 1.
    force: f64,
    placed: Vec<ActionId>,
}

impl Storm {
    fn new(chance: &mut Chance, kinds: Kinds, mut orders: Vec<Order>) -> Self {
        orders.reverse();
        Self { kinds, orders, force: chance.share(), chance: Chance::keyed(chance.draw(), &[1]), placed: Vec::new() }
    }

    fn happens(&mut self, share: f64) -> bool {
        self.chance.happens(share * self.force)
    }

    fn blow(&mut self, case: &mut Case, step: u32) {
        if (step == 0 || self.chance.happens(0.01) || case.depot.is_quiet())
            && let Some(order) = self.orders.pop()
        {
            self.placed.push(case.order(order));
        }
        if let Some(newest) = self.placed.last().copied()
            && self.happens(0.002)
        {
            case.depot.cancel(newest);
        }
        if self.kinds.net && self.chance.happens(0.05) {
            case.board.world.net.set_weather(self.weather());
        }
        if self.kinds.power {
            self.power(case);
        }
        if self.kinds.disk {
            self.disk(case);
        }
        if self.kinds.clock && self.happens(0.01) {
            let days = self.chance.below(20_000);
            case.board.world.machine.set_clock(Timestamp(0).plus(Duration::from_secs(days * 24 * 3600)));
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

    fn power(&mut self, case: &mut Case) {
        let loss = match self.chance.below(4) {
            0 => Loss::All,
            1 => Loss::Nothing,
            _ => Loss::Torn { seed: self.chance.draw() },
        };
        if self.happens(0.01) {
            let ahead = 1 + self.chance.below(30);
            case.cut_at(case.board.world.disk.operations() + ahead, loss);
        }
        if self.happens(0.005) {
            case.board.world.disk.pull_plug(loss);
        }
    }

    fn disk(&mut self, case: &mut Case) {
        if self.happens(0.01) {
            let used = usize::try_from(self.chance.below(40_000)).unwrap_or(0);
            case.board.world.disk.limit(Some(used));
        }
        if self.chance.happens(0.05) {
            case.board.world.disk.limit(None);
        }
        if self.happens(0.02) {
            let share = self.chance.share() * 0.1;
            case.board.world.disk.lie(share, self.chance.draw());
        }
        if self.chance.happens(0.1) {
            case.board.world.disk.lie(0.0, 0);
        }
        if self.happens(0.01) {
            self.flip(case);
        }
    }

    /// Bits flip in the agent's state, or in the slot that nobody needs to get back.
    fn flip(&mut self, case: &Case) {
        // A medium that changes under the system that runs is past any update's help.
        let idle_slot = case.board.idle_slot().filter(|slot| case.board.world.machine.slot() != Some(*slot));
        match self.chance.below(3) {
            0 => case.board.world.disk.flip(&Path::new(STATE).join("state.0"), &mut self.chance),
            1 => case.board.world.disk.flip(&Path::new(STATE).join("state.1"), &mut self.chance),
            _ => idle_slot.is_some_and(|slot| case.board.world.disk.flip(&slot_path(slot), &mut self.chance)),
        };
    }

    fn clear(&mut self, case: &mut Case) {
        case.board.world.net.set_weather(Weather::default());
        case.board.world.disk.limit(None);
        case.board.world.disk.lie(0.0, 0);
        case.board.world.disk.cut_power_unless_off();
        while let Some(order) = self.orders.pop() {
            case.order(order);
        }
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
