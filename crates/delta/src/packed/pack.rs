//! How is a piece packed, so that packing it again gives the same bytes?

use std::io::{self, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use serde::{Deserialize, Serialize};

/// By which program, with which settings. The bytes also hang on the program's version, which matters seldom and is
/// found out by comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packing {
    /// At this level of zstd.
    Zstd(u8),
    /// A stream of RFC 1950 at this level of zlib, with its largest window.
    Zlib(u8),
}

/// In maps, levels of zlib come after those of zstd.
const ZLIB: u64 = 64;

impl Packing {
    /// As it stands in maps.
    #[cfg(any(test, feature = "make"))]
    pub(super) fn number(self) -> u64 {
        match self {
            Packing::Zstd(level) => u64::from(level),
            Packing::Zlib(level) => ZLIB + u64::from(level),
        }
    }

    pub(super) fn numbered(number: u64) -> Option<Packing> {
        match number {
            1..=22 => Some(Packing::Zstd(number as u8)),
            65..=73 => Some(Packing::Zlib((number - ZLIB) as u8)),
            _ => None,
        }
    }

    /// Packs a piece.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn pack(self, unpacked: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Packing::Zstd(level) => zstd::bulk::compress(unpacked, i32::from(level)),
            Packing::Zlib(level) => {
                let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(level.into()));
                zlib.write_all(unpacked)?;
                zlib.finish()
            }
        }
    }

    /// Unpacks a piece that has so many bytes then.
    ///
    /// # Errors
    /// What is damaged, or has another size.
    pub fn unpack(self, packed: &[u8], unpacked_bytes: usize) -> io::Result<Vec<u8>> {
        let unpacked = match self {
            Packing::Zstd(_) => zstd::bulk::decompress(packed, unpacked_bytes)?,
            Packing::Zlib(_) => unpack_zlib(packed, unpacked_bytes)?.0,
        };
        if unpacked.len() == unpacked_bytes { Ok(unpacked) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

/// What the stream at the start of these bytes holds, and how long the stream is.
pub(super) fn unpack_zlib(packed: &[u8], unpacked_bytes_max: usize) -> io::Result<(Vec<u8>, usize)> {
    let mut zlib = Decompress::new(true);
    // One more, so that a stream that ends just there is seen to end.
    let mut unpacked = Vec::with_capacity(unpacked_bytes_max + 1);
    let status = zlib.decompress_vec(packed, &mut unpacked, FlushDecompress::Finish)?;
    if status != Status::StreamEnd || unpacked.len() > unpacked_bytes_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((unpacked, usize::try_from(zlib.total_in()).map_err(io::Error::other)?))
}
