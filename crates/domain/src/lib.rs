//! What does the server decide? Values in, values and effects out: no IO, no clock, no chance, no async.

pub mod access;
pub mod action;
pub mod actor;
pub mod approval;
pub mod attestation;
pub mod command;
pub mod component;
pub mod configuration;
pub mod departure;
pub mod device;
pub mod enrollment;
pub mod identity;
pub mod project;
pub mod release;
pub mod rollout;
pub mod session;
pub mod standing;
pub mod turn;
pub mod why;
pub mod window;
pub mod workload;

pub use action::{Action, ActionState};
pub use actor::{Actor, Permission};
pub use device::{Device, DeviceState};
pub use rollout::{Phase, Rollout};
