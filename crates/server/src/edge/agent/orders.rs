//! `GET /device/v1/orders`: what shall the device do?
//!
//! Answered from the device table, without disk or lock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use muster_domain::standing::Link;
use muster_vocab::Timestamp;
use muster_wire::agent::{ActionOrder, Orders};

use super::actions::words;
use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::table::Polled;

pub(super) async fn orders(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Orders>, Refusal> {
    app.counters.polls.fetch_add(1, Ordering::Relaxed);
    let polled = current(&app, &caller).await?;
    Ok(Json(told(&polled, app.now())))
}

/// The device's standing, worked out again if time alone has changed it.
async fn current(app: &Arc<App>, caller: &Caller) -> Result<Polled, Refusal> {
    if !caller.polled.stale {
        return Ok(caller.polled);
    }
    app.refresh(caller.polled.device).await?;
    caller.tenant.look(&caller.name, app.now()).ok_or_else(|| Refusal::not_found("this device was deleted"))
}

fn told(polled: &Polled, now: Timestamp) -> Orders {
    let action = match polled.link {
        Link::Nothing => None,
        Link::Deployment { action, allowed, .. } => Some(ActionOrder::Install { action, terms: words(allowed) }),
        Link::Cancel { action } => Some(ActionOrder::Cancel { action }),
        Link::Confirmation { action } => Some(ActionOrder::Confirm { action }),
    };
    let mut orders = Orders {
        tag: String::new(),
        poll_s: polled.sleep_s,
        time: now,
        action,
        configuration: None,
        commands: Vec::new(),
        attributes: polled.attributes_requested,
    };
    orders.tag = tag(&orders);
    orders
}

/// Of what the device is to do, and of nothing that passes by itself.
fn tag(orders: &Orders) -> String {
    let Orders { tag: _, poll_s: _, time: _, action, configuration, commands, attributes } = orders;
    let mut hasher = DefaultHasher::new();
    let words = serde_json::to_vec(&(action, configuration, commands, attributes));
    words.expect("plain words and numbers are JSON").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
