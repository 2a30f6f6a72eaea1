//! What is real: the parts of [`crate::world::World`] as a device has them. Everything here is IO, and decides nothing.

pub mod departure;
pub mod disk;
pub mod host;
pub mod identity;
pub mod net;
mod probe;
pub mod program;
pub mod repository;
pub mod session;
pub mod tpm;
pub mod watchdog;
