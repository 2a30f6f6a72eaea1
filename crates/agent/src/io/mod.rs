//! What is real: the parts of [`crate::world::World`] as a device has them.

pub mod disk;
pub mod run;
