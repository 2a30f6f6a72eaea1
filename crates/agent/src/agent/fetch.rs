//! How do an artifact's bytes come to their place, and when are they believed?
//!
//! Straight to where they will be used, in pieces that are durable before they are counted. The digest runs along while
//! they arrive; and what is at the place is read back and compared once more before anything is switched to it, so
//! that a disk that lost or changed a write is found out as well.

use std::io;
use std::time::Duration;

use muster_vocab::limit;
use muster_wire::agent::{Artifact, Form, Route};
use sha2::{Digest, Sha256};

use super::{Agent, Wait};
use crate::disk::{self, Kind};
use crate::install::Place;
use crate::keep::KeepError;
use crate::machine::Input;
use crate::state::Fetching;
use crate::world::{NetError, World};

/// Pieces that are read back in one tick.
const READ_BACK_PIECES: usize = 64;

/// A digest under way; what a power cut takes of it is worked out again.
pub(super) struct Reading {
    of: (usize, usize),
    is_read_back: bool,
    offset: u64,
    digest: Sha256,
}

impl Reading {
    fn new(of: (usize, usize), is_read_back: bool) -> Self {
        Self { of, is_read_back, offset: 0, digest: Sha256::new() }
    }
}

/// One artifact that is on its way.
pub(super) struct Errand {
    pub of: (usize, usize),
    pub artifact: Artifact,
    pub place: Place,
    pub fetching: Fetching,
}

impl Agent {
    pub(super) fn fetch(&mut self, world: &dyn World, of: (usize, usize)) -> Result<Wait, KeepError> {
        let errand = match self.errand(world, of) {
            Ok(errand) => errand,
            Err(why) => return self.refuse(world, why),
        };
        if errand.fetching.written == errand.artifact.size {
            return self.read_back(world, errand);
        }
        if !self.link.is_open(world.host().uptime()) {
            return Ok(self.wait(world.host().uptime()));
        }
        let Some(route) = errand.artifact.routes.get(errand.fetching.route).cloned() else {
            return self.refuse(world, format!("there is no way left to get {}", errand.artifact.file_name));
        };
        match route.form {
            Form::Whole => self.fetch_whole(world, errand, &route),
            Form::Delta { .. } | Form::Compressed => self.fetch_decoded(world, errand, &route),
        }
    }

    fn errand(&self, world: &dyn World, of: (usize, usize)) -> Result<Errand, String> {
        let update = self.state.update.as_ref().ok_or("there is no update")?;
        let component = update.component(of.0);
        let installer = self.installers.get(&component.name).ok_or("its installer is gone from the configuration")?;
        let place = installer.place(world, update.job(of.0), of.1).map_err(|why| why.sentence())?;
        let fetching = update.parts[of.0].artifacts[of.1].clone();
        Ok(Errand { of, artifact: component.artifacts[of.1].clone(), place, fetching })
    }

    fn fetch_whole(&mut self, world: &dyn World, errand: Errand, route: &Route) -> Result<Wait, KeepError> {
        let Errand { of, artifact, place, mut fetching } = errand;
        if fetching.written == 0
            && let Err(failed) = clear(world, &place)
        {
            return self.refuse(world, format!("making room for {}: {failed}", artifact.file_name));
        }
        let mut reading = match self.reading.take() {
            Some(reading) if reading.of == of && !reading.is_read_back && reading.offset == fetching.written => reading,
            Some(_) | None => Reading::new(of, false),
        };
        let is_whole_story = reading.offset == fetching.written;
        let wanted = self.settings.piece_bytes.min(artifact.size - fetching.written);
        let start = fetching.written;
        let mut written = 0;
        let fetched = world.net().fetch(&route.path, (start, wanted), &mut |bytes| {
            let fits = usize::try_from(wanted - written).unwrap_or(usize::MAX).min(bytes.len());
            world.disk().write_at(&place.path, start + written, &bytes[..fits])?;
            reading.digest.update(&bytes[..fits]);
            written += fits as u64;
            Ok(())
        });
        // What arrived before the way broke is kept.
        if written > 0 {
            if let Err(failed) = make_durable(world, &place, start == 0) {
                return self.refuse(world, format!("writing {}: {failed}", artifact.file_name));
            }
            fetching.fetched += written;
            fetching.written += written;
            reading.offset += written;
            let is_all = fetching.written == artifact.size;
            if is_all && is_whole_story && reading.digest.clone().finalize().as_slice() != artifact.digest.0 {
                let errand = Errand { of, artifact, place, fetching };
                return self.come_out_wrong(world, errand, "its digest does not match");
            }
            if is_whole_story && !is_all {
                self.reading = Some(reading);
            }
            self.apply(world, Input::Fetched { part: of.0, artifact: of.1, fetching: fetching.clone() })?;
        }
        match fetched {
            Ok(_) if written > 0 => Ok(self.pace(world, written)),
            Ok(_) => Ok(self.unanswered(world, &NetError::Unreachable("the download brought nothing".into()))),
            Err(NetError::Disk(failed)) => self.refuse(world, format!("writing {}: {failed}", artifact.file_name)),
            Err(NetError::Refused { status: 400 | 404 | 410 | 416, detail }) => {
                let errand = Errand { of, artifact, place, fetching };
                self.come_out_wrong(world, errand, &format!("the server doesn't give it: {detail}"))
            }
            Err(failed @ (NetError::Unreachable(_) | NetError::Refused { .. })) => Ok(self.unanswered(world, &failed)),
        }
    }

    /// Not faster than it may.
    pub(super) fn pace(&mut self, world: &dyn World, bytes: u64) -> Wait {
        match self.settings.download_bytes_per_s {
            Some(rate) => self.rest(world, Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)),
            None => Wait::No,
        }
    }

    /// Reads some of what was written and compares the digest at the end.
    fn read_back(&mut self, world: &dyn World, errand: Errand) -> Result<Wait, KeepError> {
        let mut reading = match self.reading.take() {
            Some(reading) if reading.of == errand.of && reading.is_read_back => reading,
            Some(_) | None => Reading::new(errand.of, true),
        };
        let mut buffer = vec![0; limit::READ_BACK_BYTES];
        for _ in 0..READ_BACK_PIECES {
            let left = errand.artifact.size - reading.offset;
            if left == 0 {
                break;
            }
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match world.disk().read_at(&errand.place.path, reading.offset, &mut buffer[..wanted]) {
                Ok(0) => return self.come_out_wrong(world, errand, "part of it is missing where it was written"),
                Ok(count) => {
                    reading.digest.update(&buffer[..count]);
                    reading.offset += count as u64;
                }
                Err(failed) => {
                    return self.refuse(world, format!("reading {} back: {failed}", errand.artifact.file_name));
                }
            }
        }
        if reading.offset < errand.artifact.size {
            self.reading = Some(reading);
            return Ok(Wait::No);
        }
        if reading.digest.finalize().as_slice() != errand.artifact.digest.0 {
            return self.come_out_wrong(world, errand, "its digest does not match");
        }
        let fetching = Fetching { is_verified: true, decoder: None, ..errand.fetching };
        self.apply(world, Input::Fetched { part: errand.of.0, artifact: errand.of.1, fetching })?;
        Ok(Wait::No)
    }

    /// Starts over, by the next route if there is one.
    pub(super) fn come_out_wrong(&mut self, world: &dyn World, errand: Errand, why: &str) -> Result<Wait, KeepError> {
        self.reading = None;
        self.applying = None;
        let Errand { of, artifact, fetching, .. } = errand;
        world.host().log(&format!("{} by route {}: {why}", artifact.file_name, fetching.route));
        let is_last = fetching.route + 1 >= artifact.routes.len();
        let tries = fetching.tries + 1;
        if is_last && tries >= limit::AGENT_FETCH_TRIES_MAX {
            return self.refuse(world, format!("{} was not taken: {why}", artifact.file_name));
        }
        let route = if is_last { fetching.route } else { fetching.route + 1 };
        let tries = if is_last { tries } else { 0 };
        let fetching = Fetching { route, tries, ..Fetching::default() };
        self.apply(world, Input::Fetched { part: of.0, artifact: of.1, fetching })?;
        Ok(Wait::No)
    }

    /// Ends the update before anything that runs was touched.
    pub(super) fn refuse(&mut self, world: &dyn World, why: String) -> Result<Wait, KeepError> {
        self.reading = None;
        let name = self.state.update.as_ref().map(crate::state::Update::release).unwrap_or_default();
        world.host().log(&format!("{name} is not installed: {why}"));
        self.apply(world, Input::Refuse(vec![why]))?;
        Ok(Wait::No)
    }
}

/// Removes what an earlier try left in a file. A place that is as large as it can be is a slot, and stays.
pub(super) fn clear(world: &dyn World, place: &Place) -> io::Result<()> {
    match world.disk().kind(&place.path)? {
        Some(Kind::File) if world.disk().size(&place.path)? != place.bytes_max => world.disk().remove(&place.path),
        Some(_) => Ok(()),
        None => world.disk().make_folder(disk::folder_of(&place.path)),
    }
}

/// What was written outlives a power cut, and so does the name of a file that is new: otherwise an older file of that
/// name could come back in its place after it was verified.
pub(super) fn make_durable(world: &dyn World, place: &Place, is_new: bool) -> io::Result<()> {
    world.disk().sync(&place.path)?;
    if is_new && world.disk().kind(&place.path)? == Some(Kind::File) {
        world.disk().sync_folder(disk::folder_of(&place.path))?;
    }
    Ok(())
}
