//! A network on which messages are lost, repeated, or answered by somebody else.

use std::io;
use std::sync::Arc;

use muster_agent::world::{Call, Net, NetError, Reply};
use parking_lot::Mutex;

use crate::chance::Chance;

/// What goes wrong between a board and its server. Shares of all exchanges.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    /// Don't reach the server; of downloads, share of packets after which the connection breaks.
    pub lost: f64,
    /// Are carried out, and the answer is lost.
    pub answer_lost: f64,
    /// Arrive twice.
    pub doubled: f64,
    /// Are answered by a captive portal.
    pub portal: f64,
    /// Meet a server that restarts.
    pub restarting: f64,
    /// Bring an old report along once more, late.
    pub replayed: f64,
}

struct Inner {
    weather: Weather,
    chance: Chance,
    is_off: bool,
    /// Path and body of an old report.
    old: Option<(String, Vec<u8>)>,
}

/// A board's way to its server.
pub struct Rough {
    way: Arc<dyn Net>,
    inner: Mutex<Inner>,
}

impl Rough {
    #[must_use]
    pub fn new(way: Arc<dyn Net>, seed: u64) -> Self {
        let chance = Chance::keyed(seed, &[0x000d_e907]);
        Self { way, inner: Mutex::new(Inner { weather: Weather::default(), chance, is_off: false, old: None }) }
    }

    pub fn set_weather(&self, weather: Weather) {
        self.inner.lock().weather = weather;
    }

    /// The board has no power, or a system that reaches nobody.
    pub fn cut_off(&self, is_off: bool) {
        self.inner.lock().is_off = is_off;
    }

    /// Draws what becomes of one exchange on its way there.
    fn departs(&self) -> Result<Weather, NetError> {
        let mut inner = self.inner.lock();
        let weather = inner.weather;
        if inner.is_off || inner.chance.happens(weather.lost) {
            return Err(NetError::Unreachable("nobody answered".into()));
        }
        if inner.chance.happens(weather.restarting) {
            return Err(NetError::Refused { status: 503, detail: "starting".into() });
        }
        Ok(weather)
    }

    fn happens(&self, share: f64) -> bool {
        self.inner.lock().chance.happens(share)
    }

    /// An old report that arrives now, if one does.
    fn latecomer(&self, call: &Call<'_>, share: f64) -> Option<(String, Vec<u8>)> {
        let mut inner = self.inner.lock();
        let body = call.body?;
        let late = inner.chance.happens(share).then(|| inner.old.clone()).flatten();
        if inner.chance.happens(0.5) {
            inner.old = Some((call.path.to_owned(), body.to_vec()));
        }
        late
    }
}

impl Net for Rough {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        let weather = self.departs()?;
        if self.happens(weather.portal) {
            return Ok(Reply { status: 200, body: b"<html>Welcome to our free Wi-Fi</html>".to_vec() });
        }
        if let Some((path, body)) = self.latecomer(call, weather.replayed) {
            // Nobody waits for its answer any more.
            let _ = self.way.call(&Call { path: &path, body: Some(&body), ..*call });
        }
        if self.happens(weather.doubled) {
            let _ = self.way.call(call);
        }
        let reply = self.way.call(call)?;
        if self.happens(weather.answer_lost) {
            return Err(NetError::Unreachable("the answer was lost".into()));
        }
        Ok(reply)
    }

    fn fetch(
        &self,
        path: &str,
        range: (u64, u64),
        taken: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, NetError> {
        let weather = self.departs()?;
        let mut is_broken = false;
        let fetched = self.way.fetch(path, range, &mut |bytes| {
            is_broken = is_broken || self.happens(weather.lost);
            if is_broken { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { taken(bytes) }
        });
        if is_broken { Err(NetError::Unreachable("the connection broke".into())) } else { fetched }
    }
}

impl std::fmt::Debug for Rough {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rough").field("weather", &self.inner.lock().weather).finish_non_exhaustive()
    }
}
