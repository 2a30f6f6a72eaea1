//! Did somebody of the ring sign each image of an archive, as cosign does?
//!
//! An OCI image layout (1.0) in a tar: `index.json` names images and, beside them, signatures: manifests whose layers are
//! payloads of Red Hat's simple signing, each with a signature over it in an annotation (cosign's signature specification).
//! A payload names the manifest that it is about by its digest, and that one names all the rest. Sigstore's bundles and
//! certificates of strangers are not read: keys are what a ring has.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tar::Archive;

use super::keys::{Algorithm, signer};
use super::{BadInner, ENTRIES_MAX, Named, SIGNED_BYTES_MAX, Verdict, digest};

const INDEX: &str = "index.json";
/// Docker's own table of the same images, which engines may read instead.
const DOCKER: &str = "manifest.json";
/// What engines look for, and what nothing follows from.
const WITHOUT_MEANING: [&str; 2] = ["oci-layout", "repositories"];
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What is said of an image, and can't be run: attestations and signatures of other kinds.
const STATEMENTS: [&str; 2] = ["application/vnd.dsse.envelope.v1+json", "application/vnd.dev.sigstore.bundle"];
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const PURPOSES: [&str; 2] = ["cosign container image signature", "atomic container signature"];
/// An index of an index of manifests; nobody builds deeper.
const LEVELS_MAX: usize = 3;
const WAYS: [Algorithm; 5] =
    [Algorithm::EcdsaSha256, Algorithm::EcdsaSha384, Algorithm::Ed25519, Algorithm::RsaSha256, Algorithm::RsaPssSha256];

const UNREADABLE: BadInner = BadInner::Broken("it can't be read to its end as tar");

/// Engines read keys in any case, so nothing may stand here that isn't known.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Index {
    manifests: Vec<Described>,
    #[serde(rename = "schemaVersion")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "mediaType")]
    _kind: Option<IgnoredAny>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Described {
    digest: String,
    #[serde(rename = "mediaType")]
    _kind: Option<IgnoredAny>,
    #[serde(rename = "artifactType")]
    _artifact: Option<IgnoredAny>,
    #[serde(rename = "size")]
    _size: Option<IgnoredAny>,
    #[serde(rename = "platform")]
    _platform: Option<IgnoredAny>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Docker {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
    #[serde(rename = "RepoTags")]
    _names: Option<IgnoredAny>,
    #[serde(rename = "LayerSources")]
    _sources: Option<IgnoredAny>,
    #[serde(rename = "Parent")]
    _parent: Option<IgnoredAny>,
}

/// A manifest, or an index of them: what one doesn't have is empty.
#[derive(Deserialize)]
struct Manifest {
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
    #[serde(default)]
    manifests: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Simple signing's payload.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    purpose: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Manifest {
    fn is_signature(&self) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.media_type == PAYLOAD)
    }

    fn is_statement(&self) -> bool {
        let is_one = |layer: &Part| STATEMENTS.iter().any(|kind| layer.media_type.starts_with(kind));
        !self.layers.is_empty() && self.layers.iter().all(is_one)
    }
}

/// Is an archive laid out so? It is broken, or something else, otherwise.
pub(super) fn is_layout(file: &mut (impl Read + Seek)) -> bool {
    if file.seek(SeekFrom::Start(0)).is_err() {
        return false;
    }
    let mut archive = Archive::new(file);
    let Ok(entries) = archive.entries_with_seek() else { return false };
    let is_index = |name: &[u8]| name.strip_prefix(b"./").unwrap_or(name) == INDEX.as_bytes();
    entries.take(ENTRIES_MAX).map_while(Result::ok).any(|entry| is_index(&entry.path_bytes()))
}

pub(super) fn check(file: &mut (impl Read + Seek), ring: &[Named]) -> Result<Verdict, BadInner> {
    let (found, tops) = Layout::read(file)?;
    let mut layout = Layout { file, found };
    let index = tops.get(INDEX).ok_or(BadInner::Broken("it has no index.json"))?;
    let index: Index = serde_json::from_slice(index).map_err(|_| BadInner::Broken("its index.json"))?;
    let (mut images, mut signatures) = (Vec::new(), Vec::new());
    for described in index.manifests {
        let manifest = layout.manifest(&described.digest)?;
        if manifest.is_signature() {
            signatures.extend(manifest.layers);
        } else if !manifest.is_statement() {
            images.push((described.digest, manifest));
        }
    }
    if images.is_empty() {
        return Err(BadInner::Broken("its index.json names no image"));
    }
    if signatures.is_empty() {
        return Ok(Verdict::Unsigned);
    }
    let signed = layout.signed(&signatures, ring)?;
    let mut by = None;
    for (digest, _) in &images {
        by = Some(signed.get(digest).ok_or_else(|| BadInner::NotNamed(digest.clone()))?.clone()?);
    }
    if let Some(docker) = tops.get(DOCKER) {
        layout.agrees(docker, images)?;
    }
    by.map(Verdict::Verified).ok_or(BadInner::UnknownKey)
}

/// An archive whose blobs are what their names say.
struct Layout<'f, F> {
    file: &'f mut F,
    /// Where each begins and how long it is, by its digest.
    found: Blobs,
}

type Blobs = BTreeMap<String, (u64, u64)>;

impl<F: Read + Seek> Layout<'_, F> {
    /// Its blobs, and the texts beside them.
    fn read(file: &mut F) -> Result<(Blobs, BTreeMap<String, Vec<u8>>), BadInner> {
        file.seek(SeekFrom::Start(0)).map_err(|_| UNREADABLE)?;
        let (mut blobs, mut tops) = (BTreeMap::new(), BTreeMap::new());
        let mut archive = Archive::new(file);
        for (seen, entry) in archive.entries().map_err(|_| UNREADABLE)?.enumerate() {
            let mut entry = entry.map_err(|_| UNREADABLE)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            if entry.header().entry_type().is_dir() {
                continue;
            }
            if !entry.header().entry_type().is_file() || seen > ENTRIES_MAX {
                return Err(BadInner::Broken("it holds too much, or something else than files"));
            }
            let is_new = if let Some(named) = name.strip_prefix("blobs/sha256/") {
                let place = (entry.raw_file_position(), entry.size());
                if digest(&mut entry).map_err(|_| UNREADABLE)? != named {
                    return Err(BadInner::Changed);
                }
                blobs.insert(format!("sha256:{named}"), place).is_none()
            } else if WITHOUT_MEANING.contains(&name.as_str()) {
                true
            } else if [INDEX, DOCKER].contains(&name.as_str()) {
                let mut text = Vec::new();
                entry.take(SIGNED_BYTES_MAX).read_to_end(&mut text).map_err(|_| UNREADABLE)?;
                tops.insert(name, text).is_none()
            } else {
                return Err(BadInner::NotNamed(name));
            };
            if !is_new {
                return Err(BadInner::Broken("it holds a file twice"));
            }
        }
        Ok((blobs, tops))
    }

    fn text(&mut self, digest: &str) -> Result<Vec<u8>, BadInner> {
        let (at, size) = *self.found.get(digest).ok_or_else(|| BadInner::Missing(digest.to_owned()))?;
        if size > SIGNED_BYTES_MAX {
            return Err(BadInner::Broken("a manifest in it is too large"));
        }
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(at)).map_err(|_| UNREADABLE)?;
        self.file.by_ref().take(size).read_to_end(&mut text).map_err(|_| UNREADABLE)?;
        Ok(text)
    }

    fn manifest(&mut self, digest: &str) -> Result<Manifest, BadInner> {
        let text = self.text(digest)?;
        serde_json::from_slice(&text).map_err(|_| BadInner::Broken("a manifest in it can't be read"))
    }

    /// Who signed which manifest; an error: somebody, but nobody of the ring.
    fn signed(
        &mut self,
        signatures: &[Part],
        ring: &[Named],
    ) -> Result<BTreeMap<String, Result<String, BadInner>>, BadInner> {
        let mut signed = BTreeMap::new();
        for part in signatures {
            let text = self.text(&part.digest)?;
            let payload: Payload =
                serde_json::from_slice(&text).map_err(|_| BadInner::Unreadable("it is over something else"))?;
            if !PURPOSES.contains(&payload.critical.purpose.as_str()) {
                return Err(BadInner::Unreadable("it is made for another purpose"));
            }
            let signature = part.annotations.get(SIGNATURE).and_then(|text| BASE64.decode(text).ok());
            let signature = signature.ok_or(BadInner::Unreadable("it is no base64"))?;
            let by = signer(ring, &WAYS, &text, &signature).map(str::to_owned).ok_or(BadInner::UnknownKey);
            let about =
                signed.entry(payload.critical.image.docker_manifest_digest).or_insert(Err(BadInner::UnknownKey));
            if by.is_ok() {
                *about = by;
            }
        }
        Ok(signed)
    }

    /// Does Docker's table name the same images, layer by layer?
    fn agrees(&mut self, docker: &[u8], images: Vec<(String, Manifest)>) -> Result<(), BadInner> {
        let table: Vec<Docker> = serde_json::from_slice(docker).map_err(|_| BadInner::Broken("its manifest.json"))?;
        let mut known = Vec::new();
        let mut level: Vec<Manifest> = images.into_iter().map(|(_, manifest)| manifest).collect();
        for _ in 0..LEVELS_MAX {
            let mut next = Vec::new();
            for manifest in level {
                // An index names machines' images that were not all saved.
                let below = manifest.manifests.iter().filter(|part| self.found.contains_key(&part.digest));
                let below: Vec<String> = below.map(|part| part.digest.clone()).collect();
                for digest in below {
                    next.push(self.manifest(&digest)?);
                }
                if let Some(config) = &manifest.config {
                    known.push((blob(config), manifest.layers.iter().map(blob).collect::<Vec<_>>()));
                }
            }
            level = next;
        }
        let is_known =
            |row: &Docker| known.iter().any(|(config, layers)| *config == row.config && *layers == row.layers);
        match table.iter().find(|row| !is_known(row)) {
            Some(row) => Err(BadInner::NotNamed(row.config.clone())),
            None => Ok(()),
        }
    }
}

/// Its file's name.
fn blob(part: &Part) -> String {
    format!("blobs/{}", part.digest.replacen(':', "/", 1))
}
