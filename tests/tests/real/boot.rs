//! A machine with two slots: what happens when it is switched on, cut off its power, or tries a release that fails?

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_tests::image::{Disk, Fault, Ingredients, Memory, Slot, System, Vm};
use tempfile::TempDir;

/// A start takes about 7 s of a free core; a trial that fails adds the 5 s after a panic.
const PATIENCE: Duration = Duration::from_secs(30);

fn system(folder: &Path, version: &str, fault: Fault) -> PathBuf {
    let system = System { version: version.into(), agent: None, fault };
    system.build(&Ingredients::find().unwrap(), folder).unwrap()
}

/// A machine with 1.0 in slot A.
fn machine(folder: &TempDir) -> Vm {
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let good = system(folder.path(), "1.0", Fault::Nothing);
    Vm::on(Disk::build(&Ingredients::find().unwrap(), folder.path(), &good, &data).unwrap())
}

#[test]
fn a_release_whose_init_fails_gives_its_place_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut vm = machine(&folder);
    vm.start();
    vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);
    vm.kill();
    vm.start();
    vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);
    vm.kill();

    let bad = system(folder.path(), "2.0", Fault::Init);
    vm.disk().fill_slot(Slot::B, &bad).unwrap();
    vm.disk().set_memory(Memory { good: Slot::A, trial: Some((Slot::B, 2)) }).unwrap();
    vm.start();
    vm.wait_for("MUSTER-LOADER slot=b trial=b tries=1", PATIENCE);
    vm.wait_for("Kernel panic", PATIENCE);
    vm.wait_for("MUSTER-LOADER slot=b trial=b tries=0", PATIENCE);
    vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);
    vm.kill();
    assert_eq!(vm.disk().memory().unwrap(), Memory { good: Slot::A, trial: None });
    eprintln!("{}", vm.console());
}
