//! What runs before the slot's own system? Drivers for disk and network, and a script that finds the slot.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::cpio::Archive;
use super::ingredients::Ingredients;

/// Disk, network and the file system; what they need comes with them.
const DRIVERS: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_net", "ext4"];
const FOLDERS: [&str; 7] = ["bin", "dev", "lib", "lib/modules", "proc", "sys", "system"];
const INIT: &[u8] = include_bytes!("files/initramfs-init");
/// In a module, the names of those it needs follow this, with commas between them and a zero at the end.
const NEEDS: &[u8] = b"\0depends=";

/// The archive, uncompressed.
pub fn build(ingredients: &Ingredients) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.folder(folder);
    }
    archive.console();
    let busybox = fs::read(&ingredients.busybox).context("reading busybox")?;
    archive.program("bin/busybox", &busybox);
    let mut order = String::new();
    for (name, content) in modules(&ingredients.modules)? {
        archive.file(&format!("lib/modules/{name}.ko"), &content);
        order.push_str(&format!("{name}.ko\n"));
    }
    archive.file("lib/modules/order", order.as_bytes());
    archive.program("init", INIT);
    Ok(archive.finish())
}

/// The drivers and what they need, in the order in which they are to be loaded.
fn modules(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    collect(&folder.join("kernel"), &mut files)?;
    let builtin = fs::read_to_string(folder.join("modules.builtin")).context("reading modules.builtin")?;
    let builtin: Vec<String> = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
    let mut loaded = Vec::new();
    for driver in DRIVERS {
        load(driver, &files, &builtin, &mut loaded)?;
    }
    Ok(loaded)
}

/// Debian's package leaves `modules.dep` to the machine that installs it, so modules are asked themselves.
fn load(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    builtin: &[String],
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> anyhow::Result<()> {
    if loaded.iter().any(|(known, _)| known == name) || builtin.iter().any(|known| known == name) {
        return Ok(());
    }
    let Some(file) = files.get(name) else { bail!("the kernel has no driver {name}") };
    let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    for needed in needs(&content).with_context(|| format!("{} doesn't say what it needs", file.display()))? {
        load(&needed, files, builtin, loaded)?;
    }
    loaded.push((name.to_owned(), content));
    Ok(())
}

fn needs(module: &[u8]) -> Option<Vec<String>> {
    let begins_at = module.windows(NEEDS.len()).position(|window| window == NEEDS)? + NEEDS.len();
    let list = module[begins_at..].split(|byte| *byte == 0).next()?;
    let list = std::str::from_utf8(list).ok()?;
    Some(list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name by which modules call each other, of a `.ko` file.
fn name_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.strip_suffix(".ko")?.replace('-', "_"))
}
