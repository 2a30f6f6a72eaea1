//! Debian's own programs for the memories of GRUB and U-Boot read what the agent writes, and the other way round.

use std::path::Path;
use std::process::Command;

use muster_agent::boot::grub::Grub;
use muster_agent::boot::uboot::{Copy, Uboot};
use muster_agent::boot::{Bootloader, Choice, Slot};
use muster_tests::machine::Machine;
use muster_tests::swupdate::require;

/// Runs it; answers what it says.
fn output(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output().unwrap();
    let [said, complained] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(ran.status.success(), "{program} {arguments:?}: {said}{complained}");
    said
}

const NOTHING_TRIED: Option<Slot> = None;

#[test]
fn grub_editenv_and_the_agent_understand_each_other() {
    require(&["grub-editenv"]);
    let machine = Machine::started_from("a");
    let block = machine.path("grubenv");
    let editenv = |arguments: &[&str]| output("grub-editenv", &[&[block.to_str().unwrap()], arguments].concat());
    editenv(&["create"]);
    editenv(&["set", "saved_entry=Debian > 1\\2", "muster_slot=a"]);
    let grub = Grub { block: block.clone() };
    grub.try_slot(&machine, Slot::B, 3).unwrap();
    let listed = editenv(&["list"]);
    assert_eq!(listed, "muster_slot=a\nmuster_try=b\nmuster_tries=3\nsaved_entry=Debian > 1\\2\n");
    // As `grub.cfg` does before each start.
    for (left, trial) in [("2", Some(Slot::B)), ("1", Some(Slot::B)), ("0", NOTHING_TRIED)] {
        editenv(&["set", &format!("muster_tries={left}")]);
        assert_eq!(grub.choice(&machine).unwrap(), Choice { good: Slot::A, trial });
    }
    grub.confirm(&machine, Slot::B).unwrap();
    let listed = editenv(&["list"]);
    assert_eq!(listed, "muster_slot=b\nmuster_try=\nmuster_tries=00\nsaved_entry=Debian > 1\\2\n");
    // A full block, with a comment line of ours in its middle, is changed by others and read back.
    let long = "x".repeat(300);
    editenv(&["set", &format!("first={long}"), &format!("second={long}")]);
    editenv(&["unset", "saved_entry"]);
    grub.try_slot(&machine, Slot::A, 2).unwrap();
    editenv(&["set", "first=1", "third=3"]);
    grub.try_slot(&machine, Slot::A, 1).unwrap();
    let listed = editenv(&["list"]);
    assert_eq!(listed, format!("muster_slot=b\nmuster_try=a\nmuster_tries=1\nfirst=1\nsecond={long}\nthird=3\n"));
    assert_eq!(std::fs::metadata(&block).unwrap().len(), 1024);
}

const COPY_BYTES: usize = 0x1000;

/// A U-Boot environment in one file, with the file that tells others where it is.
fn uboot(machine: &Machine) -> (Uboot, String) {
    let (env, config) = (machine.path("env.img"), machine.path("fw_env.config"));
    std::fs::write(&env, vec![0xff; 3 * COPY_BYTES]).unwrap();
    let line = |offset: usize| format!("{} {offset:#x} {COPY_BYTES:#x}\n", env.display());
    std::fs::write(&config, line(0) + &line(2 * COPY_BYTES)).unwrap();
    let copies = [0, 2 * COPY_BYTES as u64].map(|offset| Copy { path: env.clone(), offset });
    (Uboot { copies, bytes: COPY_BYTES }, config.to_str().unwrap().to_owned())
}

fn write_file(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn libubootenv_and_the_agent_understand_each_other() {
    require(&["fw_printenv", "fw_setenv"]);
    let machine = Machine::started_from("a");
    let (uboot, config) = uboot(&machine);
    let defaults = write_file(&machine.path("defaults"), "bootcmd=run start_slot\nmuster_slot=a\nbootlimit=1\n");
    let set = |name: &str, value: &str| drop(output("fw_setenv", &["-c", &config, "-f", &defaults, name, value]));
    let list = || {
        let said = output("fw_printenv", &["-c", &config]);
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    set("board", "box");
    assert_eq!(uboot.choice(&machine).unwrap(), Choice { good: Slot::A, trial: None });
    // Each writes over the other's older copy, often enough for the counter to pass 255 and start again.
    for turn in 0..140_u32 {
        uboot.try_slot(&machine, Slot::B, 3).unwrap();
        let listed = list();
        let tried = ["bootcount=0", "bootlimit=3", "muster_slot=a", "muster_try=b", "upgrade_available=1"];
        for line in tried {
            assert!(listed.contains(&line.to_owned()), "{turn}: no {line} in {listed:?}");
        }
        set("bootcount", "3");
        assert_eq!(uboot.choice(&machine).unwrap(), Choice { good: Slot::A, trial: None }, "{turn}");
    }
    uboot.confirm(&machine, Slot::B).unwrap();
    assert_eq!(
        list(),
        ["board=box", "bootcmd=run start_slot", "bootcount=0", "bootlimit=3", "muster_slot=b", "upgrade_available=0"]
    );
}

#[test]
fn after_a_torn_write_both_take_the_copy_before() {
    require(&["fw_printenv", "fw_setenv"]);
    let machine = Machine::started_from("a");
    let (uboot, config) = uboot(&machine);
    let defaults = write_file(&machine.path("defaults"), "muster_slot=a\n");
    for value in ["1", "2"] {
        output("fw_setenv", &["-c", &config, "-f", &defaults, "n", value]);
    }
    let env = machine.path("env.img");
    let old = std::fs::read(&env).unwrap();
    uboot.confirm(&machine, Slot::B).unwrap();
    let new = std::fs::read(&env).unwrap();
    let differs: Vec<usize> = (0..new.len()).filter(|&at| old[at] != new[at]).collect();
    for at in [differs[0] + 1, differs[differs.len() / 2], differs[differs.len() - 1]] {
        std::fs::write(&env, [&new[..at], &old[at..]].concat()).unwrap();
        assert_eq!(uboot.choice(&machine).unwrap().good, Slot::A);
        assert_eq!(output("fw_printenv", &["-c", &config, "-n", "muster_slot"]).trim(), "a");
    }
}
