//! How does a whole version travel when no delta leads to it?
//!
//! ```text
//! header   magic 8 | new bytes 8 | new SHA-256 32 | check 8
//! record   new bytes 4 | body bytes 4 | body: one zstd frame with a checksum
//! …        until the records have made all new bytes; nothing may follow
//! ```
//!
//! A frame needs a window of at most 2 MiB and knows nothing of the frames before it, so expanding needs little memory
//! and goes on at any record after a power cut.

use std::io::{self, Write};

use muster_vocab::digest::Sha256;
use muster_vocab::limit;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use zstd::bulk::Compressor;
use zstd::stream::raw::{CParameter, DParameter, Decoder, Operation};

use crate::apply::{Out, ReadAt, digest_of};
use crate::format::{array, check, number};

/// The last byte is the version of the format.
const MAGIC: [u8; 8] = *b"MUSTWHL\x01";
pub const HEADER_BYTES: usize = 56;
const RECORD_HEADER_BYTES: usize = 8;
const CHECK_BYTES: usize = 8;
/// New bytes of one record: what a power cut makes a device fetch and do again at the most. Records this long cost
/// about one percent more bytes than one frame would.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// 2 MiB: what a device keeps of the bytes it has expanded.
pub const WINDOW_BITS_MAX: u32 = 21;
/// Bytes given out at once.
const PIECE_BYTES: usize = 64 * 1024;
/// The level of zstd: made once, fetched often.
const LEVEL: i32 = 19;

/// What is expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub new_bytes: u64,
    pub new_digest: Sha256,
}

/// Where expanding can go on after a power cut. Keep it only after the new bytes before it are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    header: Header,
    /// Feed the compressed bytes from here.
    pub packed_offset: u64,
    /// Write the new bytes from here.
    pub new_offset: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum WholeError {
    #[error("this is not a compressed artifact")]
    NotWhole,
    #[error("this compressed artifact has format {0}, known is 1: update the agent first")]
    Version(u8),
    #[error("the header is damaged")]
    HeaderDamaged,
    #[error("{bytes} bytes are claimed for {what}, allowed are {bytes_max}")]
    TooLarge { what: &'static str, bytes: u64, bytes_max: u64 },
    #[error("a record holds other bytes than it says")]
    LyingRecord,
    #[error("expanding")]
    Expand(#[source] io::Error),
    #[error("there is more after the last byte")]
    TooLong,
    #[error("it ends after {packed_bytes} bytes, {missing_bytes} new bytes are missing")]
    TooShort { packed_bytes: u64, missing_bytes: u64 },
    #[error("the new bytes have the digest {found}, wanted was {wanted}")]
    OtherNew { wanted: Sha256, found: Sha256 },
    #[error("it was refused before")]
    Refused,
    #[error("reading the new bytes written so far")]
    ReadNew(#[source] io::Error),
    #[error("writing")]
    Write(#[source] io::Error),
}

/// Writes `new` compressed; gives the number of bytes. Needs some 100 MiB of memory beside the slice.
///
/// # Errors
/// More bytes than an artifact may have are refused; otherwise only writing fails.
pub fn compress(new: &[u8], out: impl Write) -> Result<u64, WholeError> {
    compress_at(LEVEL, new, out)
}

fn compress_at(level: i32, new: &[u8], mut out: impl Write) -> Result<u64, WholeError> {
    within("the new bytes", new.len() as u64, limit::ARTIFACT_BYTES_MAX)?;
    let mut head = MAGIC.to_vec();
    head.extend((new.len() as u64).to_le_bytes());
    head.extend(sha2::Sha256::digest(new));
    head.extend(check(&[&head]));
    out.write_all(&head).map_err(WholeError::Write)?;
    let mut bytes = head.len() as u64;
    let mut zstd = Compressor::new(level).map_err(WholeError::Write)?;
    for parameter in [CParameter::WindowLog(WINDOW_BITS_MAX), CParameter::ChecksumFlag(true)] {
        zstd.set_parameter(parameter).map_err(WholeError::Write)?;
    }
    for part in new.chunks(RECORD_BYTES_MAX) {
        let body = zstd.compress(part).map_err(WholeError::Write)?;
        let mut record = (part.len() as u32).to_le_bytes().to_vec();
        record.extend((body.len() as u32).to_le_bytes());
        record.extend(body);
        out.write_all(&record).map_err(WholeError::Write)?;
        bytes += record.len() as u64;
    }
    Ok(bytes)
}

impl Header {
    /// # Errors
    /// What is no header, or is of another version, or is damaged.
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Header, WholeError> {
        if bytes[..7] != MAGIC[..7] {
            return Err(WholeError::NotWhole);
        }
        if bytes[7] != MAGIC[7] {
            return Err(WholeError::Version(bytes[7]));
        }
        if check(&[&bytes[..HEADER_BYTES - CHECK_BYTES]]) != bytes[HEADER_BYTES - CHECK_BYTES..] {
            return Err(WholeError::HeaderDamaged);
        }
        let header = Header { new_bytes: number(&bytes[8..16]), new_digest: Sha256(array(&bytes[16..48])) };
        within("the new bytes", header.new_bytes, limit::ARTIFACT_BYTES_MAX)?;
        Ok(header)
    }
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Header,
    RecordHeader(Header),
    Body(Header, Record),
    Done(Header),
}

/// A record of which some bytes have come.
#[derive(Debug, Clone, Copy)]
struct Record {
    new_bytes: u32,
    body_bytes: u32,
    new_rest: u32,
    body_rest: u32,
    /// The frame has ended.
    is_whole: bool,
}

/// A compressed version being expanded. Memory: the window, a header and one piece.
pub struct Expander {
    stage: Stage,
    waiting: Vec<u8>,
    zstd: Decoder<'static>,
    piece: Vec<u8>,
    packed_offset: u64,
    new_offset: u64,
    /// Of the bytes before `new_offset`; and with the record that is being expanded.
    digest: sha2::Sha256,
    is_broken: bool,
}

impl std::fmt::Debug for Expander {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander").field("stage", &self.stage).field("new_offset", &self.new_offset).finish()
    }
}

impl Expander {
    /// # Errors
    /// If zstd gets no memory.
    pub fn new() -> Result<Expander, WholeError> {
        let mut zstd = Decoder::new().map_err(WholeError::Expand)?;
        zstd.set_parameter(DParameter::WindowLogMax(WINDOW_BITS_MAX)).map_err(WholeError::Expand)?;
        Ok(Expander {
            stage: Stage::Header,
            waiting: Vec::with_capacity(HEADER_BYTES),
            zstd,
            piece: vec![0; PIECE_BYTES],
            packed_offset: 0,
            new_offset: 0,
            digest: sha2::Sha256::new(),
            is_broken: false,
        })
    }

    /// Goes on at a checkpoint; reads again what was written before it.
    ///
    /// # Errors
    /// If `written` can't be read or is shorter than the checkpoint says.
    pub fn resume(checkpoint: &Checkpoint, written: &dyn ReadAt) -> Result<Expander, WholeError> {
        let Checkpoint { header, packed_offset, new_offset } = *checkpoint;
        let digest = digest_of(written, new_offset).map_err(WholeError::ReadNew)?;
        let stage = next_record(header, new_offset);
        Ok(Expander { stage, packed_offset, new_offset, digest, ..Expander::new()? })
    }

    /// The last boundary between records; nothing before the header has come.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let header = match self.stage {
            Stage::Header => return None,
            Stage::RecordHeader(header) | Stage::Body(header, _) | Stage::Done(header) => header,
        };
        Some(Checkpoint { header, packed_offset: self.packed_offset, new_offset: self.new_offset })
    }

    /// Takes the next compressed bytes and gives out the new bytes that they make.
    ///
    /// # Errors
    /// What is damaged or lies about sizes is refused, and so is everything after it.
    pub fn feed(&mut self, mut packed: &[u8], out: &mut Out<'_>) -> Result<(), WholeError> {
        if self.is_broken {
            return Err(WholeError::Refused);
        }
        self.is_broken = true;
        while !packed.is_empty() {
            packed = match self.stage {
                Stage::Header | Stage::RecordHeader(_) => self.head(packed)?,
                Stage::Body(header, record) => self.body(header, record, (packed, out))?,
                Stage::Done(_) => return Err(WholeError::TooLong),
            };
        }
        self.is_broken = false;
        Ok(())
    }

    /// Says that everything has come; the new bytes are then what was meant.
    ///
    /// # Errors
    /// If something is missing or the new bytes have another digest.
    pub fn finish(self) -> Result<Header, WholeError> {
        let header = match self.stage {
            Stage::Done(header) if !self.is_broken => header,
            Stage::Header => return Err(WholeError::TooShort { packed_bytes: 0, missing_bytes: 0 }),
            Stage::RecordHeader(header) | Stage::Body(header, _) | Stage::Done(header) => {
                let missing_bytes = header.new_bytes - self.new_offset;
                return Err(WholeError::TooShort { packed_bytes: self.packed_offset, missing_bytes });
            }
        };
        let found = Sha256(self.digest.finalize().into());
        if found == header.new_digest {
            Ok(header)
        } else {
            Err(WholeError::OtherNew { wanted: header.new_digest, found })
        }
    }

    /// Collects a header; gives what comes after it.
    fn head<'a>(&mut self, packed: &'a [u8]) -> Result<&'a [u8], WholeError> {
        let wanted = if matches!(self.stage, Stage::Header) { HEADER_BYTES } else { RECORD_HEADER_BYTES };
        let (part, rest) = packed.split_at((wanted - self.waiting.len()).min(packed.len()));
        self.waiting.extend_from_slice(part);
        if self.waiting.len() < wanted {
            return Ok(rest);
        }
        if let Stage::RecordHeader(header) = self.stage {
            let left = header.new_bytes - self.new_offset;
            self.stage = Stage::Body(header, Record::read(&self.waiting, left)?);
            self.zstd.reinit().map_err(WholeError::Expand)?;
        } else {
            self.packed_offset = HEADER_BYTES as u64;
            self.stage = next_record(Header::read(&array(&self.waiting))?, 0);
        }
        self.waiting.clear();
        Ok(rest)
    }

    /// Expands what is there of a record; gives what comes after it.
    fn body<'a>(
        &mut self,
        header: Header,
        mut record: Record,
        (packed, out): (&'a [u8], &mut Out<'_>),
    ) -> Result<&'a [u8], WholeError> {
        let (mut part, rest) = packed.split_at(packed.len().min(record.body_rest as usize));
        loop {
            let status = self.zstd.run_on_buffers(part, &mut self.piece).map_err(WholeError::Expand)?;
            part = &part[status.bytes_read..];
            record.body_rest -= status.bytes_read as u32;
            let piece = &self.piece[..status.bytes_written];
            // A bomb says more than it may; it is heard as far as the record goes and no further.
            record.new_rest = record.new_rest.checked_sub(piece.len() as u32).ok_or(WholeError::LyingRecord)?;
            self.digest.update(piece);
            out(piece).map_err(WholeError::Write)?;
            record.is_whole = status.remaining == 0;
            if record.is_whole || (part.is_empty() && status.bytes_written < PIECE_BYTES) {
                break;
            }
        }
        if record.is_whole || record.body_rest == 0 {
            if !record.is_whole || record.body_rest > 0 || record.new_rest > 0 {
                return Err(WholeError::LyingRecord);
            }
            self.packed_offset += u64::from(record.body_bytes) + RECORD_HEADER_BYTES as u64;
            self.new_offset += u64::from(record.new_bytes);
            self.stage = next_record(header, self.new_offset);
        } else {
            self.stage = Stage::Body(header, record);
        }
        Ok(rest)
    }
}

impl Record {
    fn read(bytes: &[u8], left: u64) -> Result<Record, WholeError> {
        let (new_bytes, body_bytes) = (number(&bytes[..4]), number(&bytes[4..]));
        within("a record", new_bytes, left.min(RECORD_BYTES_MAX as u64))?;
        within("the body of a record", body_bytes, zstd::zstd_safe::compress_bound(new_bytes as usize) as u64)?;
        if new_bytes == 0 || body_bytes == 0 {
            return Err(WholeError::LyingRecord);
        }
        let (new_bytes, body_bytes) = (new_bytes as u32, body_bytes as u32);
        Ok(Record { new_bytes, body_bytes, new_rest: new_bytes, body_rest: body_bytes, is_whole: false })
    }
}

fn next_record(header: Header, new_offset: u64) -> Stage {
    if new_offset < header.new_bytes { Stage::RecordHeader(header) } else { Stage::Done(header) }
}

fn within(what: &'static str, bytes: u64, bytes_max: u64) -> Result<(), WholeError> {
    if bytes <= bytes_max { Ok(()) } else { Err(WholeError::TooLarge { what, bytes, bytes_max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(new: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        assert_eq!(compress_at(1, new, &mut packed).unwrap(), packed.len() as u64);
        packed
    }

    /// Expands in pieces of one size; gives what was written, even after an error.
    fn expand(packed: &[u8], piece: usize) -> (Vec<u8>, Result<Header, WholeError>) {
        let mut new = Vec::new();
        let mut expander = Expander::new().unwrap();
        for piece in packed.chunks(piece) {
            let fed = expander.feed(piece, &mut |bytes| {
                new.extend_from_slice(bytes);
                Ok(())
            });
            if let Err(error) = fed {
                return (new, Err(error));
            }
        }
        (new, expander.finish())
    }

    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let step = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"aaaaabcdeeeeefgh"[(state >> 28) as usize]
        };
        (0..bytes).map(step).collect()
    }

    #[test]
    fn a_whole_version_comes_out_however_it_arrives() {
        for (bytes, piece) in [(0, 1), (1, 1), (70_000, 1), (9_000_000, 4096), (9_000_000, usize::MAX)] {
            let new = text(bytes);
            let (written, outcome) = expand(&packed(&new), piece);
            outcome.unwrap();
            assert!(written == new, "{bytes} in pieces of {piece}");
        }
    }

    #[test]
    fn expanding_goes_on_at_a_record() {
        let new = text(RECORD_BYTES_MAX * 2 + 5);
        let packed = packed(&new);
        let mut written = Vec::new();
        let mut expander = Expander::new().unwrap();
        let cut = packed.len() * 3 / 4;
        let mut write = |bytes: &[u8]| {
            written.extend_from_slice(bytes);
            Ok(())
        };
        expander.feed(&packed[..cut], &mut write).unwrap();
        let checkpoint = expander.checkpoint().unwrap();
        assert_eq!(checkpoint.new_offset, RECORD_BYTES_MAX as u64);
        written.truncate(RECORD_BYTES_MAX);
        let mut expander = Expander::resume(&checkpoint, &written.clone().as_slice()).unwrap();
        let mut write = |bytes: &[u8]| {
            written.extend_from_slice(bytes);
            Ok(())
        };
        expander.feed(&packed[checkpoint.packed_offset as usize..], &mut write).unwrap();
        expander.finish().unwrap();
        assert!(written == new);
    }

    #[test]
    fn damage_and_truncation_are_refused() {
        let packed = packed(&text(5000));
        for index in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[index] ^= 4;
            let (written, outcome) = expand(&damaged, usize::MAX);
            assert!(outcome.is_err() && written.len() <= 5000, "byte {index}");
            assert!(expand(&packed[..index], usize::MAX).1.is_err(), "cut at {index}");
        }
        assert!(matches!(expand(&[packed, vec![0]].concat(), usize::MAX).1, Err(WholeError::TooLong)));
    }

    /// A version of `new_bytes` whose only record holds this frame.
    fn lying(new_bytes: u64, record_bytes: u32, frame: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(new_bytes.to_le_bytes());
        bytes.extend([0; 32]);
        bytes.extend(check(&[&bytes]));
        bytes.extend(record_bytes.to_le_bytes());
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend(frame);
        bytes
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 50_000_000], 3).unwrap();
        let (written, outcome) = expand(&lying(1000, 1000, &bomb), usize::MAX);
        assert!(outcome.is_err() && written.is_empty());
        let (written, outcome) = expand(&lying(RECORD_BYTES_MAX as u64, RECORD_BYTES_MAX as u32, &bomb), usize::MAX);
        assert!(outcome.is_err() && written.len() <= RECORD_BYTES_MAX);
        let (written, outcome) = expand(&lying(u64::MAX, 1000, &bomb), usize::MAX);
        assert!(matches!(outcome, Err(WholeError::TooLarge { .. })) && written.is_empty());
        let (written, outcome) = expand(&lying(1000, 1001, &bomb), usize::MAX);
        assert!(matches!(outcome, Err(WholeError::TooLarge { .. })) && written.is_empty());
    }

    #[test]
    fn a_frame_that_wants_more_memory_is_refused() {
        let new = text(RECORD_BYTES_MAX);
        // The frame must come through a stream, or zstd shrinks its window to what it is given.
        let mut stream = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        stream.window_log(24).unwrap();
        stream.write_all(&new).unwrap();
        let frame = stream.finish().unwrap();
        let (written, outcome) = expand(&lying(new.len() as u64, new.len() as u32, &frame), usize::MAX);
        assert!(matches!(outcome, Err(WholeError::Expand(_))) && written.is_empty());
    }
}
