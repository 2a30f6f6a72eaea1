//! How is a server started, killed and started again on the same folder and port?

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::process;

/// A start that has to go through the log of a killed server is still far below this.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(5);
const LOG_TAIL_LINES: usize = 20;

/// A `muster server` in its own folder, killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    origin: String,
    folder: TempDir,
}

impl Server {
    /// On a fresh folder and a free port, with this password for `admin`.
    pub fn start(program: &Path, password: &str) -> anyhow::Result<Server> {
        let folder = tempfile::tempdir().context("making a data folder")?;
        let mut child = spawn(program, folder.path(), "127.0.0.1:0", password)?;
        let origin = match announced(&mut child) {
            Ok(origin) => origin,
            Err(error) => {
                end(&mut child);
                return Err(error.context(log_tail(folder.path())));
            }
        };
        let mut server = Server { child, origin, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A place for files that belong to this run and vanish with the server.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Leaves the folder where it is when this ends, for a person to look at, and answers where that is.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// SIGKILL: no destructor runs and nothing is flushed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("killing the server")?;
        self.child.wait().context("waiting for the killed server")?;
        Ok(())
    }

    /// After a kill: again on the same folder and port, back when it is ready.
    pub fn restart(&mut self, program: &Path) -> anyhow::Result<()> {
        let address = self.origin.trim_start_matches("http://").to_owned();
        // The account exists already, so that no password is needed.
        self.child = spawn(program, self.folder.path(), &address, "")?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(READY_TIMEOUT)).build().into();
        let deadline = Instant::now() + READY_TIMEOUT;
        let url = format!("{}/readyz", self.origin);
        while agent.get(&url).call().is_err() {
            if let Some(status) = self.child.try_wait().context("looking after the server")? {
                bail!("the server ended with {status}\n{}", log_tail(self.folder.path()));
            }
            if Instant::now() > deadline {
                bail!("{url} was not ready in {} s\n{}", READY_TIMEOUT.as_secs(), log_tail(self.folder.path()));
            }
            std::thread::sleep(READY_POLL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(program: &Path, folder: &Path, address: &str, password: &str) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("server.log")).context("opening its log")?;
    Command::new(program)
        .args(["server", "--listen", address, "--data"])
        .arg(folder.join("data"))
        .env("MUSTER_ADMIN_PASSWORD", password)
        .env("MUSTER_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", process::line(&Command::new(program))))
}

/// What the server says on standard output once it listens.
fn announced(child: &mut Child) -> anyhow::Result<String> {
    let stdout = child.stdout.take().context("the server has no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("reading the server's address")?;
    let origin = line.trim().strip_prefix("listening on ").context("the server did not say where it listens")?;
    Ok(origin.to_owned())
}

/// It may have ended by itself, which is what is wanted here.
fn end(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

fn log_tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
