//! A/B slots: how is the slot that doesn't run written, tried, and kept or left?
//!
//! Slots are block devices or files of the same size. The bootloader's memory is the commit point: whatever it starts
//! is whole, because a slot is only tried after all its bytes were read back and found right.

use std::path::PathBuf;

use super::{InstallError, Installer, Job, Place, Running, Takes};
use crate::boot::{Bootloader, Slot};
use crate::state::Installed;
use crate::world::World;

/// Starts that a new system gets; the second is for a power cut during the first.
const TRIAL_STARTS: u32 = 3;

pub struct Slots {
    pub a: PathBuf,
    pub b: PathBuf,
    pub bootloader: Box<dyn Bootloader>,
}

impl Slots {
    fn path(&self, slot: Slot) -> &PathBuf {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    fn size(&self, world: &dyn World, slot: Slot) -> Result<u64, InstallError> {
        world.disk().size(self.path(slot)).map_err(InstallError::disk("reading the size of the slot"))
    }

    fn target(job: Job<'_>) -> Result<Slot, InstallError> {
        match job.note {
            "a" => Ok(Slot::A),
            "b" => Ok(Slot::B),
            other => Err(InstallError::Refused(format!("the state names slot {other:?}, and there are a and b"))),
        }
    }
}

impl Installer for Slots {
    fn name(&self) -> &'static str {
        "slots"
    }

    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError> {
        let [image] = job.component.artifacts.as_slice() else {
            let count = job.component.artifacts.len();
            return Err(InstallError::Refused(format!("a slot takes one image, and the component has {count} files")));
        };
        let running = self.bootloader.running(world)?;
        if self.bootloader.choice(world)?.good != running {
            // A system on trial that no update of ours explains: its way back is never written over.
            return Err(InstallError::Refused(format!("slot {} runs on trial; confirm it first", running.letter())));
        }
        let target = running.other();
        let fits = self.size(world, target)?;
        if image.size > fits {
            return Err(InstallError::Refused(format!("the image has {} bytes and the slot {fits}", image.size)));
        }
        Ok(target.letter().to_owned())
    }

    fn place(&self, world: &dyn World, job: Job<'_>, _: usize) -> Result<Place, InstallError> {
        let target = Self::target(job)?;
        if self.bootloader.running(world)? == target {
            return Err(InstallError::Refused(format!("slot {} runs and is not written over", target.letter())));
        }
        let base = Some(self.path(target.other()).clone());
        Ok(Place { path: self.path(target).clone(), bytes_max: self.size(world, target)?, base })
    }

    /// An image is ready as soon as it is written.
    fn stage(&self, _: &dyn World, _: Job<'_>) -> Result<(), InstallError> {
        Ok(())
    }

    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let target = Self::target(job)?;
        if self.bootloader.running(world)? != target {
            self.bootloader.try_slot(world, target, TRIAL_STARTS)?;
        }
        Ok(Takes::Restart)
    }

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError> {
        let is_new = self.bootloader.running(world)? == Self::target(job)?;
        Ok(if is_new { Running::New } else { Running::Old })
    }

    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        self.bootloader.confirm(world, Self::target(job)?)
    }

    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let target = Self::target(job)?;
        self.bootloader.confirm(world, target.other())?;
        Ok(if self.bootloader.running(world)? == target { Takes::Restart } else { Takes::Effect })
    }

    fn settle(&self, world: &dyn World, _: Option<&Installed>) -> Result<Takes, InstallError> {
        let choice = self.bootloader.choice(world)?;
        if choice.trial.is_some() {
            self.bootloader.confirm(world, choice.good)?;
        }
        Ok(if self.bootloader.running(world)? == choice.good { Takes::Effect } else { Takes::Restart })
    }
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots")
            .field("a", &self.a)
            .field("b", &self.b)
            .field("bootloader", &self.bootloader.name())
            .finish()
    }
}
