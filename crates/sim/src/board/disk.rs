//! A disk that forgets what was not synced.
//!
//! Contents and names are kept twice: as programs see them, and as they would be found after a power cut. Between two
//! syncs a write may be kept, lost or torn; names of one folder reach the disk in order, but any tail of them may be
//! missing. Nothing is kinder than what a real file system promises.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_agent::disk::{Disk, Kind, Permissions, folder_of};
use muster_vocab::Timestamp;
use parking_lot::Mutex;

use crate::chance::Chance;

/// Writes reach the medium in units of this.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(u64),
    Device(u64),
    Folder,
    Link(PathBuf),
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Debug, Clone, Default)]
struct Content {
    /// Shared with `durable` until the next write.
    seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Of a device; beyond what was written it reads as zeros.
    device_bytes: Option<usize>,
    /// Since the last sync, in order.
    pending: Vec<Change>,
    mode: u32,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Size(usize),
}

/// A change of names in one folder.
#[derive(Debug, Clone)]
struct Renaming {
    folder: PathBuf,
    sets: Vec<(PathBuf, Option<Node>)>,
}

/// What a power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of it.
    All,
    /// All of it, although nobody asked for that.
    Nothing,
    /// Any part of it, down to half a sector's write.
    Torn { seed: u64 },
}

/// When the power goes, counted in operations that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub at: u64,
    pub loss: Loss,
}

#[derive(Debug, Default)]
struct Inner {
    seen: Names,
    durable: Names,
    pending: Vec<Renaming>,
    contents: BTreeMap<u64, Content>,
    next: u64,
    operations: u64,
    cut: Option<Cut>,
    is_off: bool,
    /// Bytes of all files together; writes beyond fail.
    capacity: Option<usize>,
    /// Share of writes and syncs that are only said to have happened.
    lying: Option<(f64, Chance)>,
}

/// A disk in memory. Cheap to fill; its users share it.
#[derive(Debug, Default)]
pub struct VirtualDisk(Mutex<Inner>);

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl VirtualDisk {
    /// Lays out a block device of this size that begins with these bytes, durably.
    pub fn add_device(&self, path: &str, bytes: Vec<u8>, size: usize) {
        self.add(path, bytes, Some(size));
    }

    pub fn add_file(&self, path: &str, bytes: Vec<u8>) {
        self.add(path, bytes, None);
    }

    pub fn add_folder(&self, path: &str) {
        let mut inner = self.0.lock();
        for folder in Path::new(path).ancestors() {
            inner.seen.insert(folder.to_owned(), Node::Folder);
            inner.durable.insert(folder.to_owned(), Node::Folder);
        }
    }

    fn add(&self, path: &str, bytes: Vec<u8>, device_bytes: Option<usize>) {
        self.add_folder(&folder_of(Path::new(path)).to_string_lossy());
        let mut inner = self.0.lock();
        let id = inner.content(bytes, device_bytes);
        let node = if device_bytes.is_some() { Node::Device(id) } else { Node::File(id) };
        inner.seen.insert(path.into(), node.clone());
        inner.durable.insert(path.into(), node);
    }

    /// Operations so far that changed something: each is a moment at which the power may go.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    pub fn cut_power(&self, cut: Option<Cut>) {
        self.0.lock().cut = cut;
    }

    /// Takes back a power cut that has not come yet.
    pub fn cut_power_unless_off(&self) {
        let mut inner = self.0.lock();
        if !inner.is_off {
            inner.cut = None;
        }
    }

    pub fn is_off(&self) -> bool {
        self.0.lock().is_off
    }

    /// The power goes now, at a moment when nothing is written.
    pub fn pull_plug(&self, loss: Loss) {
        let mut inner = self.0.lock();
        inner.is_off = true;
        inner.cut = Some(Cut { at: 0, loss });
    }

    /// What is there is what was durable, and what chance has kept.
    pub fn power_on(&self) {
        let mut inner = self.0.lock();
        if !inner.is_off {
            return;
        }
        let loss = inner.cut.take().map_or(Loss::All, |cut| cut.loss);
        inner.settle(loss);
        inner.is_off = false;
    }

    /// An orderly restart syncs everything.
    pub fn flush(&self) {
        let mut inner = self.0.lock();
        if !inner.is_off {
            inner.settle(Loss::Nothing);
        }
    }

    pub fn limit(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// From now on some writes are lost although a sync was answered well.
    pub fn lie(&self, share: f64, seed: u64) {
        self.0.lock().lying = (share > 0.0).then(|| (share, Chance::keyed(seed, &[0x11e5])));
    }

    /// Flips one bit of what lies on the medium. False: there is nothing at this path.
    pub fn flip(&self, path: &Path, chance: &mut Chance) -> bool {
        let mut inner = self.0.lock();
        let (Some(Node::File(id) | Node::Device(id)), true) = (inner.seen.get(path).cloned(), true) else {
            return false;
        };
        let content = inner.contents.get_mut(&id).expect("a name's content exists");
        if content.seen.is_empty() {
            return false;
        }
        let at = usize::try_from(chance.below(content.seen.len() as u64)).unwrap_or(0);
        let bit = 1 << chance.below(8);
        Arc::make_mut(&mut content.seen)[at] ^= bit;
        if let Some(byte) = Arc::make_mut(&mut content.durable).get_mut(at) {
            *byte ^= bit;
        }
        true
    }

    /// As programs see it now.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.0.lock();
        match inner.seen.get(path)? {
            Node::File(id) | Node::Device(id) => Some(inner.contents[id].seen.to_vec()),
            Node::Folder | Node::Link(_) => None,
        }
    }

    /// Where a link leads.
    pub fn linked(&self, link: &Path) -> Option<PathBuf> {
        match self.0.lock().seen.get(link)? {
            Node::Link(target) => Some(target.clone()),
            Node::File(_) | Node::Device(_) | Node::Folder => None,
        }
    }

    fn change<T>(&self, act: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock();
        if inner.is_off {
            return Err(power_is_off());
        }
        inner.operations += 1;
        if inner.cut.is_some_and(|cut| cut.at == inner.operations) {
            // The power goes in the middle of it: it may have happened, in whole or in part, or not.
            let _ = act(&mut inner);
            inner.is_off = true;
            return Err(power_is_off());
        }
        act(&mut inner)
    }

    fn look<T>(&self, act: impl FnOnce(&Inner) -> io::Result<T>) -> io::Result<T> {
        let inner = self.0.lock();
        if inner.is_off { Err(power_is_off()) } else { act(&inner) }
    }
}

impl Inner {
    fn content(&mut self, bytes: Vec<u8>, device_bytes: Option<usize>) -> u64 {
        self.next += 1;
        let bytes = Arc::new(bytes);
        let content =
            Content { seen: Arc::clone(&bytes), durable: bytes, device_bytes, pending: Vec::new(), mode: 0o644 };
        self.contents.insert(self.next, content);
        self.next
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        match self.seen.get(&self.followed(path)) {
            Some(Node::File(id) | Node::Device(id)) => Ok(*id),
            Some(Node::Folder) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Some(Node::Link(_)) | None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// The path with links in its folders resolved, and the last one too.
    fn followed(&self, path: &Path) -> PathBuf {
        let mut real = PathBuf::new();
        for part in path.components() {
            real.push(part);
            let mut hops = 0;
            while let Some(Node::Link(target)) = self.seen.get(&real) {
                real = folder_of(&real).join(target);
                hops += 1;
                if hops > 8 {
                    break;
                }
            }
        }
        real
    }

    /// The path with links in its folders resolved; the last one is the name that is meant.
    fn named(&self, path: &Path) -> PathBuf {
        let folder = self.followed(folder_of(path));
        path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
    }

    fn is_folder(&self, path: &Path) -> bool {
        matches!(self.seen.get(&self.followed(path)), Some(Node::Folder))
    }

    /// The real path of a folder that is there.
    fn folder(&self, path: &Path) -> io::Result<PathBuf> {
        let real = self.followed(path);
        match self.seen.get(&real) {
            Some(Node::Folder) => Ok(real),
            Some(Node::File(_) | Node::Device(_) | Node::Link(_)) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// May something take this name from what has it now?
    fn may_replace(&self, node: &Node, to: &Path) -> io::Result<()> {
        self.folder(folder_of(to))?;
        let is_empty = || !self.seen.keys().any(|path| path.starts_with(to) && path != to);
        match (node, self.seen.get(to)) {
            (Node::Folder, Some(Node::Folder)) if !is_empty() => Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty)),
            (Node::Folder, None | Some(Node::Folder)) => Ok(()),
            (Node::Folder, Some(_)) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
            (_, Some(Node::Folder)) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            (_, None | Some(_)) => Ok(()),
        }
    }

    /// A folder's names go with it. Those in it that were not durable are not made so by the rename.
    fn move_names(&mut self, from: &Path, to: &Path) {
        let inside: BTreeSet<PathBuf> = self.seen.keys().chain(self.durable.keys()).cloned().collect();
        let mut sets = Vec::new();
        let mut later = Vec::new();
        self.pending.retain(|renaming| !renaming.folder.starts_with(from));
        for path in inside.into_iter().filter(|path| path.starts_with(from)) {
            let rest = path.strip_prefix(from).expect("it starts with it");
            let new = if path == from { to.to_owned() } else { to.join(rest) };
            let seen = self.seen.remove(&path);
            set(&mut self.seen, &new, seen.as_ref());
            // The name that is renamed is made durable with its folder, whatever it was before.
            let durable = if path == from { seen.clone() } else { self.durable.get(&path).cloned() };
            if seen != durable {
                later.push(Renaming { folder: folder_of(&new).to_owned(), sets: vec![(new.clone(), seen)] });
            }
            sets.push((new, durable));
            sets.push((path, None));
        }
        self.pending.push(Renaming { folder: folder_of(to).to_owned(), sets });
        self.pending.extend(later);
    }

    fn rename_all(&mut self, folder: &Path, sets: Vec<(PathBuf, Option<Node>)>) {
        for (path, node) in &sets {
            set(&mut self.seen, path, node.as_ref());
        }
        self.pending.push(Renaming { folder: folder.to_owned(), sets });
    }

    fn used(&self) -> usize {
        let files = self.seen.values().filter_map(|node| match node {
            Node::File(id) => Some(self.contents[id].seen.len()),
            Node::Device(_) | Node::Folder | Node::Link(_) => None,
        });
        files.sum()
    }

    fn lies(&mut self) -> bool {
        self.lying.as_mut().is_some_and(|(share, chance)| chance.happens(*share))
    }

    /// Everything becomes as a start after the power cut finds it.
    fn settle(&mut self, loss: Loss) {
        let mut chance = Chance::keyed(if let Loss::Torn { seed } = loss { seed } else { 0 }, &[0xd15c]);
        let pending = std::mem::take(&mut self.pending);
        let mut cut_folders: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for renaming in pending {
            let is_cut = cut_folders.entry(renaming.folder.clone()).or_default();
            *is_cut |= match loss {
                Loss::All => true,
                Loss::Nothing => false,
                Loss::Torn { .. } => chance.happens(0.3),
            };
            if !*is_cut {
                for (path, node) in &renaming.sets {
                    set(&mut self.durable, path, node.as_ref());
                }
            }
        }
        for content in self.contents.values_mut() {
            for change in std::mem::take(&mut content.pending) {
                content.land(&change, loss, &mut chance);
            }
            content.seen.clone_from(&content.durable);
        }
        // What was moved into a folder whose own name got lost is out of reach.
        let folders: BTreeSet<PathBuf> =
            self.durable.iter().filter(|(_, node)| **node == Node::Folder).map(|(path, _)| path.clone()).collect();
        self.durable.retain(|path, _| {
            path.ancestors().skip(1).all(|above| above.as_os_str().is_empty() || folders.contains(above))
        });
        self.seen.clone_from(&self.durable);
    }
}

impl Content {
    fn land(&mut self, change: &Change, loss: Loss, chance: &mut Chance) {
        let kept = match loss {
            Loss::All => false,
            Loss::Nothing => true,
            Loss::Torn { .. } => chance.happens(0.7),
        };
        match change {
            Change::Size(size) if kept => Arc::make_mut(&mut self.durable).resize(*size, 0),
            Change::Write { offset, bytes } if loss == Loss::Nothing => {
                put(Arc::make_mut(&mut self.durable), *offset, bytes)
            }
            Change::Write { offset, bytes } if kept => {
                for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if chance.happens(0.8) {
                        put(Arc::make_mut(&mut self.durable), offset + index * SECTOR_BYTES, sector);
                    }
                }
            }
            Change::Size(_) | Change::Write { .. } => {}
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn set(names: &mut Names, path: &Path, node: Option<&Node>) {
    match node {
        Some(node) => names.insert(path.to_owned(), node.clone()),
        None => names.remove(path),
    };
}

/// Where a sync that was answered well is believed. Writes may be lost anywhere, and reading back finds that; but what
/// vanishes after it was read back can't be told from what was never there: an old image is whole again and starts as
/// well as ever. Only the agent's state, with checksums and two generations, has an answer to media that lie so.
fn is_honest(path: &Path) -> bool {
    !path.starts_with("/data")
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Disk for VirtualDisk {
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        self.look(|inner| {
            Ok(inner.seen.get(&inner.named(path)).map(|node| match node {
                Node::File(_) => Kind::File,
                Node::Device(_) => Kind::Device,
                Node::Folder => Kind::Folder,
                Node::Link(_) => Kind::Link,
            }))
        })
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        self.look(|inner| {
            let content = &inner.contents[&inner.id(path)?];
            Ok(content.device_bytes.unwrap_or(content.seen.len()) as u64)
        })
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.look(|inner| {
            let content = &inner.contents[&inner.id(path)?];
            let rest = content.seen.get(at(offset)..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            let Some(size) = content.device_bytes else { return Ok(count) };
            let all = size.saturating_sub(at(offset)).min(buffer.len());
            buffer[count..all].fill(0);
            Ok(all)
        })
    }

    fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|inner| {
            let is_link = matches!(inner.seen.get(&inner.named(path)), Some(Node::Link(_)));
            let path = inner.followed(path);
            if is_link && !inner.seen.contains_key(&path) {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            let is_device = matches!(inner.seen.get(&path), Some(Node::Device(_)));
            if !is_device && inner.capacity.is_some_and(|most| inner.used() + bytes.len() > most) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            if inner.id(&path).is_err() {
                if !matches!(inner.seen.get(folder_of(&path)), Some(Node::Folder)) {
                    return Err(io::Error::from(io::ErrorKind::NotFound));
                }
                let id = inner.content(Vec::new(), None);
                inner.rename_all(folder_of(&path), vec![(path.clone(), Some(Node::File(id)))]);
            }
            let (id, is_lost) = (inner.id(&path)?, inner.lies());
            let content = inner.contents.get_mut(&id).expect("a name's content exists");
            if content.device_bytes.is_some_and(|size| at(offset) + bytes.len() > size) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            if !is_lost {
                put(Arc::make_mut(&mut content.seen), at(offset), bytes);
                content.pending.push(Change::Write { offset: at(offset), bytes: bytes.to_vec() });
            }
            Ok(())
        })
    }

    fn set_size(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.change(|inner| {
            let id = inner.id(path)?;
            let content = inner.contents.get_mut(&id).expect("a name's content exists");
            Arc::make_mut(&mut content.seen).resize(at(bytes), 0);
            content.pending.push(Change::Size(at(bytes)));
            Ok(())
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.change(|inner| {
            let id = inner.id(path)?;
            if !is_honest(path) && inner.lies() {
                return Ok(());
            }
            let content = inner.contents.get_mut(&id).expect("a name's content exists");
            content.pending.clear();
            content.durable.clone_from(&content.seen);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|inner| {
            let (from, to) = (inner.named(from), inner.named(to));
            let node = inner.seen.get(&from).cloned().ok_or(io::Error::from(io::ErrorKind::NotFound))?;
            if from != to {
                inner.may_replace(&node, &to)?;
                match node {
                    Node::Folder => inner.move_names(&from, &to),
                    node => inner.rename_all(folder_of(&to), vec![(to.clone(), Some(node)), (from, None)]),
                }
            }
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|inner| {
            let folder = inner.folder(folder)?;
            if !is_honest(&folder) && inner.lies() {
                return Ok(());
            }
            let (of_folder, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut inner.pending).into_iter().partition(|renaming| renaming.folder == folder);
            inner.pending = rest;
            for (path, node) in of_folder.iter().flat_map(|renaming| &renaming.sets) {
                set(&mut inner.durable, path, node.as_ref());
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|inner| {
            let path = inner.named(path);
            match inner.seen.get(&path) {
                Some(Node::File(_) | Node::Link(_)) => {
                    inner.rename_all(folder_of(&path), vec![(path.clone(), None)]);
                    Ok(())
                }
                Some(Node::Folder) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
                Some(Node::Device(_)) | None => Ok(()),
            }
        })
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|inner| {
            let folder = inner.named(folder);
            let inside = inner.seen.keys().filter(|path| path.starts_with(&folder));
            let sets: Vec<_> = inside.map(|path| (path.clone(), None)).collect();
            if !sets.is_empty() {
                // What became of the names in it no longer matters.
                inner.pending.retain(|renaming| !renaming.folder.starts_with(&folder));
                inner.rename_all(folder_of(&folder), sets);
            }
            Ok(())
        })
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|inner| {
            let above = folder.ancestors().filter(|above| !above.as_os_str().is_empty());
            let missing: Vec<PathBuf> =
                above.take_while(|above| !inner.is_folder(above)).map(|above| inner.followed(above)).collect();
            if missing.iter().any(|path| inner.seen.contains_key(path)) {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            for path in missing {
                inner.seen.insert(path.clone(), Node::Folder);
                inner.durable.insert(path, Node::Folder);
            }
            Ok(())
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.look(|inner| {
            let folder = inner.followed(folder);
            let names = inner.seen.keys().filter(|path| folder_of(path) == folder && path.file_name().is_some());
            Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
        })
    }

    fn make_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        self.change(|inner| {
            let link = inner.named(link);
            inner.folder(folder_of(&link))?;
            if inner.seen.contains_key(&link) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            inner.rename_all(folder_of(&link), vec![(link.clone(), Some(Node::Link(target.to_owned())))]);
            Ok(())
        })
    }

    fn read_link(&self, link: &Path) -> io::Result<PathBuf> {
        self.look(|inner| match inner.seen.get(&inner.named(link)) {
            Some(Node::Link(target)) => Ok(target.clone()),
            Some(_) => Err(io::Error::from(io::ErrorKind::InvalidInput)),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        })
    }

    /// Owners are not kept: nothing on a virtual board runs as another user.
    fn permissions(&self, path: &Path) -> io::Result<Permissions> {
        self.look(|inner| {
            let id = inner.id(path)?;
            Ok(Permissions { mode: inner.contents[&id].mode, user: 0, group: 0 })
        })
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.change(|inner| {
            if inner.is_folder(path) {
                return Ok(());
            }
            let id = inner.id(path)?;
            inner.contents.get_mut(&id).expect("a name's content exists").mode = mode;
            Ok(())
        })
    }

    fn set_owner(&self, _: &Path, _: u32, _: u32) -> io::Result<()> {
        self.change(|_| Ok(()))
    }

    /// Virtual boards have no checks that ask for it.
    fn modified(&self, _: &Path) -> io::Result<Timestamp> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        self.look(|inner| Ok(inner.capacity.map_or(u64::MAX, |most| most.saturating_sub(inner.used()) as u64)))
    }
}
