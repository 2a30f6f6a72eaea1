//! What does a device read that others wrote? Orders, archives, descriptions of containers, what bootloaders, programs and
//! buses say, and its own state after a bad night.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use muster_agent::attributes::{self, AttributeSettings};
use muster_agent::boot::grub::Grub;
use muster_agent::boot::systemd_boot::SystemdBoot;
use muster_agent::boot::uboot::{Copy, Uboot};
use muster_agent::boot::{Bootloader, Slot};
use muster_agent::config::Config;
use muster_agent::disk::Disk;
use muster_agent::install::container::archive;
use muster_agent::install::container::policy::{Described, Policy};
use muster_agent::install::rauc::Rauc;
use muster_agent::install::swupdate::{Modes, Swupdate, Way};
use muster_agent::install::unpack::unpack;
use muster_agent::install::{Installer, Job};
use muster_agent::keep::{Found, Keeper};
use muster_agent::state::State;
use muster_agent::{Agent, Judge, Settings, World};
use muster_sim::board::disk::VirtualDisk;
use muster_wire::agent::Component;
use sha2::{Digest, Sha256};

use crate::around::Around;
use crate::text;

/// An archive may unpack to this much.
const UNPACKED_BYTES_MAX: u64 = 1024 * 1024;
/// A board's state and programs change no more after so many ticks.
const TICKS: usize = 24;

/// Nothing outside the folder is written, and no more than was allowed.
pub fn archive_entries(data: &[u8]) {
    for name in ["a.tar", "a.tar.gz", "a.tar.zst", "a"] {
        let disk = VirtualDisk::default();
        disk.add_file("/outside/kept", b"kept".to_vec());
        disk.add_folder("/data/new");
        let path = format!("/data/{name}");
        disk.add_file(&path, data.to_vec());
        let _ = unpack(&disk, path.as_ref(), "/data/new".as_ref(), UNPACKED_BYTES_MAX);
        assert_eq!(disk.bytes("/outside/kept".as_ref()).as_deref(), Some(&b"kept"[..]), "it left its folder");
        assert!(disk.kind("/escaped".as_ref()).is_ok_and(|kind| kind.is_none()));
    }
}

/// The names become words of a command.
pub fn image_archive(data: &[u8]) {
    let disk = VirtualDisk::default();
    disk.add_file("/data/i.tar", data.to_vec());
    for image in archive::images(&disk, "/data/i.tar".as_ref(), "i.tar").unwrap_or_default() {
        assert!(!image.name.starts_with('-') && !image.name.contains(char::is_whitespace), "{image:?}");
    }
}

pub fn compose(data: &[u8]) {
    let (policy, images, files) = (Policy::default(), ["web:1".to_owned()], ["compose.yaml".to_owned()]);
    let described = Described { name: "compose.yaml", text: data, images: &images, files: &files };
    let _ = policy.check_compose(described);
}

pub fn unit(data: &[u8]) {
    let (policy, images, files) = (Policy::default(), ["web:1".to_owned()], ["web.container".to_owned()]);
    let _ = policy.check_unit(Described { name: "web.container", text: data, images: &images, files: &files });
}

pub fn agent_file(data: &[u8]) {
    let _ = Config::parse(text(data));
    let _ = muster_agent::join::Prepared::parse(text(data));
    let _ = muster_agent::boot::plain::Memory::parse(text(data));
}

/// A state that is read is written again as the same.
pub fn agent_state(data: &[u8]) {
    let folder = Path::new("/data/muster");
    let disk = VirtualDisk::default();
    disk.add_file("/data/muster/state.1", data.to_vec());
    let _ = Keeper::open(&disk, folder);
    // With its checksum put right: only our own code gets so far, or somebody with root.
    let disk = VirtualDisk::default();
    let sum = Sha256::new().chain_update(1_u64.to_le_bytes()).chain_update(data).finalize();
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = [format!("muster-agent-state 1 1 {sum}\n").as_bytes(), data].concat();
    disk.add_file("/data/muster/state.1", file);
    let Ok((mut keeper, Found::Newest(state))) = Keeper::open(&disk, folder) else { return };
    keeper.save(&disk, &state).expect("what was read fits");
    let again = Keeper::open(&disk, folder).map(|(_, found)| found);
    assert_eq!(again.ok(), Some(Found::Newest(state)));
}

fn try_and_confirm(bootloader: &dyn Bootloader, world: &dyn World) {
    let Ok(before) = bootloader.choice(world) else { return };
    let _ = bootloader.running(world);
    if bootloader.try_slot(world, Slot::B, 3).is_ok() {
        let tried = bootloader.choice(world).expect("what was written can be read");
        assert_eq!(tried.good, before.good, "trying a slot changed the good one");
    }
    if bootloader.confirm(world, Slot::B).is_ok() {
        assert_eq!(bootloader.choice(world).expect("what was written can be read").good, Slot::B);
    }
}

/// One whose sums are wrong, and one whose sums are right.
pub fn uboot(data: &[u8]) {
    let copies = [0, 1].map(|copy| Copy { path: format!("/dev/env{copy}").into(), offset: 0 });
    let half = data.len() / 2;
    let uboot = Uboot { copies, bytes: half.max(1) };
    for is_sound in [false, true] {
        let around = Around::saying(&[]);
        for (copy, bytes) in data.chunks_exact(half.max(1)).take(2).enumerate() {
            let mut bytes = bytes.to_vec();
            if is_sound && bytes.len() > 5 {
                let sum = crc32(&bytes[5..]).to_le_bytes();
                bytes[..4].copy_from_slice(&sum);
            }
            around.disk.add_file(&format!("/dev/env{copy}"), bytes);
        }
        try_and_confirm(&uboot, &around);
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
    })
}

pub fn grub(data: &[u8]) {
    let around = Around::saying(&[]);
    let mut block = [b"# GRUB Environment Block\n", data].concat();
    block.resize(block.len().next_multiple_of(512).max(1024), b'#');
    around.disk.add_file("/boot/grubenv", block);
    try_and_confirm(&Grub { block: "/boot/grubenv".into() }, &around);
}

/// Lines are the names of entries.
pub fn systemd_boot(data: &[u8]) {
    let around = Around::saying(&[]);
    around.disk.add_folder("/efi/loader/entries");
    around.disk.add_file("/efi/loader/loader.conf", b"default muster-*\n".to_vec());
    for name in text(data).lines().filter(|name| !name.is_empty() && !name.contains('/')).take(8) {
        around.disk.add_file(&format!("/efi/loader/entries/{name}"), b"title x\noptions muster.slot=a\n".to_vec());
    }
    try_and_confirm(&SystemdBoot { partition: "/efi".into() }, &around);
}

/// What follows the greeting of a bus is RAUC's, or whoever says to be it.
pub fn bus(data: &[u8]) {
    const GREETING: &[u8] = b"DATA\r\nOK 1\r\nl\x02\0\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\x05\x01u\0\x01\0\0\0";
    let around = Around::saying(&[&[0xff, 0xff], GREETING, data].concat());
    let rauc = Rauc {
        socket: "/run/bus".into(),
        folder: "/data/bundles".into(),
        timeout: Duration::from_secs(60),
        keeps_bundle: false,
    };
    let component = component();
    let _ = rauc.plan(&around, Job { component: &component, previous: None, note: "" });
}

fn component() -> Component {
    let text = r#"{"name":"os","version":"2","artifacts":[{"file_name":"o.raucb","size":1,
        "digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","routes":[]}]}"#;
    serde_json::from_str(text).expect("it is one")
}

/// Each connection to SWUpdate's socket is answered by the next piece.
pub fn swupdate(data: &[u8]) {
    let around = Around::saying(data);
    let swupdate = Swupdate {
        way: Way::Socket("/run/s".into()),
        modes: Modes::Its,
        folder: "/data/images".into(),
        timeout: Duration::from_secs(60),
        bootloader: None,
        restarts: false,
        version: Vec::new(),
        commit: Vec::new(),
        revert: Vec::new(),
    };
    let component = component();
    let job = Job { component: &component, previous: None, note: "" };
    let Ok(place) = swupdate.place(&around, job, 0) else { return };
    around.disk.add_file(&place.path.to_string_lossy(), vec![1; 100]);
    let _ = swupdate.stage(&around, job);
    let _ = swupdate.activate(&around, job);
}

/// Files of `proc`, `sys` and `etc`, one after the other with a zero byte between them.
pub fn attributes(data: &[u8]) {
    const FILES: [&str; 9] = [
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/version",
        "/proc/self/mountinfo",
        "/proc/net/route",
        "/proc/net/fib_trie",
        "/proc/net/if_inet6",
        "/etc/os-release",
        "/sys/dev/block/8:1/size",
    ];
    let around = Around::saying(data);
    for (path, bytes) in FILES.iter().zip(data.split(|byte| *byte == 0)) {
        around.disk.add_file(path, bytes.to_vec());
    }
    let _ = attributes::gather(&around, &AttributeSettings::default(), "/data".as_ref(), &State::default());
}

/// A server, or whoever sits in front of it, says anything; the state the agent keeps can be read after it.
pub fn orders(data: &[u8]) {
    let around = Around::saying(data);
    let settings = Settings { folder: "/data/muster".into(), long_poll: Duration::ZERO, ..Settings::default() };
    let Ok(mut agent) = Agent::open(&around, settings.clone(), BTreeMap::new(), Box::new(Calm)) else { return };
    for _ in 0..TICKS {
        let _ = agent.tick(&around);
    }
    let kept = Keeper::open(&around.disk, &settings.folder).map(|(_, found)| found);
    assert!(matches!(kept, Ok(Found::Newest(_))), "the agent's own state can't be read");
}

struct Calm;

impl Judge for Calm {
    fn objection(&self, _: &dyn World) -> Option<String> {
        None
    }

    fn complaints(&self, _: &dyn World) -> Vec<String> {
        Vec::new()
    }
}
