//! How is the fleet doing right now?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Breaches whose text is kept: the first ones say what is wrong, the rest only repeat it.
const BREACH_SAMPLES_MAX: usize = 32;
const BREACH_SAMPLE_CHARS_MAX: usize = 300;

/// Live counters; share one in an `Arc` and read it while the fleet runs.
#[derive(Debug, Default)]
pub struct Stats {
    pub(crate) counters: [AtomicU64; Counter::ALL.len()],
    versions: Mutex<BTreeMap<String, u64>>,
    breach_samples: Mutex<Vec<String>>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    Polls,
    Requests,
    Downloads,
    Bytes,
    Resumes,
    Installs,
    Failures,
    Silences,
    Reboots,
    Cancels,
    CancelsRefused,
    Consents,
    Reports,
    Errors,
    Breaches,
    PendingReports,
}

impl Counter {
    const ALL: [Self; 16] = [
        Self::Polls,
        Self::Requests,
        Self::Downloads,
        Self::Bytes,
        Self::Resumes,
        Self::Installs,
        Self::Failures,
        Self::Silences,
        Self::Reboots,
        Self::Cancels,
        Self::CancelsRefused,
        Self::Consents,
        Self::Reports,
        Self::Errors,
        Self::Breaches,
        Self::PendingReports,
    ];
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    pub polls: u64,
    pub requests: u64,
    pub downloads: u64,
    pub bytes: u64,
    /// Downloads that went on after a cut instead of starting again.
    pub resumes: u64,
    pub installs: u64,
    pub failures: u64,
    pub silences: u64,
    pub reboots: u64,
    pub cancels: u64,
    pub cancels_refused: u64,
    pub consents: u64,
    /// Final reports that the server took.
    pub reports: u64,
    /// Requests without a usable answer: refused connections, cuts, timeouts, unexpected statuses.
    pub errors: u64,
    pub contract_breaches: u64,
    pub breach_samples: Vec<String>,
    /// Final reports that devices still hold.
    pub pending_reports: u64,
    /// Devices by the version they run.
    pub versions: BTreeMap<String, u64>,
}

impl Stats {
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            polls: self.get(Counter::Polls),
            requests: self.get(Counter::Requests),
            downloads: self.get(Counter::Downloads),
            bytes: self.get(Counter::Bytes),
            resumes: self.get(Counter::Resumes),
            installs: self.get(Counter::Installs),
            failures: self.get(Counter::Failures),
            silences: self.get(Counter::Silences),
            reboots: self.get(Counter::Reboots),
            cancels: self.get(Counter::Cancels),
            cancels_refused: self.get(Counter::CancelsRefused),
            consents: self.get(Counter::Consents),
            reports: self.get(Counter::Reports),
            errors: self.get(Counter::Errors),
            contract_breaches: self.get(Counter::Breaches),
            breach_samples: locked(&self.breach_samples).clone(),
            pending_reports: self.get(Counter::PendingReports),
            versions: locked(&self.versions).clone(),
        }
    }

    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(crate) fn add(&self, counter: Counter, number: u64) {
        self.counters[counter as usize].fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, counter: Counter, number: u64) {
        self.counters[counter as usize].fetch_sub(number, Ordering::Relaxed);
    }

    pub(crate) fn breach(&self, device: &str, text: &str) {
        self.count(Counter::Breaches);
        let mut samples = locked(&self.breach_samples);
        if samples.len() < BREACH_SAMPLES_MAX {
            samples.push(format!("{device}: {text}").chars().take(BREACH_SAMPLE_CHARS_MAX).collect());
        }
    }

    /// A device left one version, if it had one, and runs another.
    pub(crate) fn moved(&self, from: Option<&str>, to: &str) {
        let mut versions = locked(&self.versions);
        *versions.entry(to.to_owned()).or_default() += 1;
        let Some(left) = from.and_then(|from| versions.get_mut(from)) else { return };
        *left -= 1;
        versions.retain(|_, devices| *devices > 0);
    }
}

/// The counts stay true when a task that held the lock died: each change is one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_own_places() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place);
        }
    }

    #[test]
    fn a_device_is_counted_under_one_version() {
        let stats = Stats::default();
        stats.moved(None, "1.0");
        stats.moved(None, "1.0");
        stats.moved(Some("1.0"), "1.1");
        stats.moved(Some("1.1"), "1.1");
        assert_eq!(stats.snapshot().versions, [("1.0".to_owned(), 1), ("1.1".to_owned(), 1)].into());
    }

    #[test]
    fn only_the_first_breaches_keep_their_text() {
        let stats = Stats::default();
        for number in 0..100 {
            stats.breach("sim-1", &format!("breach {number}"));
        }
        let seen = stats.snapshot();
        assert_eq!(seen.contract_breaches, 100);
        assert_eq!(seen.breach_samples.len(), BREACH_SAMPLES_MAX);
        assert_eq!(seen.breach_samples[0], "sim-1: breach 0");
    }
}
