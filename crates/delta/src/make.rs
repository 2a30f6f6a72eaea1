//! How does a server make a delta?

use std::io::{self, Write};

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
/// Needs, beside the two slices, five bytes of memory for each old byte of a window of [`WINDOW_BYTES_MAX`], hence
/// never more than 1.3 GiB, and some 20 MiB.
///
/// # Errors
/// Sizes beyond those of an artifact are refused; otherwise only writing fails.
pub fn make(old: &[u8], new: &[u8], mut out: impl Write) -> Result<Made, MakeError> {
    let too_large = [old, new].into_iter().map(|side| side.len() as u64).find(|b| *b > limit::ARTIFACT_BYTES_MAX);
    if let Some(bytes) = too_large {
        return Err(MakeError::TooLarge { bytes });
    }
    let new_digest = digest(new);
    let header =
        Header { old_bytes: old.len() as u64, old_digest: digest(old), new_bytes: new.len() as u64, new_digest };
    let head = header.write();
    out.write_all(&head).map_err(MakeError::Write)?;
    let mut writer = Segments { old, new, out, encoder: Encoder::new(), model: Model::new(), start: (0, 0), bytes: 0 };
    writer.bytes = head.len() as u64;
    let mut at = (0, 0);
    for window in (0..new.len()).step_by(WINDOW_BYTES_MAX) {
        let part = |side: &[u8]| window.min(side.len())..(window + WINDOW_BYTES_MAX).min(side.len());
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
    writer.end_segment(at)?;
    Ok(Made { bytes: writer.bytes, new_digest })
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// Positions in the old and in the new bytes.
type At = (usize, usize);

struct Segments<'a, W> {
    old: &'a [u8],
    new: &'a [u8],
    out: W,
    encoder: Encoder,
    model: Model,
    /// Where the segment starts.
    start: At,
    bytes: u64,
}

impl<W: Write> Segments<'_, W> {
    /// Writes the literals before a cover and the cover; gives the positions behind it.
    fn cover(&mut self, (mut old, mut new): At, cover: Cover) -> Result<At, MakeError> {
        while new < cover.new_start {
            let bytes = (cover.new_start - new).min(PIECE_BYTES_MAX);
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
            let bytes = (end - new).min(PIECE_BYTES_MAX);
            new = self.piece(old, new, (bytes, 0))?;
            old += bytes;
        }
        Ok((old, new))
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
        if self.encoder.len() >= BODY_BYTES_WISHED || end - self.start.1 >= SEGMENT_BYTES_MAX - PIECE_BYTES_MAX {
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
