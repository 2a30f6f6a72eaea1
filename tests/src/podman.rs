//! Debian's podman, unmodified, with a store of its own: nothing of the machine's containers is seen or touched.

use std::path::PathBuf;

use anyhow::Context;
use muster_agent::install::container::Container;
use muster_agent::install::container::policy::Policy;
use muster_agent::install::container::runtime::Runtime;
use tempfile::TempDir;

use crate::part::{TIMEOUT, run, word};

/// Sockets of the store's programs lie below it, whose paths have to be short.
const PLACE: &str = "/tmp";

#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
    project: String,
}

impl Podman {
    /// # Errors
    /// If the folder can't be written.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mp-").tempdir_in(PLACE)?;
        let at = |name: &str| word(&folder.path().join(name)).to_owned();
        // Limits are named because the usual ones are beyond what may be set inside a virtual machine's sandbox.
        let settings = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
             [network]\nnetwork_config_dir = \"{}\"\n",
            at("net")
        );
        let (store, state) = (at("store"), at("state"));
        let storage = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{store}\"\nrunroot = \"{state}\"\n");
        std::fs::write(folder.path().join("containers.conf"), settings).context("writing podman's settings")?;
        std::fs::write(folder.path().join("storage.conf"), storage).context("writing podman's settings")?;
        let project = format!("muster-{}", std::process::id());
        Ok(Self { folder, project })
    }

    fn words(&self, program: &str) -> Vec<String> {
        let settings = self.folder.path().join("containers.conf");
        let storage = self.folder.path().join("storage.conf");
        let settings = format!("CONTAINERS_CONF={}", settings.display());
        let storage = format!("CONTAINERS_STORAGE_CONF={}", storage.display());
        ["env".to_owned(), settings, storage, program.to_owned()].into()
    }

    /// What podman says.
    #[must_use]
    pub fn podman(&self, words: &[&str]) -> String {
        let all = self.words("podman");
        run(&all.iter().map(String::as_str).chain(words.iter().copied()).collect::<Vec<_>>())
    }

    #[must_use]
    pub fn installer(&self) -> Container {
        Container {
            folder: self.folder.path().join("own"),
            runtime: Runtime {
                engine: self.words("podman"),
                compose: self.words("podman-compose"),
                systemctl: vec!["systemctl".into()],
                timeout: TIMEOUT,
            },
            project: self.project.clone(),
            quadlets: self.folder.path().join("quadlets"),
            units: self.folder.path().join("units"),
            keep: 1,
            policy: Policy::default(),
            run: None,
        }
    }

    /// An image with busybox and a file that says its version, as `podman save` writes it; the store forgets it.
    ///
    /// # Panics
    /// If podman doesn't make it.
    #[must_use]
    pub fn image(&self, name: &str, version: &str, format: &str) -> Vec<u8> {
        let root = self.folder.path().join("root");
        std::fs::create_dir_all(root.join("bin")).expect("the folder can be made");
        let busybox = PathBuf::from("/bin/busybox");
        std::fs::copy(busybox, root.join("bin/busybox")).expect("busybox-static is installed");
        std::fs::write(root.join("version"), version).expect("the folder can be written");
        let (tar, saved) = (self.folder.path().join("root.tar"), self.folder.path().join("saved.tar"));
        let _ = run(&["tar", "-C", word(&root), "-cf", word(&tar), "."]);
        let _ = self.podman(&["import", word(&tar), name]);
        let _ = std::fs::remove_file(&saved);
        let _ = self.podman(&["save", "--format", format, "--output", word(&saved), name]);
        let _ = self.podman(&["rmi", name]);
        std::fs::read(saved).expect("podman has saved it")
    }

    /// What the running container has in its `/version`.
    #[must_use]
    pub fn version_that_runs(&self) -> String {
        let listed = self.podman(&["ps", "--format", "{{.Names}}"]);
        let name = listed.lines().next().expect("a container runs");
        self.podman(&["exec", name, "/bin/busybox", "cat", "/version"])
    }
}

impl Drop for Podman {
    /// Containers and their networks would outlive the folder.
    fn drop(&mut self) {
        let words = |more: &[&str]| -> Vec<String> {
            self.words("podman").into_iter().chain(more.iter().map(|&word| word.to_owned())).collect()
        };
        for more in [&["rm", "--all", "--force", "--time", "0"][..], &["network", "prune", "--force"]] {
            let all = words(more);
            // Nobody can be told, and what is left over hurts nobody but this machine.
            let _ = std::process::Command::new(&all[0]).args(&all[1..]).output();
        }
    }
}
