//! The real storage and the real machine: everything here is IO, and decides nothing.

pub mod disk;
pub mod host;
mod probe;
mod program;
