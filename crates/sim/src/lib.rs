//! How do many devices behave that do not exist?
//!
//! A [`Fleet`] is a number of conforming hawkBit DDI devices in one process, against a real server, from a seed.
//! `device` decides and knows no IO; `wire` sends; `fleet` puts them together. `board` has Muster's own agent on virtual
//! machines; [`Agents`] is a fleet of them.

pub mod board;
pub mod certified;
pub mod chance;
mod clock;
mod ddi;
mod device;
pub mod faults;
mod flash;
pub mod fleet;
pub mod journal;
pub mod payload;
pub mod stats;
mod wire;
mod work;
mod world;

pub use board::live::{Agents, Ran, Trust};
pub use faults::Faults;
pub use fleet::{Fleet, FleetError, Report};
pub use journal::{Install, Outcome};
pub use payload::Payload;
pub use stats::{Snapshot, Stats};
