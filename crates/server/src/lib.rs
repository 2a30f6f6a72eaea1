//! One process that serves operators and devices from one data folder.
//!
//! `edge` translates protocols and decides nothing, `flow` is one transaction each, `work` carries out what
//! decisions left to do, and `app` puts it together by hand.

pub mod app;
pub mod audit_key;
pub mod clock;
pub mod config;
mod descriptors;
pub mod edge;
pub mod flow;
pub mod identity;
pub mod images;
pub mod noticed;
pub mod oidc;
mod proven;
pub mod rate;
pub mod sessions;
pub mod signing;
pub mod start;
pub mod table;
pub mod tasks;
pub mod vault;
pub mod waiting;
pub mod work;

pub use app::App;
pub use config::Config;
