//! How does a device make the new bytes out of the old ones and a delta?
//!
//! A delta is fed in pieces of any size. Nothing is given out before the old bytes have the digest that the delta
//! asks for, and no segment before its check has passed. Memory: one body of [`BODY_BYTES_MAX`], two pieces of
//! [`PIECE_BYTES_MAX`] and the model, about four MiB together, whatever the sizes of the files.

use std::io;

use muster_vocab::digest::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::coder::Decoder;
#[cfg(feature = "make")]
use crate::cover::Cover;
use crate::format::{FormatError, HEADER_BYTES, Header, PIECE_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::model::{Command, MARGIN_BYTES, Model, Nonsense, Number};

/// Bytes that can be read anywhere: a file, a slot, a slice.
pub trait ReadAt {
    /// Reads some bytes at an offset, as [`io::Read::read`]; 0 is the end.
    ///
    /// # Errors
    /// Whatever reading says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }
}

impl ReadAt for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

/// What takes the new bytes, in order.
pub type Out<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Where applying can go on after a power cut. Keep it only after the new bytes before it are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    header: Header,
    /// Feed the delta from here.
    pub delta_offset: u64,
    /// Write the new bytes from here.
    pub new_offset: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("this delta starts from other bytes: {wanted}, here is {found}")]
    OtherOld { wanted: Sha256, found: Sha256 },
    #[error("a segment asks for what can't be: {0}")]
    Nonsense(&'static str),
    #[error("the delta goes on after its last byte")]
    TooLong,
    #[error("the delta ends after {delta_bytes} bytes, {missing_bytes} new bytes are missing")]
    TooShort { delta_bytes: u64, missing_bytes: u64 },
    #[error("the new bytes have the digest {found}, wanted was {wanted}")]
    OtherNew { wanted: Sha256, found: Sha256 },
    #[error("reading the old bytes")]
    ReadOld(#[source] io::Error),
    #[error("reading the new bytes written so far")]
    ReadNew(#[source] io::Error),
    #[error("writing the new bytes")]
    Write(#[source] io::Error),
}

impl From<Nonsense> for ApplyError {
    fn from(Nonsense: Nonsense) -> ApplyError {
        ApplyError::Nonsense("a number out of bounds")
    }
}

#[derive(Debug)]
enum Stage {
    Header,
    SegmentHeader(Header),
    Body(Header, SegmentHeader),
    Done(Header),
}

/// A delta being applied.
#[derive(Debug)]
pub struct Applier {
    stage: Stage,
    /// What has come of the part that the stage waits for.
    waiting: Vec<u8>,
    delta_offset: u64,
    new_offset: u64,
    digest: sha2::Sha256,
    /// Set by an error; everything after it is refused.
    is_broken: bool,
    /// What was copied from where, if somebody wants to know.
    #[cfg(feature = "make")]
    copies: Option<Vec<Cover>>,
}

impl Default for Applier {
    fn default() -> Applier {
        Applier::new()
    }
}

impl Applier {
    #[must_use]
    pub fn new() -> Applier {
        Applier {
            stage: Stage::Header,
            waiting: Vec::new(),
            delta_offset: 0,
            new_offset: 0,
            digest: sha2::Sha256::new(),
            is_broken: false,
            #[cfg(feature = "make")]
            copies: None,
        }
    }

    /// One that remembers what it copies.
    #[cfg(feature = "make")]
    pub(crate) fn recording() -> Applier {
        Applier { copies: Some(Vec::new()), ..Applier::new() }
    }

    #[cfg(feature = "make")]
    pub(crate) fn copies(&mut self) -> Vec<Cover> {
        self.copies.take().unwrap_or_default()
    }

    /// Goes on at a checkpoint. Reads again what was written before it, so that what the power cut took is
    /// found out by [`Applier::finish`].
    ///
    /// # Errors
    /// If `written` can't be read or is shorter than the checkpoint says.
    pub fn resume(checkpoint: &Checkpoint, written: &dyn ReadAt) -> Result<Applier, ApplyError> {
        let Checkpoint { header, delta_offset, new_offset } = *checkpoint;
        let mut applier = Applier { delta_offset, new_offset, ..Applier::new() };
        applier.digest = digest_of(written, new_offset).map_err(ApplyError::ReadNew)?;
        applier.stage = next_segment(header, new_offset);
        Ok(applier)
    }

    /// The last boundary between segments; nothing before the header has come.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let header = match self.stage {
            Stage::Header => return None,
            Stage::SegmentHeader(header) | Stage::Body(header, _) | Stage::Done(header) => header,
        };
        Some(Checkpoint { header, delta_offset: self.delta_offset, new_offset: self.new_offset })
    }

    /// Takes the next bytes of the delta and gives out the new bytes that they complete.
    ///
    /// # Errors
    /// A delta that is damaged, lies, or belongs to other old bytes is refused. After an error there is only
    /// starting again, or resuming at the last checkpoint.
    pub fn feed(&mut self, mut delta: &[u8], old: &dyn ReadAt, out: &mut Out<'_>) -> Result<(), ApplyError> {
        if self.is_broken {
            return Err(ApplyError::Nonsense("it was refused before"));
        }
        self.is_broken = true;
        while !delta.is_empty() {
            let wanted = self.wanted()?;
            let bytes = (wanted - self.waiting.len()).min(delta.len());
            let (part, rest) = delta.split_at(bytes);
            self.waiting.reserve_exact(wanted - self.waiting.len());
            self.waiting.extend_from_slice(part);
            delta = rest;
            if self.waiting.len() == wanted {
                let part = std::mem::take(&mut self.waiting);
                self.part(&part, old, out)?;
                self.waiting = part;
                self.waiting.clear();
            }
        }
        self.is_broken = false;
        Ok(())
    }

    /// Says that the whole delta has come; the new bytes are then what was meant.
    ///
    /// # Errors
    /// If something is missing or the new bytes have another digest.
    pub fn finish(self) -> Result<Header, ApplyError> {
        let header = match self.stage {
            Stage::Done(header) if !self.is_broken => header,
            Stage::Header => return Err(ApplyError::TooShort { delta_bytes: 0, missing_bytes: 0 }),
            Stage::SegmentHeader(header) | Stage::Body(header, _) | Stage::Done(header) => {
                let missing_bytes = header.new_bytes - self.new_offset;
                return Err(ApplyError::TooShort { delta_bytes: self.delta_offset, missing_bytes });
            }
        };
        let found = Sha256(self.digest.finalize().into());
        if found == header.new_digest {
            Ok(header)
        } else {
            Err(ApplyError::OtherNew { wanted: header.new_digest, found })
        }
    }

    /// Bytes of the part that the stage waits for.
    fn wanted(&self) -> Result<usize, ApplyError> {
        match self.stage {
            Stage::Header => Ok(HEADER_BYTES),
            Stage::SegmentHeader(_) => Ok(SEGMENT_HEADER_BYTES),
            // At least one byte, so that a part is never complete before it begins.
            Stage::Body(_, segment) => Ok((segment.body_bytes as usize).max(1)),
            Stage::Done(_) => Err(ApplyError::TooLong),
        }
    }

    fn part(&mut self, part: &[u8], old: &dyn ReadAt, out: &mut Out<'_>) -> Result<(), ApplyError> {
        match self.stage {
            Stage::Header => {
                let header = Header::read(part.try_into().expect("as long as was wanted"))?;
                check_old(&header, old)?;
                self.delta_offset = HEADER_BYTES as u64;
                self.stage = next_segment(header, 0);
            }
            Stage::SegmentHeader(header) => {
                let rest_bytes = header.new_bytes - self.new_offset;
                let head = part.try_into().expect("as long as was wanted");
                self.stage = Stage::Body(header, SegmentHeader::read(head, &header, rest_bytes)?);
            }
            Stage::Body(header, segment) => {
                segment.check(part)?;
                self.segment(&header, &segment, (part, old), out)?;
                self.delta_offset += (SEGMENT_HEADER_BYTES + part.len()) as u64;
                self.new_offset += u64::from(segment.new_bytes);
                self.stage = next_segment(header, self.new_offset);
            }
            Stage::Done(_) => return Err(ApplyError::TooLong),
        }
        Ok(())
    }

    /// Gives out the new bytes of one segment.
    fn segment(
        &mut self,
        header: &Header,
        segment: &SegmentHeader,
        (body, old): (&[u8], &dyn ReadAt),
        out: &mut Out<'_>,
    ) -> Result<(), ApplyError> {
        let mut decoder = Decoder::new(body);
        let mut model = Model::new();
        let mut position = segment.old_position;
        let mut new_position = self.new_offset;
        let mut rest = segment.new_bytes as usize;
        let mut new = vec![0; PIECE_BYTES_MAX];
        let mut source = vec![0; PIECE_BYTES_MAX + 2 * MARGIN_BYTES];
        while rest > 0 {
            let mut kind = model.number(&mut decoder, Number::Kind, 0)?;
            if kind == Command::SEEK {
                let distance = model.number(&mut decoder, Number::Seek, 0)?;
                position = sought(position, distance, header.old_bytes)?;
                kind = model.number(&mut decoder, Number::Kind, 0)?;
            }
            let is_copy = is_copy(kind)?;
            let number = if is_copy { Number::Copy } else { Number::Literal };
            let bytes = model.number(&mut decoder, number, 0)?;
            let piece = piece(&mut new, bytes, rest)?;
            if is_copy {
                if bytes > header.old_bytes - position {
                    return Err(ApplyError::Nonsense("copying beyond the old bytes"));
                }
                let source = &mut source[..piece.len() + 2 * MARGIN_BYTES];
                read_with_margins(old, position, source, header.old_bytes)?;
                model.copy(&mut decoder, (source, piece), (position, new_position))?;
                #[cfg(feature = "make")]
                if let Some(copies) = &mut self.copies {
                    let (old_start, new_start) = (position as usize, new_position as usize);
                    copies.push(Cover { old_start, new_start, bytes: piece.len() });
                }
                position += bytes;
            } else {
                model.literal(&mut decoder, piece);
            }
            if decoder.is_overrun() {
                return Err(ApplyError::Nonsense("a body that ends too early"));
            }
            self.digest.update(&*piece);
            out(piece).map_err(ApplyError::Write)?;
            rest -= piece.len();
            new_position += piece.len() as u64;
        }
        if decoder.is_at_end() { Ok(()) } else { Err(ApplyError::Nonsense("a body with more than its segment")) }
    }
}

/// What follows a seek, or stands without one: a seek alone would make nothing, for as long as a liar likes.
fn is_copy(kind: u64) -> Result<bool, ApplyError> {
    match kind {
        Command::COPY => Ok(true),
        Command::LITERAL => Ok(false),
        Command::SEEK => Err(ApplyError::Nonsense("seeking twice")),
        _ => Err(ApplyError::Nonsense("an unknown command")),
    }
}

/// The bytes of the next piece, if it is one that may be.
fn piece(new: &mut [u8], bytes: u64, rest: usize) -> Result<&mut [u8], ApplyError> {
    let bytes_max = new.len().min(rest);
    let bytes = usize::try_from(bytes).ok().filter(|bytes| (1..=bytes_max).contains(bytes));
    bytes.map(|bytes| &mut new[..bytes]).ok_or(ApplyError::Nonsense("a piece longer than its segment"))
}

fn sought(position: u64, zigzag: u64, old_bytes: u64) -> Result<u64, ApplyError> {
    let distance = zigzag.div_ceil(2);
    let sought = if zigzag & 1 == 1 { position.checked_sub(distance) } else { position.checked_add(distance) };
    sought.filter(|sought| *sought <= old_bytes).ok_or(ApplyError::Nonsense("copying from outside the old bytes"))
}

fn next_segment(header: Header, new_offset: u64) -> Stage {
    if new_offset < header.new_bytes { Stage::SegmentHeader(header) } else { Stage::Done(header) }
}

/// Fills `buffer` from `position` less a margin; what is outside the old bytes is zero.
fn read_with_margins(old: &dyn ReadAt, position: u64, buffer: &mut [u8], old_bytes: u64) -> Result<(), ApplyError> {
    buffer.fill(0);
    let margin = MARGIN_BYTES as u64;
    let from = position.saturating_sub(margin);
    let skipped = (from + margin - position) as usize;
    let to = (position + buffer.len() as u64 - margin).min(old_bytes);
    read_exact(old, from, &mut buffer[skipped..skipped + (to - from) as usize]).map_err(ApplyError::ReadOld)
}

fn read_exact(from: &dyn ReadAt, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let bytes = from.read_at(offset, buffer)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += bytes as u64;
        buffer = &mut buffer[bytes..];
    }
    Ok(())
}

/// The digest of the first bytes.
pub fn digest_of(from: &dyn ReadAt, bytes: u64) -> io::Result<sha2::Sha256> {
    let mut digest = sha2::Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    let mut offset = 0;
    while offset < bytes {
        let part = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(buffer.len());
        read_exact(from, offset, &mut buffer[..part])?;
        digest.update(&buffer[..part]);
        offset += part as u64;
    }
    Ok(digest)
}

/// A slot may be longer than what was written into it, so only as many bytes as the delta knows are looked at.
fn check_old(header: &Header, old: &dyn ReadAt) -> Result<(), ApplyError> {
    let digest = digest_of(old, header.old_bytes).map_err(ApplyError::ReadOld)?;
    let found = Sha256(digest.finalize().into());
    if found == header.old_digest { Ok(()) } else { Err(ApplyError::OtherOld { wanted: header.old_digest, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coder::Encoder;
    use proptest::prelude::*;

    const OLD: &[u8] = b"the old bytes";

    /// A delta whose checks all pass: one segment of this size around a body.
    fn hostile(new_bytes: u64, segment_bytes: u32, old_position: u64, body: &[u8]) -> Vec<u8> {
        let header = Header {
            old_bytes: OLD.len() as u64,
            old_digest: Sha256(sha2::Sha256::digest(OLD).into()),
            new_bytes,
            new_digest: Sha256([0; 32]),
        };
        [header.write(), SegmentHeader::write(segment_bytes, old_position, body), body.to_vec()].concat()
    }

    /// A body of numbers, as the encoder would write them.
    fn body(numbers: &[(Number, u64)]) -> Vec<u8> {
        let (mut encoder, mut model) = (Encoder::new(), Model::new());
        for (kind, value) in numbers {
            model.number(&mut encoder, *kind, *value).unwrap();
        }
        encoder.finish()
    }

    fn apply(delta: &[u8]) -> (Vec<u8>, Result<Header, ApplyError>) {
        let mut new = Vec::new();
        let mut applier = Applier::new();
        let fed = applier.feed(delta, &OLD, &mut |bytes| {
            new.extend_from_slice(bytes);
            Ok(())
        });
        (new, fed.and_then(|()| applier.finish()))
    }

    #[track_caller]
    fn assert_refused(delta: &[u8], why: &str) {
        let (new, outcome) = apply(delta);
        assert_eq!(outcome.unwrap_err().to_string(), why);
        assert_eq!(new, b"");
    }

    #[test]
    fn lies_about_sources_are_refused_before_a_byte_is_written() {
        let outside = "a segment asks for what can't be: copying from outside the old bytes";
        for distance in [1, 28, u64::from(u32::MAX) << 8] {
            assert_refused(&hostile(9, 9, 0, &body(&[(Number::Kind, 2), (Number::Seek, distance)])), outside);
        }
        let copies = body(&[(Number::Kind, 0), (Number::Copy, 14)]);
        assert_refused(&hostile(20, 20, 0, &copies), "a segment asks for what can't be: copying beyond the old bytes");
        assert_refused(&hostile(9, 9, 14, &copies), "a segment copies from 14, but the old bytes end at 13");
    }

    #[test]
    fn lies_about_sizes_are_refused_before_a_byte_is_written() {
        let too_long = "a segment asks for what can't be: a piece longer than its segment";
        for bytes in [0, 10, 1 << 47] {
            assert_refused(&hostile(9, 9, 0, &body(&[(Number::Kind, 1), (Number::Literal, bytes)])), too_long);
        }
        assert_refused(&hostile(9, 10, 0, b"any"), "the delta claims 10 bytes for a segment, allowed are 9");
    }

    #[test]
    fn commands_that_make_nothing_are_refused() {
        let seeks = [(Number::Kind, 2), (Number::Seek, 0)].repeat(100);
        assert_refused(&hostile(9, 9, 0, &body(&seeks)), "a segment asks for what can't be: seeking twice");
        let unknown = body(&[(Number::Kind, 3), (Number::Literal, 9)]);
        assert_refused(&hostile(9, 9, 0, &unknown), "a segment asks for what can't be: an unknown command");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_body_writes_more_than_was_announced(
            body in prop::collection::vec(any::<u8>(), 0..300),
            bytes in 1..2000_u32,
            position in 0..14_u64,
        ) {
            let (new, outcome) = apply(&hostile(u64::from(bytes), bytes, position, &body));
            prop_assert!(outcome.is_err());
            prop_assert!(new.len() <= bytes as usize);
        }
    }
}
