//! Docker's daemon, unmodified, with folders and a socket of its own: nothing of the machine's containers is touched.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use muster_agent::install::container::Container;
use muster_agent::install::container::policy::Policy;
use muster_agent::install::container::runtime::Runtime;
use tempfile::TempDir;

use crate::part::{TIMEOUT, run, word};
use crate::wait::until_true;

/// Sockets of the daemon lie below it, whose paths have to be short.
const PLACE: &str = "/tmp";

#[derive(Debug)]
pub struct Docker {
    folder: TempDir,
    daemon: Child,
}

impl Docker {
    /// # Errors
    /// If the daemon can't be started. Without it being up in time it panics.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("md-").tempdir_in(PLACE)?;
        let at = |name: &str| format!("{}/{name}", folder.path().display());
        let log = std::fs::File::create(at("log")).context("making the daemon's log")?;
        // Neither bridges nor packet filters: containers of tests have no network.
        let mut daemon = Command::new("dockerd");
        daemon.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        daemon.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        daemon.arg(format!("--host=unix://{}", at("socket")));
        let daemon = daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let started = Self { daemon: daemon.context("starting dockerd")?, folder };
        until_true("docker answers", || {
            let words = started.words("docker");
            let asked = Command::new(&words[0]).args(&words[1..]).args(["ps", "--quiet"]).output();
            asked.is_ok_and(|said| said.status.success())
        });
        Ok(started)
    }

    fn words(&self, program: &str) -> Vec<String> {
        let socket = format!("DOCKER_HOST=unix://{}/socket", self.folder.path().display());
        ["env".to_owned(), socket, program.to_owned()].into()
    }

    /// What docker says.
    #[must_use]
    pub fn docker(&self, words: &[&str]) -> String {
        let all = self.words("docker");
        run(&all.iter().map(String::as_str).chain(words.iter().copied()).collect::<Vec<_>>())
    }

    #[must_use]
    pub fn installer(&self) -> Container {
        Container {
            folder: self.folder.path().join("own"),
            runtime: Runtime {
                engine: self.words("docker"),
                compose: self.words("docker-compose"),
                systemctl: vec!["systemctl".into()],
                timeout: TIMEOUT,
            },
            project: "muster-web".into(),
            quadlets: self.folder.path().join("quadlets"),
            units: self.folder.path().join("units"),
            keep: 1,
            policy: Policy::default(),
            run: None,
        }
    }

    /// An image with busybox and a file that says its version, as `docker save` writes it; the daemon forgets it.
    ///
    /// # Panics
    /// If docker doesn't make it.
    #[must_use]
    pub fn image(&self, name: &str, version: &str) -> Vec<u8> {
        let root = self.folder.path().join("root");
        std::fs::create_dir_all(root.join("bin")).expect("the folder can be made");
        std::fs::copy(PathBuf::from("/bin/busybox"), root.join("bin/busybox")).expect("busybox-static is installed");
        std::fs::write(root.join("version"), version).expect("the folder can be written");
        let (tar, saved) = (self.folder.path().join("root.tar"), self.folder.path().join("saved.tar"));
        let _ = run(&["tar", "-C", word(&root), "-cf", word(&tar), "."]);
        let _ = self.docker(&["import", word(&tar), name]);
        let _ = self.docker(&["save", "--output", word(&saved), name]);
        let _ = self.docker(&["rmi", name]);
        std::fs::read(saved).expect("docker has saved it")
    }

    /// What the running container has in its `/version`.
    #[must_use]
    pub fn version_that_runs(&self) -> String {
        let listed = self.docker(&["ps", "--format", "{{.Names}}"]);
        let name = listed.lines().next().expect("a container runs");
        self.docker(&["exec", name, "/bin/busybox", "cat", "/version"])
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let words = self.words("docker");
        let listed = Command::new(&words[0]).args(&words[1..]).args(["ps", "--all", "--quiet"]).output();
        let listed = listed.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
        if !listed.is_empty() {
            let removed =
                Command::new(&words[0]).args(&words[1..]).args(["rm", "--force"]).args(listed.lines()).output();
            // Nobody can be told, and what is left over hurts nobody but this machine.
            drop(removed);
        }
        let _ = crate::server::signal("TERM", i64::from(self.daemon.id()));
        let _ = self.daemon.wait();
    }
}
