//! How does a delta become the new artifact? Streamed from the slot that runs straight into the one that doesn't.
//!
//! Nothing is kept twice: bytes of the delta are applied as they arrive, and a power cut costs what came since the last
//! boundary between two segments. The header is compared with the order before a byte is written.

use std::io;
use std::path::Path;

use muster_delta::{Applier, ApplyError, Checkpoint, HEADER_BYTES, Header, ReadAt};
use muster_vocab::Sha256;
use muster_wire::agent::Route;

use super::fetch::{Errand, clear, make_durable};
use super::{Agent, Wait};
use crate::disk::Disk;
use crate::keep::KeepError;
use crate::machine::Input;
use crate::state::Fetching;
use crate::world::{NetError, World};

/// A delta that is being applied; lost with the power, and taken up again at its checkpoint.
pub(super) struct Applying {
    of: (usize, usize),
    route: usize,
    applier: Applier,
    /// Bytes of the delta that were fed, and of the artifact that were written.
    fed: u64,
    written: u64,
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
    /// The delta is not what it should be.
    Wrong(String),
    Disk(io::Error),
    Net(NetError),
}

impl Agent {
    pub(super) fn fetch_delta(
        &mut self,
        world: &dyn World,
        errand: Errand,
        route: &Route,
        from: Sha256,
    ) -> Result<Wait, KeepError> {
        let Some(base) = self.base(&errand, from) else {
            return self.come_out_wrong(world, errand, "the delta starts from bytes that this device doesn't have");
        };
        let applying = match self.applying.take() {
            Some(applying) if applying.of == errand.of && applying.route == errand.fetching.route => Ok(applying),
            Some(_) | None => begin(world, &errand, route, from),
        };
        let fed = applying.and_then(|applying| self.feed(world, &errand, (route, &base), applying));
        match fed {
            Ok((applying, bytes)) => {
                let fetching = progress(&errand.fetching, &applying);
                let is_all = applying.fed == route.size;
                if !is_all {
                    self.applying = Some(applying);
                    self.apply(world, Input::Fetched { part: errand.of.0, artifact: errand.of.1, fetching })?;
                    return Ok(self.pace(world, bytes));
                }
                if let Err(wrong) = applying.applier.finish() {
                    return self.come_out_wrong(world, errand, &wrong.to_string());
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
                self.come_out_wrong(world, errand, &format!("the server doesn't give the delta: {detail}"))
            }
            Err(Stopped::Net(failed)) => Ok(self.unanswered(world, &failed)),
        }
    }

    /// Where the bytes lie that the delta starts from, if they run on this device.
    fn base(&self, errand: &Errand, from: Sha256) -> Option<std::path::PathBuf> {
        let update = self.state.update.as_ref()?;
        let installed = self.state.installed.get(&update.component(errand.of.0).name)?;
        (installed.digests.get(errand.of.1) == Some(&from)).then(|| errand.place.base.clone()).flatten()
    }

    /// Fetches a piece and applies it. What was applied is durable when it returns.
    fn feed(
        &self,
        world: &dyn World,
        errand: &Errand,
        (route, base): (&Route, &Path),
        mut applying: Applying,
    ) -> Result<(Applying, u64), Stopped> {
        let (disk, place) = (world.disk(), errand.place.path.as_path());
        let old = OnDisk { disk, path: base };
        let wanted = self.settings().piece_bytes.min(route.size - applying.fed);
        let (start, written_before) = (applying.fed, applying.written);
        let mut stopped = None;
        let most = errand.artifact.size.min(errand.place.bytes_max);
        let fetched = world.net().fetch(&route.path, (start, wanted), &mut |bytes| {
            let Applying { applier, written, fed, .. } = &mut applying;
            let mut write = |new: &[u8]| {
                if *written + new.len() as u64 > most {
                    return Err(io::Error::other("it goes past the end"));
                }
                disk.write_at(place, *written, new)?;
                *written += new.len() as u64;
                Ok(())
            };
            if let Err(failed) = applier.feed(bytes, &old, &mut write) {
                stopped = Some(failed);
                return Err(io::Error::other("stopped"));
            }
            *fed += bytes.len() as u64;
            Ok(())
        });
        match stopped {
            Some(ApplyError::Write(failed) | ApplyError::ReadOld(failed) | ApplyError::ReadNew(failed)) => {
                return Err(Stopped::Disk(failed));
            }
            Some(wrong) => return Err(Stopped::Wrong(wrong.to_string())),
            None => {}
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
}

/// At the start, or at the last checkpoint.
fn begin(world: &dyn World, errand: &Errand, route: &Route, from: Sha256) -> Result<Applying, Stopped> {
    let Errand { of, artifact, place, fetching } = errand;
    let disk = world.disk();
    let checkpoint: Option<Checkpoint> =
        fetching.decoder.as_ref().and_then(|decoder| serde_json::from_value(decoder.clone()).ok());
    if let Some(checkpoint) = checkpoint {
        let written = OnDisk { disk, path: &place.path };
        let applier = Applier::resume(&checkpoint, &written).map_err(|wrong| Stopped::Wrong(wrong.to_string()))?;
        let (fed, written) = (checkpoint.delta_offset, checkpoint.new_offset);
        return Ok(Applying { of: *of, route: fetching.route, applier, fed, written });
    }
    let header = header(world, route)?;
    if header.new_bytes != artifact.size || header.new_digest != artifact.digest || header.old_digest != from {
        return Err(Stopped::Wrong("the delta is about other bytes than the order".into()));
    }
    clear(world, place).map_err(Stopped::Disk)?;
    Ok(Applying { of: *of, route: fetching.route, applier: Applier::new(), fed: 0, written: 0 })
}

fn header(world: &dyn World, route: &Route) -> Result<Header, Stopped> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    let taken = world.net().fetch(&route.path, (0, HEADER_BYTES as u64), &mut |part| {
        bytes.extend_from_slice(&part[..part.len().min(HEADER_BYTES - bytes.len())]);
        Ok(())
    });
    match <&[u8; HEADER_BYTES]>::try_from(bytes.as_slice()) {
        Ok(whole) => Header::read(whole).map_err(|wrong| Stopped::Wrong(wrong.to_string())),
        Err(_) if route.size < HEADER_BYTES as u64 => Err(Stopped::Wrong("the delta has no header".into())),
        Err(_) => {
            let cut = || NetError::Unreachable("the connection broke".into());
            Err(Stopped::Net(taken.err().unwrap_or_else(cut)))
        }
    }
}

/// What is durable of it.
fn progress(before: &Fetching, applying: &Applying) -> Fetching {
    let checkpoint = applying.applier.checkpoint();
    let decoder = checkpoint.and_then(|checkpoint| serde_json::to_value(checkpoint).ok());
    let fetched = checkpoint.map_or(0, |checkpoint| checkpoint.delta_offset);
    let written = checkpoint.map_or(0, |checkpoint| checkpoint.new_offset);
    Fetching { route: before.route, tries: before.tries, fetched, written, is_verified: false, decoder }
}
