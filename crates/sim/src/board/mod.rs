//! What does the agent do on a board whose power, disk, clock and network fail?
//!
//! A [`Board`] is one virtual device: the real agent's code on a virtual disk, with a bootloader, two slots and an app,
//! against a [`Depot`](depot::Depot) that orders updates and believes only reports. Everything follows from a seed.

pub mod case;
pub mod depot;
pub mod device;
pub mod disk;
pub mod image;
pub mod live;
pub mod machine;
pub mod power;
pub mod rough;
pub mod schedule;
