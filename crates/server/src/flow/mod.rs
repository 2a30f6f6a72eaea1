//! What can be changed? One flow is one transaction: load, step, save, emit. There is no second way.

pub mod access;
pub mod accounts;
pub mod actions;
pub mod approvals;
pub mod artifacts;
pub mod attestations;
pub mod audit;
pub mod channels;
pub mod departures;
pub mod devices;
pub mod enrollment;
pub mod error;
pub mod identity;
pub mod join;
pub mod metadata;
pub mod oidc;
pub mod projects;
pub mod releases;
pub mod reports;
pub mod reviews;
pub mod rollouts;
pub mod secrets;
pub mod tokens;
pub mod totp;
pub mod twin;
pub mod workloads;
