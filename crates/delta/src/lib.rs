//! How does a device get a new version without fetching most of it?
//!
//! [`make`] writes a delta on the server, [`Applier`] turns it and the old bytes into the new ones on the device.

mod apply;
mod chain;
mod coder;
mod cover;
mod format;
mod make;
mod mix;
mod model;
mod sorted;
pub mod whole;

pub use apply::{Applier, ApplyError, Checkpoint, Out, ReadAt};
pub use chain::{ChainError, chain};
pub use format::{BODY_BYTES_MAX, FormatError, HEADER_BYTES, Header, PIECE_BYTES_MAX, SEGMENT_BYTES_MAX};
pub use make::{Made, MakeError, WINDOW_BYTES_MAX, make};
pub use sorted::SortError;
