//! How does a device get a new version without fetching most of it?
//!
//! `make` writes a delta on the server, [`Applier`] turns it and the old bytes into the new ones on the device.
//! What only makes deltas is behind the feature `make`, so that a device neither builds nor carries it.

mod apply;
#[cfg(feature = "make")]
mod chain;
mod coder;
#[cfg(feature = "make")]
mod cover;
mod format;
#[cfg(feature = "make")]
mod make;
mod mix;
mod model;
pub mod packed;
#[cfg(feature = "make")]
mod sorted;
pub mod whole;

pub use apply::{Applier, ApplyError, Checkpoint, Out, ReadAt};
#[cfg(feature = "make")]
pub use chain::{ChainError, chain};
pub use format::{BODY_BYTES_MAX, FormatError, HEADER_BYTES, Header, PIECE_BYTES_MAX, SEGMENT_BYTES_MAX};
#[cfg(feature = "make")]
pub use make::{Made, MakeError, WINDOW_BYTES_MAX, make};
#[cfg(feature = "make")]
pub use sorted::SortError;
