//! Which pieces of a file can be rebuilt exactly, and what is the delta between two files with such pieces?

use std::io::{Cursor, Write};
use std::ops::Range;

use sha2::Digest;

use super::PIECE_UNPACKED_BYTES_MAX;
use super::apply::{Header, PackedError};
use super::map::{MAP_PIECES_MAX, Map, Unpacked};
use super::pack::{Packing, unpack_zlib};
use crate::make::{Made, WHOLE_BYTES_MAX, make_around};

const _: () = assert!(PIECE_UNPACKED_BYTES_MAX <= WHOLE_BYTES_MAX);
/// RFC 8878, 3.1.1.
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// What programs use: mksquashfs, zstd itself and its highest level, and those of other programs.
const ZSTD_LEVELS: [u8; 8] = [15, 3, 19, 22, 9, 12, 6, 1];
/// What mksquashfs, zip programs and Go use.
const ZLIB_LEVELS: [u8; 4] = [9, 6, 1, 8];
/// Smaller pieces cost as much to name as they spare.
const PIECE_BYTES_MIN: usize = 64;
/// Of the two maps.
const MAPS_LEVEL: i32 = 19;

/// The pieces of a file that packing again gives the same bytes.
///
/// Costs packing each of them once, or a few times if they were packed in different ways.
///
/// # Panics
/// Never: pieces are found in order and within the file.
#[must_use]
pub fn find(bytes: &[u8]) -> Map {
    let mut pieces = Vec::new();
    let (mut zstd_levels, mut zlib_levels) = (ZSTD_LEVELS, ZLIB_LEVELS);
    let mut at = 0;
    while let Some((found, is_zstd)) = next_start(bytes, at) {
        at = found;
        let rest = &bytes[at..];
        match if is_zstd { zstd_piece(rest, &mut zstd_levels) } else { zlib_piece(rest, &mut zlib_levels) } {
            Some((packed, unpacked, packing)) if pieces.len() < MAP_PIECES_MAX => {
                pieces.push((at as u64, packed, unpacked, packing));
                at += packed as usize;
            }
            Some(_) | None => at += 1,
        }
    }
    Map::new(bytes.len() as u64, pieces).expect("pieces are in order and within the file")
}

/// Where a stream may start next, and of which kind.
fn next_start(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let rest = bytes.get(from..)?;
    let kind = |window: &[u8]| match window {
        _ if window == ZSTD_MAGIC => Some(true),
        // RFC 1950, 2.2: deflate with a window of 32 KiB, no dictionary, and a check of both bytes.
        [0x78, flags, ..] if flags & 0x20 == 0 && (0x7800 + u16::from(*flags)) % 31 == 0 => Some(false),
        _ => None,
    };
    rest.windows(ZSTD_MAGIC.len()).enumerate().find_map(|(at, window)| Some((from + at, kind(window)?)))
}

fn zlib_piece(bytes: &[u8], levels: &mut [u8; 4]) -> Option<(u32, u32, Packing)> {
    // Compressed bytes may be more than their content, but not by much.
    let most = bytes.len().min(PIECE_UNPACKED_BYTES_MAX + PIECE_UNPACKED_BYTES_MAX / 8);
    let (unpacked, size) = unpack_zlib(&bytes[..most], PIECE_UNPACKED_BYTES_MAX).ok()?;
    let stream = bytes.get(..size).filter(|stream| stream.len() >= PIECE_BYTES_MIN && !unpacked.is_empty())?;
    let is_right = |level: &u8| Packing::Zlib(*level).pack(&unpacked).is_ok_and(|packed| packed == stream);
    let right = levels.iter().position(is_right)?;
    levels[..=right].rotate_right(1);
    Some((u32::try_from(size).ok()?, u32::try_from(unpacked.len()).ok()?, Packing::Zlib(levels[0])))
}

/// Sizes, packed and unpacked, of the frame at the start of these bytes. The level that was right last is tried first.
fn zstd_piece(bytes: &[u8], levels: &mut [u8; 8]) -> Option<(u32, u32, Packing)> {
    let size = zstd::zstd_safe::find_frame_compressed_size(bytes).ok()?;
    let frame = bytes.get(..size).filter(|frame| frame.len() >= PIECE_BYTES_MIN)?;
    let unpacked = zstd::bulk::decompress(frame, PIECE_UNPACKED_BYTES_MAX).ok().filter(|it| !it.is_empty())?;
    let is_right = |level: &u8| Packing::Zstd(*level).pack(&unpacked).is_ok_and(|packed| packed == frame);
    let right = levels.iter().position(is_right)?;
    levels[..=right].rotate_right(1);
    Some((u32::try_from(size).ok()?, u32::try_from(unpacked.len()).ok()?, Packing::Zstd(levels[0])))
}

/// Writes the delta that leads from `old` to `new` and compares their pieces unpacked. If neither has any, a delta made by
/// [`crate::make`] is as good and shorter. `maps`: what [`find`] found in both.
///
/// Needs memory for both files unpacked, and what [`crate::make`] needs for those.
///
/// # Errors
/// Sizes beyond those of an artifact are refused, also unpacked; otherwise only writing fails.
pub fn make(
    (old, new): (&[u8], &[u8]),
    (old_map, new_map): (&Map, &Map),
    mut out: impl Write,
) -> Result<Made, PackedError> {
    let unpacked = |bytes: &[u8], map: &Map| Unpacked::new(&bytes, map).read_all().map_err(PackedError::Read);
    let (old_unpacked, new_unpacked) = (unpacked(old, old_map)?, unpacked(new, new_map)?);
    let mut maps = Vec::new();
    old_map.write(&mut maps);
    new_map.write(&mut maps);
    let maps = zstd::stream::encode_all(Cursor::new(maps), MAPS_LEVEL).map_err(PackedError::Read)?;
    let header = Header {
        old_bytes: old.len() as u64,
        old_digest: digest(old),
        new_bytes: new.len() as u64,
        new_digest: digest(new),
        maps_bytes: u32::try_from(maps.len()).map_err(|_| PackedError::MapsTooLarge)?,
    };
    let head = header.write();
    out.write_all(&head).and_then(|()| out.write_all(&maps)).map_err(PackedError::Write)?;
    let whole: Vec<Range<usize>> =
        new_map.pieces().iter().map(|piece| piece.unpacked_at as usize..piece.unpacked_end() as usize).collect();
    let made = make_around((&old_unpacked, &new_unpacked), &whole, out)?;
    let bytes = (head.len() + maps.len()) as u64 + made.bytes;
    Ok(Made { bytes, new_digest: header.new_digest })
}

fn digest(bytes: &[u8]) -> muster_vocab::digest::Sha256 {
    muster_vocab::digest::Sha256(sha2::Sha256::digest(bytes).into())
}
