//! Which logins wait for somebody to finish them elsewhere?
//!
//! In memory: after a restart people begin again. Each is found by a secret that only its starter has, is taken once,
//! and ends by itself.

use std::collections::HashMap;

use muster_trust::secret;
use muster_vocab::{ProjectId, Sha256, Timestamp, limit};

use crate::flow::oidc::Person;

/// The provider that a login waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    pub project: ProjectId,
    pub provider: String,
}

/// A browser was sent to the provider.
#[derive(Debug, Clone)]
pub struct Browser {
    pub at: At,
    /// Of the cookie of the browser that began.
    pub cookie: [u8; 32],
    pub nonce: String,
    /// RFC 7636.
    pub verifier: String,
    pub return_to: String,
    /// Of the program that began.
    pub challenge: Sha256,
}

/// A person was told to type a code at the provider.
#[derive(Debug, Clone)]
pub struct Device {
    pub at: At,
    pub device_code: String,
    pub interval_s: u64,
    pub next_at: Timestamp,
    pub challenge: Sha256,
}

/// The provider has vouched.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub at: At,
    pub person: Person,
    pub challenge: Sha256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many logins wait to be finished: try again in some minutes")]
pub struct TooMany;

#[derive(Debug)]
struct Waiting<T>(HashMap<[u8; 32], (Timestamp, T)>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Waiting<T> {
    fn put(&mut self, key: &str, until: Timestamp, one: T, now: Timestamp) -> Result<(), TooMany> {
        if self.0.len() >= limit::LOGINS_PENDING_MAX {
            self.0.retain(|_, (until, _)| *until > now);
        }
        if self.0.len() >= limit::LOGINS_PENDING_MAX {
            return Err(TooMany);
        }
        self.0.insert(secret::digest(key), (until, one));
        Ok(())
    }

    fn take(&mut self, key: &str, now: Timestamp) -> Option<T> {
        let (until, one) = self.0.remove(&secret::digest(key))?;
        (until > now).then_some(one)
    }
}

#[derive(Debug, Default)]
pub struct Pending {
    browsers: Waiting<Browser>,
    devices: Waiting<Device>,
    tickets: Waiting<Ticket>,
}

/// What asking about a login by device code came to.
#[derive(Debug, Clone)]
pub enum Due {
    Unknown,
    /// Asked too soon; the seconds between two questions.
    Later(u64),
    Now(Device),
}

impl Pending {
    pub fn put_browser(&mut self, state: &str, one: Browser, now: Timestamp) -> Result<(), TooMany> {
        self.browsers.put(state, now.plus(limit::LOGIN_PENDING), one, now)
    }

    pub fn take_browser(&mut self, state: &str, now: Timestamp) -> Option<Browser> {
        self.browsers.take(state, now)
    }

    pub fn put_device(&mut self, login: &str, one: Device, until: Timestamp, now: Timestamp) -> Result<(), TooMany> {
        self.devices.put(login, until, one, now)
    }

    /// If it is time to ask the provider, nobody else asks before the next.
    pub fn due_device(&mut self, login: &str, now: Timestamp) -> Due {
        match self.devices.0.get_mut(&secret::digest(login)) {
            Some((until, device)) if *until > now => {
                if device.next_at > now {
                    return Due::Later(device.interval_s);
                }
                device.next_at = now.plus(std::time::Duration::from_secs(device.interval_s));
                Due::Now(device.clone())
            }
            _ => Due::Unknown,
        }
    }

    /// RFC 8628, 3.5: five seconds more from now on.
    pub fn slow_down(&mut self, login: &str) {
        if let Some((_, device)) = self.devices.0.get_mut(&secret::digest(login)) {
            device.interval_s += 5;
        }
    }

    pub fn take_device(&mut self, login: &str, now: Timestamp) -> Option<Device> {
        self.devices.take(login, now)
    }

    pub fn put_ticket(&mut self, ticket: &str, one: Ticket, now: Timestamp) -> Result<(), TooMany> {
        self.tickets.put(ticket, now.plus(limit::LOGIN_TICKET_LIFE), one, now)
    }

    /// Only for whoever shows the secret that the login began with; a wrong one ends it.
    pub fn take_ticket(&mut self, ticket: &str, verifier: &str, now: Timestamp) -> Option<Ticket> {
        let found = self.tickets.take(ticket, now)?;
        secret::same(&secret::digest(verifier), &found.challenge.0).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn ticket() -> Ticket {
        let at = At { project: ProjectId(1), provider: "corp".into() };
        let person = Person { issuer: "https://id".into(), subject: "42".into(), name: None, groups: Vec::new() };
        Ticket { at, person, challenge: Sha256(secret::digest("mine")) }
    }

    #[test]
    fn a_ticket_works_once_for_a_minute_and_for_its_starter() {
        let mut pending = Pending::default();
        pending.put_ticket("t", ticket(), NOW).unwrap();
        assert!(pending.take_ticket("t", "other", NOW).is_none());
        assert!(pending.take_ticket("t", "mine", NOW).is_none(), "a wrong secret ends it");
        pending.put_ticket("t", ticket(), NOW).unwrap();
        assert!(pending.take_ticket("t", "mine", NOW).is_some());
        assert!(pending.take_ticket("t", "mine", NOW).is_none(), "it was taken");
        pending.put_ticket("t", ticket(), NOW).unwrap();
        assert!(pending.take_ticket("t", "mine", NOW.plus(limit::LOGIN_TICKET_LIFE)).is_none(), "it has ended");
    }

    #[test]
    fn a_provider_is_asked_no_more_often_than_it_wants() {
        let mut pending = Pending::default();
        let device = Device {
            at: At { project: ProjectId(1), provider: "corp".into() },
            device_code: "d".into(),
            interval_s: 5,
            next_at: NOW,
            challenge: Sha256([0; 32]),
        };
        pending.put_device("l", device, NOW.plus(limit::LOGIN_PENDING), NOW).unwrap();
        assert!(matches!(pending.due_device("l", NOW), Due::Now(_)));
        assert!(matches!(pending.due_device("l", NOW), Due::Later(5)));
        pending.slow_down("l");
        assert!(matches!(pending.due_device("l", Timestamp(NOW.0 + 4999)), Due::Later(10)));
        assert!(matches!(pending.due_device("l", Timestamp(NOW.0 + 5000)), Due::Now(_)));
        assert!(matches!(pending.due_device("l", NOW.plus(limit::LOGIN_PENDING)), Due::Unknown));
        assert!(matches!(pending.due_device("other", NOW), Due::Unknown));
    }

    #[test]
    fn logins_that_nobody_finishes_make_room_when_they_have_ended() {
        let mut pending = Pending::default();
        for number in 0..limit::LOGINS_PENDING_MAX {
            pending.put_ticket(&number.to_string(), ticket(), NOW).unwrap();
        }
        assert_eq!(pending.put_ticket("more", ticket(), NOW), Err(TooMany));
        assert_eq!(pending.put_ticket("more", ticket(), NOW.plus(limit::LOGIN_TICKET_LIFE)), Ok(()));
    }
}
