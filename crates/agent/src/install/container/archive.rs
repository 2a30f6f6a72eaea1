//! Which names does an archive of images give them?
//!
//! As `podman save` and `docker save` write them: a `manifest.json` (Docker's image specification 1.2, "Combined Image
//! JSON + Filesystem Changeset Format"), or an `index.json` (OCI image layout 1.0) whose annotations name them.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use tar::Archive;

use crate::disk::Disk;
use crate::install::InstallError;

/// A manifest names images and layers; an index of hundreds of them is smaller.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// An image has a hundred layers at the most, each with a few files.
const ENTRIES_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 255;
/// Images of one archive.
const IMAGES_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Where an index says a name; the more precise first.
const ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// The names, such as `localhost/web:1.1`; at least one.
pub fn names(disk: &dyn Disk, path: &Path, file_name: &str) -> Result<Vec<String>, InstallError> {
    let refused = |why: String| InstallError::Refused(format!("{file_name}: {why}"));
    let size = disk.size(path).map_err(InstallError::disk(format!("reading {file_name}")))?;
    let mut archive = Archive::new(OnDisk { disk, path, size, at: 0 });
    let unreadable = |error: io::Error| refused(format!("it is no archive of images: {error}"));
    let mut found: Option<Vec<String>> = None;
    for (seen, entry) in archive.entries_with_seek().map_err(unreadable)?.enumerate() {
        if seen >= ENTRIES_MAX {
            return Err(refused(format!("it has more than {ENTRIES_MAX} entries")));
        }
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.to_string_lossy().trim_start_matches("./").to_owned();
        if name != "manifest.json" && name != "index.json" {
            continue;
        }
        let mut text = Vec::new();
        entry.by_ref().take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(refused(format!("its {name} has more than {MANIFEST_BYTES_MAX} bytes")));
        }
        let names = named(&name, &text).map_err(|error| refused(format!("its {name} can't be read: {error}")))?;
        // What both say, the manifest says better.
        if name == "manifest.json" || found.is_none() {
            found = Some(names);
        }
    }
    let names =
        found.ok_or_else(|| refused("it has no manifest.json or index.json: write it by `podman save`".into()))?;
    if names.is_empty() || names.len() > IMAGES_MAX {
        return Err(refused(format!("it names {} images: save 1 to {IMAGES_MAX}, by name and tag", names.len())));
    }
    match names.iter().find(|name| !is_name(name)) {
        Some(bad) => Err(refused(format!("{bad:?} is no name of an image"))),
        None => Ok(names),
    }
}

fn named(file: &str, text: &[u8]) -> serde_json::Result<Vec<String>> {
    if file == "manifest.json" {
        let saved: Vec<Saved> = serde_json::from_slice(text)?;
        return Ok(saved.into_iter().flat_map(|image| image.repo_tags.unwrap_or_default()).collect());
    }
    let index: Index = serde_json::from_slice(text)?;
    let name = |image: Described| ANNOTATIONS.iter().find_map(|key| image.annotations.get(*key).cloned());
    Ok(index.manifests.into_iter().filter_map(name).collect())
}

/// It becomes a word of a command: nothing that begins with a dash, or has blanks.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c))
}

/// Layers are skipped, not read.
struct OnDisk<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    size: u64,
    at: u64,
}

impl Read for OnDisk<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.disk.read_at(self.path, self.at, buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for OnDisk<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Workbench;
    use crate::world::World;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn read(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let bench = Workbench::new();
        bench.write("image.tar", archive(files));
        names(bench.disk(), &bench.path("image.tar"), "image.tar").map_err(|error| error.sentence())
    }

    #[test]
    fn names_come_from_the_manifest_or_from_the_index() {
        let manifest = r#"[{"Config":"a.json","RepoTags":["localhost/web:1.1","web:new"],"Layers":["b/layer.tar"]}]"#;
        let index = r#"{"manifests":[{"digest":"sha256:aa","annotations":{"org.opencontainers.image.ref.name":"localhost/db:2"}}]}"#;
        assert_eq!(
            read(&[("b/layer.tar", "x"), ("manifest.json", manifest)]).unwrap(),
            ["localhost/web:1.1", "web:new"]
        );
        assert_eq!(read(&[("./index.json", index), ("oci-layout", "{}")]).unwrap(), ["localhost/db:2"]);
        let both = [("index.json", index), ("manifest.json", manifest)];
        assert_eq!(read(&both).unwrap(), ["localhost/web:1.1", "web:new"]);
    }

    #[test]
    fn what_names_nothing_or_lies_is_refused() {
        let none = r#"[{"Config":"a.json","RepoTags":null}]"#;
        let option = r#"[{"RepoTags":["--privileged"]}]"#;
        for (files, why) in [
            (vec![("web/page", "hello")], "it has no manifest.json"),
            (vec![("manifest.json", none)], "it names 0 images"),
            (vec![("manifest.json", option)], "\"--privileged\" is no name of an image"),
            (vec![("manifest.json", "{")], "its manifest.json can't be read"),
        ] {
            let refused = read(&files).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let huge = "x".repeat(2 * 1024 * 1024);
        assert!(read(&[("manifest.json", &huge)]).unwrap_err().contains("more than 1048576 bytes"));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let bench = Workbench::new();
        bench.write("image.tar", [0x41; 5000]);
        let refused = names(bench.disk(), &bench.path("image.tar"), "image.tar").unwrap_err().sentence();
        assert!(refused.starts_with("image.tar: it is no archive of images"), "{refused}");
    }
}
