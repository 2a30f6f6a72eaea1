//! How do the tests run npm's `oidc-provider`, a certified OpenID provider, over TLS on this machine?
//!
//! Installed in `target/parts/oidc-provider` at the first use if `cargo xtask test` has not done so. It also does what an
//! attacker who got into the provider could do: sign any token with its keys, and change what it hands out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::provision;

/// The release whose pages and answers are known.
const PACKAGE: &str = "oidc-provider@9.13.3";
const PROGRAM: &str = include_str!("oidc_provider.mjs");

/// A running provider; ends with the test.
#[derive(Debug)]
pub struct Provider {
    child: Child,
    stdin: ChildStdin,
    said: BufReader<ChildStdout>,
    /// `https://127.0.0.1:PORT`
    pub issuer: String,
    /// PEM: what to believe about its address.
    pub certificate: String,
    _folder: tempfile::TempDir,
}

impl Provider {
    /// Knows the client `muster` with the secret `client secret`, and where it wants browsers back.
    ///
    /// # Panics
    /// If it can't be installed or started.
    #[must_use]
    pub fn start(callback: &str) -> Self {
        Self::try_start(callback).unwrap_or_else(|failed| panic!("oidc-provider: {failed:#}"))
    }

    fn try_start(callback: &str) -> anyhow::Result<Self> {
        let modules = provision::package(PACKAGE)?;
        let folder = tempfile::tempdir()?;
        let certificate = provision::make_certificate(folder.path())?;
        let mut node = Command::new("node");
        node.args(["--no-warnings", "--input-type=module", "-e", PROGRAM]).current_dir(modules);
        node.env("FOLDER", folder.path()).env("CALLBACK", callback);
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdin = child.stdin.take().context("its stdin is piped")?;
        let said = BufReader::new(child.stdout.take().context("its stdout is piped")?);
        let mut made = Self { child, stdin, said, issuer: String::new(), certificate, _folder: folder };
        let ready = made.hear()?;
        made.issuer = ready["issuer"].as_str().context("it says where it is")?.to_owned();
        Ok(made)
    }

    /// Who is at the provider's login page from now on.
    pub fn person(&mut self, subject: &str, claims: &Value) {
        let _ = self.tell(&json!({ "person": { "subject": subject, "claims": claims } }));
    }

    /// A token with any header and claims, signed by the provider's own key; by HS256 if the header says so, with the
    /// public key as the secret.
    pub fn sign(&mut self, header: &Value, claims: &Value) -> String {
        let answer = self.tell(&json!({ "sign": { "header": header, "claims": claims } }));
        answer["token"].as_str().unwrap_or_default().to_owned()
    }

    /// ID tokens are handed out with these claims (null: without) and this header, until told otherwise.
    pub fn tamper(&mut self, header: &Value, claims: &Value) {
        let _ = self.tell(&json!({ "tamper": { "header": header, "claims": claims } }));
    }

    /// # Panics
    /// If it is gone.
    fn tell(&mut self, order: &Value) -> Value {
        writeln!(self.stdin, "{order}").expect("the provider listens");
        self.hear().expect("the provider answers")
    }

    fn hear(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        // It warns about this and that before it begins.
        while !line.starts_with('{') {
            line.clear();
            ensure!(self.said.read_line(&mut line)? > 0, "it has ended");
        }
        serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
