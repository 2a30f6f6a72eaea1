//! What time is it? The only place that asks.

use std::time::{SystemTime, UNIX_EPOCH};

use muster_vocab::Timestamp;

/// The wall clock. Before 1970 it is 1970.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
