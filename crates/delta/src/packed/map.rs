//! Where in a file are its packed pieces, and how does the file look with them unpacked?

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

use muster_vocab::limit;

use super::PIECE_UNPACKED_BYTES_MAX;
use super::pack::Packing;
use crate::apply::ReadAt;

/// 8 GiB in pieces of 64 KiB; the map of so many takes 5 MiB of memory.
pub const MAP_PIECES_MAX: usize = 128 * 1024;
/// Unpacked pieces that are kept: copies mostly go on where the last one ended.
const PIECES_KEPT: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies in the file.
    pub at: u64,
    /// Where it lies in the unpacked file.
    pub unpacked_at: u64,
    pub bytes: u32,
    pub unpacked_bytes: u32,
    pub packing: Packing,
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + u64::from(self.bytes)
    }

    pub(super) fn unpacked_end(&self) -> u64 {
        self.unpacked_at + u64::from(self.unpacked_bytes)
    }
}

/// Pieces in the order of the file, without overlaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    pieces: Vec<Piece>,
    /// Of the file, and of the file with its pieces unpacked.
    pub bytes: u64,
    pub unpacked_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    #[error("a map of pieces that ends too early")]
    TooShort,
    #[error("a map with more than {MAP_PIECES_MAX} pieces")]
    TooMany,
    #[error("a map with a piece of {bytes} bytes that are {unpacked_bytes} unpacked")]
    BadPiece { bytes: u64, unpacked_bytes: u64 },
    #[error("a map with a piece that is packed in an unknown way: update the agent first")]
    UnknownPacking,
    #[error("a map whose pieces don't fit into the file")]
    Outside,
}

impl Map {
    /// `pieces`: where each lies, how many bytes it has, packed and unpacked, and how it is packed.
    ///
    /// # Errors
    /// Pieces that overlap, or lie outside of the file, or are too large.
    pub fn new(bytes: u64, pieces: impl IntoIterator<Item = (u64, u32, u32, Packing)>) -> Result<Map, MapError> {
        let mut map = Map { pieces: Vec::new(), bytes, unpacked_bytes: 0 };
        let mut end = 0_u64;
        for (at, packed, unpacked, packing) in pieces {
            if map.pieces.len() == MAP_PIECES_MAX {
                return Err(MapError::TooMany);
            }
            if packed == 0 || unpacked == 0 || unpacked as usize > PIECE_UNPACKED_BYTES_MAX {
                let (bytes, unpacked_bytes) = (u64::from(packed), u64::from(unpacked));
                return Err(MapError::BadPiece { bytes, unpacked_bytes });
            }
            map.unpacked_bytes += at.checked_sub(end).ok_or(MapError::Outside)?;
            let unpacked_at = map.unpacked_bytes;
            let piece = Piece { at, unpacked_at, bytes: packed, unpacked_bytes: unpacked, packing };
            map.unpacked_bytes = piece.unpacked_end();
            end = piece.end();
            map.pieces.push(piece);
        }
        map.unpacked_bytes += bytes.checked_sub(end).ok_or(MapError::Outside)?;
        if map.unpacked_bytes > limit::ARTIFACT_BYTES_MAX {
            return Err(MapError::Outside);
        }
        Ok(map)
    }

    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    #[cfg(any(test, feature = "make"))]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, self.pieces.len() as u64);
        let mut end = 0;
        for piece in &self.pieces {
            let numbers = [piece.at - end, piece.bytes.into(), piece.unpacked_bytes.into(), piece.packing.number()];
            numbers.into_iter().for_each(|number| put(out, number));
            end = piece.end();
        }
    }

    /// Reads one of a file of so many bytes; cuts it off `from`.
    pub(super) fn read(from: &mut &[u8], bytes: u64) -> Result<Map, MapError> {
        let count = usize::try_from(take(from)?).ok().filter(|count| *count <= MAP_PIECES_MAX);
        let count = count.ok_or(MapError::TooMany)?;
        let mut pieces = Vec::with_capacity(count.min(from.len() / 4));
        let mut end = 0_u64;
        for _ in 0..count {
            let (gap, packed, unpacked, number) = (take(from)?, take(from)?, take(from)?, take(from)?);
            let bad = |_| MapError::BadPiece { bytes: packed, unpacked_bytes: unpacked };
            let at = end.checked_add(gap).ok_or(MapError::Outside)?;
            end = at.checked_add(packed).ok_or(MapError::Outside)?;
            let packing = Packing::numbered(number).ok_or(MapError::UnknownPacking)?;
            pieces.push((at, u32::try_from(packed).map_err(bad)?, u32::try_from(unpacked).map_err(bad)?, packing));
        }
        Map::new(bytes, pieces)
    }

    /// The piece in which this unpacked byte lies, or the next one.
    pub(super) fn from(&self, unpacked_at: u64) -> usize {
        self.pieces.partition_point(|piece| piece.unpacked_end() <= unpacked_at)
    }

    /// Where an unpacked byte that is in no piece lies in the file; none: it lies within a piece.
    #[must_use]
    pub fn packed(&self, unpacked_at: u64) -> Option<u64> {
        let next = self.from(unpacked_at);
        if self.pieces.get(next).is_some_and(|piece| piece.unpacked_at < unpacked_at) {
            return None;
        }
        let before = next.checked_sub(1).map(|before| self.pieces[before]);
        let (end, unpacked_end) = before.map_or((0, 0), |before| (before.end(), before.unpacked_end()));
        Some(end + (unpacked_at - unpacked_end))
    }
}

/// LEB128.
#[cfg(any(test, feature = "make"))]
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(from: &mut &[u8]) -> Result<u64, MapError> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = from.split_first().ok_or(MapError::TooShort)?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(MapError::TooShort)
}

/// A file as it looks with its pieces unpacked. Memory: a few pieces.
pub struct Unpacked<'a> {
    file: &'a dyn ReadAt,
    map: &'a Map,
    /// The piece used last is the last one.
    kept: RefCell<VecDeque<(usize, Vec<u8>)>>,
}

impl std::fmt::Debug for Unpacked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacked").field("bytes", &self.map.unpacked_bytes).finish_non_exhaustive()
    }
}

impl<'a> Unpacked<'a> {
    #[must_use]
    pub fn new(file: &'a dyn ReadAt, map: &'a Map) -> Unpacked<'a> {
        Unpacked { file, map, kept: RefCell::default() }
    }

    /// All of it, for who makes deltas.
    ///
    /// # Errors
    /// If the file can't be read or a piece isn't what the map says.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.map.unpacked_bytes).map_err(io::Error::other)?];
        fill(self, 0, &mut bytes)?;
        Ok(bytes)
    }

    fn read_piece(&self, index: usize, offset: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kept = self.kept.borrow_mut();
        let known = kept.iter().position(|(known, _)| *known == index);
        let unpacked = match known.and_then(|at| kept.remove(at)) {
            Some((_, unpacked)) => unpacked,
            None => {
                let piece = self.map.pieces[index];
                let mut packed = vec![0; piece.bytes as usize];
                fill(self.file, piece.at, &mut packed)?;
                piece.packing.unpack(&packed, piece.unpacked_bytes as usize)?
            }
        };
        let rest = &unpacked[offset..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        if kept.len() == PIECES_KEPT {
            kept.pop_front();
        }
        kept.push_back((index, unpacked));
        Ok(count)
    }
}

fn fill(from: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut at = 0;
    while at < buffer.len() {
        match from.read_at(offset + at as u64, &mut buffer[at..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => at += count,
        }
    }
    Ok(())
}

impl ReadAt for Unpacked<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if offset >= self.map.unpacked_bytes || buffer.is_empty() {
            return Ok(0);
        }
        let index = self.map.from(offset);
        let next = self.map.pieces.get(index);
        if let Some(piece) = next.filter(|piece| piece.unpacked_at <= offset) {
            return self.read_piece(index, (offset - piece.unpacked_at) as usize, buffer);
        }
        // Between pieces: as it lies in the file, up to the next piece.
        let end = next.map_or(self.map.unpacked_bytes, |piece| piece.unpacked_at);
        let count = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let at = self.map.packed(offset).expect("it lies in no piece");
        self.file.read_at(at, &mut buffer[..count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZSTD: Packing = Packing::Zstd(3);

    #[test]
    fn a_map_reads_back() {
        let map = Map::new(1000, [(10, 20, 200_000, ZSTD), (30, 5, 1, Packing::Zstd(19)), (995, 5, 7, ZSTD)]).unwrap();
        let mut written = Vec::new();
        map.write(&mut written);
        map.write(&mut written);
        let mut rest = written.as_slice();
        assert_eq!(Map::read(&mut rest, 1000), Ok(map.clone()));
        assert_eq!(Map::read(&mut rest, 1000), Ok(map));
        assert!(rest.is_empty());
    }

    #[test]
    fn maps_that_lie_are_refused() {
        let large = PIECE_UNPACKED_BYTES_MAX as u32 + 1;
        assert!(matches!(Map::new(9, [(0, 5, large, ZSTD)]), Err(MapError::BadPiece { .. })));
        assert!(matches!(Map::new(9, [(0, 0, 1, ZSTD)]), Err(MapError::BadPiece { .. })));
        assert_eq!(Map::new(9, [(0, 5, 1, ZSTD), (4, 1, 1, ZSTD)]), Err(MapError::Outside));
        assert_eq!(Map::new(9, [(5, 5, 1, ZSTD)]), Err(MapError::Outside));
        for bytes in [&[1][..], &[0xff; 12], &[2, 0, 1, 1, 3], &[0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert!(Map::read(&mut &bytes[..], 1000).is_err(), "{bytes:?}");
        }
        assert_eq!(Map::read(&mut &[1, 0, 1, 1, 99][..], 1000), Err(MapError::UnknownPacking));
    }

    #[test]
    fn positions_outside_of_pieces_are_found_again() {
        let map = Map::new(100, [(10, 20, 50, ZSTD), (30, 5, 50, ZSTD)]).unwrap();
        let cases = [(0, Some(0)), (10, Some(10)), (11, None), (59, None), (60, Some(30)), (61, None), (110, Some(35))];
        for (unpacked, packed) in cases {
            assert_eq!(map.packed(unpacked), packed, "{unpacked}");
        }
        assert_eq!(map.packed(map.unpacked_bytes), Some(100));
    }
}
