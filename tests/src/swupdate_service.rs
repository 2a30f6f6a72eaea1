//! Debian's `swupdate`, unmodified, as a service that waits for images at its socket.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use tempfile::TempDir;

use crate::server::signal;
use crate::swupdate::{CONFIGURATION, HARDWARE, Signer};
use crate::wait::until_true;

#[derive(Debug)]
pub struct Service {
    folder: TempDir,
    child: Option<Child>,
}

impl Service {
    /// Runs, and trusts one signer.
    pub fn start(signer: &Signer) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("swupdate-").tempdir()?;
        fs::create_dir(folder.path().join("tmp"))?;
        fs::create_dir(folder.path().join("flash"))?;
        fs::copy(signer.certificate(), folder.path().join("trusted.crt"))?;
        fs::write(folder.path().join("swupdate.cfg"), CONFIGURATION)?;
        let mut service = Self { folder, child: None };
        let log = File::create(service.path("swupdate.log"))?;
        let mut command = Command::new("swupdate");
        command.args(service.options()).args(["-q", "stable,copy-a", "-q", "stable,copy-b"]);
        command.env("TMPDIR", service.path("tmp")).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        service.child = Some(command.spawn().context("starting swupdate")?);
        until_true("swupdate listens", || UnixStream::connect(service.socket()).is_ok());
        Ok(service)
    }

    /// Those that a second `swupdate` needs to trust and install the same; it gets them before its `-i`.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let path = |name| self.path(name).to_string_lossy().into_owned();
        let words = ["-f", &path("swupdate.cfg"), "-k", &path("trusted.crt"), "-H", HARDWARE];
        words.map(str::to_owned).to_vec()
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("tmp/sockinstctrl")
    }

    /// A path in the service's own folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("swupdate.log")).unwrap_or_default()).into_owned()
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nobody is left to hear of a failure here.
            let _ = signal("KILL", -i64::from(child.id()));
            let _ = child.wait();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the log of swupdate ---\n{}\n---", self.log());
        }
    }
}
