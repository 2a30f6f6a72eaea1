//! What does a delta look like, and which ones are refused before anything is read?
//!
//! ```text
//! header   magic 8 | old bytes 8 | old SHA-256 32 | new bytes 8 | new SHA-256 32 | check 8
//! segment  new bytes 4 | body bytes 4 | old position 8 | check 8 | body
//! …        until the segments have made all new bytes; nothing may follow
//! ```
//!
//! Numbers are little-endian. A check is the start of the SHA-256 of what it stands behind, for a segment of its
//! header and its body: it finds accidents, and the digest of the new bytes finds everything. A body is one
//! range-coded stream that starts with a fresh model, so that applying may begin at any segment.

use muster_vocab::digest::Sha256;
use muster_vocab::limit;
use serde::{Deserialize, Serialize};
use sha2::Digest;

/// The last byte is the version of the format.
const MAGIC: [u8; 8] = *b"MUSTDLT\x01";
pub const HEADER_BYTES: usize = 96;
pub const SEGMENT_HEADER_BYTES: usize = 24;
const CHECK_BYTES: usize = 8;

/// A segment is kept in memory until its check has passed; longer ones would make a better model but cost
/// the device this much.
pub const BODY_BYTES_MAX: usize = 512 * 1024;
/// New bytes of a segment: what a power cut makes a device do again at the most.
pub const SEGMENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that are copied or written at once, and so the buffers of both sides.
pub const PIECE_BYTES_MAX: usize = 32 * 1024;

/// What a delta leads from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub old_bytes: u64,
    pub old_digest: Sha256,
    pub new_bytes: u64,
    pub new_digest: Sha256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub new_bytes: u32,
    pub body_bytes: u32,
    /// Where in the old file copying goes on.
    pub old_position: u64,
    check: [u8; CHECK_BYTES],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("this is not a delta")]
    NotADelta,
    #[error("this delta has format {0}, known is 1: update the agent first")]
    Version(u8),
    #[error("the header is damaged")]
    HeaderDamaged,
    #[error("a segment is damaged")]
    SegmentDamaged,
    #[error("the delta claims {bytes} bytes for {what}, allowed are {bytes_max}")]
    TooLarge { what: &'static str, bytes: u64, bytes_max: u64 },
    #[error("a segment without bytes")]
    Empty,
    #[error("a segment copies from {position}, but the old bytes end at {old_bytes}")]
    OutsideOld { position: u64, old_bytes: u64 },
}

impl Header {
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.old_bytes.to_le_bytes());
        bytes.extend(self.old_digest.0);
        bytes.extend(self.new_bytes.to_le_bytes());
        bytes.extend(self.new_digest.0);
        bytes.extend(check(&[&bytes]));
        bytes
    }

    /// Reads the first [`HEADER_BYTES`] of a delta and refuses sizes beyond those of an artifact.
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Header, FormatError> {
        let (magic, version) = (&bytes[..7], bytes[7]);
        if magic != &MAGIC[..7] {
            return Err(FormatError::NotADelta);
        }
        if version != MAGIC[7] {
            return Err(FormatError::Version(version));
        }
        if check(&[&bytes[..HEADER_BYTES - CHECK_BYTES]]) != bytes[HEADER_BYTES - CHECK_BYTES..] {
            return Err(FormatError::HeaderDamaged);
        }
        let header = Header {
            old_bytes: number(&bytes[8..16]),
            old_digest: Sha256(array(&bytes[16..48])),
            new_bytes: number(&bytes[48..56]),
            new_digest: Sha256(array(&bytes[56..88])),
        };
        within("the old bytes", header.old_bytes, limit::ARTIFACT_BYTES_MAX)?;
        within("the new bytes", header.new_bytes, limit::ARTIFACT_BYTES_MAX)?;
        Ok(header)
    }
}

impl SegmentHeader {
    /// The header that belongs before this body.
    #[cfg(any(test, feature = "make"))]
    pub fn write(new_bytes: u32, old_position: u64, body: &[u8]) -> Vec<u8> {
        let body_bytes = u32::try_from(body.len()).expect("a body is below its limit");
        let mut bytes = new_bytes.to_le_bytes().to_vec();
        bytes.extend(body_bytes.to_le_bytes());
        bytes.extend(old_position.to_le_bytes());
        bytes.extend(check(&[&bytes, body]));
        bytes
    }

    /// Reads the header of a segment of which at most `rest_bytes` may come, and refuses sizes beyond the limits.
    pub fn read(
        bytes: &[u8; SEGMENT_HEADER_BYTES],
        header: &Header,
        rest_bytes: u64,
    ) -> Result<SegmentHeader, FormatError> {
        let segment = SegmentHeader {
            new_bytes: number(&bytes[..4]) as u32,
            body_bytes: number(&bytes[4..8]) as u32,
            old_position: number(&bytes[8..16]),
            check: array(&bytes[16..]),
        };
        let bytes_max = rest_bytes.min(SEGMENT_BYTES_MAX as u64);
        within("a segment", u64::from(segment.new_bytes), bytes_max)?;
        within("the body of a segment", u64::from(segment.body_bytes), BODY_BYTES_MAX as u64)?;
        if segment.new_bytes == 0 {
            return Err(FormatError::Empty);
        }
        if segment.old_position > header.old_bytes {
            return Err(FormatError::OutsideOld { position: segment.old_position, old_bytes: header.old_bytes });
        }
        Ok(segment)
    }

    /// Is this the body that was written behind this header?
    pub fn check(&self, body: &[u8]) -> Result<(), FormatError> {
        let (new, length) = (self.new_bytes.to_le_bytes(), self.body_bytes.to_le_bytes());
        let found = check(&[&new, &length, &self.old_position.to_le_bytes(), body]);
        if found == self.check { Ok(()) } else { Err(FormatError::SegmentDamaged) }
    }
}

fn within(what: &'static str, bytes: u64, bytes_max: u64) -> Result<(), FormatError> {
    if bytes <= bytes_max { Ok(()) } else { Err(FormatError::TooLarge { what, bytes, bytes_max }) }
}

/// The first bytes of the digest of several pieces.
pub fn check(pieces: &[&[u8]]) -> [u8; CHECK_BYTES] {
    let mut digest = sha2::Sha256::new();
    for piece in pieces {
        digest.update(piece);
    }
    array(&digest.finalize()[..CHECK_BYTES])
}

pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("callers cut out as many bytes as they want")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { old_bytes: 1000, old_digest: Sha256([1; 32]), new_bytes: 2000, new_digest: Sha256([2; 32]) };

    fn read(bytes: &[u8]) -> Result<Header, FormatError> {
        Header::read(bytes.try_into().unwrap())
    }

    #[test]
    fn a_header_reads_back_and_no_bit_of_it_may_change() {
        let bytes = HEADER.write();
        assert_eq!(read(&bytes), Ok(HEADER));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn sizes_beyond_an_artifact_are_refused() {
        let huge = Header { new_bytes: limit::ARTIFACT_BYTES_MAX + 1, ..HEADER };
        assert!(matches!(read(&huge.write()), Err(FormatError::TooLarge { what: "the new bytes", .. })));
    }

    #[test]
    fn a_segment_may_not_say_more_than_is_left_or_allowed() {
        let read = |new_bytes, position, rest| {
            let bytes = SegmentHeader::write(new_bytes, position, b"body");
            SegmentHeader::read(bytes.as_slice().try_into().unwrap(), &HEADER, rest)
        };
        assert!(read(10, 1000, 10).unwrap().check(b"body").is_ok());
        assert_eq!(read(10, 1000, 10).unwrap().check(b"bodi"), Err(FormatError::SegmentDamaged));
        assert!(matches!(read(11, 0, 10), Err(FormatError::TooLarge { what: "a segment", .. })));
        assert!(matches!(read(u32::MAX, 0, u64::MAX), Err(FormatError::TooLarge { .. })));
        assert_eq!(read(0, 0, 10), Err(FormatError::Empty));
        assert_eq!(read(1, 1001, 10), Err(FormatError::OutsideOld { position: 1001, old_bytes: 1000 }));
    }
}
