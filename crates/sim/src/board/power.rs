//! Does a board survive a power cut at every single moment of an update?

use super::case::{Board, Failure, Setup};
use super::depot::Order;
use super::disk::Loss;
use super::image::{Image, Nature};

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Outcome {
    pub cases: u64,
    /// Boards that a person would have to fetch.
    pub bricked: u64,
    /// Boards whose word was not their deed, or that never came to an end.
    pub wrong: u64,
    pub first: Option<(String, Failure)>,
}

impl Outcome {
    fn count(&mut self, case: String, board: &Board) {
        self.cases += 1;
        for failure in &board.failures {
            match failure {
                Failure::Bricked(_) => self.bricked += 1,
                Failure::Untrue(_) | Failure::Unfinished(_) | Failure::Mixed(_) => self.wrong += 1,
            }
            self.first.get_or_insert_with(|| (case.clone(), failure.clone()));
        }
    }
}

/// Cuts the power at every operation of the disk, from the first start of the agent to the last report, with each kind
/// of loss. The update goes well, or to a version of this nature.
#[must_use]
pub fn every_boundary(nature: Nature) -> Outcome {
    let mut outcome = Outcome::default();
    let mut last = u64::MAX;
    let mut at = 1;
    while at <= last {
        for loss in [Loss::All, Loss::Nothing, Loss::Torn { seed: at }, Loss::Torn { seed: at + 1_000_003 }] {
            let mut board = an_update(nature);
            board.cut_at(at, loss);
            board.run();
            if board.power_cuts == 0 {
                // The story ended before this operation.
                last = at;
            }
            outcome.count(format!("power cut at operation {at} with {loss:?}, version is {nature:?}"), &board);
        }
        at += 1;
    }
    outcome
}

fn an_update(nature: Nature) -> Board {
    let setup = Setup::new(1);
    let images = [Image::new("1.0", Nature::Good, 8000, setup.seed), Image::new("1.1", nature, 12_000, setup.seed)];
    let mut board = Board::new(setup, &images);
    board.order(Order {
        version: "1.1".into(),
        components: vec![("os".into(), images[1].clone())],
        downgrade: false,
        lies_about_digest: false,
    });
    board
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outcome: &Outcome) {
        assert!(outcome.cases > 200, "only {} cases", outcome.cases);
        assert!(outcome.first.is_none(), "{} bricked, {} wrong: {:#?}", outcome.bricked, outcome.wrong, outcome.first);
    }

    #[test]
    fn an_update_survives_a_power_cut_at_every_boundary() {
        check(&every_boundary(Nature::Good));
    }

    #[test]
    fn the_way_back_survives_a_power_cut_at_every_boundary() {
        check(&every_boundary(Nature::Dead));
        check(&every_boundary(Nature::Sick));
        check(&every_boundary(Nature::Deaf));
    }
}
