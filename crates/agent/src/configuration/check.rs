//! May this configuration be applied here? Decided before anything is touched.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use muster_vocab::{Sha256, limit};
use muster_wire::agent::{Configuration, ConfigurationFile};

use super::{ConfigurationSettings, accounts, digest_of};
use crate::disk::{self, Disk, Kind, Permissions, folder_of};

/// As many as the kernel follows.
const LINKS_MAX: u32 = 40;
/// Of a file that is new and whose mode is not named.
const MODE: u32 = 0o644;
/// A file that is larger is taken for changed without being read, and is not copied: it is no configuration.
const OLD_BYTES_MAX: usize = super::FILE_BYTES_MAX;

/// One file, checked.
#[derive(Debug)]
pub(super) struct Planned {
    /// As the configuration says.
    pub named: String,
    /// The same with all links of its folders followed.
    pub path: PathBuf,
    pub content: String,
    pub digest: Sha256,
    pub permissions: Permissions,
    /// None: there was no such file.
    pub previous: Option<Permissions>,
    /// It differs from what is there.
    pub is_changed: bool,
    pub validate: Vec<String>,
    pub reload: Vec<String>,
}

/// Where a file is written before it takes its name: hidden, so that no service that reads a whole folder reads it.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(BESIDE);
    path.with_file_name(name)
}

const BESIDE: &str = ".muster-new";

/// All files, or why not one of them is touched.
pub(super) fn plan(
    disk: &dyn Disk,
    settings: &ConfigurationSettings,
    wanted: &Configuration,
) -> Result<Vec<Planned>, String> {
    if settings.roots.is_empty() {
        return Err("this device takes no configurations: its agent's file names no roots for them".into());
    }
    if wanted.files.len() > limit::FILES_PER_CONFIGURATION_MAX {
        return Err(format!(
            "{} files are too many; {} are taken",
            wanted.files.len(),
            limit::FILES_PER_CONFIGURATION_MAX
        ));
    }
    let bytes: usize = wanted.files.iter().map(|file| file.content.len()).sum();
    if bytes > limit::RENDERED_BYTES_MAX {
        return Err(format!("the files are too large: {bytes} bytes; {} are taken", limit::RENDERED_BYTES_MAX));
    }
    let mut paths = BTreeSet::new();
    let mut files = Vec::new();
    for file in &wanted.files {
        let planned = one(disk, settings, file).map_err(|why| format!("{:?}: {why}", shown(&file.path)))?;
        if !paths.insert(planned.path.clone()) {
            return Err(format!("{:?} is there twice", file.path));
        }
        files.push(planned);
    }
    Ok(files)
}

fn shown(path: &str) -> String {
    path.chars().take(limit::PATH_CHARS_MAX).collect()
}

fn one(disk: &dyn Disk, settings: &ConfigurationSettings, file: &ConfigurationFile) -> Result<Planned, String> {
    let path = place(disk, settings, &file.path)?;
    let previous = match disk.kind(&path).map_err(|why| why.to_string())? {
        None => None,
        Some(Kind::File) => Some(disk.permissions(&path).map_err(|why| why.to_string())?),
        Some(Kind::Folder | Kind::Link | Kind::Device) => return Err("is there and is no file".into()),
    };
    let old = match previous {
        Some(_) => Some(disk::read(disk, &path, OLD_BYTES_MAX).map_err(|why| format!("what is there: {why}"))?),
        None => None,
    };
    let mut permissions = previous.unwrap_or(own(disk, &settings.folder));
    if let Some(mode) = &file.mode {
        permissions.mode = parse_mode(mode)?;
    }
    if let Some(owner) = &file.owner {
        (permissions.user, permissions.group) = accounts::owner(disk, &settings.accounts, owner)?;
    }
    for words in [&file.validate, &file.reload] {
        allow(settings, words)?;
    }
    let digest = digest_of(file.content.as_bytes());
    Ok(Planned {
        named: file.path.clone(),
        path,
        content: file.content.clone(),
        digest,
        permissions,
        is_changed: old.as_deref() != Some(file.content.as_bytes()) || previous != Some(permissions),
        previous,
        validate: file.validate.clone(),
        reload: file.reload.clone(),
    })
}

/// New files belong to whom the agent's folder belongs: to whom it runs as.
fn own(disk: &dyn Disk, folder: &Path) -> Permissions {
    let own = disk.permissions(folder).unwrap_or(Permissions { mode: 0, user: 0, group: 0 });
    Permissions { mode: MODE, ..own }
}

/// Octal, without the bits that let a file run as another user.
fn parse_mode(text: &str) -> Result<u32, String> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    mode.ok_or_else(|| format!("the mode {text:?} is not of the form 0644"))
}

/// Only what the agent's own file names is run.
fn allow(settings: &ConfigurationSettings, words: &[String]) -> Result<(), String> {
    if words.is_empty() || settings.commands.iter().any(|known| !known.is_empty() && words.starts_with(known)) {
        let is_sane = words.len() <= limit::COMMAND_WORDS_MAX && words.iter().all(|word| !word.contains('\0'));
        return if is_sane { Ok(()) } else { Err("one of its commands can't be run".into()) };
    }
    Err(format!("the command {:?} is not among those that the agent's file allows", words.join(" ")))
}

/// The place with all links followed, if it is one that may be written.
fn place(disk: &dyn Disk, settings: &ConfigurationSettings, named: &str) -> Result<PathBuf, String> {
    let Some(relative) = named.strip_prefix('/') else { return Err("is not an absolute path".into()) };
    if named.chars().count() > limit::PATH_CHARS_MAX || named.chars().any(char::is_control) {
        return Err("is no path that is taken".into());
    }
    if relative.split('/').any(|name| matches!(name, "" | "." | "..") || name.ends_with(BESIDE)) {
        return Err("has an empty name, \".\", \"..\" or a name of the agent's own in it".into());
    }
    let path = Path::new(named);
    let is_below = |root: &&PathBuf| path.starts_with(root) && path != root.as_path();
    if !settings.roots.iter().any(|root| is_below(&root)) {
        return Err("is outside the roots that the agent's file allows".into());
    }
    let folder = resolve(disk, folder_of(path))?;
    let name = path.file_name().ok_or("has no name")?;
    let is_inside = |root: &PathBuf| resolve(disk, root).is_ok_and(|root| folder.starts_with(root));
    if !settings.roots.iter().any(is_inside) {
        return Err("leads outside the roots that the agent's file allows".into());
    }
    let real = folder.join(name);
    if real.starts_with(resolve(disk, &settings.folder)?) {
        return Err("is the agent's own".into());
    }
    Ok(real)
}

/// Follows all links of a folder's path. What isn't there yet will be a folder.
fn resolve(disk: &dyn Disk, folder: &Path) -> Result<PathBuf, String> {
    let mut real = PathBuf::from("/");
    let mut left = names(folder);
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            real.pop();
            continue;
        }
        let here = real.join(&name);
        match disk.kind(&here).map_err(|why| why.to_string())? {
            Some(Kind::Folder) | None => real = here,
            Some(Kind::Link) => {
                links += 1;
                let target = disk.read_link(&here).map_err(|why| why.to_string())?;
                if links > LINKS_MAX {
                    return Err("has too many links in it".into());
                }
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                left.extend(names(&target));
            }
            Some(Kind::File | Kind::Device) => return Err(format!("{} is no folder", here.display())),
        }
    }
    Ok(real)
}

/// Last first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}
