//! Does a board survive a power cut at every single moment of an update?

use super::case::{self, Case, Failure};
use super::depot::{Order, Shortcut};
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
    fn count(&mut self, name: String, case: &Case) {
        self.cases += 1;
        for failure in &case.failures {
            match failure {
                Failure::Bricked(_) => self.bricked += 1,
                Failure::Untrue(_) | Failure::Unfinished(_) | Failure::Mixed(_) => self.wrong += 1,
            }
            self.first.get_or_insert_with(|| (name.clone(), failure.clone()));
        }
    }
}

/// What is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// The system, in A/B slots.
    System,
    /// The same by a delta from the version that runs.
    SystemByDelta,
    /// The same, with blocks that are compressed in the image.
    SystemByPackedDelta,
    /// The same, compressed on the way.
    SystemCompressed,
    /// An app that the system needs, and then the system, with one commit point.
    SystemAndApp,
}

/// Cuts the power at every operation of the disk, from the first start of the agent to the last report, with each kind
/// of loss. The update goes well, or to a version of this nature.
#[must_use]
pub fn every_boundary(parts: Parts, nature: Nature) -> Outcome {
    let mut outcome = Outcome::default();
    let mut last = u64::MAX;
    let mut at = 1;
    while at <= last {
        for loss in [Loss::All, Loss::Nothing, Loss::Torn { seed: at }, Loss::Torn { seed: at + 1_000_003 }] {
            let mut case = an_update(parts, nature);
            case.cut_at(case.board.world.disk.operations() + at, loss);
            case.run();
            if case.board.power_cuts == 0 {
                // The story ended before this operation.
                last = at;
            }
            outcome.count(format!("{parts:?}, {nature:?}: power cut at operation {at}, loss {loss:?}"), &case);
        }
        at += 1;
    }
    outcome
}

fn an_update(parts: Parts, nature: Nature) -> Case {
    let setup = case::setup(1);
    let image = if parts == Parts::SystemByPackedDelta { Image::packed } else { Image::new };
    let images = [image("1.0", Nature::Good, 8000, setup.seed), image("1.1", nature, 12_000, setup.seed)];
    let app = Image::app("app-1.1", setup.seed);
    let mut case = Case::new(setup, &images);
    // The release that runs is known to the agent only once it was installed by it.
    if matches!(parts, Parts::SystemByDelta | Parts::SystemByPackedDelta) {
        case.board.knows("os", &images[0]);
    }
    let mut components = vec![("os".to_owned(), images[1].clone())];
    if parts == Parts::SystemAndApp {
        components.push(("app".into(), app));
    }
    let shortcut = match parts {
        Parts::SystemByDelta => Some(Shortcut::delta(&images[0], &images[1])),
        Parts::SystemByPackedDelta => Some(Shortcut::packed(&images[0], &images[1])),
        Parts::SystemCompressed => Some(Shortcut::compressed(&images[1])),
        Parts::System | Parts::SystemAndApp => None,
    };
    case.order(Order { version: "1.1".into(), components, downgrade: false, lies_about_digest: false, shortcut });
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: Parts, nature: Nature) {
        let outcome = every_boundary(parts, nature);
        assert!(outcome.cases > 200, "only {} cases", outcome.cases);
        if let Some((name, failure)) = &outcome.first {
            panic!("{} bricked, {} wrong of {}: {name}: {failure:#?}", outcome.bricked, outcome.wrong, outcome.cases);
        }
    }

    #[test]
    fn an_update_survives_a_power_cut_at_every_boundary() {
        check(Parts::System, Nature::Good);
        check(Parts::SystemByDelta, Nature::Good);
        check(Parts::SystemByPackedDelta, Nature::Good);
        check(Parts::SystemCompressed, Nature::Good);
        check(Parts::SystemAndApp, Nature::Good);
    }

    #[test]
    fn a_delta_or_what_is_compressed_is_taken_instead_of_the_whole() {
        let fetched = |parts| {
            let mut case = an_update(parts, Nature::Good);
            case.run();
            assert!(case.failures.is_empty(), "{:#?}", case.failures);
            assert_eq!(case.board.good_version().as_deref(), Some("1.1"));
            case.depot.bytes_fetched()
        };
        let (whole, compressed) = (fetched(Parts::System), fetched(Parts::SystemCompressed));
        assert_eq!(whole, 12_000);
        // The new image is 4,000 bytes longer, and a tenth of the rest is its own.
        let by_delta = fetched(Parts::SystemByDelta);
        assert!((1..8000).contains(&by_delta), "{by_delta} bytes were fetched for an image of 12000");
        assert_ne!(compressed, whole);
        let (by_delta, whole) = (fetched(Parts::SystemByPackedDelta), 6000);
        assert!((1..whole).contains(&by_delta), "{by_delta} bytes were fetched of some {whole}");
    }

    #[test]
    fn the_way_back_survives_a_power_cut_at_every_boundary() {
        check(Parts::System, Nature::Dead);
        check(Parts::System, Nature::Deaf);
        check(Parts::SystemAndApp, Nature::Dead);
        check(Parts::SystemAndApp, Nature::Sick);
    }
}
