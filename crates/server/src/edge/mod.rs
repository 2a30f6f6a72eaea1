//! How do requests come in? Operators under `/api/v1`, devices of Muster's own under `/device/v1`, DDI devices under
//! their project's name.
//!
//! Edges translate and call a flow; they decide nothing.

pub mod address;
pub mod agent;
pub mod est;
pub mod hawkbit;
pub mod http;
pub mod metrics;
pub mod peer;
pub mod range;
pub mod serve;
pub mod tls;
mod turn;
mod upgrade;
