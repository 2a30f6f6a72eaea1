//! What does a device tell of itself?
//!
//! Read from files only, so that the simulator can supply them; what is missing is not told.

mod network;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_vocab::{Sha256, limit};
use sha2::Digest;

use crate::disk::{self, Disk};
use crate::state::State;
use crate::world::World;

/// Files in `/proc` and `/sys` that are read are far smaller; of larger ones the first bytes do.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// A list of packages larger than this is none; it bounds what gathering costs.
const SBOM_BYTES_MAX: u64 = 64 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
const MIB: u64 = 1024 * 1024;
/// `/sys/dev/block/*/size` counts in these, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeSettings {
    /// Between two looks.
    pub every: Duration,
    /// Lists of packages, whose digests are told.
    pub sboms: Vec<PathBuf>,
    /// Where `proc`, `sys` and `etc` are.
    pub root: PathBuf,
}

impl Default for AttributeSettings {
    fn default() -> Self {
        Self { every: Duration::from_secs(3600), sboms: Vec::new(), root: PathBuf::from("/") }
    }
}

/// All that is to be said, within the limits that the server sets.
#[must_use]
pub fn gather(
    world: &dyn World,
    settings: &AttributeSettings,
    folder: &Path,
    state: &State,
) -> BTreeMap<String, String> {
    let look = Look { disk: world.disk(), root: &settings.root };
    let mut found = Found::default();
    // In the order of their worth: what comes after the limit is left out.
    found.put("agent.version", env!("CARGO_PKG_VERSION"));
    installed(&mut found, state);
    hardware(&mut found, &look);
    system(&mut found, &look);
    storage(&mut found, &look, folder);
    for path in &settings.sboms {
        if let (Some(name), Some(digest)) = (path.file_name(), digest(look.disk, path)) {
            found.put(&format!("sbom.{}.digest", name.display()), &digest.to_string());
        }
    }
    network::gather(&mut found, &look);
    found.attributes
}

#[derive(Default)]
struct Found {
    attributes: BTreeMap<String, String>,
}

impl Found {
    /// Values are cut; a key that would have to be cut is left out, as it might then be another's.
    fn put(&mut self, key: &str, value: &str) {
        let value = value.trim_matches(|char: char| char.is_whitespace() || char == '\0');
        let is_full = self.attributes.len() >= limit::ATTRIBUTES_PER_DEVICE_MAX;
        if value.is_empty() || is_full || key.chars().count() > limit::ATTRIBUTE_KEY_CHARS_MAX {
            return;
        }
        let cut = value.chars().filter(|char| !char.is_control()).take(limit::ATTRIBUTE_VALUE_CHARS_MAX).collect();
        self.attributes.insert(key.to_owned(), cut);
    }

    fn put_some(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.put(key, &value);
        }
    }
}

struct Look<'a> {
    disk: &'a dyn Disk,
    root: &'a Path,
}

impl Look<'_> {
    fn text(&self, path: &str) -> Option<String> {
        let bytes = disk::read_start(self.disk, &self.root.join(path), FILE_BYTES_MAX).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first of these files that says anything. Boards whose maker forgot them say so in many words.
    fn first(&self, paths: &[&str]) -> Option<String> {
        let is_said = |text: &String| {
            let text = text.trim_matches(|char: char| char.is_whitespace() || char == '\0').to_lowercase();
            !text.is_empty()
                && !["to be filled", "default string", "not specified", "none"].iter().any(|no| text.starts_with(no))
        };
        paths.iter().filter_map(|path| self.text(path)).find(is_said)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        self.disk.list(&self.root.join(folder)).unwrap_or_default()
    }
}

fn installed(found: &mut Found, state: &State) {
    found.put_some("release", state.release.clone());
    for (name, installed) in &state.installed {
        found.put(&format!("component.{name}.version"), &installed.version);
        // Of several artifacts the first is the one that names the version.
        found.put_some(&format!("component.{name}.digest"), installed.digests.first().map(Sha256::to_string));
    }
    found.put("boot.count", &state.boots.to_string());
}

fn hardware(found: &mut Found, look: &Look<'_>) {
    found.put("hardware.arch", std::env::consts::ARCH);
    let model = look.first(&["proc/device-tree/model", "sys/class/dmi/id/product_name"]);
    found.put_some("hardware.model", model);
    found.put_some("hardware.vendor", look.first(&["sys/class/dmi/id/sys_vendor"]));
    let serial = ["proc/device-tree/serial-number", "sys/class/dmi/id/product_serial", "sys/class/dmi/id/board_serial"];
    found.put_some("hardware.serial", look.first(&serial));
    if let Some(text) = look.text("proc/cpuinfo") {
        let count = text.lines().filter(|line| line.split(':').next().is_some_and(|key| key.trim() == "processor"));
        found.put("hardware.cpus", &count.count().max(1).to_string());
    }
    let memory = look.text("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    found
        .put_some("hardware.memory_bytes", memory.and_then(|kib| kib.checked_mul(1024)).map(|bytes| bytes.to_string()));
}

fn system(found: &mut Found, look: &Look<'_>) {
    let release = look.text("etc/os-release").or_else(|| look.text("usr/lib/os-release")).unwrap_or_default();
    for (name, key) in
        [("ID", "os.id"), ("VERSION_ID", "os.version"), ("PRETTY_NAME", "os.name"), ("BUILD_ID", "os.build")]
    {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.put(key, value.unwrap_or_default().trim().trim_matches(['"', '\'']));
    }
    // "Linux version 6.6.31-v8 (builder@host) (gcc …) #1 SMP …": the third word is enough to know it by.
    let kernel = look.text("proc/version").and_then(|text| text.split_whitespace().nth(2).map(str::to_owned));
    found.put_some("kernel.version", kernel);
}

/// Of the file system that downloads go to.
fn storage(found: &mut Found, look: &Look<'_>, folder: &Path) {
    if let Ok(free) = look.disk.free_bytes(folder) {
        found.put("storage.free_mib", &two_digits(free / MIB).to_string());
    }
    if let Some(device) = look.text("proc/self/mountinfo").and_then(|text| device_of(&text, folder)) {
        let sectors =
            look.text(&format!("sys/dev/block/{device}/size")).and_then(|text| text.trim().parse::<u64>().ok());
        found.put_some("storage.size_mib", sectors.map(|count| (count / (MIB / SECTOR_BYTES)).to_string()));
    }
}

/// Rounded down, so that it isn't news each time that a log has grown.
fn two_digits(count: u64) -> u64 {
    let mut unit = 1;
    while count / unit >= 100 {
        unit *= 10;
    }
    count / unit * unit
}

/// `major:minor` of the file system that a folder is in: the deepest mount point above it, the last one if several.
fn device_of(mounts: &str, folder: &Path) -> Option<String> {
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let device = words.nth(2)?.to_owned();
        let point = words.nth(1)?.replace("\\040", " ");
        folder.starts_with(&point).then_some((Path::new(&point).components().count(), device))
    };
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, device)| device)
}

fn digest(disk: &dyn Disk, path: &Path) -> Option<Sha256> {
    let size = disk.size(path).ok().filter(|size| *size <= SBOM_BYTES_MAX)?;
    let (mut hash, mut offset, mut buffer) = (sha2::Sha256::new(), 0, vec![0; PIECE_BYTES]);
    while offset < size {
        let count = disk.read_at(path, offset, &mut buffer).ok().filter(|count| *count > 0)?;
        hash.update(&buffer[..count]);
        offset += count as u64;
    }
    Some(Sha256(hash.finalize().into()))
}

#[cfg(test)]
mod tests;
