//! `GET /device/v1/orders`: what shall the device do?
//!
//! Answered from the device table; the disk is read only for a device whose flag says that a command or a configuration
//! waits for it. A device may wait for a change: the commit that brings it wakes the
//! device. `poll_s` is how the server paces its devices, see docs/agent-api.md.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use muster_domain::standing::Link;
use muster_vocab::limit;
use muster_wire::agent::{ActionOrder, Orders};
use serde::Deserialize;
use tokio::time::Instant;

use super::actions::words;
use super::caller::{Caller, check_state, unknown};
use super::twin;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::table::Polled;

/// A moment that passes while it is looked at is looked at again after this.
const TURN_MIN: Duration = Duration::from_millis(20);

/// Unknown members are ignored: a newer agent may send more.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// Seconds that the device would wait for a change.
    #[serde(default)]
    wait: u64,
    /// Of the orders it has.
    #[serde(default)]
    tag: Option<String>,
}

/// Why an answer goes out, as far as it decides when the device comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// It polls.
    Interval,
    /// It waits, and shall wait again.
    Again,
    /// The server stops: all come back, but not at once.
    Spread,
}

pub(super) async fn orders(
    State(app): State<Arc<App>>,
    asked: Result<Query<Asked>, QueryRejection>,
    caller: Caller,
) -> Result<Json<Orders>, Refusal> {
    app.counters.polls.fetch_add(1, Ordering::Relaxed);
    let Query(Asked { wait, tag }) = asked.map_err(|bad| Refusal::bad("query", bad.body_text()))?;
    let polled = current(&app, &caller).await?;
    let first = told(&app, &caller, &polled).await?;
    let place = if wait == 0 { None } else { app.table.waiting.enter(caller.polled.device) };
    let Some(place) = place else { return Ok(paced(first, &caller, Pace::Interval)) };
    if tag.as_ref() != Some(&first.tag) {
        return Ok(paced(first, &caller, Pace::Again));
    }
    let until = Instant::now() + Duration::from_secs(wait).min(limit::LONG_POLL_MAX);
    let mut stopping = app.stopping.subscribe();
    loop {
        let changed = place.changed.notified();
        let mut changed = pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        let polled = current(&app, &caller).await?;
        let orders = told(&app, &caller, &polled).await?;
        if tag.as_ref() != Some(&orders.tag) || Instant::now() >= until {
            return Ok(paced(orders, &caller, Pace::Again));
        }
        let turns =
            polled.valid_until.map(|at| Instant::now() + at.since(app.now()).max(TURN_MIN) + turn(&app, &caller));
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(turns.map_or(until, |turns| turns.min(until))) => {}
            _ = stopping.wait_for(|stop| *stop) => return Ok(paced(orders, &caller, Pace::Spread)),
        }
    }
}

/// The device's standing now, worked out again if time alone has changed it.
async fn current(app: &Arc<App>, caller: &Caller) -> Result<Polled, Refusal> {
    let look = || caller.tenant.look(&caller.name, app.now()).ok_or_else(unknown);
    let mut polled = look()?;
    if polled.stale {
        app.refresh(polled.device).await?;
        polled = look()?;
    }
    // While it waited it may have been deleted, rejected or given another token.
    if (polled.device, polled.token, polled.keys) != (caller.polled.device, caller.polled.token, caller.polled.keys) {
        return Err(unknown());
    }
    check_state(polled.state)?;
    Ok(polled)
}

fn paced(orders: Orders, caller: &Caller, pace: Pace) -> Json<Orders> {
    let poll_s = match pace {
        Pace::Interval => orders.poll_s,
        Pace::Again => limit::LONG_POLL_PAUSE_S,
        Pace::Spread => limit::LONG_POLL_PAUSE_S + share(&caller.name, limit::RESTART_SPREAD_S),
    };
    Json(Orders { poll_s, ..orders })
}

/// A moment that many wait for, such as the opening of a window, reaches them one after the other.
fn turn(app: &App, caller: &Caller) -> Duration {
    let all_ms = app.table.waiting.taken() * 1000 / limit::TURNS_PER_S_MAX;
    Duration::from_millis(share(&caller.name, u32::try_from(all_ms).unwrap_or(u32::MAX)).into())
}

/// Each device's own part of a time.
fn share(name: &str, of: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    u32::try_from(hasher.finish() % u64::from(of.max(1))).unwrap_or(0)
}

async fn told(app: &Arc<App>, caller: &Caller, polled: &Polled) -> Result<Orders, Refusal> {
    let (configuration, commands) = match polled.twin {
        true => twin::orders(app, caller.project(), polled.device).await?,
        false => (None, Vec::new()),
    };
    let action = match polled.link {
        Link::Nothing => None,
        Link::Deployment { action, allowed, .. } => Some(ActionOrder::Install { action, terms: words(allowed) }),
        Link::Cancel { action } => Some(ActionOrder::Cancel { action }),
        Link::Confirmation { action } => Some(ActionOrder::Confirm { action }),
    };
    let mut orders = Orders {
        tag: String::new(),
        poll_s: polled.sleep_s,
        time: app.now(),
        action,
        configuration,
        commands,
        attributes: polled.attributes_requested,
    };
    orders.tag = tag(&orders);
    Ok(orders)
}

/// Of what the device is to do, and of nothing that passes by itself.
fn tag(orders: &Orders) -> String {
    let Orders { tag: _, poll_s: _, time: _, action, configuration, commands, attributes } = orders;
    let mut hasher = DefaultHasher::new();
    let words = serde_json::to_vec(&(action, configuration, commands, attributes));
    words.expect("plain words and numbers are JSON").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
