//! How many connections may the process hold at once?

use muster_vocab::limit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Takes as many file descriptors as the system lets it have. Returns how many that are.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(failed) => {
            warn!(error = &failed as &dyn std::error::Error, "the limit of open files stays as it is: {failed}");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// Devices that may wait for orders at once: half of what there is at the most, so that the others get through.
pub(crate) fn places() -> usize {
    places_of(raise())
}

fn places_of(descriptors: u64) -> usize {
    usize::try_from(descriptors / 2).unwrap_or(usize::MAX).min(limit::LONG_POLLS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_devices_never_take_the_last_descriptor() {
        assert_eq!(places_of(1024), 512);
        assert_eq!(places_of(u64::MAX), limit::LONG_POLLS_MAX);
        assert_eq!(places_of(0), 0);
    }
}
