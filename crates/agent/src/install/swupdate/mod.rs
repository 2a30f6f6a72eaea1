//! SWUpdate: how does it install an image that the agent has fetched?
//!
//! The agent fetches and verifies the image; SWUpdate checks its signature and writes what its description says. Which
//! slot that is comes from the software set and mode that the agent names; which slot is started next is the
//! bootloader's memory, which the agent keeps if it is told of one. Seen with SWUpdate 2022.12.

mod socket;

use std::path::PathBuf;
use std::time::Duration;

use super::cellar::Cellar;
use super::{InstallError, Installer, Job, Place, Running, Takes};
use crate::boot::{Bootloader, Slot};
use crate::disk::{self, Kind};
use crate::state::Installed;
use crate::world::{Ran, Run, World};

/// SWUpdate started by hand sometimes removes the description that it is about to read (2022.12): about one start in
/// forty, here. An image that is wrong is wrong twice.
const COMMAND_TRIES: u32 = 2;
/// Starts that a new system gets; the others are for power cuts.
const TRIAL_STARTS: u32 = 3;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
const LINES_MAX: usize = 20;
/// Lines in which the errors are looked for.
const LINES_READ: usize = 200;
/// In the component's folder: the digest of the image that was installed last.
const MARK: &str = "installed";
const MARK_BYTES_MAX: usize = 100;
/// What the note says where the agent keeps no bootloader.
const NO_SLOT: &str = "-";

/// How SWUpdate is told to install.
#[derive(Debug, Clone)]
pub enum Way {
    /// By the control socket of its service, `/tmp/sockinstctrl` or in its `TMPDIR`.
    Socket(PathBuf),
    /// By a command; `{image}` becomes the path, `{mode}` becomes `SET,MODE`.
    Command(Vec<String>),
}

/// A part of an image's description: `stable,copy-2`. Its service has to accept it (`-q`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    pub set: String,
    pub mode: String,
}

/// Which part of the description is installed.
#[derive(Debug, Clone)]
pub enum Modes {
    /// The one that SWUpdate is configured for.
    Its,
    /// That which writes the slot.
    PerSlot { a: Mode, b: Mode },
}

pub struct Swupdate {
    pub way: Way,
    pub modes: Modes,
    /// Where the component's images are: a folder of its own.
    pub folder: PathBuf,
    /// How long one installation may take.
    pub timeout: Duration,
    /// Tries the slot that SWUpdate wrote; none: SWUpdate tells the bootloader itself, or there is nothing to tell.
    pub bootloader: Option<Box<dyn Bootloader>>,
    /// Does the new version run only after a restart? With a bootloader it always does.
    pub restarts: bool,
    /// Prints the version that runs; empty: it is the one that was installed last.
    pub version: Vec<String>,
    /// Run when the new version stays, and when it doesn't. Has to do no harm when it runs again.
    pub commit: Vec<String>,
    pub revert: Vec<String>,
}

impl Swupdate {
    fn cellar(&self) -> Cellar<'_> {
        Cellar { folder: &self.folder, ending: "swu" }
    }

    fn ran(&self, world: &dyn World, words: &[String]) -> Result<Ran, InstallError> {
        let run = Run { words, stdin: b"", timeout: self.timeout, output_bytes_max: OUTPUT_BYTES_MAX };
        world.host().run(&run).map_err(InstallError::disk(format!("running {}", words.join(" "))))
    }

    fn by_command(&self, world: &dyn World, words: &[String]) -> Result<(), InstallError> {
        let mut told = Vec::new();
        for _ in 0..COMMAND_TRIES {
            let ran = self.ran(world, words)?;
            // Its exit code is 1 now and then after an installation that it has called a success (2022.12).
            if ran.succeeded() || says_success(&ran) {
                return Ok(());
            }
            told.extend(telling(ran.last_lines(LINES_READ)));
            world.host().log(&format!("SWUpdate failed: {}", told.join("; ")));
        }
        Err(InstallError::Program { what: words.join(" "), lines: told })
    }

    fn run(&self, world: &dyn World, words: &[String]) -> Result<Ran, InstallError> {
        let ran = self.ran(world, words)?;
        if ran.succeeded() { Ok(ran) } else { Err(failure(words, &ran)) }
    }

    fn run_if_any(&self, world: &dyn World, words: &[String]) -> Result<(), InstallError> {
        if words.is_empty() { Ok(()) } else { self.run(world, words).map(|_| ()) }
    }

    fn mode(&self, slot: Option<Slot>) -> Option<&Mode> {
        match (&self.modes, slot) {
            (Modes::PerSlot { a, .. }, Some(Slot::A)) => Some(a),
            (Modes::PerSlot { b, .. }, Some(Slot::B)) => Some(b),
            (Modes::PerSlot { .. }, None) | (Modes::Its, _) => None,
        }
    }

    fn install(&self, world: &dyn World, job: Job<'_>, slot: Option<Slot>) -> Result<(), InstallError> {
        let image = self.cellar().new_one(job, 0)?;
        let mode = self.mode(slot);
        match &self.way {
            Way::Command(words) => {
                let words = filled(words, &image.to_string_lossy(), mode);
                self.by_command(world, &words)
            }
            Way::Socket(socket) => {
                let outcome = socket::install(world, socket, &image, mode, self.timeout)
                    .map_err(InstallError::disk(format!("handing the image to SWUpdate at {}", socket.display())))?;
                match outcome {
                    socket::Outcome::Installed => Ok(()),
                    socket::Outcome::Failed(lines) => Err(InstallError::Program {
                        what: "SWUpdate did not install the image".into(),
                        lines: telling(lines),
                    }),
                }
            }
        }
    }

    fn marked(&self, world: &dyn World) -> Result<Option<String>, InstallError> {
        let (disk, path) = (world.disk(), self.folder.join(MARK));
        let failed = || InstallError::disk("reading which image was installed last");
        if disk.kind(&path).map_err(failed())? != Some(Kind::File) {
            return Ok(None);
        }
        let bytes = disk::read(disk, &path, MARK_BYTES_MAX).map_err(failed())?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    fn mark(&self, world: &dyn World, digest: Option<String>) -> Result<(), InstallError> {
        let (disk, path) = (world.disk(), self.folder.join(MARK));
        let failed = || InstallError::disk("writing which image was installed last");
        match digest {
            Some(digest) => disk::replace(disk, &path, digest.as_bytes()).map_err(failed()),
            None => disk.remove(&path).and_then(|()| disk.sync_folder(&self.folder)).map_err(failed()),
        }
    }

    fn restarts(&self) -> bool {
        self.bootloader.is_some() || self.restarts
    }
}

impl Installer for Swupdate {
    fn name(&self) -> &'static str {
        "swupdate"
    }

    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError> {
        if job.component.artifacts.len() != 1 {
            let count = job.component.artifacts.len();
            return Err(InstallError::Refused(format!(
                "SWUpdate takes one image, and the component has {count} files"
            )));
        }
        let Some(bootloader) = &self.bootloader else {
            if matches!(self.modes, Modes::PerSlot { .. }) {
                let text = "modes per slot need a bootloader that tells which slot runs";
                return Err(InstallError::Refused(text.to_owned()));
            }
            let no_way_back = "SWUpdate has no way back here: give it a bootloader or a revert command, or say revert = \
                               \"none\" in the release's metadata";
            let is_agreed = job.component.metadata.get("revert").is_some_and(|value| value == "none");
            let is_fine = !self.revert.is_empty() || is_agreed;
            return if is_fine { Ok(NO_SLOT.to_owned()) } else { Err(InstallError::Refused(no_way_back.to_owned())) };
        };
        let running = bootloader.running(world)?;
        if bootloader.choice(world)?.good != running {
            // A system on trial that no update of ours explains: its way back is never written over.
            return Err(InstallError::Refused(format!("slot {} runs on trial; confirm it first", running.letter())));
        }
        Ok(running.other().letter().to_owned())
    }

    fn place(&self, world: &dyn World, job: Job<'_>, artifact: usize) -> Result<Place, InstallError> {
        self.cellar().place(world.disk(), job, artifact)
    }

    /// SWUpdate checks an image while it installs it.
    fn stage(&self, _: &dyn World, _: Job<'_>) -> Result<(), InstallError> {
        Ok(())
    }

    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let slot = target(job)?;
        if let (Some(bootloader), Some(slot)) = (&self.bootloader, slot) {
            if bootloader.running(world)? == slot {
                return Ok(Takes::Restart);
            }
            self.install(world, job, Some(slot))?;
            bootloader.try_slot(world, slot, TRIAL_STARTS)?;
        } else if self.marked(world)? != Some(digest(job)) {
            self.install(world, job, None)?;
        }
        self.mark(world, Some(digest(job)))?;
        Ok(if self.restarts() { Takes::Restart } else { Takes::Effect })
    }

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError> {
        let is_new = if let (Some(bootloader), Some(slot)) = (&self.bootloader, target(job)?) {
            bootloader.running(world)? == slot
        } else if !self.version.is_empty() {
            let said = self.run(world, &self.version)?.output;
            String::from_utf8_lossy(&said).trim() == job.component.version
        } else {
            self.marked(world)? == Some(digest(job))
        };
        Ok(if is_new { Running::New } else { Running::Old })
    }

    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        if let (Some(bootloader), Some(slot)) = (&self.bootloader, target(job)?) {
            bootloader.confirm(world, slot)?;
        }
        self.run_if_any(world, &self.commit)?;
        self.cellar().empty(world.disk())
    }

    /// Without a bootloader and a command what was installed stays, as the release agreed to.
    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let mut takes = Takes::Effect;
        if let (Some(bootloader), Some(slot)) = (&self.bootloader, target(job)?) {
            bootloader.confirm(world, slot.other())?;
            if bootloader.running(world)? == slot {
                takes = Takes::Restart;
            }
        } else if self.revert.is_empty() {
            let (name, version) = (&job.component.name, &job.component.version);
            world.host().log(&format!("{name} {version} may stay on the device: its release says revert = \"none\""));
        } else if self.restarts && self.running(world, job)? == Running::New {
            takes = Takes::Restart;
        }
        self.run_if_any(world, &self.revert)?;
        let before = job.previous.and_then(|previous| previous.digests.first()).map(|digest| digest.hex());
        if self.marked(world)? == Some(digest(job)) {
            self.mark(world, before)?;
        }
        self.cellar().sweep(world.disk())?;
        Ok(takes)
    }

    fn settle(&self, world: &dyn World, _: Option<&Installed>) -> Result<Takes, InstallError> {
        self.cellar().sweep(world.disk())?;
        let Some(bootloader) = &self.bootloader else { return Ok(Takes::Effect) };
        let choice = bootloader.choice(world)?;
        if choice.trial.is_some() {
            bootloader.confirm(world, choice.good)?;
        }
        Ok(if bootloader.running(world)? == choice.good { Takes::Effect } else { Takes::Restart })
    }
}

fn target(job: Job<'_>) -> Result<Option<Slot>, InstallError> {
    match job.note {
        "a" => Ok(Some(Slot::A)),
        "b" => Ok(Some(Slot::B)),
        NO_SLOT => Ok(None),
        other => Err(InstallError::Refused(format!("the state names slot {other:?}, and there are a and b"))),
    }
}

fn digest(job: Job<'_>) -> String {
    job.component.artifacts.first().map(|image| image.digest.hex()).unwrap_or_default()
}

fn filled(words: &[String], image: &str, mode: Option<&Mode>) -> Vec<String> {
    let mode = mode.map(|mode| format!("{},{}", mode.set, mode.mode)).unwrap_or_default();
    words.iter().map(|word| word.replace("{image}", image).replace("{mode}", &mode)).collect()
}

/// Its errors if there are any, otherwise the last it said.
fn failure(words: &[String], ran: &Ran) -> InstallError {
    let how = ran.exit_code.map_or_else(|| "it was killed".to_owned(), |code| format!("it ended with {code}"));
    InstallError::Program { what: words.join(" "), lines: [vec![how], ran.last_lines(LINES_MAX)].concat() }
}

/// Did SWUpdate itself, run by hand, say that all of it was installed?
fn says_success(ran: &Ran) -> bool {
    let said = String::from_utf8_lossy(&ran.output);
    ran.exit_code.is_some() && said.contains("SWUPDATE successful !") && !said.contains("SWUPDATE failed")
}

fn telling(lines: Vec<String>) -> Vec<String> {
    let errors: Vec<String> = lines.iter().filter(|line| line.contains("ERROR")).cloned().collect();
    let mut told = if errors.is_empty() { lines } else { errors };
    told.split_off(told.len().saturating_sub(LINES_MAX))
}

impl std::fmt::Debug for Swupdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bootloader = self.bootloader.as_ref().map(|bootloader| bootloader.name());
        f.debug_struct("Swupdate")
            .field("way", &self.way)
            .field("folder", &self.folder)
            .field("bootloader", &bootloader)
            .finish_non_exhaustive()
    }
}
