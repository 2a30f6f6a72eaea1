//! A real `muster server` on a folder of its own and a free port.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, anyhow, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;
use crate::wait::until;

pub const ADMIN: &str = "admin";
pub const PASSWORD: &str = "correct horse battery";
/// Lines of the server's log shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;

#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    data: PathBuf,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    /// Kept open: a server whose stdout is gone would fail at its next line.
    stdout: Option<BufReader<ChildStdout>>,
    admin: OnceLock<Api>,
}

impl Server {
    /// # Panics
    /// If the server does not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments of `muster server`.
    ///
    /// # Panics
    /// If the server does not come up.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::prepared();
        server.arguments = arguments.iter().map(ToString::to_string).collect();
        server.launch();
        server
    }

    /// With a data folder elsewhere; the log stays where there is room.
    ///
    /// # Panics
    /// If the server does not come up.
    #[must_use]
    pub fn start_in(data: &Path) -> Self {
        let mut server = Self::prepared();
        data.clone_into(&mut server.data);
        server.launch();
        server
    }

    /// With further environment variables.
    ///
    /// # Panics
    /// If the server does not come up.
    #[must_use]
    pub fn start_under(environment: &[(&str, &str)]) -> Self {
        let mut server = Self::prepared();
        server.set_environment(environment);
        server.launch();
        server
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// With HTTPS beside HTTP.
    ///
    /// # Panics
    /// If the server does not come up.
    #[must_use]
    pub fn start_tls() -> Self {
        let mut server = Self::prepared();
        server.tls_address = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        server.launch();
        server
    }

    /// The same with further arguments of `muster server`.
    ///
    /// # Panics
    /// If the server does not come up.
    #[must_use]
    pub fn start_tls_with(arguments: &[&str]) -> Self {
        let mut server = Self::prepared();
        server.tls_address = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        server.arguments = arguments.iter().map(ToString::to_string).collect();
        server.launch();
        server
    }

    /// `https://127.0.0.1:PORT`
    ///
    /// # Panics
    /// If it was not started with TLS.
    #[must_use]
    pub fn tls_origin(&self) -> String {
        format!("https://{}", self.tls_address.expect("it was started with TLS"))
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// For its next life.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    }

    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// The operator API as admin; logs in at the first call. The token outlives restarts.
    pub fn admin(&self) -> &Api {
        self.admin.get_or_init(|| self.login(ADMIN, PASSWORD))
    }

    /// The operator API without a token.
    #[must_use]
    pub fn anonymous(&self) -> Api {
        Api::new(&self.origin())
    }

    /// # Panics
    /// If the login is refused.
    #[must_use]
    pub fn login(&self, account: &str, password: &str) -> Api {
        let api = self.anonymous();
        let answer = api.post("/login", &json!({ "account": account, "password": password })).expect(200);
        let token = answer.at("/token");
        api.with_token(token.as_str().expect("a login has a token"))
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.stdout = None;
    }

    /// SIGTERM, and waits until it has ended.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        signal("TERM", i64::from(child.id())).expect("SIGTERM is sent");
        let status = until("the server has stopped", || child.try_wait().ok().flatten());
        self.stdout = None;
        status
    }

    /// The same folder and the same port again.
    ///
    /// # Panics
    /// If the server does not come up.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "stop or kill it before it is started again");
        self.launch();
    }

    /// Starts it once more, and says what it logged before it gave up.
    ///
    /// # Panics
    /// If it comes up.
    pub fn fails_to_start(&mut self) -> String {
        assert!(self.try_launch().is_err(), "the server came up");
        self.kill();
        self.log()
    }

    /// The last lines of what all its lives have logged.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    fn prepared() -> Self {
        let folder = tempfile::Builder::new().prefix("muster-test-").tempdir().expect("a scratch folder");
        Self {
            data: folder.path().join("data"),
            folder,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_address: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            child: None,
            stdout: None,
            admin: OnceLock::new(),
        }
    }

    /// The file that all its lives log to.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn launch(&mut self) {
        if let Err(failed) = self.try_launch() {
            panic!("the server did not come up: {failed:#}\n{}", self.log());
        }
    }

    fn try_launch(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut child = Command::new(program("muster")?)
            .args(["server", "--data"])
            .arg(&self.data)
            .args(["--listen", &self.address.to_string()])
            .args(self.tls_address.map(|address| format!("--tls-listen={address}")))
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("MUSTER_ADMIN_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting muster server")?;
        let mut stdout = BufReader::new(child.stdout.take().context("its stdout is piped")?);
        self.child = Some(child);
        let mut line = String::new();
        stdout.read_line(&mut line).context("waiting for its address")?;
        let told = line.trim_end().strip_prefix("listening on http://");
        self.address = told.ok_or_else(|| anyhow!("it said {line:?} instead of its address"))?.parse()?;
        if self.tls_address.is_some() {
            let mut line = String::new();
            stdout.read_line(&mut line).context("waiting for its other address")?;
            let told = line.trim_end().strip_prefix("listening on https://");
            let told = told.ok_or_else(|| anyhow!("it said {line:?} instead of its other address"))?;
            self.tls_address = Some(told.parse()?);
        }
        self.stdout = Some(stdout);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}\n---", self.log());
        }
        self.kill();
    }
}

/// A program of this workspace, built once; its package has its name. It lies beside the test program's own folder.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().map_err(|_| anyhow!("a test panicked while it built a program"))?;
    let built = built.entry(name.to_owned()).or_insert_with(|| build(name).map_err(|failed| format!("{failed:#}")));
    built.clone().map_err(|failed| anyhow!("{failed}"))
}

fn build(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("asking for the test program's path")?;
    let folder = own.parent().and_then(Path::parent).context("the test program lies in target/PROFILE/deps")?;
    let target = folder.parent().context("the profile's folder lies in target")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", name, "--target-dir"]).arg(target);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = cargo.current_dir(root).output().context("running cargo")?;
    ensure!(output.status.success(), "cargo build -p {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join(name))
}

/// Sends a signal by name; a negative id means a whole process group.
pub fn signal(name: &str, id: i64) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-s", name, "--", &id.to_string()]).stderr(Stdio::null()).status();
    ensure!(status.context("running kill")?.success(), "no process {id} takes SIG{name}");
    Ok(())
}
