//! What do the integration tests share: a real server, real clients, and ways to wait for what they do?

pub mod agent;
pub mod api;
pub mod browser;
pub mod collector;
pub mod ddi;
pub mod docker;
pub mod events;
pub mod exchange;
pub mod field;
pub mod image;
pub mod machine;
pub mod oidc_provider;
pub mod operator;
pub mod part;
pub mod podman;
pub mod provision;
pub mod python_tuf;
pub mod rauc;
pub mod raw;
pub mod receiver;
pub mod schemathesis;
pub mod server;
pub mod swupdate;
pub mod swupdate_service;
pub mod tpm;
pub mod wait;
