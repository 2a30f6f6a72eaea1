//! How does a delta, or the compressed whole, become the new artifact? Streamed, from the slot that runs straight into
//! the one that doesn't.
//!
//! Nothing is kept twice: what arrives is applied at once, and a power cut costs what came since the last boundary
//! between two segments or records. The header is compared with the order before a byte is written.

use std::io;
use std::path::{Path, PathBuf};

use muster_delta::packed::apply::{self as packed, PackedApplier, PackedError};
use muster_delta::whole::{self, Expander, WholeError};
use muster_delta::{Applier, ApplyError, HEADER_BYTES, Header, Out, ReadAt};
use muster_vocab::Sha256;
use muster_wire::agent::{Form, Route};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fetch::{Errand, clear, make_durable};
use super::{Agent, Wait};
use crate::disk::Disk;
use crate::keep::KeepError;
use crate::machine::Input;
use crate::state::Fetching;
use crate::world::{NetError, World};

/// What is being applied; lost with the power, and taken up again at its checkpoint.
pub(super) struct Applying {
    of: (usize, usize),
    route: usize,
    decoder: Decoder,
    /// Bytes that were fed, and bytes of the artifact that were written.
    fed: u64,
    written: u64,
}

enum Decoder {
    /// And where the bytes lie that it starts from.
    Delta(Box<Applier>, PathBuf),
    /// The same, with packed pieces compared unpacked.
    Packed(Box<PackedApplier>, PathBuf),
    Compressed(Box<Expander>),
}

/// What is durable: feed from here, write from here, and what the decoder has to know for that.
struct Resting {
    fed: u64,
    written: u64,
    decoder: Value,
}

impl Decoder {
    fn feed(&mut self, disk: &dyn Disk, bytes: &[u8], out: &mut Out<'_>) -> Result<(), Stopped> {
        match self {
            Self::Delta(applier, base) => Ok(applier.feed(bytes, &OnDisk { disk, path: base.as_path() }, out)?),
            Self::Packed(applier, base) => Ok(applier.feed(bytes, &OnDisk { disk, path: base.as_path() }, out)?),
            Self::Compressed(expander) => Ok(expander.feed(bytes, out)?),
        }
    }

    fn resting(&self) -> Option<Resting> {
        let resting = |fed, written, decoder: Result<Value, serde_json::Error>| {
            Some(Resting { fed, written, decoder: decoder.ok()? })
        };
        match self {
            Self::Delta(applier, _) => {
                let at = applier.checkpoint()?;
                resting(at.delta_offset, at.new_offset, serde_json::to_value(at))
            }
            Self::Packed(applier, _) => {
                let at = applier.checkpoint()?;
                resting(at.delta_offset, at.new_offset, serde_json::to_value(at))
            }
            Self::Compressed(expander) => {
                let at = expander.checkpoint()?;
                resting(at.packed_offset, at.new_offset, serde_json::to_value(at))
            }
        }
    }

    fn finish(self) -> Result<(), Stopped> {
        match self {
            Self::Delta(applier, _) => applier.finish().map(|_| ()).map_err(Stopped::from),
            Self::Packed(applier, _) => applier.finish().map(|_| ()).map_err(Stopped::from),
            Self::Compressed(expander) => expander.finish().map(|_| ()).map_err(Stopped::from),
        }
    }
}

/// Something on the device's disk that deltas read.
struct OnDisk<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
}

impl ReadAt for OnDisk<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(self.path, offset, buffer)
    }
}

/// Why a piece was not applied.
enum Stopped {
    /// It is not what it should be.
    Wrong(String),
    Disk(io::Error),
    Net(NetError),
}

impl From<ApplyError> for Stopped {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Write(failed) | ApplyError::ReadOld(failed) | ApplyError::ReadNew(failed) => Self::Disk(failed),
            wrong => Self::Wrong(wrong.to_string()),
        }
    }
}

impl From<PackedError> for Stopped {
    fn from(error: PackedError) -> Self {
        match error {
            PackedError::Write(failed) => Self::Disk(failed),
            // A piece that is not what the delta says is no fault of the disk.
            PackedError::Read(failed) if failed.raw_os_error().is_some() => Self::Disk(failed),
            PackedError::Apply(error) => error.into(),
            wrong => Self::Wrong(wrong.to_string()),
        }
    }
}

impl From<WholeError> for Stopped {
    fn from(error: WholeError) -> Self {
        match error {
            WholeError::Write(failed) | WholeError::ReadNew(failed) => Self::Disk(failed),
            wrong => Self::Wrong(wrong.to_string()),
        }
    }
}

impl Agent {
    /// By a delta or the compressed whole.
    pub(super) fn fetch_decoded(
        &mut self,
        world: &dyn World,
        errand: Errand,
        route: &Route,
    ) -> Result<Wait, KeepError> {
        let applying = match self.applying.take() {
            Some(applying) if applying.of == errand.of && applying.route == errand.fetching.route => Ok(applying),
            Some(_) | None => self.begin(world, &errand, route),
        };
        let fed = applying.and_then(|applying| self.feed(world, &errand, route, applying));
        match fed {
            Ok((applying, bytes)) => {
                let fetching = progress(&errand.fetching, &applying);
                let is_all = applying.fed == route.size;
                if !is_all {
                    self.applying = Some(applying);
                    self.apply(world, Input::Fetched { part: errand.of.0, artifact: errand.of.1, fetching })?;
                    return Ok(self.pace(world, bytes));
                }
                if let Err(Stopped::Wrong(why)) = applying.decoder.finish() {
                    return self.come_out_wrong(world, errand, &why);
                }
                let (size, tries) = (errand.artifact.size, errand.fetching.tries);
                let done = Fetching {
                    fetched: route.size,
                    written: size,
                    route: errand.fetching.route,
                    tries,
                    ..Fetching::default()
                };
                self.apply(world, Input::Fetched { part: errand.of.0, artifact: errand.of.1, fetching: done })?;
                Ok(self.pace(world, bytes))
            }
            Err(Stopped::Wrong(why)) => self.come_out_wrong(world, errand, &why),
            Err(Stopped::Disk(failed)) => {
                self.refuse(world, format!("writing {}: {failed}", errand.artifact.file_name))
            }
            Err(Stopped::Net(NetError::Refused { status: 400 | 404 | 410 | 416, detail })) => {
                self.come_out_wrong(world, errand, &format!("the server doesn't give it: {detail}"))
            }
            Err(Stopped::Net(failed)) => Ok(self.unanswered(world, &failed)),
        }
    }

    /// Where the bytes lie that the delta starts from, if they run on this device.
    fn base(&self, errand: &Errand, from: Sha256) -> Option<PathBuf> {
        let update = self.state.update.as_ref()?;
        let installed = self.state.installed.get(&update.component(errand.of.0).name)?;
        (installed.digests.get(errand.of.1) == Some(&from)).then(|| errand.place.base.clone()).flatten()
    }

    /// Fetches a piece and applies it. What was applied is durable when it returns.
    fn feed(
        &self,
        world: &dyn World,
        errand: &Errand,
        route: &Route,
        mut applying: Applying,
    ) -> Result<(Applying, u64), Stopped> {
        let (disk, place) = (world.disk(), errand.place.path.as_path());
        let wanted = self.settings().piece_bytes.min(route.size - applying.fed);
        let (start, written_before) = (applying.fed, applying.written);
        let mut stopped = None;
        let most = errand.artifact.size.min(errand.place.bytes_max);
        let fetched = world.net().fetch(&route.path, (start, wanted), &mut |bytes| {
            let Applying { decoder, written, fed, .. } = &mut applying;
            let mut write = |new: &[u8]| {
                if *written + new.len() as u64 > most {
                    return Err(io::Error::other("it goes past the end"));
                }
                disk.write_at(place, *written, new)?;
                *written += new.len() as u64;
                Ok(())
            };
            if let Err(failed) = decoder.feed(disk, bytes, &mut write) {
                stopped = Some(failed);
                return Err(io::Error::other("stopped"));
            }
            *fed += bytes.len() as u64;
            Ok(())
        });
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        let bytes = applying.fed - start;
        if bytes == 0 {
            let nothing = || NetError::Unreachable("the download brought nothing".into());
            return Err(Stopped::Net(fetched.err().unwrap_or_else(nothing)));
        }
        if applying.written > 0 {
            make_durable(world, &errand.place, written_before == 0).map_err(Stopped::Disk)?;
        }
        Ok((applying, bytes))
    }

    /// At the start, or at the last checkpoint.
    fn begin(&self, world: &dyn World, errand: &Errand, route: &Route) -> Result<Applying, Stopped> {
        let Errand { of, artifact, place, fetching } = errand;
        let kept = OnDisk { disk: world.disk(), path: &place.path };
        let about_others = || Stopped::Wrong("it is about other bytes than the order".into());
        let decoder = match route.form {
            Form::Delta { from } => {
                let missing = || Stopped::Wrong("the delta starts from bytes that this device doesn't have".into());
                let base = self.base(errand, from).ok_or_else(missing)?;
                match (checkpoint(fetching), checkpoint(fetching)) {
                    (Some(checkpoint), _) => Decoder::Delta(Box::new(Applier::resume(&checkpoint, &kept)?), base),
                    (None, Some(checkpoint)) => {
                        let head = packed_head(world, route)?;
                        Decoder::Packed(Box::new(PackedApplier::resume(&checkpoint, &head, &kept)?), base)
                    }
                    (None, None) => {
                        let (bytes, new, old, is_packed) = leads(world, route)?;
                        if (bytes, new, old) != (artifact.size, artifact.digest, from) {
                            return Err(about_others());
                        }
                        match is_packed {
                            true => Decoder::Packed(Box::default(), base),
                            false => Decoder::Delta(Box::default(), base),
                        }
                    }
                }
            }
            Form::Compressed => Decoder::Compressed(Box::new(match checkpoint(fetching) {
                Some(checkpoint) => Expander::resume(&checkpoint, &kept)?,
                None => {
                    let head = whole::Header::read(&head::<{ whole::HEADER_BYTES }>(world, route)?)?;
                    if (head.new_bytes, head.new_digest) != (artifact.size, artifact.digest) {
                        return Err(about_others());
                    }
                    Expander::new()?
                }
            })),
            Form::Whole => return Err(Stopped::Wrong("the whole as it is needs no decoder".into())),
        };
        let resting = decoder.resting();
        if resting.is_none() {
            clear(world, place).map_err(Stopped::Disk)?;
        }
        let (fed, written) = resting.map_or((0, 0), |at| (at.fed, at.written));
        Ok(Applying { of: *of, route: fetching.route, decoder, fed, written })
    }
}

fn checkpoint<T: DeserializeOwned>(fetching: &Fetching) -> Option<T> {
    fetching.decoder.as_ref().and_then(|decoder| serde_json::from_value(decoder.clone()).ok())
}

fn wrong(why: impl std::fmt::Display) -> Stopped {
    Stopped::Wrong(why.to_string())
}

/// Bytes and digest that a delta leads to, the digest that it starts from, and whether it is a packed one.
fn leads(world: &dyn World, route: &Route) -> Result<(u64, Sha256, Sha256, bool), Stopped> {
    let first = head::<HEADER_BYTES>(world, route)?;
    if packed::is_packed(&first) {
        let head = packed::Header::read(&head::<{ packed::HEADER_BYTES }>(world, route)?)?;
        return Ok((head.new_bytes, head.new_digest, head.old_digest, true));
    }
    let head = Header::read(&first).map_err(wrong)?;
    Ok((head.new_bytes, head.new_digest, head.old_digest, false))
}

/// The first bytes of a packed delta, up to the end of its maps.
fn packed_head(world: &dyn World, route: &Route) -> Result<Vec<u8>, Stopped> {
    let header = packed::Header::read(&head::<{ packed::HEADER_BYTES }>(world, route)?)?;
    let wanted = packed::HEADER_BYTES + header.maps_bytes as usize;
    let mut bytes = Vec::with_capacity(wanted);
    while bytes.len() < wanted {
        let before = bytes.len();
        let range = (before as u64, (wanted - before) as u64);
        let fetched = world.net().fetch(&route.path, range, &mut |part| {
            bytes.extend_from_slice(&part[..part.len().min(wanted - bytes.len())]);
            Ok(())
        });
        if bytes.len() == before {
            let cut = || NetError::Unreachable("the connection broke".into());
            return Err(Stopped::Net(fetched.err().unwrap_or_else(cut)));
        }
    }
    Ok(bytes)
}

/// The first bytes alone.
fn head<const BYTES: usize>(world: &dyn World, route: &Route) -> Result<[u8; BYTES], Stopped> {
    let mut bytes = Vec::with_capacity(BYTES);
    let taken = world.net().fetch(&route.path, (0, BYTES as u64), &mut |part| {
        bytes.extend_from_slice(&part[..part.len().min(BYTES - bytes.len())]);
        Ok(())
    });
    match <[u8; BYTES]>::try_from(bytes) {
        Ok(whole) => Ok(whole),
        Err(_) if route.size < BYTES as u64 => Err(Stopped::Wrong("it has no header".into())),
        Err(_) => {
            let cut = || NetError::Unreachable("the connection broke".into());
            Err(Stopped::Net(taken.err().unwrap_or_else(cut)))
        }
    }
}

/// What is durable of it.
fn progress(before: &Fetching, applying: &Applying) -> Fetching {
    let none = Resting { fed: 0, written: 0, decoder: Value::Null };
    let Resting { fed, written, decoder } = applying.decoder.resting().unwrap_or(none);
    let decoder = Some(decoder).filter(|decoder| !decoder.is_null());
    Fetching { route: before.route, tries: before.tries, fetched: fed, written, is_verified: false, decoder }
}
