//! How does an archive become a folder, without a byte outside of it and without filling the disk?
//!
//! Everything is refused that could reach out of the folder, now or once it runs: absolute paths and `..`, links that
//! lead out, hard links, devices, programs that change the user. So is what is larger than it may be, at the moment
//! where it gets too large. Names are remembered, so that no entry replaces or leads through another.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use super::InstallError;
use crate::disk::{self, Disk, Kind};

/// Each costs a name in memory and a sync of the disk; a root file system has fewer.
const ENTRIES_MAX: usize = 200_000;
/// Nobody's paths are deeper; file systems and loops over folders get slow beyond.
const DEPTH_MAX: usize = 64;
/// Between two files: headers, long names and attributes. Names alone have up to 4 KiB.
const HEADER_BYTES_MAX: u64 = 256 * 1024;
/// Bytes that are written at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// The decoder holds this much, as a power of two: 8 MiB, as `zstd -19` wants; `--ultra` and `--long` take more than
/// a small device has.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const SET_USER_OR_GROUP: u32 = 0o6000;

/// How an artifact is turned into a folder, told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Tar,
    TarZstd,
    /// Put into the folder as it is.
    Single,
}

impl Form {
    #[must_use]
    pub fn of(file_name: &str) -> Self {
        let name = file_name.to_ascii_lowercase();
        if name.ends_with(".tar") {
            Self::Tar
        } else if name.ends_with(".tar.zst") || name.ends_with(".tzst") {
            Self::TarZstd
        } else {
            Self::Single
        }
    }
}

/// Unpacks an archive into a folder that exists and is empty. All in it is durable afterwards, but for the name of the
/// folder itself.
///
/// # Errors
/// [`InstallError::Refused`] for a bad archive; the folder holds part of it then.
pub fn unpack(disk: &dyn Disk, archive: &Path, folder: &Path, bytes_max: u64) -> Result<(), InstallError> {
    let meter = Rc::new(Meter::default());
    let file =
        io::BufReader::with_capacity(CHUNK_BYTES, FileReader { disk, path: archive, at: 0, meter: meter.clone() });
    let plain: Box<dyn Read + '_> = match Form::of(&archive.to_string_lossy()) {
        Form::TarZstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(unreadable)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(unreadable)?;
            Box::new(decoder)
        }
        Form::Tar | Form::Single => Box::new(file),
    };
    let mut archive = Archive::new(Metered { plain, meter: meter.clone() });
    let mut tree = Tree { disk, folder, kinds: BTreeMap::new(), modes: BTreeMap::new(), left: bytes_max, bytes_max };
    meter.allowed.set(HEADER_BYTES_MAX);
    let entries = archive.entries().map_err(|error| meter.judge(error))?;
    let mut seen = 0;
    for entry in entries {
        seen += 1;
        if seen > ENTRIES_MAX {
            return Err(too_many_entries());
        }
        let mut entry = entry.map_err(|error| meter.judge(error))?;
        // Its content is read to the end below; then come padding and the next headers.
        meter.allowed.set(HEADER_BYTES_MAX.saturating_add(entry.size()));
        tree.add(&mut entry, &meter)?;
        meter.allowed.set(HEADER_BYTES_MAX);
    }
    if seen == 0 {
        return Err(refused("the archive holds nothing"));
    }
    tree.finish()
}

fn refused(why: impl Into<String>) -> InstallError {
    InstallError::Refused(why.into())
}

fn too_many_entries() -> InstallError {
    refused(format!("the archive has more than {ENTRIES_MAX} entries"))
}

fn unreadable(error: io::Error) -> InstallError {
    refused(format!("the archive can't be read: {error}"))
}

/// What is known of the bytes on their way through the decoder.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes that may be read until the next file.
    allowed: Cell<u64>,
    is_over: Cell<bool>,
    /// The disk failed, not the archive.
    disk_failed: Cell<bool>,
}

impl Meter {
    fn judge(&self, error: io::Error) -> InstallError {
        if self.disk_failed.get() {
            return InstallError::Disk { what: "reading the archive".into(), source: error };
        }
        if self.is_over.get() {
            return refused(format!("the archive has names and attributes of more than {HEADER_BYTES_MAX} bytes"));
        }
        unreadable(error)
    }
}

/// The archive's file.
struct FileReader<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    at: u64,
    meter: Rc<Meter>,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.disk.read_at(self.path, self.at, buffer);
        self.meter.disk_failed.set(read.is_err());
        let count = read?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The archive's plain bytes, bounded: the reader of headers keeps long names in memory.
struct Metered<R> {
    plain: R,
    meter: Rc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.meter.allowed.get();
        if allowed == 0 && !buffer.is_empty() {
            self.meter.is_over.set(true);
            return Err(io::Error::other("too many bytes between two files"));
        }
        let length = usize::try_from(allowed).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.plain.read(&mut buffer[..length])?;
        self.meter.allowed.set(allowed - count as u64);
        Ok(count)
    }
}

/// The folder as it comes to be.
struct Tree<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    /// What is at each path below the folder.
    kinds: BTreeMap<PathBuf, Kind>,
    /// Of folders; set last, because a folder may forbid what is still to be done in it.
    modes: BTreeMap<PathBuf, u32>,
    /// Bytes that files may still have.
    left: u64,
    bytes_max: u64,
}

impl Tree<'_> {
    fn add(&mut self, entry: &mut tar::Entry<'_, impl Read>, meter: &Meter) -> Result<(), InstallError> {
        let mut kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return io::copy(entry, &mut io::sink()).map(drop).map_err(|error| meter.judge(error));
        }
        let raw = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw).into_owned();
        if is_sparse(entry).map_err(|error| meter.judge(error))? {
            return Err(refused(format!("{shown:?} in the archive has holes: pack it without --sparse")));
        }
        if kind == EntryType::Regular && raw.ends_with(b"/") {
            // So do archives of before 1988.
            kind = EntryType::Directory;
        }
        let path = inside(&raw).map_err(|why| refused(format!("{shown:?} in the archive {why}")))?;
        let mode = entry.header().mode().map_err(unreadable)?;
        if mode & SET_USER_OR_GROUP != 0 {
            return Err(refused(format!("{shown:?} in the archive sets the user or group of whoever runs it")));
        }
        if path.as_os_str().is_empty() {
            return if kind == EntryType::Directory {
                Ok(())
            } else {
                Err(refused(format!("{shown:?} in the archive has no name")))
            };
        }
        self.enter(&path, &shown)?;
        match kind {
            EntryType::Directory => self.add_folder(&path, mode),
            EntryType::Regular | EntryType::Continuous => self.add_file(&path, mode, entry, meter),
            EntryType::Symlink => self.add_link(&path, entry),
            EntryType::Link => Err(refused(format!("{shown:?} in the archive is a hard link"))),
            _ => Err(refused(format!("{shown:?} in the archive is neither file, folder nor symbolic link"))),
        }
    }

    /// Makes the folders above, if the archive has none for them.
    fn enter(&mut self, path: &Path, shown: &str) -> Result<(), InstallError> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        above.reverse();
        for folder in above {
            match self.kinds.get(folder) {
                Some(Kind::Folder) => {}
                Some(Kind::File | Kind::Link | Kind::Device) => {
                    return Err(refused(format!("{shown:?} in the archive leads through a file or link")));
                }
                None => self.make_folder(folder)?,
            }
        }
        match self.kinds.get(path) {
            None | Some(Kind::Folder) => Ok(()),
            Some(Kind::File | Kind::Link | Kind::Device) => Err(refused(format!("{shown:?} is twice in the archive"))),
        }
    }

    fn make_folder(&mut self, path: &Path) -> Result<(), InstallError> {
        if self.kinds.len() >= ENTRIES_MAX {
            return Err(too_many_entries());
        }
        self.disk.make_folder(&self.folder.join(path)).map_err(unpacking(path))?;
        self.kinds.insert(path.to_owned(), Kind::Folder);
        Ok(())
    }

    fn add_folder(&mut self, path: &Path, mode: u32) -> Result<(), InstallError> {
        if !self.kinds.contains_key(path) {
            self.make_folder(path)?;
        }
        self.modes.insert(path.to_owned(), mode & 0o777 | 0o700);
        Ok(())
    }

    fn add_file(
        &mut self,
        path: &Path,
        mode: u32,
        entry: &mut tar::Entry<'_, impl Read>,
        meter: &Meter,
    ) -> Result<(), InstallError> {
        let size = entry.size();
        self.is_new(path)?;
        if size > self.left {
            return Err(self.too_large());
        }
        let target = self.folder.join(path);
        self.disk.write_at(&target, 0, &[]).map_err(unpacking(path))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        let mut digest = Sha256::new();
        loop {
            let count = entry.read(&mut chunk).map_err(|error| meter.judge(error))?;
            if count == 0 {
                break;
            }
            self.left = self.left.checked_sub(count as u64).ok_or_else(|| self.too_large())?;
            self.disk.write_at(&target, at, &chunk[..count]).map_err(unpacking(path))?;
            digest.update(&chunk[..count]);
            at += count as u64;
        }
        self.disk.set_mode(&target, mode & 0o777 | 0o400).map_err(unpacking(path))?;
        self.disk.sync(&target).map_err(unpacking(path))?;
        if disk::digest(self.disk, &target).map_err(unpacking(path))? != digest.finalize().as_slice() {
            return Err(unpacking(path)(io::Error::other("what was written can't be read back")));
        }
        self.kinds.insert(path.to_owned(), Kind::File);
        Ok(())
    }

    fn add_link(&mut self, path: &Path, entry: &tar::Entry<'_, impl Read>) -> Result<(), InstallError> {
        self.is_new(path)?;
        let target = entry.link_name().map_err(unreadable)?.unwrap_or_default().into_owned();
        if !stays_inside(path, &target) {
            return Err(refused(format!("the link {} -> {} leaves the folder", path.display(), target.display())));
        }
        self.disk.make_link(&target, &self.folder.join(path)).map_err(unpacking(path))?;
        self.kinds.insert(path.to_owned(), Kind::Link);
        Ok(())
    }

    fn too_large(&self) -> InstallError {
        refused(format!("the archive's files have more than {} bytes, which is the limit", self.bytes_max))
    }

    fn is_new(&self, path: &Path) -> Result<(), InstallError> {
        if self.kinds.contains_key(path) {
            return Err(refused(format!("{} is a folder and something else in the archive", path.display())));
        }
        Ok(())
    }

    /// Modes of folders, and their names made durable, the deepest first.
    fn finish(self) -> Result<(), InstallError> {
        let folders = self.kinds.iter().rev().filter(|(_, kind)| **kind == Kind::Folder);
        for (path, _) in folders {
            let folder = self.folder.join(path);
            if let Some(mode) = self.modes.get(path) {
                self.disk.set_mode(&folder, *mode).map_err(unpacking(path))?;
            }
            self.disk.sync_folder(&folder).map_err(unpacking(path))?;
        }
        self.disk.sync_folder(self.folder).map_err(unpacking(Path::new(".")))
    }
}

/// Files with holes have a form of their own in some archives, which would be taken for their content.
fn is_sparse(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<bool> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    for extension in extensions {
        if extension?.key_bytes().starts_with(b"GNU.sparse") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unpacking(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    InstallError::disk(format!("unpacking {}", path.display()))
}

/// The path below the folder, without `.`; empty for the folder itself.
fn inside(raw: &[u8]) -> Result<PathBuf, &'static str> {
    let text = std::str::from_utf8(raw).map_err(|_| "is not UTF-8")?;
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err("leaves the folder"),
        }
    }
    if path.components().count() > DEPTH_MAX {
        return Err("is nested too deeply");
    }
    Ok(path)
}

/// Does a link end below the folder, whatever other links it passes?
///
/// `..` may only come first, where it goes up from the link's own folder, which is a real one; after a name it would
/// go up from wherever that name leads.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let mut ups = 0;
    let mut has_name = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => has_name = true,
            Component::CurDir => {}
            Component::ParentDir if !has_name => ups += 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    // The link itself is one component.
    (has_name || ups > 0 || target == Path::new(".")) && ups < link.components().count()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tar::{Builder, Header};

    use super::*;
    use crate::io::disk::RealDisk;
    use crate::workbench::Workbench;

    /// Entries: type, path, content or link target, mode. Paths are written as they are, however bad.
    type Made<'a> = (EntryType, &'a str, &'a str, u32);

    fn file<'a>(path: &'a str, content: &'a str) -> Made<'a> {
        (EntryType::Regular, path, content, 0o644)
    }

    fn folder(path: &str) -> Made<'_> {
        (EntryType::Directory, path, "", 0o755)
    }

    fn link<'a>(path: &'a str, target: &'a str) -> Made<'a> {
        (EntryType::Symlink, path, target, 0o777)
    }

    fn archive(entries: &[Made<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, path, content, mode) in entries {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if is_link {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
            }
            let content = if is_link { "" } else { content };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(name: &str, bytes: &[u8], bytes_max: u64) -> (Workbench, Result<(), InstallError>) {
        let bench = Workbench::new();
        bench.write(name, bytes);
        bench.write("outside", "untouched");
        std::fs::create_dir(bench.path("in")).unwrap();
        let outcome = unpack(&RealDisk, &bench.path(name), &bench.path("in"), bytes_max);
        assert_eq!(bench.text("outside"), "untouched");
        assert_eq!(bench.names("").len(), 3, "nothing was put beside the folder");
        (bench, outcome)
    }

    fn refusal(entries: &[Made<'_>]) -> String {
        let (_, outcome) = unpacked("x.tar", &archive(entries), 1000);
        match outcome {
            Err(InstallError::Refused(why)) => why,
            other => panic!("{other:?} for {entries:?}"),
        }
    }

    #[test]
    fn files_folders_and_links_inside_arrive_as_they_are() {
        let entries = [
            folder("./"),
            (EntryType::Directory, "./bin/", "", 0o555),
            (EntryType::Regular, "./bin/run", "#!", 0o755),
            file("lib/deep/er", "text"),
            file("empty", ""),
            link("bin/lib", "../lib/deep"),
            link("here", "."),
            link("later", "lib/../x"),
        ];
        let plain = archive(&entries[..7]);
        for (name, bytes) in [("x.tar", plain.clone()), ("x.tar.zst", zstd::encode_all(&plain[..], 19).unwrap())] {
            let (bench, outcome) = unpacked(name, &bytes, 6);
            outcome.unwrap();
            assert_eq!(bench.text("in/bin/lib/er"), "text");
            assert_eq!(bench.text("in/here/empty"), "");
            let mode = |path| std::fs::metadata(bench.path(path)).unwrap().permissions().mode() & 0o7777;
            assert_eq!((mode("in/bin"), mode("in/bin/run"), mode("in/empty")), (0o755, 0o755, 0o644));
        }
        assert!(refusal(&entries[7..]).contains("leaves the folder"), "`..` after a name is never trusted");
    }

    #[test]
    fn whatever_reaches_out_of_the_folder_is_refused() {
        let out = "leaves the folder";
        for path in ["/etc/passwd", "../outside", "a/../../outside", "./../outside", "a/.."] {
            assert!(refusal(&[file(path, "x")]).contains(out), "{path}");
            assert!(refusal(&[folder(path)]).contains(out), "{path}");
            assert!(refusal(&[link(path, "a")]).contains(out), "{path}");
        }
        for (path, target) in [
            ("a", "/etc"),
            ("a", ".."),
            ("a", "../outside"),
            ("d/a", "../.."),
            ("d/a", "../../outside"),
            ("a", "b/../../outside"),
            ("a", ""),
        ] {
            assert!(refusal(&[link(path, target)]).contains(out), "{path} -> {target}");
        }
        let through = [link("here", "."), link("a", "here/here/../../outside")];
        assert!(refusal(&through).contains(out));
    }

    #[test]
    fn nothing_is_written_through_or_over_another_entry() {
        assert!(refusal(&[link("a", "b"), file("a/x", "x")]).contains("leads through"));
        assert!(refusal(&[file("a", ""), file("a/x", "x")]).contains("leads through"));
        assert!(refusal(&[file("a", "1"), file("./a", "2")]).contains("is twice"));
        assert!(refusal(&[link("a", "b"), file("a", "2")]).contains("is twice"));
        assert!(refusal(&[folder("a"), link("a", "b")]).contains("something else"));
        assert!(refusal(&[file("a/b", ""), file("a", "2")]).contains("something else"));
    }

    #[test]
    fn what_is_no_plain_file_folder_or_link_is_refused() {
        let neither = "neither file, folder nor symbolic link";
        assert!(refusal(&[file("a", "x"), (EntryType::Link, "b", "a", 0o644)]).contains("is a hard link"));
        for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::new(b'Z')] {
            assert!(refusal(&[(kind, "a", "", 0o644)]).contains(neither), "{kind:?}");
        }
        assert!(!refusal(&[(EntryType::GNUSparse, "a", "", 0o644)]).is_empty());
        for mode in [0o4755, 0o2755, 0o6755] {
            assert!(refusal(&[(EntryType::Regular, "su", "x", mode)]).contains("sets the user or group"));
        }
        assert!(refusal(&[file(".", "x")]).contains("has no name"));
    }

    #[test]
    fn folders_are_nested_so_deep_and_no_deeper() {
        for (depth, is_fine) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            let mut builder = Builder::new(Vec::new());
            let path = format!("{}x", "d/".repeat(depth - 1));
            let mut header = Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, io::empty()).unwrap();
            let (_, outcome) = unpacked("x.tar", &builder.into_inner().unwrap(), 1000);
            match outcome {
                Ok(()) => assert!(is_fine),
                Err(error) => assert!(!is_fine && error.to_string().contains("nested too deeply"), "{error}"),
            }
        }
    }

    #[test]
    fn a_bomb_goes_off_at_the_limit() {
        let big = "x".repeat(600);
        assert!(refusal(&[file("a", &big), file("b", &big)]).contains("more than 1000 bytes"));
        let long = vec![b'x'; 300_000_000];
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..1].copy_from_slice(b"a");
        header.set_size(long.len() as u64);
        for (kind, why) in [
            (EntryType::Regular, "more than 1000 bytes"),
            (EntryType::GNULongName, "names and attributes of more than"),
            (EntryType::XHeader, "names and attributes of more than"),
        ] {
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_cksum();
            let bytes = zstd::encode_all(header.as_bytes().chain(&long[..]), 1).unwrap();
            assert!(bytes.len() < 100_000);
            let (bench, outcome) = unpacked("x.tar.zst", &bytes, 1000);
            let error = outcome.unwrap_err();
            assert!(matches!(&error, InstallError::Refused(text) if text.contains(why)), "{error}");
            assert_eq!(bench.names("in"), [""; 0]);
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        let whole = archive(&[file("a", "content")]);
        let packed = zstd::encode_all(&whole[..], 3).unwrap();
        for (name, bytes) in [
            ("x.tar", &whole[..515]),
            ("x.tar", &b"no archive at all, but of more than one block"[..]),
            ("x.tar.zst", &whole[..]),
            ("x.tar.zst", &packed[..packed.len() / 2]),
        ] {
            let (_, outcome) = unpacked(name, bytes, 1000);
            assert!(matches!(outcome, Err(InstallError::Refused(_))), "{outcome:?}");
        }
        let mut wide = zstd::Encoder::new(Vec::new(), 3).unwrap();
        wide.window_log(24).unwrap();
        io::copy(&mut &vec![0; 20_000_000][..], &mut wide).unwrap();
        let (_, outcome) = unpacked("x.tar.zst", &wide.finish().unwrap(), 1000);
        assert!(outcome.unwrap_err().to_string().contains("memory"));
    }
}
