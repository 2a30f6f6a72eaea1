//! May this caller ask again already?
//!
//! A bucket is one number: the moment at which it is full again. A bucket that is full is the same as none, so that
//! only callers of the last seconds are remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use muster_vocab::Timestamp;
use parking_lot::Mutex;

/// Callers that hash alike share a lock; threads rarely meet at one.
const SHARDS: usize = 16;

/// Buckets of one kind of caller.
#[derive(Debug)]
pub struct Buckets<K> {
    shards: [Mutex<HashMap<K, Timestamp>>; SHARDS],
    hasher: RandomState,
    /// The time after which one more may come.
    every: Duration,
    burst: u32,
    callers_max: usize,
}

/// Too early: ask again after this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl Wait {
    /// For `Retry-After`: whole seconds, at least one.
    #[must_use]
    pub fn whole_seconds(self) -> u64 {
        self.0.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// `every` is at least a millisecond, in which time is counted.
    #[must_use]
    pub fn new(every: Duration, burst: u32, callers_max: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::new()));
        Self { shards, hasher: RandomState::new(), every: every.max(Duration::from_millis(1)), burst, callers_max }
    }

    /// Takes one request out of the caller's bucket.
    ///
    /// Callers beyond the most that are remembered pass: nobody is locked out because others are many.
    pub fn take(&self, caller: K, now: Timestamp) -> Result<(), Wait> {
        let (one, all) = (self.every, self.every * self.burst);
        let mut full_at = self.shard(&caller).lock();
        let most = self.callers_max.div_ceil(SHARDS);
        // Before it grows: a million devices that ask now and then take no more room than those of the last seconds.
        if (full_at.len() == full_at.capacity() || full_at.len() >= most) && !full_at.contains_key(&caller) {
            full_at.retain(|_, full| *full > now);
            if full_at.len() >= most {
                return Ok(());
            }
        }
        // A clock that was set back must not lock anybody out for longer than an empty bucket does.
        let full = full_at.get(&caller).copied().unwrap_or(now).max(now).min(now.plus(all));
        let then = full.plus(one);
        if then > now.plus(all) {
            full_at.insert(caller, full);
            return Err(Wait(then.since(now).saturating_sub(all)));
        }
        full_at.insert(caller, then);
        Ok(())
    }

    /// Whether the caller's bucket holds a request, without taking it.
    pub fn check(&self, caller: &K, now: Timestamp) -> Result<(), Wait> {
        let (one, all) = (self.every, self.every * self.burst);
        let full = self.shard(caller).lock().get(caller).copied().unwrap_or(now).max(now).min(now.plus(all));
        let then = full.plus(one);
        if then > now.plus(all) { Err(Wait(then.since(now).saturating_sub(all))) } else { Ok(()) }
    }

    fn shard(&self, caller: &K) -> &Mutex<HashMap<K, Timestamp>> {
        &self.shards[usize::try_from(self.hasher.hash_one(caller) % SHARDS as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    const SECOND: Duration = Duration::from_secs(1);

    fn after(ms: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(ms))
    }

    #[test]
    fn a_burst_passes_and_what_follows_waits_for_the_rate() {
        let buckets = Buckets::new(SECOND / 10, 5, 100);
        for _ in 0..5 {
            assert_eq!(buckets.take(1, NOW), Ok(()));
        }
        assert_eq!(buckets.take(1, NOW), Err(Wait(Duration::from_millis(100))));
        assert_eq!(buckets.take(1, after(99)), Err(Wait(Duration::from_millis(1))));
        assert_eq!(buckets.take(1, after(100)), Ok(()));
        assert!(buckets.take(1, after(100)).is_err());
    }

    #[test]
    fn asking_whether_a_bucket_is_empty_takes_nothing_out_of_it() {
        let buckets = Buckets::new(SECOND, 1, 100);
        assert_eq!((buckets.check(&1, NOW), buckets.check(&1, NOW)), (Ok(()), Ok(())));
        assert_eq!(buckets.take(1, NOW), Ok(()));
        assert_eq!(buckets.check(&1, NOW), Err(Wait(SECOND)));
        assert_eq!(buckets.check(&1, after(1000)), Ok(()));
    }

    #[test]
    fn one_caller_does_not_use_up_what_another_has() {
        let buckets = Buckets::new(SECOND, 1, 100);
        assert_eq!(buckets.take("loud", NOW), Ok(()));
        assert!(buckets.take("loud", NOW).is_err());
        assert_eq!(buckets.take("quiet", NOW), Ok(()));
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out_for_longer_than_an_empty_bucket() {
        let buckets = Buckets::new(SECOND, 2, 100);
        assert_eq!(buckets.take(1, after(3_600_000)), Ok(()));
        assert_eq!(buckets.take(1, NOW), Err(Wait(Duration::from_secs(1))));
        assert_eq!(buckets.take(1, after(1000)), Ok(()));
    }

    #[test]
    fn no_more_callers_are_remembered_than_was_said() {
        let buckets = Buckets::new(SECOND, 1, SHARDS * 2);
        for caller in 0..10_000 {
            let _ = buckets.take(caller, NOW);
        }
        let remembered: usize = buckets.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(remembered <= SHARDS * 2, "{remembered}");
        assert_eq!(buckets.take(10_001, after(5000)), Ok(()));
        assert!(buckets.take(10_001, after(5000)).is_err(), "full buckets make room for new callers");
    }

    #[test]
    fn callers_that_ask_now_and_then_take_no_room() {
        let buckets = Buckets::new(SECOND / 100, 5, 1 << 20);
        for caller in 0..100_000 {
            assert_eq!(buckets.take(caller, after(caller * 10)), Ok(()));
        }
        let room: usize = buckets.shards.iter().map(|shard| shard.lock().capacity()).sum();
        assert!(room <= SHARDS * 8, "{room}");
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds_and_never_as_none() {
        assert_eq!(Wait(Duration::from_millis(1)).whole_seconds(), 1);
        assert_eq!(Wait(Duration::from_millis(1001)).whole_seconds(), 2);
    }
}
