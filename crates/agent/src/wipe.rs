//! How does a device that was decommissioned destroy what it has, whenever the power goes?
//!
//! Persist, then act: the order and the receipt are durable before the first file goes, and each step may be done again.
//! First the data named goes, then the agent's key and state, then the server is told by the receipt, because there is
//! nothing else left to prove anything by. What is destroyed is what the device's own file allows, whoever orders more.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use muster_wire::agent::{WipeBegun, WipeDone, WipeOrder, WipeReceipt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::read_text;
use crate::disk::{self, Disk, Kind};
use crate::world::{Call, NetError, World};

/// In the agent's folder; all that is left of it in the end.
pub const FILE: &str = "leaving.json";
/// The root certificate of the server, by which the device still reaches it once its own certificate is gone.
pub const ROOT_FILE: &str = "leaving-root.pem";
/// What stays in the agent's folder: nothing of it is secret.
const KEPT: [&str; 3] = [FILE, ROOT_FILE, PINNED_ROOT_FILE];
/// By which a device reaches its server that was told a pin when it joined.
pub const PINNED_ROOT_FILE: &str = "root.pem";
const FILE_BYTES_MAX: usize = 256 * 1024;
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What may be destroyed here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WipeSettings {
    /// The agent's own.
    pub folder: PathBuf,
    /// Files and folders, of the device's file: `[wipe] paths`.
    pub allowed: Vec<PathBuf>,
    /// The device's file, which may have a token in it.
    pub file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
}

/// A device on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    paths: Vec<PathBuf>,
    receipt: String,
    pub step: Step,
    #[serde(default)]
    wiped: Vec<String>,
    #[serde(default)]
    failed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Data, key and state are being destroyed.
    Wiping,
    /// Nothing is left but telling it.
    Telling,
    /// The server knows.
    Gone,
}

#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    #[error("reading or writing {FILE}")]
    Disk(#[source] io::Error),
    #[error("{FILE} makes no sense")]
    Broken(#[source] serde_json::Error),
    #[error(transparent)]
    Net(#[from] NetError),
}

/// A wipe that was begun. A broken file is an error: nobody goes on as if nothing had happened.
pub fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<Leaving>, WipeError> {
    let path = folder.join(FILE);
    if disk.kind(&path).map_err(WipeError::Disk)?.is_none() {
        return Ok(None);
    }
    let text = disk::read(disk, &path, FILE_BYTES_MAX).map_err(WipeError::Disk)?;
    serde_json::from_slice(&text).map(Some).map_err(WipeError::Broken)
}

/// The device has joined again.
pub fn forget(disk: &dyn Disk, folder: &Path) -> Result<(), WipeError> {
    [FILE, ROOT_FILE].iter().try_for_each(|name| disk.remove(&folder.join(name))).map_err(WipeError::Disk)
}

/// Fetches the order and confirms it. From its return on the wipe is under way, whatever happens.
pub fn begin(world: &dyn World, settings: &WipeSettings) -> Result<Leaving, WipeError> {
    let path = "/device/v1/wipe";
    let order: WipeOrder = ask(world, "GET", path, None::<&()>)?;
    let (paths, refused) = plan(world.disk(), settings, &order);
    let receipt: WipeReceipt = ask(world, "POST", path, Some(&WipeBegun { refused }))?;
    let leaving =
        Leaving { paths, receipt: receipt.receipt, step: Step::Wiping, wiped: Vec::new(), failed: Vec::new() };
    save(world.disk(), &settings.folder, &leaving)?;
    Ok(leaving)
}

/// Does the next step. It may be repeated as often as it is cut off.
pub fn go_on(world: &dyn World, settings: &WipeSettings, leaving: &Leaving) -> Result<Leaving, WipeError> {
    let disk = world.disk();
    let next = match leaving.step {
        Step::Wiping => {
            let (mut wiped, mut failed) = (Vec::new(), Vec::new());
            for path in &leaving.paths {
                match destroy(disk, path) {
                    Ok(()) => wiped.push(path.display().to_string()),
                    Err(why) => failed.push(format!("{}: {why}", path.display())),
                }
            }
            forget_identity(disk, settings).map_err(WipeError::Disk)?;
            Leaving { step: Step::Telling, wiped, failed, ..leaving.clone() }
        }
        Step::Telling => {
            let Leaving { receipt, wiped, failed, .. } = leaving.clone();
            let body = WipeDone { receipt, wiped, failed };
            match ask_raw(world, "POST", "/device/v1/wipe/done", Some(&body)) {
                Ok(_) => {}
                // Somebody has deleted the device meanwhile: there is nobody to tell.
                Err(NetError::Refused { status: 401 | 404, .. }) => {}
                Err(failed) => return Err(failed.into()),
            }
            Leaving { step: Step::Gone, receipt: String::new(), ..leaving.clone() }
        }
        Step::Gone => return Ok(leaving.clone()),
    };
    save(disk, &settings.folder, &next)?;
    Ok(next)
}

fn save(disk: &dyn Disk, folder: &Path, leaving: &Leaving) -> Result<(), WipeError> {
    let text = serde_json::to_vec_pretty(leaving).map_err(WipeError::Broken)?;
    disk::replace(disk, &folder.join(FILE), &text).map_err(WipeError::Disk)
}

/// What will be destroyed, and what is asked for and won't be.
fn plan(disk: &dyn Disk, settings: &WipeSettings, order: &WipeOrder) -> (Vec<PathBuf>, Vec<String>) {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut refused = Vec::new();
    let defaults = settings.allowed.iter().filter(|_| order.defaults).cloned();
    for path in defaults.chain(order.paths.iter().map(PathBuf::from)) {
        match may_destroy(disk, settings, &path) {
            Ok(()) if paths.contains(&path) => {}
            Ok(()) => paths.push(path),
            Err(why) => refused.push(format!("{}: {why}", path.display())),
        }
    }
    (paths, refused)
}

/// Inside of what the device's file names, by plain words: no `..`, and no link on the way out of it.
fn may_destroy(disk: &dyn Disk, settings: &WipeSettings, path: &Path) -> Result<(), String> {
    let is_plain = path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && path.components().count() > 1;
    if !is_plain {
        return Err("this is no plain absolute path".into());
    }
    let allowed = settings.allowed.iter().find(|allowed| path.starts_with(allowed));
    let allowed = allowed.ok_or("the device's file doesn't allow it ([wipe] paths)")?;
    let own = [Some(&settings.folder), settings.file.as_ref(), settings.token_file.as_ref()];
    if own.into_iter().flatten().any(|own| own.starts_with(path) || path.starts_with(&settings.folder)) {
        return Err("what the agent itself needs lies in it; it is destroyed last, by itself".into());
    }
    let mut at = allowed.clone();
    for part in path.strip_prefix(allowed).unwrap_or(Path::new("")).components() {
        if disk.kind(&at).map_err(|bad| bad.to_string())? == Some(Kind::Link) {
            return Err(format!("{} is a link that leads elsewhere", at.display()));
        }
        at.push(part);
    }
    Ok(())
}

/// A file, a link itself, or a folder with all in it. Fine if it is gone already.
fn destroy(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.kind(path)? {
        None => return Ok(()),
        Some(Kind::File | Kind::Link) => disk.remove(path)?,
        Some(Kind::Folder) => empty(disk, path, &[]).and_then(|()| match disk.remove_folder(path) {
            // A mount point stays, with nothing in it.
            Err(_) if disk.list(path).is_ok_and(|left| left.is_empty()) => Ok(()),
            other => other,
        })?,
        Some(Kind::Device) => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a block device can't be destroyed by its name"));
        }
    }
    disk.sync_folder(disk::folder_of(path))
}

/// All in a folder but what is kept.
fn empty(disk: &dyn Disk, folder: &Path, kept: &[&str]) -> io::Result<()> {
    for name in disk.list(folder)?.iter().filter(|name| !kept.contains(&name.as_str())) {
        let path = folder.join(name);
        match disk.kind(&path)? {
            Some(Kind::Folder) => disk.remove_folder(&path)?,
            Some(Kind::File | Kind::Link | Kind::Device) => disk.remove(&path)?,
            None => {}
        }
    }
    disk.sync_folder(folder)
}

/// Key, certificate, state, what was fetched, and the token.
fn forget_identity(disk: &dyn Disk, settings: &WipeSettings) -> io::Result<()> {
    empty(disk, &settings.folder, &KEPT)?;
    if let Some(file) = &settings.token_file {
        disk.remove(file)?;
        disk.sync_folder(disk::folder_of(file))?;
    }
    let Some(file) = &settings.file else { return Ok(()) };
    let text = read_text(file).map_err(io::Error::other)?;
    let without = without_token(&text);
    if without == text {
        return Ok(());
    }
    disk::replace(disk, file, without.as_bytes())?;
    disk.set_mode(file, 0o600)
}

/// The file without its top-level token; all else is kept as it is.
fn without_token(text: &str) -> String {
    let mut is_top = true;
    let kept = text.split_inclusive('\n').filter(|line| {
        is_top &= !line.trim_start().starts_with('[');
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        !(is_top && key == "token")
    });
    kept.collect()
}

fn ask<A: DeserializeOwned>(
    world: &dyn World,
    method: &'static str,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<A, NetError> {
    let body = ask_raw(world, method, path, body)?;
    serde_json::from_slice(&body)
        .map_err(|bad| NetError::Unreachable(format!("the answer isn't one of a Muster server: {bad}")))
}

fn ask_raw(
    world: &dyn World,
    method: &'static str,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<Vec<u8>, NetError> {
    let body = body.map(|body| serde_json::to_vec(body).expect("messages have string keys only"));
    let reply = world.net().call(&Call { method, path, body: body.as_deref(), timeout: CALL_TIMEOUT })?;
    match reply.status {
        200..300 => Ok(reply.body),
        status => Err(NetError::Refused { status, detail: String::from_utf8_lossy(&reply.body).into_owned() }),
    }
}
