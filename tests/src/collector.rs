//! How do the tests collect syslog over TLS? By rsyslog, as Debian has it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use crate::provision;
use crate::wait::until;

/// A running collector; ends with the test.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    folder: PathBuf,
    pub port: u16,
}

impl Collector {
    /// Keeps certificate, settings and what it collects in a folder. `port` 0 takes a free one.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(folder: &Path, port: u16) -> Self {
        Self::try_start(folder, port).unwrap_or_else(|failed| panic!("rsyslogd: {failed:#}"))
    }

    fn try_start(folder: &Path, port: u16) -> anyhow::Result<Self> {
        let at = |name: &str| folder.join(name).display().to_string();
        if !folder.join("certificate.pem").exists() {
            let _ = provision::make_certificate(folder)?;
        }
        let settings = format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"64k\" DefaultNetstreamDriver=\"ossl\" \
             DefaultNetstreamDriverCAFile=\"{certificate}\" DefaultNetstreamDriverCertFile=\"{certificate}\" \
             DefaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
             module(load=\"mmpstrucdata\")\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\" listenPortFileName=\"{}\")\n\
             action(type=\"mmpstrucdata\")\n\
             template(name=\"all\" type=\"string\" string=\"%jsonmesg%\\n\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"all\")\n",
            folder.display(),
            at("key.pem"),
            at("port"),
            at("collected"),
            certificate = at("certificate.pem"),
        );
        std::fs::write(folder.join("rsyslog.conf"), settings)?;
        let _ = std::fs::remove_file(folder.join("port"));
        let mut rsyslogd = Command::new("rsyslogd");
        rsyslogd.args(["-n", "-f"]).arg(folder.join("rsyslog.conf")).arg("-i").arg(folder.join("pid"));
        rsyslogd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = rsyslogd.spawn().context("starting rsyslogd")?;
        let mut made = Self { child, folder: folder.to_owned(), port };
        // It names its port only if that was not said.
        made.port = until("rsyslogd listens", || match port {
            0 => std::fs::read_to_string(folder.join("port")).ok()?.trim().parse::<u16>().ok(),
            said => TcpStream::connect(("127.0.0.1", said)).is_ok().then_some(said),
        });
        Ok(made)
    }

    /// PEM: by what it proves itself.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// Each message with all its properties, in the order in which they came.
    #[must_use]
    pub fn collected(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join("collected")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
