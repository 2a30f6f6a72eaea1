//! How is a device brought from one release to the next without ever being left with nothing that boots?
//!
//! `machine` decides and knows no IO; `agent` runs it: step, persist, perform, so power may vanish between any two
//! lines. Disk, network, clock and power are parameters (`world`): real ones in `io`, virtual ones in the simulator.

pub mod agent;
pub mod attributes;
pub mod boot;
pub mod commands;
pub mod config;
pub mod configuration;
pub mod disk;
pub mod hours;
pub mod install;
pub mod io;
pub mod join;
pub mod judge;
pub mod keep;
pub mod machine;
pub mod metadata;
pub mod queue;
pub mod redact;
pub mod secrets;
pub mod state;
pub mod version;
pub mod wipe;
pub mod world;

pub use agent::consent::Consent;
pub use agent::vouch::TrustSettings;
pub use agent::{Agent, Judge, Settings, Wait};
#[cfg(test)]
mod workbench;

pub use disk::Disk;
pub use world::World;
