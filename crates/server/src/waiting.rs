//! Which devices wait for an order, and how do they hear of it?
//!
//! A device that waits holds a place here. The commit that changes its answer wakes it; nothing is asked again and
//! again. The lock is held for a look-up only, never across a wait.

use std::collections::HashMap;
use std::sync::Arc;

use muster_vocab::{DeviceId, limit};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// All places.
#[derive(Debug)]
pub struct Waiting {
    places: Semaphore,
    all: usize,
    waiters: Mutex<HashMap<DeviceId, Waiter>>,
}

#[derive(Debug, Default)]
struct Waiter {
    changed: Arc<Notify>,
    /// A device whose connection broke unnoticed may wait twice for a while.
    waits: usize,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Wait<'a> {
    pub changed: Arc<Notify>,
    device: DeviceId,
    waiting: &'a Waiting,
    _place: SemaphorePermit<'a>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self::new(limit::LONG_POLLS_MAX)
    }
}

impl Waiting {
    /// Room for this many devices.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: Semaphore::new(places), all: places, waiters: Mutex::default() }
    }

    /// A place for a device. `None`: all are taken.
    ///
    /// Ask for `changed.notified()` before looking at what the device is told: a change in between is not missed then.
    #[must_use]
    pub fn enter(&self, device: DeviceId) -> Option<Wait<'_>> {
        let place = self.places.try_acquire().ok()?;
        let mut waiters = self.waiters.lock();
        let waiter = waiters.entry(device).or_default();
        waiter.waits += 1;
        Some(Wait { changed: waiter.changed.clone(), device, waiting: self, _place: place })
    }

    /// These devices' answers may have changed.
    pub fn wake(&self, devices: impl IntoIterator<Item = DeviceId>) {
        let waiters = self.waiters.lock();
        if waiters.is_empty() {
            return;
        }
        for waiter in devices.into_iter().filter_map(|device| waiters.get(&device)) {
            waiter.changed.notify_waiters();
        }
    }

    /// Places taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.all - self.places.available_permits().min(self.all)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiters = self.waiting.waiters.lock();
        if let Some(waiter) = waiters.get_mut(&self.device) {
            waiter.waits -= 1;
            if waiter.waits == 0 {
                waiters.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_woken(waits: &Wait<'_>, by: impl FnOnce()) -> bool {
        let mut changed = pin!(waits.changed.notified());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(changed.as_mut().poll(&mut context), Poll::Pending);
        by();
        changed.poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn a_device_is_woken_by_its_own_change_only() {
        let waiting = Waiting::new(2);
        let (one, other) = (waiting.enter(DeviceId(1)).unwrap(), waiting.enter(DeviceId(2)).unwrap());
        assert!(is_woken(&one, || waiting.wake([DeviceId(1)])));
        assert!(!is_woken(&other, || waiting.wake([DeviceId(1), DeviceId(3)])));
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let waiting = Waiting::new(2);
        let (one, again) = (waiting.enter(DeviceId(1)).unwrap(), waiting.enter(DeviceId(1)).unwrap());
        assert!(waiting.enter(DeviceId(2)).is_none());
        drop(one);
        assert!(is_woken(&again, || waiting.wake([DeviceId(1)])), "the second wait of a device outlives the first");
        drop(again);
        assert_eq!((waiting.taken(), waiting.waiters.lock().len()), (0, 0));
        assert!(waiting.enter(DeviceId(2)).is_some());
    }
}
