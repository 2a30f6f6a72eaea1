//! Debian's SWUpdate, unmodified, installs what the agent hands it.

use std::fs;
use std::path::PathBuf;

use muster_agent::boot::plain::Plain;
use muster_agent::boot::{Bootloader, Choice, Slot};
use muster_agent::install::swupdate::{Mode, Modes, Swupdate, Way};
use muster_agent::install::{InstallError, Installer, Running, Takes};
use muster_agent::world::World;
use muster_tests::part::{Machine, Part, TIMEOUT};
use muster_tests::swupdate::{Image, Signer, require};
use muster_tests::swupdate_service::Service;
use tempfile::TempDir;

struct Bench {
    service: Service,
    signer: Signer,
    keys: TempDir,
    machine: Machine,
}

impl Bench {
    fn new() -> Self {
        require(&["swupdate", "cpio", "openssl"]);
        let keys = tempfile::tempdir().unwrap();
        let signer = Signer::new(keys.path(), "release").unwrap();
        let service = Service::start(&signer).unwrap();
        Self { service, signer, keys, machine: Machine::default() }
    }

    /// One copy of the software, and a command that takes it back.
    fn installer(&self) -> Swupdate {
        let revert = ["sh", "-c", &format!("echo old > {}", self.flash("root").display())].map(str::to_owned);
        Swupdate {
            way: Way::Socket(self.service.socket()),
            modes: Modes::Its,
            folder: self.service.path("images"),
            timeout: TIMEOUT,
            bootloader: None,
            restarts: false,
            version: Vec::new(),
            commit: Vec::new(),
            revert: revert.to_vec(),
        }
    }

    fn flash(&self, name: &str) -> PathBuf {
        self.service.path("flash").join(name)
    }

    fn part(&self, version: &str, payload: &[u8]) -> Part {
        let target = self.flash("root");
        let image = Image { version, target: &target, payload };
        Part::new("os", version, &[("os.swu", &image.pack(&self.signer).unwrap())])
    }

    /// Delivers it and hands it over.
    fn hand_over(&self, swupdate: &Swupdate, part: &Part) -> Result<Takes, InstallError> {
        let note = swupdate.plan(&self.machine, part.job("")).unwrap();
        part.deliver(swupdate, &self.machine, part.job(&note));
        swupdate.stage(&self.machine, part.job(&note)).unwrap();
        swupdate.activate(&self.machine, part.job(&note))
    }
}

fn payload(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8 ^ seed).collect()
}

#[test]
fn images_of_any_size_are_installed_through_the_socket() {
    let bench = Bench::new();
    let swupdate = bench.installer();
    // One that fits into the socket's buffer, one that doesn't.
    for (version, bytes) in [("1.0", 10), ("2.0", 3_000_001)] {
        let part = bench.part(version, &payload(bytes, 1));
        let (note, takes) = part.install(&swupdate, &bench.machine);
        assert_eq!((note.as_str(), takes), ("-", Takes::Effect));
        assert!(fs::read(bench.flash("root")).unwrap() == payload(bytes, 1), "{version} is not what was installed");
        assert_eq!(swupdate.running(&bench.machine, part.job(&note)).unwrap(), Running::New);
        for _ in 0..2 {
            swupdate.commit(&bench.machine, part.job(&note)).unwrap();
        }
        assert_eq!(fs::read_dir(bench.service.path("images")).unwrap().count(), 1, "only the mark stays");
    }
}

#[test]
fn what_was_installed_is_not_installed_again_after_a_cut() {
    let bench = Bench::new();
    let swupdate = bench.installer();
    let part = bench.part("1.0", b"new");
    let (note, _) = part.install(&swupdate, &bench.machine);
    fs::remove_file(bench.flash("root")).unwrap();
    assert_eq!(swupdate.activate(&bench.machine, part.job(&note)).unwrap(), Takes::Effect);
    assert!(!bench.flash("root").exists());
}

#[test]
fn a_corrupted_image_fails_with_what_swupdate_said_of_it() {
    let bench = Bench::new();
    let swupdate = bench.installer();
    // A success before must not be taken for this one's.
    bench.hand_over(&swupdate, &bench.part("1.0", b"good")).unwrap();
    let (target, payload) = (bench.flash("root"), payload(100_000, 3));
    let image = Image { version: "2.0", target: &target, payload: &payload };
    let part = Part::new("os", "2.0", &[("os.swu", &image.pack_corrupted(&bench.signer).unwrap())]);
    let told = bench.hand_over(&swupdate, &part).unwrap_err().sentence();
    assert!(told.contains("HASH mismatch"), "{told}");
    assert_eq!(swupdate.running(&bench.machine, part.job("-")).unwrap(), Running::Old);
    // And it takes the next one.
    bench.hand_over(&swupdate, &bench.part("3.0", b"good again")).unwrap();
    assert_eq!(fs::read(bench.flash("root")).unwrap(), b"good again");
}

#[test]
fn a_signature_by_somebody_else_fails_with_what_swupdate_said_of_it() {
    let bench = Bench::new();
    let swupdate = bench.installer();
    let stranger = Signer::new(bench.keys.path(), "stranger").unwrap();
    let (target, payload) = (bench.flash("root"), payload(5_000_000, 3));
    let image = Image { version: "2.0", target: &target, payload: &payload };
    let part = Part::new("os", "2.0", &[("os.swu", &image.pack(&stranger).unwrap())]);
    let told = bench.hand_over(&swupdate, &part).unwrap_err().sentence();
    assert!(told.contains("Authentication of all signatures failed"), "{told}");
    assert!(!target.exists());
}

#[test]
fn half_an_image_and_no_image_fail() {
    let bench = Bench::new();
    let swupdate = bench.installer();
    let (target, payload) = (bench.flash("root"), payload(500_000, 3));
    let image = Image { version: "2.0", target: &target, payload: &payload };
    let whole = image.pack(&bench.signer).unwrap();
    for bytes in [&whole[..whole.len() / 2], &whole[..100], b"no archive at all".as_slice()] {
        let part = Part::new("os", "2.0", &[("os.swu", bytes)]);
        let told = bench.hand_over(&swupdate, &part).unwrap_err();
        assert!(matches!(told, InstallError::Program { .. }), "{}", told.sentence());
    }
}

#[test]
fn a_service_that_is_gone_is_told_and_the_way_back_still_works() {
    let mut bench = Bench::new();
    let swupdate = bench.installer();
    bench.service.stop();
    let part = bench.part("1.0", b"new");
    let told = bench.hand_over(&swupdate, &part).unwrap_err().sentence();
    assert!(told.starts_with("handing the image to SWUpdate at "), "{told}");
    for _ in 0..2 {
        assert_eq!(swupdate.revert(&bench.machine, part.job("-")).unwrap(), Takes::Effect);
    }
    assert_eq!(fs::read(bench.flash("root")).unwrap(), b"old\n");
}

#[test]
fn a_command_installs_too_and_its_failure_is_told() {
    let bench = Bench::new();
    let mut words = vec!["env".to_owned(), format!("TMPDIR={}", bench.keys.path().display()), "swupdate".to_owned()];
    words.extend(bench.service.options());
    words.extend(["-i", "{image}"].map(str::to_owned));
    let swupdate = Swupdate { way: Way::Command(words), ..bench.installer() };
    bench.hand_over(&swupdate, &bench.part("1.0", b"by command")).unwrap();
    assert_eq!(fs::read(bench.flash("root")).unwrap(), b"by command");
    let stranger = Signer::new(bench.keys.path(), "stranger").unwrap();
    let target = bench.flash("root");
    let image = Image { version: "2.0", target: &target, payload: b"evil" };
    let part = Part::new("os", "2.0", &[("os.swu", &image.pack(&stranger).unwrap())]);
    let told = bench.hand_over(&swupdate, &part).unwrap_err().sentence();
    assert!(told.contains("Authentication of all signatures failed"), "{told}");
    assert_eq!(fs::read(bench.flash("root")).unwrap(), b"by command");
}

#[test]
fn without_a_way_back_it_is_refused_unless_the_release_agrees() {
    let bench = Bench::new();
    let swupdate = Swupdate { revert: Vec::new(), ..bench.installer() };
    let part = bench.part("1.0", b"new");
    let told = swupdate.plan(&bench.machine, part.job("")).unwrap_err().to_string();
    assert!(told.starts_with("SWUpdate has no way back here"), "{told}");
    assert_eq!(swupdate.plan(&bench.machine, part.with("revert", "none").job("")).unwrap(), "-");
}

/// The machine that runs the tests was started from no slot, so the bootloader is told which one it is.
#[derive(Debug)]
struct Started {
    from: Slot,
    memory: Plain,
}

impl Bootloader for Started {
    fn name(&self) -> &'static str {
        self.memory.name()
    }

    fn running(&self, _: &dyn World) -> Result<Slot, InstallError> {
        Ok(self.from)
    }

    fn choice(&self, world: &dyn World) -> Result<Choice, InstallError> {
        self.memory.choice(world)
    }

    fn try_slot(&self, world: &dyn World, slot: Slot, starts: u32) -> Result<(), InstallError> {
        self.memory.try_slot(world, slot, starts)
    }

    fn confirm(&self, world: &dyn World, slot: Slot) -> Result<(), InstallError> {
        self.memory.confirm(world, slot)
    }
}

#[test]
fn with_a_bootloader_the_slot_that_does_not_run_is_written_and_tried() {
    let bench = Bench::new();
    let memory = Plain { file: bench.service.path("memory") };
    fs::write(&memory.file, "good=a\n").unwrap();
    let mode = |mode: &str| Mode { set: "stable".into(), mode: mode.into() };
    let started = |from| {
        let bootloader = Started { from, memory: memory.clone() };
        let modes = Modes::PerSlot { a: mode("copy-a"), b: mode("copy-b") };
        Swupdate { modes, bootloader: Some(Box::new(bootloader)), revert: Vec::new(), ..bench.installer() }
    };
    let (a, b) = (bench.flash("a"), bench.flash("b"));
    let image = Image { version: "2.0", target: &a, payload: b"two" };
    let part = Part::new("os", "2.0", &[("os.swu", &image.pack_modes(&bench.signer, &b).unwrap())]);

    let (note, takes) = part.install(&started(Slot::A), &bench.machine);
    assert_eq!((note.as_str(), takes), ("b", Takes::Restart));
    assert!(!a.exists(), "the slot that runs was written");
    assert_eq!(fs::read(&b).unwrap(), b"two");
    assert_eq!(fs::read_to_string(&memory.file).unwrap(), "good=a\ntrial=b\nstarts=3\n");

    let after = started(Slot::B);
    assert_eq!(after.running(&bench.machine, part.job(&note)).unwrap(), Running::New);
    assert_eq!(after.activate(&bench.machine, part.job(&note)).unwrap(), Takes::Restart);
    after.commit(&bench.machine, part.job(&note)).unwrap();
    assert_eq!(fs::read_to_string(&memory.file).unwrap(), "good=b\n");

    // Back from the trial of a third version.
    let image = Image { version: "3.0", target: &a, payload: b"three" };
    let part = Part::new("os", "3.0", &[("os.swu", &image.pack_modes(&bench.signer, &b).unwrap())]);
    let (note, _) = part.install(&after, &bench.machine);
    assert_eq!((note.as_str(), fs::read(&a).unwrap()), ("a", b"three".to_vec()));
    assert_eq!(started(Slot::A).revert(&bench.machine, part.job(&note)).unwrap(), Takes::Restart);
    assert_eq!(after.revert(&bench.machine, part.job(&note)).unwrap(), Takes::Effect);
    assert_eq!(fs::read_to_string(&memory.file).unwrap(), "good=b\n");
}
