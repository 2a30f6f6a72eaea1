//! What does every `Disk` promise the agent, the real one and the simulator's alike?
//!
//! Whoever makes another disk adds a test with [`contract`] here. What survives a power cut can only be asked of one whose power can be cut; the rest is here.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use muster_agent::Disk;
use muster_agent::disk::{self, Kind};
use muster_agent::io::disk::RealDisk;
use muster_sim::board::disk::VirtualDisk;

type Promise = fn(&dyn Disk, &Path);

#[test]
fn the_real_disk_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    contract(&RealDisk, &folder.path().join("disk"));
}

#[test]
fn the_simulators_disk_keeps_the_same_promises() {
    let disk = VirtualDisk::default();
    disk.add_folder("/srv");
    contract(&disk, Path::new("/srv/disk"));
}

/// Checks all promises in a folder that doesn't exist yet.
fn contract(disk: &dyn Disk, folder: &Path) {
    let promises: [(&str, Promise); 8] = [
        ("bytes", bytes_are_where_they_were_written),
        ("sizes", sizes_grow_and_shrink),
        ("absence", absence_is_told_and_removing_nothing_is_fine),
        ("folders", folders_are_made_listed_and_removed_with_all_in_them),
        ("renames", a_rename_replaces_what_has_the_name),
        ("links", links_are_followed_to_bytes_and_taken_as_names),
        ("modes", modes_can_be_set_and_all_can_be_synced),
        ("replacing", a_file_is_replaced_as_a_whole_and_read_with_a_bound),
    ];
    for (name, promise) in promises {
        let folder = folder.join(name);
        disk.make_folder(&folder).unwrap();
        promise(disk, &folder);
    }
    disk.remove_folder(folder).unwrap();
    assert_eq!(disk.kind(folder).unwrap(), None);
}

fn all(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    disk::read(disk, path, 1 << 20).unwrap()
}

fn bytes_are_where_they_were_written(disk: &dyn Disk, folder: &Path) {
    let file = folder.join("file");
    disk.write_at(&file, 0, b"").unwrap();
    assert_eq!((disk.kind(&file).unwrap(), disk.size(&file).unwrap()), (Some(Kind::File), 0), "made, though empty");
    disk.write_at(&file, 3, b"def").unwrap();
    assert_eq!(all(disk, &file), b"\0\0\0def", "a hole reads as zeros");
    disk.write_at(&file, 0, b"abc").unwrap();
    disk.write_at(&file, 5, b"Fgh").unwrap();
    assert_eq!(all(disk, &file), b"abcdeFgh", "nothing is cut off, only written over");
    let mut buffer = [b'.'; 6];
    assert_eq!(disk.read_at(&file, 4, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"eFgh..", "as much as there is");
    assert_eq!(disk.read_at(&file, 8, &mut buffer).unwrap(), 0);
    assert_eq!(disk.read_at(&file, 900, &mut buffer).unwrap(), 0);
    assert_eq!(disk.read_at(&file, 2, &mut []).unwrap(), 0);
    let large: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    disk.write_at(&file, 1, &large).unwrap();
    assert_eq!(all(disk, &file)[1..], large);
    assert!(disk.free_bytes(&file).unwrap() > 0);
    assert!(disk.free_bytes(&folder.join("not/there/yet")).unwrap() > 0);
}

fn sizes_grow_and_shrink(disk: &dyn Disk, folder: &Path) {
    let file = folder.join("file");
    disk.write_at(&file, 0, b"abcdef").unwrap();
    disk.set_size(&file, 4).unwrap();
    assert_eq!((disk.size(&file).unwrap(), all(disk, &file)), (4, b"abcd".to_vec()));
    disk.set_size(&file, 6).unwrap();
    assert_eq!(all(disk, &file), b"abcd\0\0", "what was cut off does not come back");
}

fn absence_is_told_and_removing_nothing_is_fine(disk: &dyn Disk, folder: &Path) {
    let absent = folder.join("absent");
    let below = absent.join("below");
    for path in [&absent, &below] {
        assert_eq!(disk.kind(path).unwrap(), None);
        assert_eq!(disk.list(path).unwrap(), [""; 0]);
        disk.remove(path).unwrap();
        disk.remove_folder(path).unwrap();
        for error in [
            disk.size(path).map(drop),
            disk.read_at(path, 0, &mut [0]).map(drop),
            disk.set_size(path, 1),
            disk.sync(path),
            disk.sync_folder(path),
            disk.rename(path, &folder.join("other")),
            disk.read_link(path).map(drop),
            disk.set_mode(path, 0o600),
        ] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
    assert_eq!(disk.write_at(&below, 0, b"x").unwrap_err().kind(), ErrorKind::NotFound, "its folder has to exist");
    assert_eq!(disk.make_link(Path::new("x"), &below).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.list(folder).unwrap(), [""; 0]);
}

fn folders_are_made_listed_and_removed_with_all_in_them(disk: &dyn Disk, folder: &Path) {
    let deep = folder.join("some/where/deep");
    disk.make_folder(&deep).unwrap();
    disk.make_folder(&deep).unwrap();
    assert_eq!(disk.kind(&deep).unwrap(), Some(Kind::Folder));
    for name in ["b", "a", "C", "a.new", "ä"] {
        disk.write_at(&deep.join(name), 0, b"x").unwrap();
    }
    disk.make_folder(&deep.join("aa")).unwrap();
    assert_eq!(disk.list(&deep).unwrap(), ["C", "a", "a.new", "aa", "b", "ä"], "sorted by bytes");
    assert!(disk.make_folder(&deep.join("a")).is_err(), "a file is in the way");
    assert!(disk.make_folder(&deep.join("a/below")).is_err());
    assert!(disk.remove(&deep).is_err(), "a folder is no file");
    disk.remove(&deep.join("a")).unwrap();
    assert_eq!(disk.kind(&deep.join("a")).unwrap(), None);
    // A link in it is removed, not what it leads to.
    disk.write_at(&folder.join("kept"), 0, b"x").unwrap();
    disk.make_link(&folder.join("kept"), &deep.join("link")).unwrap();
    disk.make_link(folder, &deep.join("up")).unwrap();
    disk.remove_folder(&folder.join("some")).unwrap();
    assert_eq!(disk.list(folder).unwrap(), ["kept"]);
}

fn a_rename_replaces_what_has_the_name(disk: &dyn Disk, folder: &Path) {
    let [from, to, link] = ["from", "to", "link"].map(|name| folder.join(name));
    disk.write_at(&from, 0, b"new").unwrap();
    disk.write_at(&to, 0, b"older").unwrap();
    disk.rename(&from, &to).unwrap();
    assert_eq!((all(disk, &to), disk.list(folder).unwrap()), (b"new".to_vec(), vec!["to".to_owned()]));
    // Of links, the link itself, also if it is replaced.
    disk.make_link(Path::new("to"), &link).unwrap();
    disk.make_link(Path::new("nowhere"), &from).unwrap();
    disk.rename(&from, &link).unwrap();
    assert_eq!(disk.read_link(&link).unwrap(), PathBuf::from("nowhere"));
    assert_eq!(all(disk, &to), b"new");
    // Folders go with all in them, and never over another that has something in it.
    disk.make_folder(&folder.join("one/below")).unwrap();
    disk.rename(&folder.join("one"), &folder.join("two")).unwrap();
    assert_eq!(disk.list(&folder.join("two")).unwrap(), ["below"]);
    disk.make_folder(&folder.join("three/x")).unwrap();
    assert!(disk.rename(&folder.join("two"), &folder.join("three")).is_err());
    assert!(disk.rename(&to, &folder.join("three")).is_err());
    assert_eq!(disk.list(folder).unwrap(), ["link", "three", "to", "two"]);
}

fn links_are_followed_to_bytes_and_taken_as_names(disk: &dyn Disk, folder: &Path) {
    let [file, link, nowhere] = ["file", "link", "nowhere"].map(|name| folder.join(name));
    disk.write_at(&file, 0, b"abc").unwrap();
    disk.make_link(Path::new("file"), &link).unwrap();
    assert_eq!(disk.kind(&link).unwrap(), Some(Kind::Link));
    assert_eq!(disk.read_link(&link).unwrap(), PathBuf::from("file"), "as it was written");
    assert_eq!(disk.make_link(Path::new("other"), &link).unwrap_err().kind(), ErrorKind::AlreadyExists);
    disk.write_at(&link, 1, b"B").unwrap();
    disk.sync(&link).unwrap();
    assert_eq!((all(disk, &link), all(disk, &file), disk.size(&link).unwrap()), (b"aBc".into(), b"aBc".into(), 3));
    assert!(disk.read_link(&file).is_err());
    // Through a folder's link.
    disk.make_folder(&folder.join("versions/one")).unwrap();
    disk.write_at(&folder.join("versions/one/page"), 0, b"one").unwrap();
    disk.make_link(Path::new("versions/one"), &folder.join("current")).unwrap();
    assert_eq!(all(disk, &folder.join("current/page")), b"one");
    assert_eq!(disk.list(&folder.join("current")).unwrap(), ["page"]);
    // One that leads nowhere: no file is made at its end.
    disk.make_link(Path::new("gone"), &nowhere).unwrap();
    assert!(disk.write_at(&nowhere, 0, b"x").is_err());
    assert_eq!(disk.kind(&folder.join("gone")).unwrap(), None);
    disk.remove(&nowhere).unwrap();
    disk.remove(&link).unwrap();
    assert_eq!(disk.list(folder).unwrap(), ["current", "file", "versions"], "the file stays");
}

fn modes_can_be_set_and_all_can_be_synced(disk: &dyn Disk, folder: &Path) {
    let file = folder.join("file");
    disk.write_at(&file, 0, b"abc").unwrap();
    disk.set_mode(&file, 0o640).unwrap();
    disk.set_mode(folder, 0o750).unwrap();
    disk.sync(&file).unwrap();
    disk.sync_folder(folder).unwrap();
    assert_eq!(all(disk, &file), b"abc");
}

fn a_file_is_replaced_as_a_whole_and_read_with_a_bound(disk: &dyn Disk, folder: &Path) {
    let file = folder.join("file");
    disk::replace(disk, &file, b"a longer text").unwrap();
    disk.write_at(&disk::beside(&file), 0, b"left by somebody who was cut off, and long").unwrap();
    disk::replace(disk, &file, b"text").unwrap();
    assert_eq!((all(disk, &file), disk.list(folder).unwrap()), (b"text".to_vec(), vec!["file".to_owned()]));
    assert_eq!(disk::read(disk, &file, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
}
