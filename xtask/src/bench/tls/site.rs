//! Certificates for one run: an authority for the servers, and devices that the server under measurement has let in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use muster_sim::certified::{Key, Link, client};
use muster_trust::authority::issue::{Issuer, ServerName, make_root};
use muster_vocab::Timestamp;
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::bench::folder::Folder;
use crate::bench::server::{Server, text};

const LIFE: Duration = Duration::from_secs(86_400);
/// So that devices that join together share a durable commit.
const JOINING_THREADS: usize = 16;

/// Both servers show the same certificate; its files are removed at the end.
#[derive(Debug)]
pub struct Site {
    folder: Folder,
    root: String,
}

/// A key and its certificates.
#[derive(Debug)]
pub struct Identity {
    pub key: Key,
    pub chain: String,
}

impl Site {
    pub fn make() -> anyhow::Result<Self> {
        let folder = Folder::make("tls-site")?;
        let now = Timestamp(now_ms()?);
        let (root, key) = make_root("Bench root", now)?;
        let names = [ServerName::Ip([127, 0, 0, 1].into())];
        let (issued, server_key) = Issuer::open(&root, &key, true)?.issue_server(&names, now, LIFE)?;
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).context("writing keys");
        // Nobody sends a root.
        let own = issued.chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap_or_default();
        write("server.pem", own)?;
        write("server.key", &server_key)?;
        Ok(Self { folder, root })
    }

    pub fn certificate(&self) -> PathBuf {
        self.path().join("server.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.path().join("server.key")
    }

    /// Who signs for devices; written when they have joined.
    pub fn issuing(&self) -> PathBuf {
        self.path().join("issuing.pem")
    }

    /// Whom devices believe, PEM.
    pub fn root(&self) -> &str {
        &self.root
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// How a device speaks TLS.
    pub fn client(&self, identity: &Identity) -> anyhow::Result<Arc<ClientConfig>> {
        Ok(Arc::new(client(&self.root, Some((&identity.chain, &identity.key)))?))
    }

    /// Lets that many devices join.
    pub fn devices(&self, server: &Server, count: usize) -> anyhow::Result<Vec<Identity>> {
        let operator = server.log_in()?;
        let made = operator.post("/join-tokens", &json!({ "name": "bench", "life_s": LIFE.as_secs() }))?;
        let token = text(&made, "secret")?;
        let numbers: Vec<usize> = (0..count).collect();
        let identities = std::thread::scope(|scope| {
            let shares = numbers.chunks(count.div_ceil(JOINING_THREADS));
            let threads: Vec<_> = shares.map(|share| scope.spawn(|| self.join_all(server, &token, share))).collect();
            let joined = threads.into_iter().map(|thread| thread.join().expect("joining does not panic"));
            joined.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let identities: Vec<Identity> = identities.into_iter().flatten().collect();
        let first = identities.first().context("a run needs devices")?;
        let issuing = first.chain.split_inclusive("-----END CERTIFICATE-----\n").nth(1).context("a chain has two")?;
        std::fs::write(self.issuing(), issuing).context("writing who signs")?;
        Ok(identities)
    }

    fn join_all(&self, server: &Server, token: &str, numbers: &[usize]) -> anyhow::Result<Vec<Identity>> {
        let config = Arc::new(client(&self.root, None)?);
        let mut link = Link::open(server.tls_address.context("it speaks TLS")?, &config).context("connecting")?;
        let mut identities = Vec::new();
        for number in numbers {
            let key = Key::make()?;
            let body = json!({
                "token": token, "project": "default", "device": format!("tls-{number}"), "request": key.request()?.0
            });
            let kind = "content-type: application/json\r\n";
            let answer = link.ask(("POST", "/device/v1/join"), kind, body.to_string().as_bytes()).context("joining")?;
            ensure!(answer.status == 201, "a device was told {}", String::from_utf8_lossy(&answer.body));
            let joined: Value = serde_json::from_slice(&answer.body).context("reading a certificate")?;
            let chain = joined["certificate"]["chain"].as_str().context("a device got no certificate")?.to_owned();
            identities.push(Identity { key, chain });
        }
        Ok(identities)
    }
}

fn now_ms() -> anyhow::Result<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("asking for the time")?;
    i64::try_from(since.as_millis()).context("asking for the time")
}
