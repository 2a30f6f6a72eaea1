//! How do the operator API's messages look as they travel?
//!
//! JSON under `/api/v1`; times are RFC 3339 in UTC, sizes bytes, durations seconds (`_s`).
//! `agent` is what our own agent speaks under `/device/v1`; other device protocols keep their words in the server's edge folders.

pub mod account;
pub mod action;
pub mod agent;
pub mod approval;
pub mod artifact;
pub mod attestation;
pub mod audit;
pub mod channel;
pub mod command;
pub mod configuration;
pub mod departure;
pub mod device;
pub mod event;
pub mod identity;
pub mod join_token;
pub mod metadata;
pub mod oidc;
pub mod page;
pub mod problem;
pub mod project;
pub mod release;
pub mod role;
pub mod rollout;
pub mod secret;
pub mod token;
pub mod totp;
pub mod workload;

pub use page::Page;
pub use problem::Problem;
