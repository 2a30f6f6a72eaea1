//! Debian's RAUC, unmodified, installs what the agent hands it.

use muster_agent::install::{InstallError, Installer, Running, Takes};
use muster_tests::part::{Machine, Part};
use muster_tests::rauc::{BOARD, Board, Signer, bundle};
use muster_tests::swupdate::require;
use tempfile::TempDir;

struct Bench {
    board: Board,
    signer: Signer,
    keys: TempDir,
    machine: Machine,
}

impl Bench {
    fn new() -> Self {
        require(&["rauc", "mksquashfs", "dbus-daemon", "dbus-send", "openssl"]);
        let keys = tempfile::tempdir().unwrap();
        let signer = Signer::new(keys.path(), "release").unwrap();
        let board = Board::new(&signer).unwrap();
        Self { board, signer, keys, machine: Machine::default() }
    }

    fn part(&self, version: &str, image: &[u8]) -> Part {
        let bytes = bundle(&self.signer, BOARD, version, image).unwrap();
        Part::new("os", version, &[("os.raucb", &bytes)])
    }
}

/// Random enough that no other slot has it, of a size that is no multiple of anything.
fn image(seed: u8) -> Vec<u8> {
    (0..300_001_usize).map(|at| (at % 251) as u8 ^ seed).collect()
}

#[test]
fn a_bundle_is_written_to_the_slot_that_does_not_run_and_stays() {
    let mut bench = Bench::new();
    let part = bench.part("2.0", &image(1));
    let rauc = bench.board.installer();
    let (note, takes) = part.install(&rauc, &bench.machine);
    assert_eq!((note.as_str(), takes), (r#"{"from":"rootfs.0","to":["rootfs.1"]}"#, Takes::Restart));
    assert!(bench.board.slot("B", image(1).len()) == image(1), "slot B has other bytes");
    assert_eq!((bench.board.booted(), bench.board.primary()), ("A", "B"));
    assert_eq!(rauc.running(&bench.machine, part.job(&note)).unwrap(), Running::Old);

    bench.board.restart().unwrap();
    assert_eq!(bench.board.booted(), "B");
    assert_eq!(rauc.running(&bench.machine, part.job(&note)).unwrap(), Running::New);
    for _ in 0..2 {
        rauc.commit(&bench.machine, part.job(&note)).unwrap();
        assert_eq!((bench.board.primary(), bench.board.state("B").as_str(), bench.board.bundles()), ("B", "good", 0));
    }

    // The next one goes the other way.
    let part = bench.part("3.0", &image(2));
    let (note, _) = part.install(&rauc, &bench.machine);
    assert_eq!(note, r#"{"from":"rootfs.1","to":["rootfs.0"]}"#);
    assert!(bench.board.slot("A", image(2).len()) == image(2), "slot A has other bytes");
}

#[test]
fn a_system_that_fails_its_trial_is_left_for_the_old_one() {
    let mut bench = Bench::new();
    let part = bench.part("2.0", &image(1));
    let rauc = bench.board.installer();
    let (note, _) = part.install(&rauc, &bench.machine);
    bench.board.restart().unwrap();
    for _ in 0..2 {
        assert_eq!(rauc.revert(&bench.machine, part.job(&note)).unwrap(), Takes::Restart);
        assert_eq!((bench.board.primary(), bench.board.state("B").as_str()), ("A", "bad"));
    }
    bench.board.restart().unwrap();
    assert_eq!(rauc.running(&bench.machine, part.job(&note)).unwrap(), Running::Old);
    assert_eq!(rauc.revert(&bench.machine, part.job(&note)).unwrap(), Takes::Effect);
    assert_eq!((bench.board.booted(), bench.board.bundles()), ("A", 0));
}

#[test]
fn a_switch_is_taken_back_before_the_restart_too() {
    let bench = Bench::new();
    let part = bench.part("2.0", &image(1));
    let rauc = bench.board.installer();
    let (note, _) = part.install(&rauc, &bench.machine);
    assert_eq!(rauc.revert(&bench.machine, part.job(&note)).unwrap(), Takes::Effect);
    assert_eq!(
        (bench.board.primary(), bench.board.state("A"), bench.board.state("B")),
        ("A", "good".into(), "bad".into())
    );
}

#[test]
fn a_bundle_that_rauc_does_not_trust_fails_before_anything_is_written() {
    let bench = Bench::new();
    let stranger = Signer::new(bench.keys.path(), "stranger").unwrap();
    let bytes = bundle(&stranger, BOARD, "2.0", &image(1)).unwrap();
    let part = Part::new("os", "2.0", &[("os.raucb", &bytes)]);
    let rauc = bench.board.installer();
    let note = rauc.plan(&bench.machine, part.job("")).unwrap();
    part.deliver(&rauc, &bench.machine, part.job(&note));
    let told = rauc.stage(&bench.machine, part.job(&note)).unwrap_err().sentence();
    assert!(told.starts_with("RAUC doesn't accept the bundle; its own log says why: "), "{told}");
    // RAUC itself doesn't install it either, and its own words come back.
    let told = rauc.activate(&bench.machine, part.job(&note)).unwrap_err().sentence();
    assert!(told.starts_with("installing the bundle: ") && told.contains("signature verification failed"), "{told}");
    assert_eq!(bench.board.slot("B", 300_001), vec![0; 300_001]);
    assert_eq!((bench.board.primary(), bench.board.state("B").as_str()), ("A", "good"));
}

#[test]
fn a_bundle_for_another_board_is_refused() {
    let bench = Bench::new();
    let bytes = bundle(&bench.signer, "another-board", "2.0", &image(1)).unwrap();
    let part = Part::new("os", "2.0", &[("os.raucb", &bytes)]);
    let rauc = bench.board.installer();
    let note = rauc.plan(&bench.machine, part.job("")).unwrap();
    part.deliver(&rauc, &bench.machine, part.job(&note));
    let told = rauc.stage(&bench.machine, part.job(&note)).unwrap_err().to_string();
    assert_eq!(told, r#"the bundle is for "another-board", and RAUC says that this is "test-board""#);
    // A release that says so isn't even fetched.
    let part = part.with("compatible", "another-board");
    let told = rauc.plan(&bench.machine, part.job("")).unwrap_err().to_string();
    assert_eq!(told, r#"the release is for "another-board", and RAUC says that this is "test-board""#);
}

#[test]
fn what_rauc_could_never_install_is_refused_at_once() {
    let mut bench = Bench::new();
    let rauc = bench.board.installer();
    let two = Part::new("os", "2.0", &[("a.raucb", b"a"), ("b.raucb", b"b")]);
    let refused = rauc.plan(&bench.machine, two.job("")).unwrap_err();
    assert!(matches!(refused, InstallError::Refused(_)), "{refused}");
    let one = Part::new("os", "2.0", &[("a.raucb", b"no bundle")]);
    let note = rauc.plan(&bench.machine, one.job("")).unwrap();
    one.deliver(&rauc, &bench.machine, one.job(&note));
    assert!(matches!(rauc.stage(&bench.machine, one.job(&note)), Err(InstallError::Program { .. })));
    bench.board.cut_power();
    let told = rauc.plan(&bench.machine, one.job("")).unwrap_err().sentence();
    assert!(told.contains("ServiceUnknown"), "{told}");
}

#[test]
fn power_that_vanishes_in_the_middle_of_an_installation_loses_nothing() {
    let mut bench = Bench::new();
    let part = bench.part("2.0", &image(1));
    let rauc = bench.board.installer();
    let note = rauc.plan(&bench.machine, part.job("")).unwrap();
    let job = part.job(&note);
    part.deliver(&rauc, &bench.machine, job);
    rauc.stage(&bench.machine, job).unwrap();
    bench.board.hold();
    let outcome = std::thread::scope(|scope| {
        let activating = scope.spawn(|| rauc.activate(&bench.machine, job));
        bench.board.wait_until_held();
        bench.board.cut_power();
        activating.join().unwrap()
    });
    assert!(matches!(outcome, Err(InstallError::Program { .. })), "{outcome:?}");
    bench.board.release();
    bench.board.switch_on().unwrap();
    assert_eq!(bench.board.booted(), "A");
    assert_eq!(rauc.activate(&bench.machine, part.job(&note)).unwrap(), Takes::Restart);
    assert!(bench.board.slot("B", image(1).len()) == image(1), "slot B has other bytes");
    bench.board.restart().unwrap();
    assert_eq!(bench.board.booted(), "B");
}

#[test]
fn an_installation_that_is_going_on_already_is_waited_for() {
    let bench = Bench::new();
    let part = bench.part("2.0", &image(1));
    let rauc = bench.board.installer();
    let note = rauc.plan(&bench.machine, part.job("")).unwrap();
    let job = part.job(&note);
    part.deliver(&rauc, &bench.machine, job);
    let bundle = rauc.place(&bench.machine, job, 0).unwrap().path;
    bench.board.hold();
    let mut by_hand = bench.board.install_by_hand(&bundle).unwrap();
    bench.board.wait_until_held();
    std::thread::scope(|scope| {
        let activating = scope.spawn(|| rauc.activate(&bench.machine, job));
        bench.board.release();
        assert_eq!(activating.join().unwrap().unwrap(), Takes::Restart);
    });
    assert!(by_hand.wait().unwrap().success());
    assert_eq!(bench.board.primary(), "B");
}
