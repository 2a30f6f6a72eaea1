//! RAUC: how does its service install a bundle that the agent has fetched?
//!
//! The agent fetches and verifies the bundle, RAUC checks its signature, writes the slots that don't run, and tells the
//! bootloader. What Muster adds is the way around it: when it may happen, whether the new system is healthy, and the
//! way back. Asked over D-Bus (`de.pengutronix.rauc.Installer`); seen with RAUC 1.8.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cellar::Cellar;
use super::dbus::read::Value;
use super::dbus::write::Argument;
use super::dbus::{Bus, BusError, Message, Object};
use super::{InstallError, Installer, Job, Place, Running, Takes};
use crate::state::Installed;
use crate::world::World;

/// Questions that RAUC answers from what it knows, or by asking the bootloader's programs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Reading a bundle's signature reads all of a bundle in the "plain" format.
const CHECK_TIMEOUT: Duration = Duration::from_secs(600);
/// How long RAUC may stay silent before it is asked whether it still installs.
const QUIET: Duration = Duration::from_secs(2);
/// Steps of RAUC's progress that are kept for a report.
const STEPS_MAX: usize = 20;

const RAUC: Object<'static> =
    Object { destination: "de.pengutronix.rauc", path: "/", interface: "de.pengutronix.rauc.Installer" };

#[derive(Debug, Clone)]
pub struct Rauc {
    /// The bus that RAUC's service is on: `/run/dbus/system_bus_socket`.
    pub socket: PathBuf,
    /// Where the component's bundles are: a folder of its own.
    pub folder: PathBuf,
    /// How long one installation may take.
    pub timeout: Duration,
    /// The bundle of the version that runs stays, so that deltas can start from it.
    pub keeps_bundle: bool,
}

/// What is written down before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The slot that ran.
    from: String,
    /// Those that RAUC may write and start.
    to: Vec<String>,
}

impl Note {
    fn read(job: Job<'_>) -> Result<Self, InstallError> {
        serde_json::from_str(job.note)
            .map_err(|_| InstallError::Refused(format!("the state has {:?}, which names no slots", job.note)))
    }
}

/// One of RAUC's slots, as far as starting goes.
struct Slot {
    name: String,
    class: String,
    is_booted: bool,
    is_bootable: bool,
}

impl Rauc {
    /// RAUC answers nothing but its properties while it installs, so that is waited for: an agent that was started
    /// anew may find the installation going on that it had begun.
    fn bus<'a>(&self, world: &'a dyn World) -> Result<Bus<'a>, InstallError> {
        let mut bus = Bus::connect(world.host(), &self.socket, ANSWER_TIMEOUT)
            .map_err(|error| failed(format!("asking RAUC at {}", self.socket.display()), &error))?;
        wait_until_idle(world, &mut bus, self.timeout)?;
        Ok(bus)
    }

    fn cellar(&self) -> Cellar<'_> {
        Cellar { folder: &self.folder, ending: "raucb" }
    }

    fn install(&self, world: &dyn World, bundle: &Path) -> Result<(), InstallError> {
        let mut bus = self.bus(world)?;
        let what = || "installing the bundle".to_owned();
        let said = |error: BusError| failed(what(), &error);
        bus.listen(&RAUC, "Completed", ANSWER_TIMEOUT).map_err(said)?;
        let arguments = [Argument::Text(text_of(bundle)?), Argument::NoOptions];
        let begun = bus.call(&RAUC, "InstallBundle", &arguments, ANSWER_TIMEOUT).map_err(said)?;
        let steps = follow(world, &mut bus, &begun.sender, self.timeout)?;
        match steps.result {
            Some(0) => Ok(()),
            Some(code) => {
                let mut lines = steps.seen;
                lines.push(text_property(&mut bus, "LastError").unwrap_or_else(|_| format!("result {code}")));
                Err(InstallError::Program { what: what(), lines })
            }
            None => {
                let mut lines = steps.seen;
                lines.push("RAUC's service ended in the middle of it".to_owned());
                Err(InstallError::Program { what: what(), lines })
            }
        }
    }
}

impl Installer for Rauc {
    fn name(&self) -> &'static str {
        "rauc"
    }

    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError> {
        one_bundle(job)?;
        let mut bus = self.bus(world)?;
        let compatible = text_property(&mut bus, "Compatible")?;
        if let Some(wanted) = job.component.metadata.get("compatible")
            && *wanted != compatible
        {
            let text = format!("the release is for {wanted:?}, and RAUC says that this is {compatible:?}");
            return Err(InstallError::Refused(text));
        }
        let slots = slots(&mut bus)?;
        let booted = booted(&slots)?;
        let others = slots.iter().filter(|slot| slot.class == booted.class && slot.is_bootable && !slot.is_booted);
        let note = Note { from: booted.name.clone(), to: others.map(|slot| slot.name.clone()).collect() };
        if note.to.is_empty() {
            let text = format!("{} runs, and RAUC knows no other bootable slot of class {}", note.from, booted.class);
            return Err(InstallError::Refused(text));
        }
        Ok(serde_json::to_string(&note).expect("names are text"))
    }

    fn place(&self, world: &dyn World, job: Job<'_>, artifact: usize) -> Result<Place, InstallError> {
        self.cellar().place(world.disk(), job, artifact)
    }

    /// RAUC checks signature and compatibility, so that a bundle it would refuse fails before anything is touched.
    fn stage(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        let bundle = self.cellar().new_one(job, 0)?;
        let mut bus = self.bus(world)?;
        // RAUC 1.8 answers "rauc info error" whatever the reason is, and keeps that to its own log.
        let what = "RAUC doesn't accept the bundle; its own log says why".to_owned();
        let said = |error: BusError| failed(what, &error);
        let answer = bus.call(&RAUC, "Info", &[Argument::Text(text_of(&bundle)?)], CHECK_TIMEOUT).map_err(said)?;
        let of_bundle = answer.body.first().and_then(Value::text).unwrap_or_default().to_owned();
        let of_device = text_property(&mut bus, "Compatible")?;
        if of_bundle != of_device {
            let text = format!("the bundle is for {of_bundle:?}, and RAUC says that this is {of_device:?}");
            return Err(InstallError::Refused(text));
        }
        Ok(())
    }

    /// Repeated after a cut, RAUC writes its slots once more: what it had begun is not trusted.
    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        if self.running(world, job)? == Running::Old {
            self.install(world, &self.cellar().new_one(job, 0)?)?;
        }
        Ok(Takes::Restart)
    }

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError> {
        let note = Note::read(job)?;
        let slots = slots(&mut self.bus(world)?)?;
        let booted = booted(&slots)?;
        Ok(if note.to.contains(&booted.name) { Running::New } else { Running::Old })
    }

    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        mark(&mut self.bus(world)?, "good", "booted")?;
        if self.keeps_bundle { self.cellar().keep(world.disk(), job) } else { self.cellar().empty(world.disk()) }
    }

    /// The new slot is marked bad before the old one is marked active, so that after a cut in between the bootloader
    /// doesn't choose the new one again.
    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let note = Note::read(job)?;
        let mut bus = self.bus(world)?;
        let slots = slots(&mut bus)?;
        let booted = booted(&slots)?.name.clone();
        // There may be none when all slots are bad; then there is just the old one to be made active.
        let primary = bus.call(&RAUC, "GetPrimary", &[], ANSWER_TIMEOUT).ok();
        let primary = primary.and_then(|answer| Some(answer.body.first()?.text()?.to_owned()));
        for slot in &note.to {
            if *slot == booted || Some(slot) == primary.as_ref() {
                mark(&mut bus, "bad", slot)?;
            }
        }
        mark(&mut bus, "active", &note.from)?;
        self.cellar().sweep(world.disk())?;
        Ok(if note.to.contains(&booted) { Takes::Restart } else { Takes::Effect })
    }

    /// Which slot is on trial only the bootloader's own program knows, and RAUC doesn't tell.
    fn settle(&self, world: &dyn World, _: Option<&Installed>) -> Result<Takes, InstallError> {
        self.cellar().sweep(world.disk())?;
        Ok(Takes::Effect)
    }
}

fn one_bundle(job: Job<'_>) -> Result<(), InstallError> {
    match job.component.artifacts.len() {
        1 => Ok(()),
        count => Err(InstallError::Refused(format!("RAUC takes one bundle, and the component has {count} files"))),
    }
}

/// How an installation went.
struct Steps {
    /// None: nobody will tell any more.
    result: Option<i64>,
    seen: Vec<String>,
}

/// Waits for the end. Only what RAUC itself says counts: any program on the bus may send a signal of that name.
fn follow(world: &dyn World, bus: &mut Bus<'_>, rauc: &str, timeout: Duration) -> Result<Steps, InstallError> {
    let said = |error: BusError| failed("following RAUC".to_owned(), &error);
    let is_end = |signal: &Message| signal.sender == rauc && signal.member == "Completed";
    let ends_at = world.host().uptime() + timeout;
    let mut seen: Vec<String> = Vec::new();
    loop {
        if world.host().uptime() >= ends_at {
            return Err(too_long(timeout, seen));
        }
        if let Some(signal) = bus.signal(QUIET).map_err(said)? {
            if is_end(&signal) {
                return Ok(Steps { result: signal.body.first().and_then(Value::number).or(Some(-1)), seen });
            }
            continue;
        }
        if let Value::List(progress) = bus.property(&RAUC, "Progress", ANSWER_TIMEOUT).map_err(said)?
            && let [percent, message, ..] = progress.as_slice()
        {
            let step = format!("{} % {}", percent.number().unwrap_or(0), message.text().unwrap_or_default());
            if seen.last() != Some(&step) && seen.len() < STEPS_MAX {
                world.host().log(&format!("RAUC: {step}"));
                seen.push(step);
            }
        }
        let operation = bus.property(&RAUC, "Operation", ANSWER_TIMEOUT).map_err(said)?;
        if operation.text() == Some("idle") {
            // It has ended; if it told so, that is on its way or here already.
            let last = bus.signal(QUIET).map_err(said)?.filter(is_end);
            return Ok(Steps { result: last.and_then(|signal| signal.body.first()?.number()), seen });
        }
    }
}

fn wait_until_idle(world: &dyn World, bus: &mut Bus<'_>, timeout: Duration) -> Result<(), InstallError> {
    let ends_at = world.host().uptime() + timeout;
    while text_property(bus, "Operation")? != "idle" {
        if world.host().uptime() >= ends_at {
            return Err(too_long(timeout, Vec::new()));
        }
        bus.signal(QUIET).map_err(|error| failed("waiting for RAUC".to_owned(), &error))?;
    }
    Ok(())
}

fn too_long(timeout: Duration, lines: Vec<String>) -> InstallError {
    InstallError::Program { what: format!("RAUC installs for more than {} s", timeout.as_secs()), lines }
}

fn mark(bus: &mut Bus<'_>, state: &str, slot: &str) -> Result<(), InstallError> {
    let arguments = [Argument::Text(state), Argument::Text(slot)];
    let said = |error: BusError| failed(format!("marking {slot} {state}"), &error);
    bus.call(&RAUC, "Mark", &arguments, ANSWER_TIMEOUT).map(|_| ()).map_err(said)
}

fn text_property(bus: &mut Bus<'_>, name: &str) -> Result<String, InstallError> {
    let value = bus.property(&RAUC, name, ANSWER_TIMEOUT);
    let value = value.map_err(|error| failed(format!("asking RAUC for {name}"), &error))?;
    Ok(value.text().unwrap_or_default().to_owned())
}

fn slots(bus: &mut Bus<'_>) -> Result<Vec<Slot>, InstallError> {
    let said = |error: BusError| failed("asking RAUC for its slots".to_owned(), &error);
    let answer = bus.call(&RAUC, "GetSlotStatus", &[], ANSWER_TIMEOUT).map_err(said)?;
    let mut slots = Vec::new();
    for slot in answer.body.first().map(Value::list).unwrap_or_default() {
        if let [name, about] = slot.list() {
            let word = |key| about.entry(key).and_then(Value::text).unwrap_or_default().to_owned();
            let name = name.text().unwrap_or_default().to_owned();
            let (class, is_booted) = (word("class"), word("state") == "booted");
            slots.push(Slot { name, class, is_booted, is_bootable: !word("bootname").is_empty() });
        }
    }
    Ok(slots)
}

fn booted(slots: &[Slot]) -> Result<&Slot, InstallError> {
    let none = || InstallError::Refused("RAUC doesn't know which of its slots runs".to_owned());
    slots.iter().find(|slot| slot.is_booted).ok_or_else(none)
}

fn text_of(path: &Path) -> Result<&str, InstallError> {
    path.to_str().ok_or_else(|| InstallError::Refused(format!("{} is no text", path.display())))
}

fn failed(what: String, error: &BusError) -> InstallError {
    let mut lines = vec![error.to_string()];
    if let Some(cause) = std::error::Error::source(error) {
        lines.push(cause.to_string());
    }
    InstallError::Program { what, lines }
}
