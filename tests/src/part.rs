//! What do the tests of the agent's installers share: this machine, and components to put on it?

use std::path::Path;
use std::time::Duration;

use muster_agent::disk::{self, Disk};
use muster_agent::install::{Installer, Job, Running, Takes};
use muster_agent::io::disk::RealDisk;
use muster_agent::io::host::RealHost;
use muster_agent::world::{Call, Host, Net, NetError, Reply, Run, World};
use muster_vocab::Sha256;
use muster_wire::agent::{Artifact, Component, Form, Route};
use sha2::Digest;

/// Far beyond what anything takes on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(120);
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Real storage and real programs, cut off from any server: installers ask none.
#[derive(Debug, Default)]
pub struct Machine {
    disk: RealDisk,
    host: RealHost,
    net: CutOff,
}

#[derive(Debug, Default)]
struct CutOff;

impl World for Machine {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn net(&self) -> &dyn Net {
        &self.net
    }

    fn host(&self) -> &dyn Host {
        &self.host
    }
}

impl Net for CutOff {
    fn call(&self, _: &Call<'_>) -> Result<Reply, NetError> {
        Err(NetError::Unreachable("there is no network".to_owned()))
    }

    fn fetch(&self, _: &str, _: (u64, u64), _: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<u64, NetError> {
        Err(NetError::Unreachable("there is no network".to_owned()))
    }
}

/// A component and its files' bytes.
#[derive(Debug, Clone)]
pub struct Part {
    pub component: Component,
    files: Vec<Vec<u8>>,
}

impl Part {
    #[must_use]
    pub fn new(name: &str, version: &str, files: &[(&str, &[u8])]) -> Self {
        let artifacts = files.iter().map(|(file_name, bytes)| artifact(file_name, bytes)).collect();
        let (name, version) = (name.to_owned(), version.to_owned());
        let component = Component { name, version, metadata: Default::default(), artifacts };
        Self { component, files: files.iter().map(|(_, bytes)| bytes.to_vec()).collect() }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.component.metadata.insert(key.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn job<'a>(&'a self, note: &'a str) -> Job<'a> {
        Job { component: &self.component, previous: None, note }
    }

    /// What runs once this part is committed.
    #[must_use]
    pub fn installed(&self) -> muster_agent::state::Installed {
        let digests = self.component.artifacts.iter().map(|artifact| artifact.digest).collect();
        muster_agent::state::Installed { version: self.component.version.clone(), digests }
    }

    /// Puts the files at their places, as the agent does while it fetches.
    ///
    /// # Panics
    /// If a place is too small or can't be written.
    pub fn deliver(&self, installer: &dyn Installer, world: &Machine, job: Job<'_>) {
        for (index, bytes) in self.files.iter().enumerate() {
            let place = installer.place(world, job, index).expect("there is a place");
            assert!(bytes.len() as u64 <= place.bytes_max, "{} bytes and {place:?}", bytes.len());
            disk::replace(world.disk(), &place.path, bytes).expect("the place can be written");
        }
    }

    /// All until the new version is switched to; gives back the installer's note.
    ///
    /// # Panics
    /// If a step fails.
    pub fn install(&self, installer: &dyn Installer, world: &Machine) -> (String, Takes) {
        let note = installer.plan(world, self.job("")).expect("it can be planned");
        let job = self.job(&note);
        self.deliver(installer, world, job);
        installer.stage(world, job).expect("it can be staged");
        assert_eq!(installer.running(world, job).expect("it tells what runs"), Running::Old);
        let takes = installer.activate(world, job).expect("it can be switched to");
        (note, takes)
    }
}

fn artifact(file_name: &str, bytes: &[u8]) -> Artifact {
    let digest = Sha256(sha2::Sha256::digest(bytes).into());
    let size = bytes.len() as u64;
    let routes = vec![Route { path: format!("/{file_name}"), size, form: Form::Whole }];
    Artifact { file_name: file_name.to_owned(), size, digest, routes }
}

/// Runs a program that has to succeed, and gives back what it said.
///
/// # Panics
/// If it fails; the message has what it said.
pub fn run(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let run = Run { words: &words, stdin: b"", timeout: TIMEOUT, output_bytes_max: OUTPUT_BYTES_MAX };
    let ran = RealHost::default().run(&run).unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")));
    let said = String::from_utf8_lossy(&ran.output).into_owned();
    assert!(ran.succeeded(), "{} ended with {:?}: {said}", words.join(" "), ran.exit_code);
    said
}

/// As text, for the words of a program.
///
/// # Panics
/// If the path is no text.
#[must_use]
pub fn word(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}
