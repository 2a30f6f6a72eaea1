//! What lasts? The only SQL, and the artifacts' bytes.
//!
//! One writer thread joins the flows that wait into one durable commit. Readers see the last commit.
//! Every function takes the project: nothing is found across that wall.

pub mod accounts;
pub mod actions;
pub mod approvals;
pub mod artifacts;
pub mod attestations;
pub mod audit;
pub mod blobs;
pub mod channels;
pub mod commands;
pub mod configurations;
pub mod departures;
pub mod devices;
pub mod error;
pub mod events;
pub mod idempotency;
pub mod identity;
pub mod join;
pub mod metadata;
pub mod oidc;
pub mod outbox;
pub mod page;
pub mod projects;
pub mod queue;
pub mod releases;
pub mod roles;
pub mod rollouts;
pub mod routes;
#[cfg(test)]
mod sample;
pub mod secrets;
mod select;
pub mod sessions;
pub mod sqlite;
pub mod standing;
pub mod state;
pub mod timeline;
pub mod totp;
pub mod twins;
pub mod tx;
pub mod workloads;
pub mod writer;

pub use error::StoreError;
pub use page::{Cursor, Paged};
pub use sqlite::Store;
pub use tx::{Changes, Tx, View};
