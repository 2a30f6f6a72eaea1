//! Debian's systemd-boot, started by UEFI firmware in qemu, takes the entries that the agent names and counts their
//! starts down.

use muster_agent::boot::systemd_boot::SystemdBoot;
use muster_agent::boot::{Bootloader, Choice, Slot};
use muster_tests::image::ingredients::Ingredients;
use muster_tests::image::uefi::Uefi;
use muster_tests::machine::Machine;
use muster_tests::swupdate::require;

/// The agent acts on the partition's files while `slot` runs.
fn act(uefi: &Uefi, slot: &str, act: impl FnOnce(&SystemdBoot, &Machine)) {
    let machine = Machine::started_from(slot);
    let partition = machine.path("efi");
    uefi.take_loader(&partition).unwrap();
    act(&SystemdBoot { partition: partition.clone() }, &machine);
    uefi.give_loader(&partition).unwrap();
}

fn choice(uefi: &Uefi, slot: &str) -> Choice {
    let mut found = None;
    act(uefi, slot, |boot, machine| found = Some(boot.choice(machine).unwrap()));
    found.unwrap()
}

#[test]
fn a_slot_on_trial_gets_its_starts_then_the_good_one_is_back_and_a_good_one_stays() {
    require(&["qemu-system-x86_64", "mcopy", "mkfs.vfat"]);
    let ingredients = Ingredients::find().unwrap();
    let uefi = Uefi::build(&ingredients, &[("muster-a.conf", "a"), ("muster-b+0.conf", "b")]).unwrap();
    assert_eq!(uefi.start().unwrap(), "a");

    // A release that never proves itself.
    act(&uefi, "a", |boot, machine| boot.try_slot(machine, Slot::B, 2).unwrap());
    assert_eq!(uefi.start().unwrap(), "b");
    assert_eq!(uefi.entries().unwrap(), ["muster-a.conf", "muster-try-b+1-1.conf"]);
    assert_eq!(choice(&uefi, "b"), Choice { good: Slot::A, trial: Some(Slot::B) });
    assert_eq!(uefi.start().unwrap(), "b");
    assert_eq!(choice(&uefi, "b").trial, Some(Slot::B), "its last start is under way");
    assert_eq!(uefi.start().unwrap(), "a", "it had two starts");
    assert_eq!(choice(&uefi, "a"), Choice { good: Slot::A, trial: None });

    // The same slot once more, and this time it is found good.
    act(&uefi, "a", |boot, machine| boot.try_slot(machine, Slot::B, 3).unwrap());
    assert_eq!(uefi.start().unwrap(), "b");
    act(&uefi, "b", |boot, machine| boot.confirm(machine, Slot::B).unwrap());
    assert_eq!(uefi.entries().unwrap(), ["muster-a+0.conf", "muster-b.conf"]);
    assert_eq!([uefi.start().unwrap(), uefi.start().unwrap()], ["b", "b"]);
    assert_eq!(choice(&uefi, "b"), Choice { good: Slot::B, trial: None });
}
