//! How does a server make a delta?

use std::io::{self, Write};
use std::ops::Range;

use muster_vocab::digest::Sha256;
use muster_vocab::limit;
use sha2::Digest;

use crate::coder::Encoder;
use crate::cover::{self, Cover};
use crate::format::{BODY_BYTES_MAX, Header, PIECE_BYTES_MAX, SEGMENT_BYTES_MAX, SegmentHeader};
use crate::model::{Command, MARGIN_BYTES, Model, Number};
use crate::sorted::{SortError, Sorted};

/// Old and new bytes are compared in windows of this size, which bounds the memory of [`make`]. The window is the
/// same part of both, so what moved further than a window is not found.
pub const WINDOW_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Parts of the new bytes in which no segment ends have this many bytes at the most: all of one may be literals, and has
/// to fit into the body of a segment that was not long enough before.
pub(crate) const WHOLE_BYTES_MAX: usize = 256 * 1024;
/// A segment is ended when its body has this size: what one piece adds fits into the rest.
const BODY_BYTES_WISHED: usize = BODY_BYTES_MAX - 2 * PIECE_BYTES_MAX;

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Bytes of the delta.
    pub bytes: u64,
    pub new_digest: Sha256,
}

#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error("{bytes} bytes are more than an artifact may have")]
    TooLarge { bytes: u64 },
    #[error("comparing")]
    Sort(#[source] SortError),
    #[error("writing the delta")]
    Write(#[source] io::Error),
}

/// Writes the delta that leads from `old` to `new`.
///
/// Needs, beside the two slices, four bytes of memory for each old byte of a window of [`WINDOW_BYTES_MAX`], hence
/// never more than 1 GiB, some 30 MiB for tables, and 24 bytes for each cover.
///
/// # Errors
/// Sizes beyond those of an artifact are refused; otherwise only writing fails.
pub fn make(old: &[u8], new: &[u8], out: impl Write) -> Result<Made, MakeError> {
    make_in_windows(WINDOW_BYTES_MAX, (old, new), &[], out)
}

/// No segment ends within one of `whole`, which are parts of the new bytes, in order and without overlaps; none is longer
/// than [`WHOLE_BYTES_MAX`].
pub(crate) fn make_around(
    (old, new): (&[u8], &[u8]),
    whole: &[Range<usize>],
    out: impl Write,
) -> Result<Made, MakeError> {
    make_in_windows(WINDOW_BYTES_MAX, (old, new), whole, out)
}

fn make_in_windows(
    window_bytes: usize,
    (old, new): (&[u8], &[u8]),
    whole: &[Range<usize>],
    out: impl Write,
) -> Result<Made, MakeError> {
    let mut writer = Segments { whole, ..Segments::begin(old, new, out)? };
    let mut at = (0, 0);
    for window in (0..new.len()).step_by(window_bytes) {
        let part = |side: &[u8]| window.min(side.len())..(window + window_bytes).min(side.len());
        let (old_part, new_part) = (part(old), part(new));
        let sorted = Sorted::new(&old[old_part.clone()]).map_err(MakeError::Sort)?;
        for cover in cover::find(&sorted, &new[new_part.clone()]) {
            let cover =
                Cover { old_start: cover.old_start + old_part.start, new_start: cover.new_start + window, ..cover };
            at = writer.cover(at, cover)?;
        }
        let end = Cover { old_start: at.0, new_start: new_part.end, bytes: 0 };
        at = writer.cover(at, end)?;
    }
    writer.finish(at)
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// Positions in the old and in the new bytes.
type At = (usize, usize);

/// A delta being written.
pub(crate) struct Segments<'a, W> {
    old: &'a [u8],
    new: &'a [u8],
    out: W,
    encoder: Encoder,
    model: Model,
    /// Where the segment starts.
    start: At,
    bytes: u64,
    new_digest: Sha256,
    /// Where no segment may end.
    whole: &'a [Range<usize>],
}

impl<'a, W: Write> Segments<'a, W> {
    /// Writes the header.
    pub fn begin(old: &'a [u8], new: &'a [u8], mut out: W) -> Result<Self, MakeError> {
        let too_large = [old, new].into_iter().map(|side| side.len() as u64).find(|b| *b > limit::ARTIFACT_BYTES_MAX);
        if let Some(bytes) = too_large {
            return Err(MakeError::TooLarge { bytes });
        }
        let new_digest = digest(new);
        let header =
            Header { old_bytes: old.len() as u64, old_digest: digest(old), new_bytes: new.len() as u64, new_digest };
        let head = header.write();
        out.write_all(&head).map_err(MakeError::Write)?;
        let (encoder, model) = (Encoder::new(), Model::new());
        Ok(Segments { old, new, out, encoder, model, start: (0, 0), bytes: head.len() as u64, new_digest, whole: &[] })
    }

    /// Ends the last segment, behind which these positions are.
    pub fn finish(mut self, at: At) -> Result<Made, MakeError> {
        self.end_segment(at)?;
        Ok(Made { bytes: self.bytes, new_digest: self.new_digest })
    }

    /// Writes the literals before a cover and the cover; gives the positions behind it.
    pub fn cover(&mut self, (mut old, mut new): At, cover: Cover) -> Result<At, MakeError> {
        while new < cover.new_start {
            let bytes = (cover.new_start - new).min(self.piece_bytes(new));
            new = self.piece(old, new, (0, bytes))?;
        }
        let end = cover.new_start + cover.bytes;
        if cover.bytes > 0 && old != cover.old_start {
            let distance = zigzag(cover.old_start as i64 - old as i64);
            self.number(Number::Kind, Command::SEEK);
            self.number(Number::Seek, distance);
            old = cover.old_start;
        }
        while new < end {
            let bytes = (end - new).min(self.piece_bytes(new));
            new = self.piece(old, new, (bytes, 0))?;
            old += bytes;
        }
        Ok((old, new))
    }

    /// Up to where a segment may end.
    fn piece_bytes(&self, new: usize) -> usize {
        let next = self.whole.partition_point(|whole| whole.end <= new);
        let edge = self.whole.get(next).map(|whole| if whole.start > new { whole.start } else { whole.end });
        edge.map_or(PIECE_BYTES_MAX, |edge| (edge - new).min(PIECE_BYTES_MAX))
    }

    /// Is it long enough, and may it end here?
    fn is_at_end(&self, end: usize) -> bool {
        let next = self.whole.partition_point(|whole| whole.end <= end);
        let is_within = self.whole.get(next).is_some_and(|whole| whole.start < end);
        let spare = if self.whole.is_empty() { 0 } else { WHOLE_BYTES_MAX + WHOLE_BYTES_MAX / 8 };
        let is_long = self.encoder.len() + spare >= BODY_BYTES_WISHED
            || end - self.start.1 + spare >= SEGMENT_BYTES_MAX - PIECE_BYTES_MAX;
        is_long && !is_within
    }

    /// Writes a piece of copied or of literal bytes, and ends the segment if it is long enough.
    fn piece(&mut self, old: usize, new: usize, (copied, literal): (usize, usize)) -> Result<usize, MakeError> {
        let end = new + copied + literal;
        let mut piece = self.new[new..end].to_vec();
        if copied > 0 {
            self.number(Number::Kind, Command::COPY);
            self.number(Number::Copy, copied as u64);
            let margins = with_margins(self.old, old, copied);
            let positions = (old as u64, new as u64);
            self.model.copy(&mut self.encoder, (&margins, &mut piece), positions).expect("encoding makes sense");
        } else {
            self.number(Number::Kind, Command::LITERAL);
            self.number(Number::Literal, literal as u64);
            self.model.literal(&mut self.encoder, &mut piece);
        }
        if self.is_at_end(end) {
            self.end_segment((old + copied, end))?;
        }
        Ok(end)
    }

    fn number(&mut self, kind: Number, value: u64) {
        self.model.number(&mut self.encoder, kind, value).expect("positions are below the limit of numbers");
    }

    fn end_segment(&mut self, at: At) -> Result<(), MakeError> {
        if at.1 > self.start.1 {
            let body = std::mem::replace(&mut self.encoder, Encoder::new()).finish();
            self.model = Model::new();
            let new_bytes = u32::try_from(at.1 - self.start.1).expect("a segment is below its limit");
            let head = SegmentHeader::write(new_bytes, self.start.0 as u64, &body);
            self.out.write_all(&head).and_then(|()| self.out.write_all(&body)).map_err(MakeError::Write)?;
            self.bytes += (head.len() + body.len()) as u64;
        }
        self.start = at;
        Ok(())
    }
}

/// Signed numbers as unsigned ones, small ones small.
fn zigzag(number: i64) -> u64 {
    (number.unsigned_abs() << 1) - u64::from(number < 0)
}

fn with_margins(old: &[u8], start: usize, bytes: usize) -> Vec<u8> {
    let mut piece = vec![0; bytes + 2 * MARGIN_BYTES];
    let from = start.saturating_sub(MARGIN_BYTES);
    let to = (start + bytes + MARGIN_BYTES).min(old.len());
    let skipped = from + MARGIN_BYTES - start;
    piece[skipped..skipped + to - from].copy_from_slice(&old[from..to]);
    piece
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Applier;

    #[test]
    fn windows_of_both_files_are_compared_one_after_the_other() {
        let old: Vec<u8> = (0..9000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let new = [&old[..4500], b"something new", &old[4500..], &old[..2500]].concat();
        for (old, new) in [(&old, &new), (&new, &old), (&Vec::new(), &new), (&new, &Vec::new())] {
            let mut delta = Vec::new();
            make_in_windows(1000, (old, new), &[], &mut delta).unwrap();
            let mut made = Vec::new();
            let mut applier = Applier::new();
            let mut write = |bytes: &[u8]| {
                made.extend_from_slice(bytes);
                Ok(())
            };
            applier.feed(&delta, &old.as_slice(), &mut write).unwrap();
            applier.finish().unwrap();
            assert!(made == *new);
        }
    }
}
