//! Containers: how is one set of images, with the description of how they run, put in place of another?
//!
//! A component has archives of images (`podman save`) and either a Compose file with what belongs to it, or Quadlet files
//! and systemd units; or it is one image, and the agent's file says how that runs. Images come with the release and are never pulled. What runs is what `current` links to, made so
//! again from the start by one repeatable step, so that a power cut anywhere costs nothing but doing it again.
//!
//! ```text
//! FOLDER/DIGEST.file              the artifacts; images are loaded again from them if the engine lost them
//! FOLDER/versions/NAME/…          description and `manifest.json`: which names mean which images
//! FOLDER/current -> versions/NAME
//! FOLDER/loaded.json              which images came by us and may be removed by us
//! ```

pub mod archive;
mod loaded;
pub mod policy;
pub mod runtime;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use muster_vocab::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use self::archive::Archived;
use self::loaded::Loaded;
use self::policy::{Described, Permit, Policy};
use self::runtime::{Image, RunSettings, Runtime};
use super::cellar::Cellar;
use super::versions::{NOTHING, Versions, before};
use super::{InstallError, Installer, Job, Place, Running, Takes};
use crate::disk::{self, Kind};
use crate::state::Installed;
use crate::world::World;

/// As compose programs look for it.
const COMPOSE_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
/// What Quadlet turns into services; `podman-systemd.unit(5)`.
const QUADLET_ENDINGS: [&str; 7] = ["container", "volume", "network", "kube", "pod", "image", "build"];
const UNIT_ENDINGS: [&str; 4] = ["service", "socket", "timer", "path"];
/// Descriptions and what is configured beside them.
const DESCRIPTION_BYTES_MAX: usize = 1024 * 1024;
const MANIFEST: &str = "manifest.json";

#[derive(Debug, Clone)]
pub struct Container {
    /// The component's own.
    pub folder: PathBuf,
    pub runtime: Runtime,
    /// Names containers, networks and volumes.
    pub project: String,
    /// Where Quadlet files go, and where systemd's units go.
    pub quadlets: PathBuf,
    pub units: PathBuf,
    /// Former versions that stay, with their images.
    pub keep: usize,
    /// What descriptions may ask for.
    pub policy: Policy,
    /// How a component runs that is one image and nothing else.
    pub run: Option<RunSettings>,
}

/// What a version consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    images: Vec<Image>,
    /// All but the images, as the release names them.
    files: Vec<String>,
    /// Of the images' archives.
    archives: Vec<Sha256>,
    /// Of everything, as the release lists it.
    digests: Vec<Sha256>,
}

impl Manifest {
    fn compose(&self) -> Option<&str> {
        self.files.iter().map(String::as_str).find(|name| COMPOSE_FILES.contains(name))
    }

    /// One image that runs as the agent's file says.
    fn is_single(&self) -> bool {
        self.files.is_empty()
    }
}

impl Container {
    fn versions(&self) -> Versions<'_> {
        Versions { root: &self.folder }
    }

    fn cellar(&self) -> Cellar<'_> {
        Cellar { folder: &self.folder, ending: "file" }
    }

    fn manifest(&self, world: &dyn World, version: &str) -> Result<Manifest, InstallError> {
        let path = self.versions().folder(version).join(MANIFEST);
        let what = || InstallError::disk(format!("reading {}", path.display()));
        let bytes = disk::read(world.disk(), &path, DESCRIPTION_BYTES_MAX).map_err(what())?;
        serde_json::from_slice(&bytes).map_err(|error| what()(error.into()))
    }

    /// The manifest of what is linked.
    fn current(&self, world: &dyn World) -> Result<Option<Manifest>, InstallError> {
        self.versions().linked(world)?.map(|version| self.manifest(world, &version)).transpose()
    }

    /// May this description ask for what it does on this device? Known before anything is loaded.
    fn check_description(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        let (mut images, mut texts, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for (index, artifact) in job.component.artifacts.iter().enumerate() {
            let (name, file) = (&artifact.file_name, self.cellar().new_one(job, index)?);
            if is_archive(name) {
                images.extend(archive::images(world.disk(), &file, name)?.into_iter().map(|image| image.name));
                continue;
            }
            let text = disk::read(world.disk(), &file, DESCRIPTION_BYTES_MAX)
                .map_err(InstallError::disk(format!("reading {name}")))?;
            files.push(name.clone());
            texts.push(text);
        }
        for (name, text) in files.iter().zip(&texts) {
            let described = Described { name, text, images: &images, files: &files };
            if COMPOSE_FILES.contains(&name.as_str()) {
                self.policy.check_compose(described).map_err(InstallError::Refused)?;
            } else if is_described(name) {
                self.policy.check_unit(described).map_err(InstallError::Refused)?;
            }
        }
        Ok(())
    }

    /// Loads the images and says what their names mean now; names that what runs uses as well mean again what they did.
    fn load(&self, world: &dyn World, job: Job<'_>) -> Result<Vec<Image>, InstallError> {
        let current = self.current(world)?.map(|current| current.images).unwrap_or_default();
        let is_by_content = self.runtime.names_by_content(world)?;
        let mut images = Vec::new();
        for (index, artifact) in job.component.artifacts.iter().enumerate() {
            if !is_archive(&artifact.file_name) {
                continue;
            }
            let file = self.cellar().new_one(job, index)?;
            let archived = archive::images(world.disk(), &file, &artifact.file_name)?;
            self.note_missing(world, &archived)?;
            self.runtime.load(world, &file.to_string_lossy())?;
            for Archived { name, id: expected } in archived {
                let refused = |why: &str| InstallError::Refused(format!("{}: {why}", artifact.file_name));
                let found = self.runtime.id(world, &name)?;
                let id = found.ok_or_else(|| refused(&format!("it was loaded, and there is no image {name}")))?;
                if let Some(used) = current.iter().find(|used| used.name == name && used.id != id) {
                    self.runtime.tag(world, used)?;
                }
                match expected {
                    Some(expected) if expected == id => {}
                    Some(_) if is_by_content => {
                        return Err(refused(&format!("{name} is image {id} once loaded, and the archive has another")));
                    }
                    // Nobody could say its id beforehand.
                    Some(_) | None => self.loaded().add(world, [id.clone()])?,
                }
                images.push(Image { name, id });
            }
        }
        Ok(images)
    }

    fn loaded(&self) -> Loaded<'_> {
        Loaded { folder: &self.folder }
    }

    /// Notes which images come by us, before they do.
    fn note_missing(&self, world: &dyn World, archived: &[Archived]) -> Result<(), InstallError> {
        let mut missing = Vec::new();
        for id in archived.iter().filter_map(|image| image.id.as_ref()) {
            if self.runtime.id(world, id)?.is_none() {
                missing.push(id.clone());
            }
        }
        self.loaded().add(world, missing)
    }

    /// Copies the description beside its manifest.
    fn write_version(&self, world: &dyn World, job: Job<'_>, manifest: &Manifest) -> Result<(), InstallError> {
        let (disk, name) = (world.disk(), version_of(job));
        let partial = self.versions().partial(&name);
        let writing = || InstallError::disk(format!("writing {}", partial.display()));
        disk.remove_folder(&partial).map_err(writing())?;
        disk.make_folder(&partial).map_err(writing())?;
        for (index, artifact) in job.component.artifacts.iter().enumerate() {
            if is_archive(&artifact.file_name) {
                continue;
            }
            let bytes =
                disk::read(disk, &self.cellar().new_one(job, index)?, DESCRIPTION_BYTES_MAX).map_err(writing())?;
            disk::replace(disk, &partial.join(&artifact.file_name), &bytes).map_err(writing())?;
        }
        let text = serde_json::to_vec_pretty(manifest).map_err(|error| writing()(error.into()))?;
        disk::replace(disk, &partial.join(MANIFEST), &text).map_err(writing())?;
        if let Some(compose) = manifest.compose() {
            let file = partial.join(compose);
            self.runtime.check_compose(world, &self.project, &file.to_string_lossy())?;
        }
        // What an earlier try left is not believed.
        let version = self.versions().folder(&name);
        disk.remove_folder(&version).map_err(writing())?;
        disk::rename(disk, &partial, &version).map_err(writing())
    }

    /// Makes what runs what this version says, whatever runs now.
    fn bring_up(&self, world: &dyn World, version: &str, job: Job<'_>) -> Result<(), InstallError> {
        let manifest = self.manifest(world, version)?;
        for image in &manifest.images {
            if self.runtime.id(world, &image.id)?.is_none() {
                world.host().log(&format!("image {} is gone: loading it again", image.name));
                self.load_again(world, &manifest, job)?;
            }
            self.runtime.tag(world, image)?;
        }
        if manifest.is_single() {
            return self.start_single(world, &manifest);
        }
        let folder = self.versions().folder(version);
        match manifest.compose() {
            Some(compose) => self.runtime.compose_up(world, &self.project, &folder.join(compose).to_string_lossy()),
            None => self.start_units(world, &folder, &manifest),
        }
    }

    fn load_again(&self, world: &dyn World, manifest: &Manifest, job: Job<'_>) -> Result<(), InstallError> {
        let kept = manifest.archives.iter().map(|digest| self.folder.join(format!("{}.file", digest.hex())));
        let new = (0..job.component.artifacts.len()).filter_map(|index| {
            let is_meant = manifest.archives.contains(&job.component.artifacts[index].digest);
            if is_meant { self.cellar().new_one(job, index).ok() } else { None }
        });
        for file in kept.chain(new) {
            if world.disk().kind(&file).ok().flatten() == Some(Kind::File) {
                self.runtime.load(world, &file.to_string_lossy())?;
            }
        }
        Ok(())
    }

    fn start_single(&self, world: &dyn World, manifest: &Manifest) -> Result<(), InstallError> {
        let (Some(run), Some(image)) = (&self.run, manifest.images.first()) else {
            return Err(InstallError::Refused(
                "the agent's file doesn't say any more how the image runs (`run`)".into(),
            ));
        };
        self.runtime.start(world, &self.project, &image.id, run)
    }

    /// Quadlet files and units: would something start them, and are their names free?
    fn check_units(&self, world: &dyn World, job: Job<'_>, engine: &str) -> Result<(), InstallError> {
        let current = self.current(world)?.map(|current| current.files).unwrap_or_default();
        let names = job.component.artifacts.iter().map(|artifact| &artifact.file_name);
        for name in names.filter(|name| is_described(name)) {
            if !is_unit(name) {
                runtime::takes_quadlet(engine, ending(name)).map_err(InstallError::Refused)?;
            }
            if current.contains(name) {
                continue;
            }
            let path = self.place_of_unit(name);
            if world.disk().kind(&path).map_err(InstallError::disk(format!("looking at {}", path.display())))?.is_some()
            {
                let path = path.display();
                return Err(InstallError::Refused(format!(
                    "{path} is there and not this component's: use another name"
                )));
            }
            // A generated unit goes before one of the system's packages: `ssh.container` would put an end to ssh.
            let Some(service) = service_of(name) else { continue };
            if !self.policy.allows(Permit::Units) && self.runtime.has_unit(world, &service)? {
                return Err(InstallError::Refused(format!(
                    "{name} would take the place of the device's own {service}: use another name"
                )));
            }
        }
        Ok(())
    }

    /// Stops what only the one version has and the other one has not; none: all of it.
    fn take_down(&self, world: &dyn World, version: &str, other: Option<&str>) -> Result<(), InstallError> {
        let manifest = self.manifest(world, version)?;
        let other = other.map(|other| self.manifest(world, other)).transpose()?;
        if manifest.is_single() {
            let is_replaced = other.is_some_and(|other| other.is_single());
            return if is_replaced { Ok(()) } else { self.runtime.stop(world, &self.project) };
        }
        if let Some(compose) = manifest.compose() {
            let file = self.versions().folder(version).join(compose);
            // The next start of the same project replaces what runs of it.
            if other.as_ref().is_some_and(|other| other.compose().is_some()) {
                return Ok(());
            }
            return self.runtime.compose_down(world, &self.project, &file.to_string_lossy());
        }
        let stays: BTreeSet<&str> = other.iter().flat_map(|other| other.files.iter().map(String::as_str)).collect();
        let gone: Vec<&str> = manifest.files.iter().map(String::as_str).filter(|file| !stays.contains(file)).collect();
        for file in &gone {
            if let Some(service) = service_of(file) {
                self.runtime.systemctl(world, &["stop", &service])?;
            }
            if is_unit(file) {
                // One that nothing wants at a start has nothing to disable.
                let _ = self.runtime.systemctl(world, &["disable", "--quiet", file]);
            }
            let path = self.place_of_unit(file);
            world.disk().remove(&path).map_err(InstallError::disk(format!("removing {}", path.display())))?;
        }
        if gone.is_empty() { Ok(()) } else { self.runtime.systemctl(world, &["daemon-reload"]) }
    }

    fn place_of_unit(&self, file: &str) -> PathBuf {
        if is_unit(file) { self.units.join(file) } else { self.quadlets.join(file) }
    }

    fn start_units(&self, world: &dyn World, folder: &Path, manifest: &Manifest) -> Result<(), InstallError> {
        for file in &manifest.files {
            let path = self.place_of_unit(file);
            let writing = || InstallError::disk(format!("writing {}", path.display()));
            let bytes = disk::read(world.disk(), &folder.join(file), DESCRIPTION_BYTES_MAX).map_err(writing())?;
            world.disk().make_folder(disk::folder_of(&path)).map_err(writing())?;
            disk::replace(world.disk(), &path, &bytes).map_err(writing())?;
        }
        self.runtime.systemctl(world, &["daemon-reload"])?;
        for file in &manifest.files {
            let text = disk::read(world.disk(), &folder.join(file), DESCRIPTION_BYTES_MAX)
                .map_err(InstallError::disk(format!("reading {file}")))?;
            // Quadlet's own generator does this for what it makes.
            if is_unit(file) && String::from_utf8_lossy(&text).lines().any(|line| line.trim() == "[Install]") {
                self.runtime.systemctl(world, &["enable", "--quiet", file])?;
            }
            if let Some(service) = service_of(file) {
                self.runtime.systemctl(world, &["restart", &service])?;
            }
        }
        Ok(())
    }

    /// From one version to the other, or to none.
    fn switch(
        &self,
        world: &dyn World,
        job: Job<'_>,
        (from, to): (Option<&str>, Option<&str>),
    ) -> Result<(), InstallError> {
        if let Some(from) = from.filter(|from| Some(*from) != to) {
            self.take_down(world, from, to)?;
        }
        to.map_or(Ok(()), |to| self.bring_up(world, to, job))
    }

    /// Removes the images that we loaded, but those of versions that stay.
    fn forget_images(&self, world: &dyn World, stay: &[String]) -> Result<(), InstallError> {
        let mut used = BTreeSet::new();
        for version in stay {
            used.extend(self.manifest(world, version)?.images.into_iter().map(|image| image.id));
        }
        self.loaded().keep_only(world, &self.runtime, &used)
    }
}

/// The version's name: what it is made of.
fn version_of(job: Job<'_>) -> String {
    let mut digest = sha2::Sha256::new();
    for artifact in &job.component.artifacts {
        digest.update(format!("{} {}\n", artifact.digest.hex(), artifact.file_name));
    }
    Sha256(digest.finalize().into()).hex()
}

fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

fn is_archive(name: &str) -> bool {
    ending(name) == "tar"
}

fn is_unit(name: &str) -> bool {
    UNIT_ENDINGS.contains(&ending(name))
}

/// By Quadlet or by systemd.
fn is_described(name: &str) -> bool {
    QUADLET_ENDINGS.contains(&ending(name)) || is_unit(name)
}

/// What systemd calls what a file starts; none: something else starts it.
fn service_of(file: &str) -> Option<String> {
    let (stem, ending) = file.rsplit_once('.')?;
    match ending {
        "container" | "kube" => Some(format!("{stem}.service")),
        "pod" => Some(format!("{stem}-pod.service")),
        // A template is started by whoever fills it.
        _ if is_unit(file) && !stem.ends_with('@') => Some(file.to_owned()),
        _ => None,
    }
}

/// Are these files a description, and only one?
fn check_files(job: Job<'_>, is_run: bool) -> Result<(), InstallError> {
    let names: Vec<&str> = job.component.artifacts.iter().map(|artifact| artifact.file_name.as_str()).collect();
    let refused = |why: String| Err(InstallError::Refused(why));
    for name in &names {
        let is_plain =
            Path::new(name).file_name() == Some(name.as_ref()) && !name.starts_with('-') && *name != MANIFEST;
        if !is_plain || names.iter().filter(|other| other == &name).count() > 1 {
            return refused(format!("{name:?} can't be the name of a file here, or is there twice"));
        }
        if [".tar.gz", ".tgz", ".tar.zst"].iter().any(|packed| name.ends_with(packed)) {
            return refused(format!("{name} is compressed: publish the archive as it is; the server compresses it"));
        }
    }
    let composes = names.iter().filter(|name| COMPOSE_FILES.contains(name)).count();
    let units = names.iter().filter(|name| is_described(name)).count();
    let others = names.iter().find(|name| !is_archive(name) && !is_described(name));
    match (composes, units, others) {
        (0, 0, None) if is_run && names.len() == 1 => Ok(()),
        _ if is_run => refused("the agent's file says how it runs (`run`): send one image and nothing else".into()),
        (1, 0, _) => Ok(()),
        (0, 1.., None) => Ok(()),
        (0, 0, _) => refused(
            "nothing says how its images run: add a compose.yaml, Quadlet files or units, or `run` to the agent's file"
                .into(),
        ),
        (0, _, Some(other)) => refused(format!("{other} is no Quadlet file, unit or archive of images (.tar)")),
        (..) => refused("it has to have one Compose file, or Quadlet files and units, and not both".into()),
    }
}

impl Installer for Container {
    fn name(&self) -> &'static str {
        "container"
    }

    /// The note names the version that is linked.
    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError> {
        check_files(job, self.run.is_some())?;
        let artifacts = &job.component.artifacts;
        let engine = self.runtime.answers(world, &self.runtime.engine, "--version")?;
        if self.run.is_some() {
            // Needs nothing but the engine.
        } else if artifacts.iter().any(|artifact| COMPOSE_FILES.contains(&artifact.file_name.as_str())) {
            self.runtime.answers(world, &self.runtime.compose, "version")?;
        } else {
            self.runtime.answers(world, &self.runtime.systemctl, "--version")?;
            self.check_units(world, job, &engine)?;
        }
        let described = |size: u64, name: &str| !is_archive(name) && size > DESCRIPTION_BYTES_MAX as u64;
        if let Some(large) = artifacts.iter().find(|artifact| described(artifact.size, &artifact.file_name)) {
            let name = &large.file_name;
            return Err(InstallError::Refused(format!("{name} has more than {DESCRIPTION_BYTES_MAX} bytes")));
        }
        Ok(self.versions().linked(world)?.unwrap_or_else(|| NOTHING.to_owned()))
    }

    fn place(&self, world: &dyn World, job: Job<'_>, artifact: usize) -> Result<Place, InstallError> {
        self.cellar().place(world.disk(), job, artifact)
    }

    fn stage(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        self.check_description(world, job)?;
        let images = self.load(world, job)?;
        if self.versions().linked(world)? == Some(version_of(job)) {
            return Ok(());
        }
        let artifacts = &job.component.artifacts;
        let (archives, files): (Vec<_>, Vec<_>) = artifacts.iter().partition(|one| is_archive(&one.file_name));
        let manifest = Manifest {
            images,
            files: files.into_iter().map(|file| file.file_name.clone()).collect(),
            archives: archives.into_iter().map(|archive| archive.digest).collect(),
            digests: artifacts.iter().map(|artifact| artifact.digest).collect(),
        };
        self.write_version(world, job, &manifest)
    }

    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let new = version_of(job);
        self.versions().begin_switch(world, &new, before(job))?;
        self.versions().link(world, Some(&new))?;
        self.switch(world, job, (before(job), Some(&new)))?;
        Ok(Takes::Effect)
    }

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError> {
        let is_new = self.versions().linked(world)? == Some(version_of(job));
        Ok(if is_new { Running::New } else { Running::Old })
    }

    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        let new = version_of(job);
        let mut stay = self.versions().remember(world, (&new, job), self.keep)?;
        stay.push(new);
        self.forget_images(world, &stay)?;
        self.versions().keep_only(world, "versions", &|name| stay.iter().any(|version| version == name))?;
        self.cellar().keep(world.disk(), job)?;
        self.versions().forget_switch(world)
    }

    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let (new, before) = (version_of(job), before(job));
        if self.versions().switch_under_way(world)?.is_some() {
            self.versions().link(world, before)?;
            self.switch(world, job, (Some(&new), before))?;
            self.versions().forget_switch(world)?;
        }
        if before != Some(new.as_str()) {
            let mut stay = self.versions().history(world)?;
            stay.extend(before.map(str::to_owned));
            self.forget_images(world, &stay)?;
            self.versions().keep_only(world, "versions", &|name| stay.iter().any(|version| version == name))?;
        }
        self.cellar().sweep(world.disk())?;
        Ok(Takes::Effect)
    }

    /// A switch that nobody remembers is undone. One to what is installed was committed, and only its mark is left.
    fn settle(&self, world: &dyn World, installed: Option<&Installed>) -> Result<Takes, InstallError> {
        let Some(before) = self.versions().switch_under_way(world)? else { return Ok(Takes::Effect) };
        let linked = self.versions().linked(world)?;
        let runs = linked.as_ref().map(|linked| self.manifest(world, linked)).transpose()?;
        let is_installed = runs.is_some_and(|runs| installed.is_some_and(|now| now.digests == runs.digests));
        if !is_installed {
            world.host().log(&format!("{} was switched without an update: going back", self.folder.display()));
            self.versions().link(world, before.as_deref())?;
            let nothing = muster_wire::agent::Component {
                name: String::new(),
                version: String::new(),
                metadata: std::collections::BTreeMap::new(),
                artifacts: Vec::new(),
            };
            let job = Job { component: &nothing, previous: installed, note: NOTHING };
            self.switch(world, job, (linked.as_deref(), before.as_deref()))?;
        }
        self.versions().forget_switch(world)?;
        Ok(Takes::Effect)
    }
}

#[cfg(test)]
mod tests;
