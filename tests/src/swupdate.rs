//! Debian's `swupdate` as a device in the field runs it: unmodified, as suricatta (its hawkBit client).
//!
//! Debian's build takes signed images only, so keys and signatures are made here with `openssl`, and images with `cpio`.
//! The device is told apart by `-i`; its own token goes in with `-k` (a gateway token would be `-g`). `-p` sets the
//! delay of its first polls only: from the first answer on the server's `sleep` counts. `-n 2M` makes a download
//! slow; it takes bytes in bursts of about 1.6 MB, so a limit far below that also delays what it asks in between.
//! `-c 2` at a start means "the update I am running from worked", which is what a device says after its reboot.
//!
//! # What version 2022.12 was seen to send
//!
//! All feedback has `"id": 7` (a number), `"time": "20261123T014733"`, and `result.progress`.
//!
//! - **Start**: GET root, GET deploymentBase (only to learn of it), PUT configData with `Expect: 100-continue`, then
//!   it waits for the next poll: GET root, deploymentBase, root, deploymentBase.
//! - **An update that works**: proceeding/none "Installing Update Chunk Artifacts." → HEAD and GET of the artifact →
//!   proceeding/none with up to 48 log lines, a few times → proceeding/none "Installed Chunk." → proceeding/none
//!   "All Chunks Installed." → polls on and reads deploymentBase again at each poll, doing nothing. After a restart
//!   with `-c 2`: GET root, deploymentBase, POST **closed/success** "Update Installed.", GET root, PUT configData.
//! - **A payload that does not match its digest**: the log lines among the feedback hold "HASH mismatch" and "Image
//!   invalid or corrupted. Not installing ..."; then **closed/failure** on deploymentBase, cnt 0 of 1, and its only
//!   detail is "No suitable .swu image found". The target file is not made.
//! - **A signature by somebody else**: the same end; the log lines hold "Authentication of all signatures failed".
//!   It hangs up in the middle of the download.
//! - **A cancel while it downloads**: it polls at the server's interval in between and reads deploymentBase each time;
//!   once the root links cancelAction, it GETs that and hangs up, posts its log on **deploymentBase** twice
//!   (proceeding/none, while canceling), then POSTs to **cancelAction**: closed/success "cancellation acknowledged.",
//!   without progress. About a second passes between the two. It goes on polling and is ready for the next update.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::server::signal;
use crate::wait::until_true;

/// The board and revision that images of these tests are for.
pub const HARDWARE: &str = "box:1.0";
/// Lines of its log shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;

/// Fails with a sentence for people if a program is missing.
///
/// # Panics
/// If it is missing.
pub fn require(programs: &[&str]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in programs {
        let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        assert!(found, "{program} is not installed; `cargo xtask test` installs what the tests need");
    }
}

/// A key that signs images, and the certificate devices check them with.
#[derive(Debug)]
pub struct Signer {
    key: PathBuf,
    certificate: PathBuf,
}

impl Signer {
    /// Makes a new key in `folder`.
    pub fn new(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.crt")));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        openssl.args(["-addext", "extendedKeyUsage=emailProtection", "-addext", "keyUsage=digitalSignature"]);
        openssl.args(["-subj", &format!("/CN={name}")]);
        run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
        Ok(Self { key, certificate })
    }

    /// What devices check its signatures with.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    fn sign(&self, file: &Path, signature: &Path) -> anyhow::Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(["cms", "-sign", "-outform", "DER", "-nosmimecap", "-binary"]);
        openssl.arg("-in").arg(file).arg("-out").arg(signature);
        run(openssl.arg("-signer").arg(&self.certificate).arg("-inkey").arg(&self.key))
    }
}

/// An update that writes `payload` to the file `target` of the device.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    pub version: &'a str,
    pub target: &'a Path,
    pub payload: &'a [u8],
}

impl Image<'_> {
    /// Packs a `.swu` that is as it should be.
    pub fn pack(&self, signer: &Signer) -> anyhow::Result<Vec<u8>> {
        pack(&self.description()?, self.payload, signer)
    }

    /// Packs a `.swu` whose description has two modes, `stable,copy-a` and `stable,copy-b`, each for its own target.
    pub fn pack_modes(&self, signer: &Signer, other: &Path) -> anyhow::Result<Vec<u8>> {
        let (a, b) = (self.files()?, Image { target: other, ..*self }.files()?);
        let version = self.version;
        let description = format!(
            "software = {{ version = \"{version}\"; hardware-compatibility: [ \"1.0\" ];
                stable: {{ copy-a: {{ {a} }}; copy-b: {{ {b} }}; }};
            }}"
        );
        pack(&description, self.payload, signer)
    }

    /// Packs a `.swu` whose payload is not the one that was signed. The archive itself is sound.
    pub fn pack_corrupted(&self, signer: &Signer) -> anyhow::Result<Vec<u8>> {
        let mut other = self.payload.to_vec();
        let middle = other.len() / 2;
        other[middle] ^= 0xff;
        pack(&self.description()?, &other, signer)
    }

    fn description(&self) -> anyhow::Result<String> {
        let (version, files) = (self.version, self.files()?);
        Ok(format!("software = {{ version = \"{version}\"; hardware-compatibility: [ \"1.0\" ]; {files} }}"))
    }

    fn files(&self) -> anyhow::Result<String> {
        let mut hex = String::new();
        for byte in Sha256::digest(self.payload) {
            write!(hex, "{byte:02x}")?;
        }
        let target = self.target.to_str().context("the target is no text")?;
        Ok(format!(
            r#"files: ({{
        filename = "payload.bin";
        path = "{target}";
        type = "rawfile";
        properties: {{ create-destination = "true"; }};
        sha256 = "{hex}";
    }});"#
        ))
    }
}

fn pack(description: &str, payload: &[u8], signer: &Signer) -> anyhow::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("payload.bin"), payload)?;
    fs::write(at("sw-description"), description)?;
    signer.sign(&at("sw-description"), &at("sw-description.sig"))?;
    // swupdate reads the archive as a stream, so this order is part of the format.
    fs::write(at("order"), "sw-description\nsw-description.sig\npayload.bin\n")?;
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--quiet", "--format", "crc"]).current_dir(folder.path());
    run(cpio.stdin(File::open(at("order"))?).stdout(File::create(at("packed.swu"))?))?;
    Ok(fs::read(at("packed.swu"))?)
}

/// A device with a folder of its own, on which swupdate runs, is stopped, and runs again.
#[derive(Debug)]
pub struct Swupdate {
    folder: TempDir,
    name: String,
    token: String,
    server: SocketAddr,
    options: String,
    child: Option<Child>,
}

impl Swupdate {
    /// A device that trusts `signer`, not started yet. `options` are further ones of suricatta.
    pub fn new(server: SocketAddr, device: (&str, &str), signer: &Signer, options: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("swupdate-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        // swupdate makes its sockets in TMPDIR, so that several can run side by side.
        fs::create_dir(at("tmp"))?;
        fs::copy(&signer.certificate, at("trusted.crt"))?;
        fs::write(at("swupdate.cfg"), CONFIGURATION)?;
        let (name, token) = (device.0.to_owned(), device.1.to_owned());
        Ok(Self { folder, name, token, server, options: options.to_owned(), child: None })
    }

    /// The file its images write.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        self.folder.path().join("flash/root.img")
    }

    /// What the device has installed; none before the first time.
    #[must_use]
    pub fn installed(&self) -> Option<Vec<u8>> {
        fs::read(self.target()).ok()
    }

    pub fn start(&mut self) -> anyhow::Result<()> {
        self.launch("")
    }

    /// Starts again as after the reboot into the new software, and tells the server that it works.
    pub fn start_confirming(&mut self) -> anyhow::Result<()> {
        self.launch("-c 2")
    }

    /// SIGTERM, as at a reboot, and waits until it is gone.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let group = -i64::from(child.id());
            if let Err(gone) = signal("TERM", group) {
                eprintln!("swupdate had ended by itself: {gone:#}");
            }
            until_true("swupdate has stopped", || !matches!(child.try_wait(), Ok(None)));
        }
    }

    /// Everything it logged in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Waits until its log contains this.
    pub fn wait_for_log(&self, text: &str) {
        until_true(format_args!("swupdate says {text:?}"), || self.log().contains(text));
    }

    /// Waits until the file its images write has this content.
    pub fn wait_for_content(&self, content: &[u8]) {
        until_true("swupdate has written its target", || self.installed().is_some_and(|found| found == content));
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("swupdate.log")
    }

    fn launch(&mut self, confirm: &str) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "swupdate runs already");
        let at = |name: &str| self.folder.path().join(name);
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let (name, token, server, options) = (&self.name, &self.token, self.server, &self.options);
        let suricatta = format!("-t default -u http://{server} -i {name} -k {token} {options} {confirm}");
        let mut command = Command::new("swupdate");
        command.arg("-f").arg(at("swupdate.cfg")).arg("-k").arg(at("trusted.crt"));
        command.args(["-H", HARDWARE, "-u", suricatta.trim_end()]).env("TMPDIR", at("tmp"));
        // A group of its own: swupdate is several processes, and all of them have to go.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("starting swupdate")?);
        Ok(())
    }
}

impl Drop for Swupdate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("--- the log of swupdate on {} ---\n{}\n---", self.name, shown.join("\n"));
        }
        if let Some(mut child) = self.child.take() {
            // Nobody is left to hear of a failure here.
            let _ = signal("KILL", -i64::from(child.id()));
            let _ = child.wait();
        }
    }
}

/// swupdate exits without a `globals` section; `identify` becomes configData.
pub const CONFIGURATION: &str = r#"globals: {
    verbose = true;
    loglevel = 5;
};
identify: (
    { name = "board"; value = "box"; },
    { name = "site"; value = "north"; }
);
"#;

fn run(command: &mut Command) -> anyhow::Result<()> {
    let what = command.get_program().to_owned();
    let child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("starting {}", what.display()))?;
    let output = child.wait_with_output().with_context(|| format!("running {}", what.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {said}", what.display(), output.status);
    Ok(())
}
