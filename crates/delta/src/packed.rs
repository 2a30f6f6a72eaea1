//! How are files compared whose insides are compressed? Unpacked, where packing again gives the same bytes.
//!
//! A squashfs, or an archive of layers, is a file with compressed pieces in it: one changed byte changes all of a piece.
//! [`find::find`] looks for pieces that can be rebuilt exactly; a delta is then made between both files with those pieces
//! unpacked, and the device packs what it makes. Which pieces there are, and how they are packed, stands before it:
//!
//! ```text
//! header   magic 8 | old bytes 8 | old SHA-256 32 | new bytes 8 | new SHA-256 32 | maps 4 | check 8
//! maps     one zstd frame: the map of the old file, and that of the new one
//! delta    from the unpacked old file to the unpacked new one, in the format of `format.rs`
//! ```

pub mod apply;
#[cfg(feature = "make")]
pub mod find;
pub mod map;
pub mod pack;

/// Unpacked bytes of one piece. The device keeps a few of them, and a segment of a delta ends only between pieces, so
/// this is bounded by a segment's body too. The usual block of squashfs has half of it.
pub const PIECE_UNPACKED_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
#[cfg(feature = "make")]
mod tests;
