//! What does a routine ask of Muster's operator API?

use std::time::Duration;

use anyhow::{Context, bail};
use muster_sim::Payload;
use muster_vocab::Sha256;
use muster_wire::account::{LoggedIn, Login};
use muster_wire::action::Action;
use muster_wire::artifact::{Upload, UploadCreate};
use muster_wire::audit::AuditVerdict;
use muster_wire::device::{Device, DeviceCreate};
use muster_wire::page::Page;
use muster_wire::project::{GatewayToken, ProjectPatch, Registration};
use muster_wire::release::{Component, ComponentArtifact, ReleaseCreate};
use muster_wire::rollout::{Rollout, RolloutCreate, Take, Threshold, WaveCreate};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Digest;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const PAGE_ROWS: u32 = muster_vocab::limit::PAGE_ROWS_MAX;
const RELEASE: &str = "faults";

/// An operator who is logged in.
#[derive(Debug, Clone)]
pub struct World {
    agent: ureq::Agent,
    origin: String,
    token: String,
}

impl World {
    pub fn log_in(origin: &str, password: &str) -> anyhow::Result<World> {
        let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).http_status_as_error(false);
        let mut world = World { agent: config.build().into(), origin: origin.to_owned(), token: String::new() };
        let login = Login { account: "admin".to_owned(), password: password.to_owned(), project: None, code: None };
        world.token = world.post::<LoggedIn>("/login", &login).context("logging in")?.token;
        Ok(world)
    }

    /// Lets unknown devices in; they come with the token that is returned.
    pub fn open_for_devices(&self) -> anyhow::Result<String> {
        let patch = ProjectPatch { registration: Some(Registration::Accept), ..ProjectPatch::default() };
        self.send("PATCH", "/project", &patch).context("letting devices register themselves")?;
        let token: GatewayToken = self.post("/project/gateway-token", &()).context("making a gateway token")?;
        Ok(token.token)
    }

    /// Uploads a payload and publishes a release of it; answers `name@version`.
    pub fn publish(&self, payload: &Payload, size_bytes: usize) -> anyhow::Result<String> {
        let version = payload.version.clone().context("a release needs a version")?;
        let digest = self.upload(&payload.artifact(size_bytes)).context("uploading an artifact")?;
        let artifacts = vec![ComponentArtifact { digest, name: None }];
        let component =
            Component { name: "os".to_owned(), version: version.clone(), artifacts, metadata: Default::default() };
        let release = ReleaseCreate {
            name: RELEASE.to_owned(),
            version: version.clone(),
            components: vec![component],
            notes: String::new(),
        };
        self.send("POST", "/releases", &release).context("making a release")?;
        self.send("POST", &format!("/releases/{RELEASE}/{version}/publish"), &()).context("publishing a release")?;
        Ok(format!("{RELEASE}@{version}"))
    }

    /// Starts a rollout to the devices a selector matches, in waves of equal shares.
    pub fn roll_out(&self, release: &str, select: &str, waves: u8) -> anyhow::Result<Rollout> {
        let waves = (1..=waves).map(|number| WaveCreate {
            take: if number == waves { Take::Rest } else { Take::Percent(100 / waves) },
            success: Some(Threshold::Percent(80)),
            errors: Some(Threshold::Percent(100)),
            on_error: None,
            soak_s: 0,
            advance: None,
        });
        let rollout = RolloutCreate {
            name: None,
            release: Some(release.to_owned()),
            channel: None,
            select: select.to_owned(),
            waves: waves.collect(),
            on_error: None,
            push: None,
            start: true,
            start_at: None,
            window: None,
            approval: false,
            confirmation: false,
            priority: None,
            dynamic: false,
            allow_downgrade: false,
            silence_s: None,
        };
        self.post("/rollouts", &rollout).context("starting a rollout")
    }

    pub fn rollout(&self, id: &str) -> anyhow::Result<Rollout> {
        self.get(&format!("/rollouts/{id}")).with_context(|| format!("reading rollout {id}"))
    }

    pub fn actions(&self, rollout: &str) -> anyhow::Result<Vec<Action>> {
        self.list("/actions", &format!("rollout == {rollout}")).context("listing actions")
    }

    pub fn devices(&self, select: &str) -> anyhow::Result<Vec<Device>> {
        self.list("/devices", select).context("listing devices")
    }

    /// Does the audit log's chain of digests hold?
    pub fn audit(&self) -> anyhow::Result<AuditVerdict> {
        self.get("/audit/verify").context("verifying the audit log")
    }

    /// Makes a device; when this comes back without an error, the server has promised to keep it.
    pub fn add_device(&self, name: &str) -> anyhow::Result<()> {
        self.send("POST", "/devices", &DeviceCreate { name: name.to_owned(), labels: Default::default() })?;
        Ok(())
    }

    fn upload(&self, bytes: &[u8]) -> anyhow::Result<Sha256> {
        let digest = Sha256(sha2::Sha256::digest(bytes).into());
        let size = u64::try_from(bytes.len()).context("counting bytes")?;
        let begun: Upload = self.post("/uploads", &UploadCreate { name: "faults.img".to_owned(), size, digest })?;
        let request = ureq::http::Request::builder()
            .method("PATCH")
            .uri(self.url(&format!("/uploads/{}", begun.id)))
            .header("Authorization", self.authorization())
            .header("Content-Type", "application/octet-stream")
            .header("Upload-Offset", "0")
            .body(bytes)?;
        let done: Upload = serde_json::from_slice(&answer(self.agent.run(request)?)?)?;
        let artifact = done.artifact.context("the upload is not complete")?;
        Ok(artifact.digest)
    }

    fn list<T: DeserializeOwned>(&self, path: &str, select: &str) -> anyhow::Result<Vec<T>> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.agent.get(self.url(path)).header("Authorization", self.authorization());
            request = request.query("limit", PAGE_ROWS.to_string()).query("select", select);
            if let Some(cursor) = &cursor {
                request = request.query("cursor", cursor);
            }
            let page: Page<T> = serde_json::from_slice(&answer(request.call()?)?)?;
            rows.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self.agent.get(self.url(path)).header("Authorization", self.authorization());
        Ok(serde_json::from_slice(&answer(request.call()?)?)?)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        Ok(serde_json::from_slice(&self.send("POST", path, body)?)?)
    }

    fn send(&self, method: &str, path: &str, body: &impl Serialize) -> anyhow::Result<Vec<u8>> {
        let mut json = serde_json::to_vec(body)?;
        if json == b"null" {
            json.clear();
        }
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        if !json.is_empty() {
            request = request.header("Content-Type", "application/json");
        }
        if !self.token.is_empty() {
            request = request.header("Authorization", self.authorization());
        }
        answer(self.agent.run(request.body(json)?)?)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.origin)
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// The body of a 2xx; anything else is an error that says what was answered.
fn answer(response: ureq::http::Response<ureq::Body>) -> anyhow::Result<Vec<u8>> {
    let status = response.status();
    let body = response.into_body().into_with_config().limit(64 * 1024 * 1024).read_to_vec()?;
    if !status.is_success() {
        bail!("answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}
