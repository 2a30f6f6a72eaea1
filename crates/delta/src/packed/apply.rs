//! How does a device make a file with packed pieces out of the one before and a delta?

use std::io;

use muster_vocab::digest::Sha256;
use muster_vocab::limit;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::map::{MAP_PIECES_MAX, Map, MapError, Piece, Unpacked};
use crate::apply::{self, Applier, ApplyError, Out, ReadAt, digest_of};
use crate::format::{array, check, number};

/// The last byte is the version of the format.
const MAGIC: [u8; 8] = *b"MUSTPCK\x01";
pub const HEADER_BYTES: usize = 100;
const CHECK_BYTES: usize = 8;
/// Of both maps, as they stand in the delta.
const MAPS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Of both maps, expanded: a piece is named by four numbers of at most five bytes.
const MAPS_EXPANDED_BYTES_MAX: usize = 2 * (20 * MAP_PIECES_MAX + 8);
/// 8 MiB: what zstd keeps of maps that are expanded.
const MAPS_WINDOW_BITS_MAX: u32 = 23;

/// What a packed delta leads from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub old_bytes: u64,
    pub old_digest: Sha256,
    pub new_bytes: u64,
    pub new_digest: Sha256,
    pub maps_bytes: u32,
}

/// Where applying can go on after a power cut. Keep it only after the new bytes before it are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    inner: apply::Checkpoint,
    /// Feed the delta from here, after its first bytes up to the end of its maps.
    pub delta_offset: u64,
    /// Write the new bytes from here.
    pub new_offset: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    #[error("this is not a packed delta")]
    NotPacked,
    #[error("this packed delta has format {0}, known is 1: update the agent first")]
    Version(u8),
    #[error("the header is damaged")]
    HeaderDamaged,
    #[error("the maps of pieces are larger than a device takes")]
    MapsTooLarge,
    #[error("the maps of pieces are damaged")]
    MapsDamaged(#[source] io::Error),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("a piece is packed into {found} bytes here, and into {wanted} where it was published")]
    OtherPacking { wanted: u32, found: usize },
    #[error("the new bytes have the digest {found}, wanted was {wanted}")]
    OtherNew { wanted: Sha256, found: Sha256 },
    #[error("it was refused before")]
    Refused,
    #[error("it ends within its maps")]
    TooShort,
    #[error("reading")]
    Read(#[source] io::Error),
    #[error("writing")]
    Write(#[source] io::Error),
    #[cfg(feature = "make")]
    #[error(transparent)]
    Make(#[from] crate::make::MakeError),
}

/// Is what begins so a packed delta? Otherwise it is a plain one, or none.
#[must_use]
pub fn is_packed(delta: &[u8]) -> bool {
    delta.starts_with(&MAGIC[..7])
}

impl Header {
    #[cfg(any(test, feature = "make"))]
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.old_bytes.to_le_bytes());
        bytes.extend(self.old_digest.0);
        bytes.extend(self.new_bytes.to_le_bytes());
        bytes.extend(self.new_digest.0);
        bytes.extend(self.maps_bytes.to_le_bytes());
        bytes.extend(check(&[&bytes]));
        bytes
    }

    /// # Errors
    /// What is no header, or is of another version, or is damaged, or claims too much.
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Header, PackedError> {
        if bytes[..7] != MAGIC[..7] {
            return Err(PackedError::NotPacked);
        }
        if bytes[7] != MAGIC[7] {
            return Err(PackedError::Version(bytes[7]));
        }
        if check(&[&bytes[..HEADER_BYTES - CHECK_BYTES]]) != bytes[HEADER_BYTES - CHECK_BYTES..] {
            return Err(PackedError::HeaderDamaged);
        }
        let header = Header {
            old_bytes: number(&bytes[8..16]),
            old_digest: Sha256(array(&bytes[16..48])),
            new_bytes: number(&bytes[48..56]),
            new_digest: Sha256(array(&bytes[56..88])),
            maps_bytes: number(&bytes[88..92]) as u32,
        };
        let is_large = header.old_bytes > limit::ARTIFACT_BYTES_MAX || header.new_bytes > limit::ARTIFACT_BYTES_MAX;
        if is_large || header.maps_bytes as usize > MAPS_BYTES_MAX {
            return Err(PackedError::MapsTooLarge);
        }
        Ok(header)
    }

    /// The old and the new file's map.
    fn maps(&self, packed: &[u8]) -> Result<(Map, Map), PackedError> {
        let expanded = expand(packed).map_err(PackedError::MapsDamaged)?;
        let mut rest = expanded.as_slice();
        let maps = (Map::read(&mut rest, self.old_bytes)?, Map::read(&mut rest, self.new_bytes)?);
        if rest.is_empty() { Ok(maps) } else { Err(MapError::TooMany.into()) }
    }
}

fn expand(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut zstd = Decoder::new()?;
    zstd.set_parameter(DParameter::WindowLogMax(MAPS_WINDOW_BITS_MAX))?;
    let mut expanded = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    let mut rest = packed;
    loop {
        let status = zstd.run_on_buffers(rest, &mut piece)?;
        rest = &rest[status.bytes_read..];
        expanded.extend_from_slice(&piece[..status.bytes_written]);
        if expanded.len() > MAPS_EXPANDED_BYTES_MAX {
            return Err(io::Error::other("they are too large"));
        }
        if status.remaining == 0 && rest.is_empty() {
            return Ok(expanded);
        }
        if status.bytes_read == 0 && status.bytes_written == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Packs what comes unpacked.
#[derive(Debug)]
struct Packer {
    /// Unpacked bytes that came.
    at: u64,
    /// Index of the piece that comes next, or is coming.
    next: usize,
    /// What has come of it.
    waiting: Vec<u8>,
    digest: sha2::Sha256,
    failed: Option<PackedError>,
}

impl Packer {
    fn take(&mut self, map: &Map, mut bytes: &[u8], out: &mut Out<'_>) -> io::Result<()> {
        while !bytes.is_empty() {
            let piece = map.pieces().get(self.next).copied();
            let edge = match piece {
                Some(piece) if piece.unpacked_at <= self.at => piece.unpacked_end(),
                Some(piece) => piece.unpacked_at,
                None => u64::MAX,
            };
            let count = usize::try_from(edge - self.at).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(count);
            match piece.filter(|piece| piece.unpacked_at <= self.at) {
                None => self.give(now, out)?,
                Some(piece) => {
                    self.waiting.extend_from_slice(now);
                    if self.at + count as u64 == edge {
                        self.pack(piece, out)?;
                    }
                }
            }
            self.at += count as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn pack(&mut self, piece: Piece, out: &mut Out<'_>) -> io::Result<()> {
        let packed = piece.packing.pack(&self.waiting)?;
        if packed.len() != piece.bytes as usize {
            self.failed = Some(PackedError::OtherPacking { wanted: piece.bytes, found: packed.len() });
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.waiting.clear();
        self.next += 1;
        self.give(&packed, out)
    }

    fn give(&mut self, bytes: &[u8], out: &mut Out<'_>) -> io::Result<()> {
        self.digest.update(bytes);
        out(bytes)
    }
}

#[derive(Debug)]
enum Stage {
    Header,
    Maps(Header),
    Delta(Box<Delta>),
}

#[derive(Debug)]
struct Delta {
    header: Header,
    old: Map,
    new: Map,
    applier: Applier,
    packer: Packer,
}

/// A packed delta being applied. Memory: beside that of [`Applier`], both maps, eight unpacked pieces of the old file, one
/// of the new, and what zstd needs to pack that: some 6 MiB.
#[derive(Debug)]
pub struct PackedApplier {
    stage: Stage,
    waiting: Vec<u8>,
    is_broken: bool,
}

impl Default for PackedApplier {
    fn default() -> PackedApplier {
        PackedApplier::new()
    }
}

impl PackedApplier {
    #[must_use]
    pub fn new() -> PackedApplier {
        PackedApplier { stage: Stage::Header, waiting: Vec::new(), is_broken: false }
    }

    /// Goes on at a checkpoint. `head`: the delta's first bytes up to the end of its maps. Reads again what was written
    /// before it, as it is and unpacked.
    ///
    /// # Errors
    /// If `head` is not that, or `written` can't be read or is shorter than the checkpoint says.
    pub fn resume(checkpoint: &Checkpoint, head: &[u8], written: &dyn ReadAt) -> Result<PackedApplier, PackedError> {
        let (header, maps) = head.split_first_chunk::<HEADER_BYTES>().ok_or(PackedError::TooShort)?;
        let header = Header::read(header)?;
        if maps.len() != header.maps_bytes as usize {
            return Err(PackedError::TooShort);
        }
        let (old, new) = header.maps(maps)?;
        let applier = Applier::resume(&checkpoint.inner, &Unpacked::new(written, &new))?;
        let digest = digest_of(written, checkpoint.new_offset).map_err(PackedError::Read)?;
        let at = checkpoint.inner.new_offset;
        let packer = Packer { at, next: new.from(at), waiting: Vec::new(), digest, failed: None };
        let delta = Delta { header, old, new, applier, packer };
        Ok(PackedApplier { stage: Stage::Delta(Box::new(delta)), waiting: Vec::new(), is_broken: false })
    }

    /// The last boundary between segments; nothing before the maps have come.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let Stage::Delta(delta) = &self.stage else { return None };
        let inner = delta.applier.checkpoint()?;
        let before = HEADER_BYTES as u64 + u64::from(delta.header.maps_bytes);
        let new_offset = delta.new.packed(inner.new_offset)?;
        Some(Checkpoint { inner, delta_offset: before + inner.delta_offset, new_offset })
    }

    /// Takes the next bytes of the delta and gives out the new bytes that they complete.
    ///
    /// # Errors
    /// A delta that is damaged, lies, or belongs to other old bytes is refused, and so is one whose pieces are packed
    /// otherwise here. After an error there is only starting again, or resuming at the last checkpoint.
    pub fn feed(&mut self, mut bytes: &[u8], old: &dyn ReadAt, out: &mut Out<'_>) -> Result<(), PackedError> {
        if self.is_broken {
            return Err(PackedError::Refused);
        }
        self.is_broken = true;
        while !bytes.is_empty() {
            let wanted = match &mut self.stage {
                Stage::Header => HEADER_BYTES,
                Stage::Maps(header) => header.maps_bytes as usize,
                Stage::Delta(delta) => {
                    delta.feed(bytes, old, out)?;
                    break;
                }
            };
            let (part, rest) = bytes.split_at((wanted - self.waiting.len()).min(bytes.len()));
            self.waiting.extend_from_slice(part);
            bytes = rest;
            if self.waiting.len() == wanted {
                let part = std::mem::take(&mut self.waiting);
                self.stage = match &self.stage {
                    Stage::Header => Stage::Maps(Header::read(&array(&part))?),
                    Stage::Maps(header) => Stage::Delta(Box::new(Delta::begin(*header, &part)?)),
                    Stage::Delta(_) => return Err(PackedError::Refused),
                };
            }
        }
        self.is_broken = false;
        Ok(())
    }

    /// Says that the whole delta has come; the new bytes are then what was meant.
    ///
    /// # Errors
    /// If something is missing or the new bytes have another digest.
    pub fn finish(self) -> Result<Header, PackedError> {
        if self.is_broken {
            return Err(PackedError::Refused);
        }
        let Stage::Delta(delta) = self.stage else { return Err(PackedError::TooShort) };
        delta.applier.finish()?;
        let (wanted, found) = (delta.header.new_digest, Sha256(delta.packer.digest.finalize().into()));
        if found == wanted { Ok(delta.header) } else { Err(PackedError::OtherNew { wanted, found }) }
    }
}

impl Delta {
    fn begin(header: Header, maps: &[u8]) -> Result<Delta, PackedError> {
        let (old, new) = header.maps(maps)?;
        let digest = sha2::Sha256::new();
        let packer = Packer { at: 0, next: 0, waiting: Vec::new(), digest, failed: None };
        Ok(Delta { header, old, new, applier: Applier::new(), packer })
    }

    fn feed(&mut self, bytes: &[u8], old: &dyn ReadAt, out: &mut Out<'_>) -> Result<(), PackedError> {
        let Delta { new, packer, applier, old: old_map, .. } = self;
        let unpacked = Unpacked::new(old, old_map);
        let fed = applier.feed(bytes, &unpacked, &mut |piece| packer.take(new, piece, out));
        match (fed, packer.failed.take()) {
            (Err(_), Some(failed)) => Err(failed),
            (Err(ApplyError::Write(failed)), None) => Err(PackedError::Write(failed)),
            (Err(ApplyError::ReadOld(failed)), None) => Err(PackedError::Read(failed)),
            (fed, _) => Ok(fed?),
        }
    }
}
