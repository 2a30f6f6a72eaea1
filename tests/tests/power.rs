//! Whatever a power cut leaves on the disk, installers and bootloaders' memories are where they were or where they go.
//!
//! On the simulator's disk, which forgets what was not synced, at every operation in turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_agent::Disk;
use muster_agent::boot::grub::Grub;
use muster_agent::boot::plain::Plain;
use muster_agent::boot::systemd_boot::SystemdBoot;
use muster_agent::boot::uboot::{Copy, Uboot};
use muster_agent::boot::{Bootloader, Choice, Slot};
use muster_agent::disk;
use muster_agent::install::tree::Tree;
use muster_agent::install::{InstallError, Installer, Job};
use muster_agent::world::{Host, Net, World};
use muster_sim::board::disk::{Cut, Loss, VirtualDisk};
use muster_tests::machine::Machine;
use muster_vocab::Sha256;
use muster_wire::agent::{Artifact, Component};
use sha2::Digest;

/// A machine whose power fails.
struct Failing {
    disk: VirtualDisk,
    rest: Machine,
}

impl World for Failing {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }
    fn net(&self) -> &dyn Net {
        self.rest.net()
    }
    fn host(&self) -> &dyn Host {
        self.rest.host()
    }
}

impl Failing {
    fn new() -> Self {
        Self { disk: VirtualDisk::default(), rest: Machine::started_from("a") }
    }

    fn lose_what_is_not_durable(&self) {
        self.disk.pull_plug(Loss::All);
        self.disk.power_on();
    }

    /// Does it, with the power cut at this operation from now. True: it got through before that.
    fn cut(&self, at: u64, loss: Loss, act: impl FnOnce() -> Result<(), InstallError>) -> bool {
        self.disk.cut_power(Some(Cut { at: self.disk.operations() + at, loss }));
        let outcome = act();
        let is_off = self.disk.is_off();
        self.disk.power_on();
        self.disk.cut_power(None);
        match outcome {
            Ok(()) => !is_off,
            Err(error) => {
                assert!(is_off, "{}", error.sentence());
                false
            }
        }
    }
}

fn losses() -> impl Iterator<Item = Loss> {
    [Loss::All, Loss::Nothing].into_iter().chain((0..12).map(|seed| Loss::Torn { seed }))
}

/// A bootloader with slot A as its good one, laid out on the disk.
type Layout = fn(&VirtualDisk) -> Box<dyn Bootloader>;

fn plain(disk: &VirtualDisk) -> Box<dyn Bootloader> {
    disk.add_file("/boot/memory", b"good=a\n".to_vec());
    Box::new(Plain { file: "/boot/memory".into() })
}

fn grub(disk: &VirtualDisk) -> Box<dyn Bootloader> {
    let mut block = b"# GRUB Environment Block\nmuster_slot=a\n".to_vec();
    block.extend(format!("long={}\n", "x".repeat(700)).bytes());
    let text = String::from_utf8(block).unwrap().replacen(
        "muster_slot=a\n",
        "muster_slot=a\nmuster_try=\nmuster_tries=00\n",
        1,
    );
    disk.add_file("/boot/grub/grubenv", format!("{text:#<1024}").into_bytes());
    Box::new(Grub { block: "/boot/grub/grubenv".into() })
}

fn uboot(disk: &VirtualDisk) -> Box<dyn Bootloader> {
    const BYTES: usize = 4096;
    let mut data = b"muster_slot=a\0bootcmd=run start\0".to_vec();
    data.resize(BYTES - 5, 0);
    let mut copy = crc32(&data).to_le_bytes().to_vec();
    copy.push(9);
    copy.extend(data);
    disk.add_device("/dev/boot0", copy, BYTES);
    disk.add_device("/dev/boot1", vec![0xff; BYTES], BYTES);
    let copies = ["/dev/boot0", "/dev/boot1"].map(|path| Copy { path: path.into(), offset: 0 });
    Box::new(Uboot { copies, bytes: BYTES })
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

fn systemd_boot(disk: &VirtualDisk) -> Box<dyn Bootloader> {
    disk.add_file("/efi/loader/loader.conf", b"default muster-*\n".to_vec());
    disk.add_file("/efi/loader/entries/muster-a.conf", b"linux /linux-a\n".to_vec());
    disk.add_file("/efi/loader/entries/muster-b+0.conf", b"linux /linux-b\n".to_vec());
    Box::new(SystemdBoot { partition: "/efi".into() })
}

#[test]
fn a_bootloaders_memory_is_the_old_or_the_new_one_after_a_power_cut_at_any_operation() {
    let layouts: [Layout; 4] = [plain, grub, uboot, systemd_boot];
    for layout in layouts {
        for loss in losses() {
            let mut cuts = 0;
            loop {
                let machine = Failing::new();
                let boot = layout(&machine.disk);
                let old = Choice { good: Slot::A, trial: None };
                let tried = Choice { good: Slot::A, trial: Some(Slot::B) };
                let new = Choice { good: Slot::B, trial: None };
                let act = || boot.try_slot(&machine, Slot::B, 3).and_then(|()| boot.confirm(&machine, Slot::B));
                let is_through = machine.cut(cuts + 1, loss, act);
                let choice = boot.choice(&machine).unwrap();
                assert!([old, tried, new].contains(&choice), "{} {loss:?} {cuts}: {choice:?}", boot.name());
                // And it can be done again.
                boot.try_slot(&machine, Slot::B, 3).unwrap();
                boot.confirm(&machine, Slot::B).unwrap();
                machine.lose_what_is_not_durable();
                assert_eq!(boot.choice(&machine).unwrap(), new);
                if is_through {
                    break;
                }
                cuts += 1;
            }
            assert!(cuts >= 3, "{} {cuts}", boot_name(layout));
        }
    }
}

fn boot_name(layout: Layout) -> &'static str {
    layout(&VirtualDisk::default()).name()
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

fn component(bytes: &[u8]) -> Component {
    let artifact =
        Artifact { file_name: "web.tar".into(), size: bytes.len() as u64, digest: digest(bytes), routes: vec![] };
    Component { name: "web".into(), version: "1".into(), metadata: Default::default(), artifacts: vec![artifact] }
}

/// An archive of three files, one of them in a folder of its own, that all say this.
fn archive(says: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["page", "deep/er/page", "other"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, says).unwrap();
    }
    let made = std::process::Command::new("tar").arg("-C").arg(folder.path()).args(["-c", "."]).output().unwrap();
    assert!(made.status.success());
    made.stdout
}

fn deliver(machine: &Failing, tree: &Tree, job: Job<'_>, bytes: &[u8]) {
    let place = tree.place(machine, job, 0).unwrap();
    machine.disk.write_at(&place.path, 0, bytes).unwrap();
    machine.disk.sync(&place.path).unwrap();
    machine.disk.sync_folder(place.path.parent().unwrap()).unwrap();
}

/// What the version that is linked says, if all of its files say the same.
fn page(machine: &Failing) -> String {
    let read = |name: &str| disk::read(&machine.disk, &Path::new("/srv/web/current").join(name), 1000).unwrap();
    let all = ["page", "deep/er/page", "other"].map(read);
    assert!(all.iter().all(|one| *one == all[0]), "a mixture");
    String::from_utf8(all[0].clone()).unwrap()
}

#[test]
fn a_tree_is_the_old_or_the_new_one_as_a_whole_after_a_power_cut_at_any_operation() {
    let tree = Tree {
        root: PathBuf::from("/srv/web"),
        keep: 1,
        bytes_max: 100_000,
        keep_archive: false,
        reload: vec![],
        reload_timeout: Duration::from_secs(1),
    };
    let archives = ["one", "two"].map(archive);
    let components = [&archives[0], &archives[1]].map(|bytes| component(bytes));
    for loss in losses() {
        for is_kept in [true, false] {
            let mut cuts = 0;
            loop {
                let machine = Failing::new();
                machine.disk.add_folder("/srv");
                install_first(&machine, &tree, &components[0], &archives[0]);
                let note = tree.plan(&machine, Job { component: &components[1], previous: None, note: "" }).unwrap();
                let job = Job { component: &components[1], previous: None, note: &note };
                deliver(&machine, &tree, job, &archives[1]);
                let is_through = update(&machine, &tree, job, is_kept, (cuts + 1, loss));
                machine.lose_what_is_not_durable();
                assert_eq!(page(&machine), if is_kept { "two" } else { "one" }, "{loss:?} {cuts}");
                let versions = machine.disk.list(Path::new("/srv/web/versions")).unwrap();
                assert_eq!(versions.len(), if is_kept { 2 } else { 1 }, "{versions:?}");
                if is_through {
                    break;
                }
                cuts += 1;
            }
            assert!(cuts > 30, "{cuts}");
        }
    }
}

fn install_first(machine: &Failing, tree: &Tree, component: &Component, archive: &[u8]) {
    let note = tree.plan(machine, Job { component, previous: None, note: "" }).unwrap();
    let job = Job { component, previous: None, note: &note };
    deliver(machine, tree, job, archive);
    tree.stage(machine, job).unwrap();
    tree.activate(machine, job).unwrap();
    tree.commit(machine, job).unwrap();
    machine.disk.flush();
}

/// Step by step, as the agent does it: the one that was cut is done again. True: the power was never cut.
fn update(machine: &Failing, tree: &Tree, job: Job<'_>, is_kept: bool, (mut at, loss): (u64, Loss)) -> bool {
    let step = |number| match number {
        0 => tree.stage(machine, job),
        1 => tree.activate(machine, job).map(drop),
        _ if is_kept => tree.commit(machine, job),
        _ => tree.revert(machine, job).map(drop),
    };
    let mut is_cut = false;
    for number in 0..3 {
        let before = machine.disk.operations();
        if is_cut {
            step(number).unwrap();
        } else if machine.cut(at, loss, || step(number)) {
            at -= machine.disk.operations() - before;
        } else {
            is_cut = true;
            assert!(["one", "two"].contains(&page(machine).as_str()));
            step(number).unwrap();
        }
    }
    !is_cut
}
