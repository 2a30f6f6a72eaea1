//! A TPM as programs see it: swtpm, with a certificate for its endorsement key by a maker of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait::until_true;

/// swtpm_setup wants the whole path of what signs for its chips.
const LOCAL_CA: &str = "/usr/bin/swtpm_localca";

/// Makes TPMs, and vouches for them.
#[derive(Debug)]
pub struct Maker {
    folder: TempDir,
}

/// One chip, running.
#[derive(Debug)]
pub struct Tpm {
    folder: TempDir,
    running: Child,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

impl Default for Maker {
    fn default() -> Self {
        Self::new()
    }
}

impl Maker {
    /// # Panics
    /// If its folder can't be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let at = folder.path().display();
        let config = format!(
            "statedir = {at}\nsigningkey = {at}/sign.pem\nissuercert = {at}/issuer.pem\ncertserial = {at}/serial\n"
        );
        let options = "--tpm-manufacturer id:00001014\n--tpm-model swtpm\n--tpm-version 2\n\
                       --platform-manufacturer M\n--platform-version 2.1\n--platform-model M\n";
        let setup = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {at}/ca.conf\n\
             create_certs_tool_options = {at}/ca.options\nactive_pcr_banks = sha256\n",
            LOCAL_CA
        );
        for (name, text) in [("ca.conf", config.as_str()), ("ca.options", options), ("setup.conf", &setup)] {
            fs::write(folder.path().join(name), text).expect("a scratch folder can be written");
        }
        Self { folder }
    }

    /// A new chip.
    ///
    /// # Panics
    /// If swtpm doesn't make one.
    #[must_use]
    pub fn make(&self) -> Tpm {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--tpmstate"])
            .arg(folder.path())
            .arg("--config")
            .arg(self.folder.path().join("setup.conf"))
            .output()
            .expect("swtpm_setup starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let running = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg(format!("--tpmstate=dir={}", folder.path().display()))
            .arg(format!("--server=type=unixio,path={}", folder.path().join("tpm").display()))
            .arg(format!("--ctrl=type=unixio,path={}", folder.path().join("tpm.ctrl").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        until_true("the TPM answers", || folder.path().join("tpm.ctrl").exists());
        Tpm { folder, running }
    }

    /// PEM: the certificate that its chips' are signed by.
    ///
    /// # Panics
    /// If it has made no chip yet.
    #[must_use]
    pub fn certificate(&self) -> String {
        fs::read_to_string(self.folder.path().join("issuer.pem")).expect("the first chip made it")
    }
}

impl Tpm {
    /// As tpm2-tools take it.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        Path::new(self.folder.path()).join("tpm")
    }
}
