//! What does the server do with a request that a stranger, a device or a person wrote?
//!
//! The whole server without its listeners: routes, flows, and a store in a folder that is removed at the end. Every
//! answer is one that a client can do something with: never an error of the server's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Method, Request, StatusCode, header};
use muster_server::config::Flags;
use muster_server::edge::peer::Peer;
use muster_server::edge::serve::routes;
use muster_server::rate::Buckets;
use muster_server::work::{self, Workers};
use muster_server::{Config, start};
use muster_vocab::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const PASSWORD: &str = "a password for a server that lives two minutes";
/// More than is read of any answer here.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often, and after how long, it is asked whether the actions are there.
const ROUNDS_MAX: usize = 1000;
const ROUND: Duration = Duration::from_millis(10);

/// Requests of devices that speak hawkBit's DDI.
const DDI: [&str; 10] = [
    "PUT /default/controller/v1/d1/configData",
    "POST /default/controller/v1/d1/deploymentBase/1/feedback",
    "POST /default/controller/v1/d1/cancelAction/1/feedback",
    "POST /default/controller/v1/d1/confirmationBase/1/feedback",
    "POST /default/controller/v1/d1/confirmationBase/activateAutoConfirm",
    "POST /default/controller/v1/d1/confirmationBase/deactivateAutoConfirm",
    "GET /default/controller/v1/d1/deploymentBase/1",
    "GET /default/controller/v1/d1/softwaremodules/1/artifacts",
    "GET /default/controller/v1/d1",
    "GET /",
];
/// Requests of Muster's own agents, and EST.
const AGENT: [&str; 9] = [
    "POST /device/v1/reports",
    "POST /device/v1/join",
    "POST /device/v1/certificate",
    "POST /device/v1/secrets",
    "POST /device/v1/transfer",
    "GET /device/v1/orders",
    "GET /device/v1/actions/1",
    "POST /.well-known/est/simpleenroll",
    "GET /device/v1/",
];
/// Requests of people that are read before anything is decided. Nothing here reaches another machine.
const PEOPLE: [&str; 38] = [
    "POST /api/v1/login",
    "POST /api/v1/devices",
    "PATCH /api/v1/devices/d1",
    "POST /api/v1/devices/d1/commands",
    "POST /api/v1/devices:accept",
    "POST /api/v1/releases",
    "POST /api/v1/releases/os/1/attestations",
    "POST /api/v1/releases/os/1/yank",
    "PUT /api/v1/release-policy",
    "POST /api/v1/rollouts",
    "POST /api/v1/rollouts/1/pause",
    "POST /api/v1/rollouts/1/start",
    "POST /api/v1/rollouts/1/retry",
    "POST /api/v1/rollouts/1/break-glass",
    "PUT /api/v1/approval-rules",
    "PUT /api/v1/channels/stable",
    "PUT /api/v1/configurations/net",
    "POST /api/v1/configurations:preview",
    "PUT /api/v1/secrets/wifi",
    "PUT /api/v1/metadata/root",
    "PUT /api/v1/metadata/timestamp",
    "POST /api/v1/key-ring",
    "POST /api/v1/authorities",
    "POST /api/v1/claims",
    "POST /api/v1/join-tokens",
    "PUT /api/v1/enrollment-policy",
    "POST /api/v1/enrollment-policy/test",
    "POST /api/v1/roles",
    "POST /api/v1/role-bindings",
    "POST /api/v1/accounts",
    "POST /api/v1/uploads",
    "POST /api/v1/tokens",
    "POST /api/v1/actions/1/cancel",
    "GET /api/v1/devices",
    "GET /api/v1/rollouts",
    "GET /api/v1/audit",
    "GET /api/v1/actions",
    "GET /api/v1/devices:count",
];

pub fn ddi(data: &[u8]) {
    Server::here().ask(&DDI, data, |server| format!("TargetToken {}", server.device_token));
}

pub fn agent(data: &[u8]) {
    Server::here().ask(&AGENT, data, |server| format!("Bearer {}", server.agent_token));
}

pub fn people(data: &[u8]) {
    Server::here().ask(&PEOPLE, data, |server| format!("Bearer {}", server.admin_token));
}

struct Server {
    runtime: Runtime,
    routes: Router,
    /// Of a device that knows DDI, of one with Muster's agent, and of a person who may do everything.
    device_token: String,
    agent_token: String,
    admin_token: String,
    _workers: Workers,
    _folder: TempDir,
}

impl Server {
    fn here() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::begin().expect("a server of one's own starts"))
    }

    fn begin() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()?;
        let folder = tempfile::tempdir().ok()?;
        let config = Config::resolve(Flags {
            data: Some(folder.path().to_owned()),
            listen: Some(([127, 0, 0, 1], 0).into()),
            delta_memory_mib: Some(0),
            ..Flags::default()
        });
        // The workers make the rollout's actions; deltas would be made by a program that this one isn't.
        let mut app = runtime.block_on(start::prepare(config.ok()?, Some(PASSWORD.into()))).ok()?.app;
        let open = Arc::get_mut(&mut app)?;
        // Rates that remember nobody hold nobody back: that is not what is looked for.
        open.token_rates = Buckets::new(Duration::ZERO, 1, 0);
        open.device_rates = Buckets::new(Duration::ZERO, 1, 0);
        let workers = runtime.block_on(async { work::start(&app) });
        let mut server = Self {
            routes: routes(&app),
            runtime,
            device_token: String::new(),
            agent_token: String::new(),
            admin_token: String::new(),
            _workers: workers,
            _folder: folder,
        };
        let login = server.say("POST /api/v1/login", &json!({ "account": start::ADMIN, "password": PASSWORD }))?;
        server.admin_token = login["token"].as_str()?.into();
        let device = server.say("POST /api/v1/devices", &json!({ "name": "d1" }))?;
        server.device_token = device["token"].as_str()?.into();
        let join = server.say("POST /api/v1/join-tokens", &json!({ "name": "line", "life_s": 3600 }))?;
        let join = json!({ "token": join["secret"], "project": start::PROJECT, "device": "a1" });
        server.agent_token = server.say("POST /device/v1/join", &join)?["token"].as_str()?.into();
        server.release()?;
        Some(server)
    }

    /// One that is rolled out, so that both devices have an action to talk about.
    fn release(&self) -> Option<()> {
        let artifact = b"an image";
        let digest: String = Sha256::digest(artifact).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{digest}");
        let upload = json!({ "name": "os.img", "size": artifact.len(), "digest": digest });
        let upload = self.say("POST /api/v1/uploads", &upload)?;
        let part = format!("PATCH /api/v1/uploads/{}", upload["id"].as_str()?);
        let (status, _) = self.exchange(&part, &format!("Bearer {}", self.admin_token), artifact.to_vec());
        status.is_success().then_some(())?;
        let artifacts = json!([{ "name": "os.img", "digest": digest }]);
        let components = json!([{ "name": "os", "version": "1", "artifacts": artifacts }]);
        self.say("POST /api/v1/releases", &json!({ "name": "os", "version": "1", "components": components }))?;
        self.say("POST /api/v1/releases/os/1/publish", &json!({}))?;
        self.say("POST /api/v1/rollouts", &json!({ "release": "os@1", "select": "all", "start": true }))?;
        for _ in 0..ROUNDS_MAX {
            let actions = self.say("GET /api/v1/actions", &json!({}))?;
            if actions["items"].as_array().is_some_and(|actions| actions.len() == 2) {
                return Some(());
            }
            self.runtime.block_on(async { tokio::time::sleep(ROUND).await });
        }
        None
    }

    /// As the admin; none if it is refused.
    fn say(&self, what: &str, body: &Value) -> Option<Value> {
        let (status, answer) = self.exchange(what, &format!("Bearer {}", self.admin_token), body.to_string().into());
        if !status.is_success() {
            eprintln!("{what}: {status} {}", String::from_utf8_lossy(&answer));
            return None;
        }
        serde_json::from_slice(&answer).ok()
    }

    /// The first byte says which request it is; the others are its body, or its query.
    fn ask(&self, requests: &[&str], data: &[u8], who: fn(&Self) -> String) {
        let Some((which, rest)) = data.split_first() else { return };
        let request = requests[usize::from(*which) % requests.len()];
        let (status, answer) = if request.starts_with("GET") {
            self.exchange(&format!("{request}?{}", query(rest)), &who(self), Vec::new())
        } else {
            self.exchange(request, &who(self), rest.to_vec())
        };
        assert!(!status.is_server_error(), "{request}: {status} {}", String::from_utf8_lossy(&answer));
    }

    fn exchange(&self, what: &str, who: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let (method, path) = what.split_once(' ').expect("a method, a blank, a path");
        // From another address each time, because guesses are bounded by address.
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let address = SocketAddr::from((Ipv4Addr::from(ASKED.fetch_add(1, Ordering::Relaxed)), 1));
        let kind = if path.starts_with("/api/v1/uploads/") { "application/octet-stream" } else { "application/json" };
        let request = Request::builder()
            .method(method.parse::<Method>().expect("it is one"))
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, who)
            .header(header::CONTENT_TYPE, kind)
            .header("upload-offset", "0")
            .extension(Peer { address, is_tls: true, since: Timestamp(0), certificate: None })
            .body(Body::from(body))
            .expect("what is written above can be sent");
        self.runtime.block_on(async {
            let answer = self.routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
            let status = answer.status();
            let bytes = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await;
            (status, bytes.expect("the answer has an end").to_vec())
        })
    }
}

/// `select=…&limit=…` as it was meant: what may not stand in an address is encoded.
fn query(bytes: &[u8]) -> String {
    let encoded = |byte: &u8| match byte {
        b'&' | b'=' | b'%' | b'+' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(encoded).collect()
}
