//! From where does a request come, and does too much come from there?
//!
//! A proxy that is trusted tells by `X-Forwarded-For`. IPv6 addresses count by their first 64 bits: whoever has one of
//! them has the others, too.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_vocab::limit;
use parking_lot::Mutex;

use crate::App;
use crate::edge::hawkbit;
use crate::edge::http::problem::Refusal;
use crate::edge::peer::Peer;
use crate::rate::{Buckets, Wait};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// What is remembered of addresses. Nothing of it is touched by a request that is answered as its sender wants.
#[derive(Debug)]
pub struct Addresses {
    unauthenticated: Buckets<IpAddr>,
    wrong_passwords: Buckets<IpAddr>,
    arrivals: Buckets<IpAddr>,
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// A place among an address's connections; free again when dropped.
#[derive(Debug)]
pub struct Place {
    app: Arc<App>,
    address: IpAddr,
}

/// The address of whoever sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub IpAddr);

impl Addresses {
    #[must_use]
    pub fn new() -> Self {
        let buckets = |every, burst| Buckets::new(every, burst, limit::ADDRESSES_RATED_MAX);
        Self {
            unauthenticated: buckets(limit::UNAUTHENTICATED_EVERY, limit::UNAUTHENTICATED_BURST),
            wrong_passwords: buckets(limit::WRONG_PASSWORD_EVERY, limit::WRONG_PASSWORD_BURST),
            arrivals: buckets(limit::ARRIVAL_EVERY, limit::ARRIVALS_BURST),
            open: Mutex::default(),
        }
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    #[must_use]
    pub fn of(headers: &HeaderMap, peer: IpAddr, trusted: &[IpAddr]) -> Self {
        if !trusted.contains(&peer) {
            return Self(peer);
        }
        let told = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = told.flat_map(|value| value.split(',')).map(str::trim).collect();
        // Each proxy appends whom it has seen: what stands before the last that is not ours, anybody may have written.
        for hop in hops.iter().rev() {
            match hop.parse::<IpAddr>() {
                Ok(address) if trusted.contains(&address) => {}
                Ok(address) => return Self(address),
                Err(_) => break,
            }
        }
        Self(peer)
    }

    /// A wrong password: the next guesses have to wait.
    pub fn guessed_wrong(self, app: &App) {
        // Whether there is room is asked before the next one.
        let _ = app.addresses.wrong_passwords.take(network(self.0), app.uptime());
    }

    /// May it try a password?
    pub fn may_guess(self, app: &App) -> Result<(), Wait> {
        app.addresses.wrong_passwords.check(&network(self.0), app.uptime())
    }

    /// May one more device that nobody knows introduce itself from here?
    pub fn may_arrive(self, app: &App) -> Result<(), Wait> {
        app.addresses.arrivals.take(network(self.0), app.uptime())
    }
}

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let peer = Peer::of(parts).map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.address.ip());
        Ok(Self::of(&parts.headers, peer, &app.config.trusted_proxies))
    }
}

/// An answer of 401, or of 429 if there were too many of them. Right credentials are never refused for wrong ones.
pub(super) fn unauthenticated(app: &App, Client(address): Client, is_ddi: bool, answer: Response) -> Response {
    let Err(wait) = app.addresses.unauthenticated.take(network(address), app.uptime()) else { return answer };
    let mut slowed = match is_ddi {
        true => hawkbit::too_many(),
        false => too_fast(wait, "too much of what comes from this address is refused").into_response(),
    };
    slowed.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.whole_seconds()));
    slowed
}

/// 429 in the API's and the agent's words.
pub(super) fn too_fast(wait: Wait, why: &str) -> Refusal {
    let detail = format!("{why}: wait as long as Retry-After says");
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail)
        .with(header::RETRY_AFTER, HeaderValue::from(wait.whole_seconds()))
}

impl Place {
    /// One of an address's connections; none if it has too many.
    pub(super) fn take(app: &Arc<App>, address: IpAddr) -> Option<Self> {
        let most = app.config.connections_per_address;
        let address = network(address);
        let mut open = app.addresses.open.lock();
        let count = open.entry(address).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { app: app.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.app.addresses.open.lock();
        match open.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(open.remove(&self.address)),
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(forwarded: &[&str], peer: &str, trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        let trusted: Vec<IpAddr> = trusted.iter().map(|address| address.parse().unwrap()).collect();
        Client::of(&headers, peer.parse().unwrap(), &trusted).0.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_tells_who_asks_and_only_whom_it_has_seen_itself() {
        assert_eq!(client(&["203.0.113.7"], "198.51.100.1", &[]), "198.51.100.1");
        assert_eq!(client(&["203.0.113.7"], "10.0.0.1", &["10.0.0.1"]), "203.0.113.7");
        assert_eq!(client(&["6.6.6.6, 203.0.113.7"], "10.0.0.1", &["10.0.0.1"]), "203.0.113.7");
        assert_eq!(client(&["203.0.113.7, 10.0.0.2"], "10.0.0.1", &["10.0.0.1", "10.0.0.2"]), "203.0.113.7");
        assert_eq!(client(&["6.6.6.6", "203.0.113.7"], "10.0.0.1", &["10.0.0.1"]), "203.0.113.7");
        assert_eq!(client(&["203.0.113.7, nonsense"], "10.0.0.1", &["10.0.0.1"]), "10.0.0.1");
        assert_eq!(client(&[], "10.0.0.1", &["10.0.0.1"]), "10.0.0.1");
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
    }
}
