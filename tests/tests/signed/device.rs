//! A device that was given a root, and the keys of whoever signs for it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use muster_tests::operator;
use muster_tests::server::{Server, program};
use serde_json::json;
use tempfile::TempDir;

/// People with keys on a stick, and a server with a channel `stable` that only they can sign for.
pub(super) struct Signed {
    pub server: Server,
    pub stick: TempDir,
}

/// A device in a folder; its agent is killed with it.
pub(super) struct Device {
    folder: TempDir,
    agent: Option<Child>,
}

impl Signed {
    /// Root by two of three, one key for the targets, one for the channel.
    pub fn start() -> Self {
        let server = Server::start();
        let settings = json!({ "registration": "accept", "poll_interval_s": 1 });
        operator::set_project(server.admin(), &settings);
        let made = Self { server, stick: tempfile::tempdir().unwrap() };
        for name in ["ann", "bob", "eve", "targets", "release"] {
            made.key(name);
        }
        made.ceremony("ceremony", "release", 1, &["ann", "bob"]);
        made.publish("ceremony/root.json");
        made.publish("ceremony/targets.json");
        made
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.stick.path().join(name)
    }

    /// Makes a key; `NAME.pem` and `NAME.pub`.
    pub fn key(&self, name: &str) {
        let made = muster(&self.server, self.stick.path(), &["keys", "new", &format!("{name}.pem")]);
        std::fs::write(self.path(&format!("{name}.pub")), made.stdout).unwrap();
    }

    pub fn ceremony(&self, folder: &str, channel_key: &str, version: u32, people: &[&str]) {
        let found = self.server.admin().get("/metadata").expect(200);
        let key = |name: &str| found.at(name).as_str().unwrap().to_owned();
        let (online, director) = (key("/online_key"), key("/director_key"));
        let (channel, version) = (format!("stable={channel_key}.pub"), version.to_string());
        let words = ["keys", "ceremony", "init", folder, "--root", "ann.pub", "--root", "bob.pub", "--root", "eve.pub"];
        let more = ["--targets", "targets.pub", "--channel", &channel, "--online", &online, "--director", &director];
        let last = ["--version-number", version.as_str()];
        self.muster(&[&words[..], &more[..], &last[..]].concat());
        for person in people.iter().chain(&["targets"]) {
            self.muster(&["keys", "ceremony", "sign", folder, "--key", &format!("{person}.pem")]);
        }
    }

    pub fn publish(&self, document: &str) {
        self.muster(&["keys", "publish", document]);
    }

    pub fn sign(&self, release: &str, more: &[&str]) {
        let words = ["release", "sign", release, "--channel", "stable", "--key", "release.pem"];
        self.muster(&[&words[..], more].concat());
    }

    #[track_caller]
    pub fn muster(&self, words: &[&str]) -> Output {
        let ran = muster(&self.server, self.stick.path(), words);
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        ran
    }

    /// What a command says that refuses.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) -> String {
        let ran = muster(&self.server, self.stick.path(), words);
        assert!(!ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stdout));
        String::from_utf8(ran.stderr).unwrap()
    }

    /// Publishes a release of one page.
    pub fn release(&self, version: &str, page: &[u8]) -> String {
        operator::publish(self.server.admin(), "app", version, ("page", page))
    }
}

/// Runs a command as the server's admin.
pub(super) fn muster(server: &Server, folder: &Path, words: &[&str]) -> Output {
    let token = server.admin().token().expect("admin has logged in");
    Command::new(program("muster").unwrap())
        .args(words)
        .current_dir(folder)
        .env("MUSTER_SERVER", server.origin())
        .env("MUSTER_TOKEN", token)
        .output()
        .unwrap()
}

impl Device {
    /// Joins as `name`, with this root and the channel `stable`.
    pub fn start(signed: &Signed, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (at, root) = (folder.path().display(), signed.path("ceremony/root.json"));
        let text = format!(
            "server = \"{}\"\nfolder = \"{at}/state\"\n\n[trust]\nroot = \"{}\"\nchannels = [\"stable\"]\n\n\
             [health]\ninterval_s = 1\n\n[component.os]\ninstaller = \"tree\"\nroot = \"{at}/app\"\n",
            signed.server.origin(),
            root.display(),
        );
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, text).unwrap();
        let token = operator::make_gateway_token(signed.server.admin());
        let file = file.to_str().unwrap();
        let words = ["join", "--token", &token, "--project", "default", "--device", name, "--config", file];
        let joined = Command::new(program("muster-agent").unwrap()).args(words).output().unwrap();
        assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        let mut device = Self { folder, agent: None };
        device.run();
        device
    }

    pub fn run(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut run = Command::new(program("muster-agent").unwrap());
        run.args(["run", "--config"]).arg(self.path("agent.toml")).stdin(Stdio::null());
        self.agent = Some(run.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}---", self.text("log"));
        }
    }
}
