//! A life of a board with everything going wrong that can, drawn from one seed.

use std::path::Path;
use std::time::Duration;

use muster_vocab::{ActionId, Timestamp};

use super::case::{Board, Setup};
use super::depot::{Order, Weather};
use super::disk::Loss;
use super::image::{Image, Nature};
use super::machine::{STATE, slot_path};
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

/// Lives one life. The failures are in the board.
#[must_use]
pub fn live(seed: u64, kinds: Kinds) -> Board {
    let mut chance = Chance::keyed(seed, &[0x5c4e]);
    let clock = if kinds.clock && chance.happens(0.3) { Timestamp(0) } else { Setup::new(seed).clock };
    let setup = Setup { clock, ..Setup::new(seed) };
    let orders = draw_orders(seed, &mut chance);
    let mut images = vec![Image::new("1.0", Nature::Good, 6000, seed)];
    images.extend(orders.iter().flat_map(|order| order.components.iter().map(|(_, image)| image.clone())));
    let mut board = Board::new(setup, &images);
    let mut storm = Storm::new(&mut chance, kinds, orders);
    for step in 0..STORM_STEPS {
        storm.blow(&mut board, step);
        if !board.step() && (storm.orders.is_empty() || !board.failures.is_empty()) {
            break;
        }
    }
    storm.clear(&mut board);
    if board.failures.is_empty() {
        board.run();
    }
    board
}

fn draw_orders(seed: u64, chance: &mut Chance) -> Vec<Order> {
    let count = 1 + chance.below(4);
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
        orders.push(Order {
            version,
            components: vec![("os".into(), image)],
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

    fn blow(&mut self, board: &mut Board, step: u32) {
        if (step == 0 || self.chance.happens(0.01) || board.depot().is_quiet())
            && let Some(order) = self.orders.pop()
        {
            self.placed.push(board.order(order));
        }
        if let Some(newest) = self.placed.last().copied()
            && self.happens(0.002)
        {
            board.depot().cancel(newest);
        }
        if self.kinds.net && self.chance.happens(0.05) {
            board.depot().set_weather(self.weather());
        }
        if self.kinds.power {
            self.power(board);
        }
        if self.kinds.disk {
            self.disk(board);
        }
        if self.kinds.clock && self.happens(0.01) {
            let days = self.chance.below(20_000);
            board.machine().set_clock(Timestamp(0).plus(Duration::from_secs(days * 24 * 3600)));
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
            let ahead = 1 + self.chance.below(30);
            board.cut_at(board.disk().operations() + ahead, loss);
        }
        if self.happens(0.005) {
            board.disk().pull_plug(loss);
        }
    }

    fn disk(&mut self, board: &mut Board) {
        if self.happens(0.01) {
            let used = usize::try_from(self.chance.below(40_000)).unwrap_or(0);
            board.disk().limit(Some(used));
        }
        if self.chance.happens(0.05) {
            board.disk().limit(None);
        }
        if self.happens(0.02) {
            let share = self.chance.share() * 0.1;
            board.disk().lie(share, self.chance.draw());
        }
        if self.chance.happens(0.1) {
            board.disk().lie(0.0, 0);
        }
        if self.happens(0.01) {
            self.flip(board);
        }
    }

    /// Bits flip in the agent's state, or in the slot that nobody needs to get back.
    fn flip(&mut self, board: &Board) {
        // A medium that changes under the system that runs is past any update's help.
        let idle_slot = board.idle_slot().filter(|slot| board.machine().slot() != Some(*slot));
        match self.chance.below(3) {
            0 => board.disk().flip(&Path::new(STATE).join("state.0"), &mut self.chance),
            1 => board.disk().flip(&Path::new(STATE).join("state.1"), &mut self.chance),
            _ => idle_slot.is_some_and(|slot| board.disk().flip(&slot_path(slot), &mut self.chance)),
        };
    }

    fn clear(&mut self, board: &mut Board) {
        board.depot().set_weather(Weather::default());
        board.disk().limit(None);
        board.disk().lie(0.0, 0);
        board.disk().cut_power_unless_off();
        while let Some(order) = self.orders.pop() {
            board.order(order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_hundred_lives_end_well() {
        for seed in 0..300 {
            let board = live(seed, Kinds::ALL);
            assert!(board.failures.is_empty(), "seed {seed}: {:#?}", board.failures);
        }
    }

    #[test]
    fn a_life_follows_from_its_seed_alone() {
        let story = |seed| live(seed, Kinds::ALL).machine().log();
        assert_eq!(story(7), story(7));
        assert_ne!(story(7), story(8));
    }
}
