//! Which images are in an archive, and what does it call them?
//!
//! As `podman save` and `docker save` write them: a `manifest.json` (Docker's image specification 1.2, "Combined Image
//! JSON + Filesystem Changeset Format"), or an `index.json` (OCI image layout 1.0) whose annotations name them.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use muster_vocab::Sha256;
use serde::Deserialize;
use sha2::Digest;
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
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    digest: String,
}

/// Where an index says a name; the more precise first.
const ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// One of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Such as `localhost/web:1.1`.
    pub name: String,
    /// What engines call it: the digest of its configuration, in hex digits. None: an index of several machines' images,
    /// of which the engine chooses.
    pub id: Option<String>,
}

/// Where an archive says what its image is.
enum Content {
    /// The configuration is this file.
    File(String),
    /// A manifest of this name says which file the configuration is.
    Manifest(String),
}

/// What is in it; at least one image.
pub fn images(disk: &dyn Disk, path: &Path, file_name: &str) -> Result<Vec<Archived>, InstallError> {
    let refused = |why: String| InstallError::Refused(format!("{file_name}: {why}"));
    let size = disk.size(path).map_err(InstallError::disk(format!("reading {file_name}")))?;
    let tops = files(OnDisk { disk, path, size, at: 0 }, &["index.json", "manifest.json"]).map_err(refused)?;
    // What both say, the manifest says better.
    let (name, text) = ["manifest.json", "index.json"]
        .iter()
        .find_map(|name| Some((*name, tops.get(*name)?)))
        .ok_or_else(|| refused("it has no manifest.json or index.json: write it by `podman save`".into()))?;
    let found = named(name, text).map_err(|error| refused(format!("its {name} can't be read: {error}")))?;
    if found.is_empty() || found.len() > IMAGES_MAX {
        return Err(refused(format!("it names {} images: save 1 to {IMAGES_MAX}, by name and tag", found.len())));
    }
    if let Some((bad, _)) = found.iter().find(|(name, _)| !is_name(name)) {
        return Err(refused(format!("{bad:?} is no name of an image")));
    }
    let wanted: Vec<&str> = found
        .iter()
        .map(|(_, content)| match content {
            Content::File(file) | Content::Manifest(file) => file.as_str(),
        })
        .collect();
    let contents = files(OnDisk { disk, path, size, at: 0 }, &wanted).map_err(refused)?;
    let described = |(name, content): (String, Content)| {
        let id = match content {
            Content::File(file) => {
                let text = contents.get(&file).ok_or_else(|| refused(format!("its {file:?} is missing")))?;
                Some(Sha256(sha2::Sha256::digest(text).into()).hex())
            }
            Content::Manifest(file) => {
                let text = contents.get(&file).ok_or_else(|| refused(format!("its {file:?} is missing")))?;
                let manifest: Manifest =
                    serde_json::from_slice(text).map_err(|error| refused(format!("its {file:?}: {error}")))?;
                manifest.config.map(|config| config.digest.trim_start_matches("sha256:").to_owned())
            }
        };
        Ok(Archived { name, id })
    };
    found.into_iter().map(described).collect()
}

/// What these files of an archive hold; one that isn't there is missing in the answer.
fn files(from: OnDisk<'_>, wanted: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let unreadable = |error: io::Error| format!("it is no archive of images: {error}");
    let mut found = BTreeMap::new();
    for (seen, entry) in Archive::new(from).entries_with_seek().map_err(unreadable)?.enumerate() {
        if seen >= ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} entries"));
        }
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.to_string_lossy().trim_start_matches("./").to_owned();
        if !wanted.contains(&name.as_str()) {
            continue;
        }
        let mut text = Vec::new();
        entry.by_ref().take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(format!("its {name} has more than {MANIFEST_BYTES_MAX} bytes"));
        }
        found.insert(name, text);
    }
    Ok(found)
}

/// Names, and where it is said what they are.
fn named(file: &str, text: &[u8]) -> serde_json::Result<Vec<(String, Content)>> {
    let mut found = Vec::new();
    if file == "manifest.json" {
        let saved: Vec<Saved> = serde_json::from_slice(text)?;
        for image in saved {
            let names = image.repo_tags.unwrap_or_default();
            found.extend(names.into_iter().map(|name| (name, Content::File(image.config.clone()))));
        }
        return Ok(found);
    }
    let index: Index = serde_json::from_slice(text)?;
    for image in index.manifests {
        let blob = format!("blobs/{}", image.digest.replacen(':', "/", 1));
        let name = ANNOTATIONS.iter().find_map(|key| image.annotations.get(*key).cloned());
        found.extend(name.map(|name| (name, Content::Manifest(blob))));
    }
    Ok(found)
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

    fn read(files: &[(&str, &str)]) -> Result<Vec<Archived>, String> {
        let bench = Workbench::new();
        bench.write("image.tar", archive(files));
        images(bench.disk(), &bench.path("image.tar"), "image.tar").map_err(|error| error.sentence())
    }

    fn archived(name: &str, id: Option<&str>) -> Archived {
        Archived { name: name.into(), id: id.map(str::to_owned) }
    }

    #[test]
    fn names_and_ids_come_from_the_manifest_or_from_the_index() {
        let manifest = r#"[{"Config":"a.json","RepoTags":["localhost/web:1.1","web:new"],"Layers":["b/layer.tar"]}]"#;
        let index = r#"{"manifests":[{"digest":"sha256:aa","annotations":{"org.opencontainers.image.ref.name":"localhost/db:2"}}]}"#;
        let of_manifest = Sha256(sha2::Sha256::digest(b"{}").into()).hex();
        let docker = ["localhost/web:1.1", "web:new"].map(|name| archived(name, Some(&of_manifest)));
        assert_eq!(read(&[("b/layer.tar", "x"), ("manifest.json", manifest), ("a.json", "{}")]).unwrap(), docker);
        let blob = ("blobs/sha256/aa", r#"{"config":{"digest":"sha256:c0ffee"}}"#);
        let oci = [archived("localhost/db:2", Some("c0ffee"))];
        assert_eq!(read(&[blob, ("./index.json", index), ("oci-layout", "{}")]).unwrap(), oci);
        assert_eq!(
            read(&[blob, ("index.json", index), ("manifest.json", manifest), ("a.json", "{}")]).unwrap(),
            docker
        );
        // For several machines.
        let many = ("blobs/sha256/aa", r#"{"manifests":[]}"#);
        assert_eq!(read(&[many, ("index.json", index)]).unwrap(), [archived("localhost/db:2", None)]);
    }

    #[test]
    fn what_names_nothing_or_lies_is_refused() {
        let none = r#"[{"Config":"a.json","RepoTags":null}]"#;
        let option = r#"[{"Config":"a.json","RepoTags":["--privileged"]}]"#;
        let missing = r#"[{"Config":"a.json","RepoTags":["web:1"]}]"#;
        for (files, why) in [
            (vec![("web/page", "hello")], "it has no manifest.json"),
            (vec![("manifest.json", none)], "it names 0 images"),
            (vec![("manifest.json", option)], "\"--privileged\" is no name of an image"),
            (vec![("manifest.json", "{")], "its manifest.json can't be read"),
            (vec![("manifest.json", missing)], "its \"a.json\" is missing"),
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
        let refused = images(bench.disk(), &bench.path("image.tar"), "image.tar").unwrap_err().sentence();
        assert!(refused.starts_with("image.tar: it is no archive of images"), "{refused}");
    }
}
