//! Devices that prove themselves by certificates: how they come in, stay, and are kept out.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use muster_tests::api::Api;
use muster_tests::operator::{publish, roll_out, set_project};
use muster_tests::server::{Server, program};
use muster_tests::wait::{until, until_true};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A device in a folder.
pub(crate) struct Device {
    pub folder: TempDir,
    name: String,
    agent: Option<Child>,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the log of {} ---\n{}---", self.name, self.text("log"));
        }
    }
}

impl Device {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let text = format!(
            "folder = \"{at}/state\"\n\n[health]\ninterval_s = 1\n\n[component.os]\ninstaller = \"tree\"\n\
             root = \"{at}/app\"\n"
        );
        std::fs::write(folder.path().join("agent.toml"), text).unwrap();
        Self { folder, name: name.to_owned(), agent: None }
    }

    pub fn file(&self) -> String {
        self.folder.path().join("agent.toml").to_str().unwrap().to_owned()
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    pub fn identity(&self) -> Value {
        serde_json::from_str(&self.text("state/identity.json")).unwrap_or(Value::Null)
    }

    fn joining(&self, server: &Server, words: &[&str]) -> Command {
        let mut join = Command::new(program("muster-agent").unwrap());
        join.args(["join", &server.tls_origin(), "--device", &self.name, "--config", &self.file()]).args(words);
        join
    }

    pub(crate) fn join(&self, server: &Server, words: &[&str]) -> Output {
        self.joining(server, words).output().unwrap()
    }

    #[track_caller]
    pub fn joined(&self, server: &Server, words: &[&str]) {
        let said = self.join(server, words);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    pub fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut run = Command::new(program("muster-agent").unwrap());
        run.args(["run", "--config", &self.file()]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(run.spawn().unwrap());
    }

    pub fn stop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

pub(crate) fn start() -> (Server, String) {
    let server = Server::start_tls();
    set_project(server.admin(), &json!({ "poll_interval_s": 1 }));
    let pin = server.admin().get("/identity").expect(200).at("/pin");
    let pin = pin.as_str().unwrap().to_owned();
    (server, pin)
}

pub(crate) fn join_token(admin: &Api) -> String {
    let made = admin.post("/join-tokens", &json!({ "name": "line-3", "life_s": 3600 })).expect(201);
    made.at("/secret").as_str().unwrap().to_owned()
}

pub(crate) fn seen(admin: &Api, name: &str) -> Value {
    admin.get(&format!("/devices/{name}")).expect(200).at("/last_seen")
}

#[test]
fn a_device_joins_gets_a_certificate_and_is_updated_without_any_token() {
    let (server, pin) = start();
    let admin = server.admin();
    let token = join_token(admin);
    let mut device = Device::new("sn-1");
    let refused = device.join(&server, &["--token", &token]);
    assert!(!refused.status.success(), "a server that nobody vouches for was believed");
    let wrong = format!("sha256:{}", "0".repeat(64));
    let refused = device.join(&server, &["--token", &token, "--pin", &wrong]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another server"), "{refused:?}");
    device.joined(&server, &["--token", &token, "--pin", &pin]);
    assert!(!device.text("agent.toml").contains("token"), "{}", device.text("agent.toml"));
    let known = admin.get("/devices/sn-1").expect(200);
    assert_eq!(known.at("/state"), json!("accepted"));
    assert!(known.at("/certificate/fingerprint").as_str().unwrap().len() == 24, "{known}");
    device.run();
    let release = publish(admin, "app", "1", ("page", b"one"));
    roll_out(admin, &release, "sn-1", &json!({}));
    until_true("the device runs the release", || {
        admin.get("/devices/sn-1").expect(200).at("/release") == json!("app@1")
    });
}

#[test]
fn a_device_that_shows_nothing_waits_until_somebody_has_compared_fingerprints() {
    let (server, pin) = start();
    let admin = server.admin();
    let device = Device::new("sn-2");
    let refused = device.join(&server, &["--pin", &pin]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("join token"), "{refused:?}");
    set_project(admin, &json!({ "enrollment": [{ "shows": "nothing", "then": "wait" }] }));
    let mut joining = device.joining(&server, &["--pin", &pin]).stdout(Stdio::piped()).spawn().unwrap();
    let known = until("it waits", || {
        let known = admin.get("/devices/sn-2");
        (known.status == 200).then_some(known)
    });
    assert_eq!(known.at("/state"), json!("pending"));
    let fingerprint = known.at("/certificate/fingerprint");
    let _ = admin.post("/devices/sn-2/accept", &json!({})).expect(200);
    assert!(joining.wait().unwrap().success());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut joining.stdout.take().unwrap(), &mut said).unwrap();
    assert!(said.contains(fingerprint.as_str().unwrap()), "{said}");
    assert_ne!(device.identity(), Value::Null);
}

#[test]
fn whoever_names_a_device_that_is_known_learns_nothing_and_gets_nothing() {
    let (server, pin) = start();
    let admin = server.admin();
    set_project(admin, &json!({ "enrollment": [{ "shows": "nothing", "then": "wait" }] }));
    let token = join_token(admin);
    let device = Device::new("sn-1");
    device.joined(&server, &["--token", &token, "--pin", &pin]);
    let before = admin.get("/devices/sn-1").expect(200).at("/certificate/key");
    let thief = Device::new("sn-1");
    let mut joining = thief.joining(&server, &["--pin", &pin]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(joining.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert!(line.starts_with("waiting to be accepted"), "{line}");
    joining.kill().unwrap();
    joining.wait().unwrap();
    assert_eq!(admin.get("/devices/sn-1").expect(200).at("/certificate/key"), before);
}

#[test]
fn a_revoked_device_is_refused_on_its_next_poll_and_may_join_again() {
    let (server, pin) = start();
    let admin = server.admin();
    let token = join_token(admin);
    let mut device = Device::new("sn-1");
    device.joined(&server, &["--token", &token, "--pin", &pin]);
    device.run();
    until_true("it polls", || seen(admin, "sn-1") != Value::Null);
    let _ = admin.post("/devices/sn-1/revoke", &json!({})).expect(200);
    let last = seen(admin, "sn-1");
    until_true("it is refused", || device.text("log").contains("no valid device token or certificate"));
    assert_eq!(seen(admin, "sn-1"), last, "it was heard after it was revoked");
    device.stop();
    std::fs::remove_file(device.folder.path().join("state/identity.json")).unwrap();
    device.joined(&server, &["--token", &token, "--pin", &pin]);
    device.run();
    until_true("it polls again", || seen(admin, "sn-1") != last);
}

#[test]
fn a_new_issuing_authority_loses_nobody() {
    let (server, pin) = start();
    let admin = server.admin();
    let token = join_token(admin);
    let (mut one, mut two) = (Device::new("sn-1"), Device::new("sn-2"));
    one.joined(&server, &["--token", &token, "--pin", &pin]);
    one.run();
    until_true("it polls", || seen(admin, "sn-1") != Value::Null);
    let rotated = admin.post("/identity/rotate", &json!({})).expect(200);
    assert_eq!(rotated.at("/issuing"), json!(["issuing-1", "issuing-2"]));
    two.joined(&server, &["--token", &token, "--pin", &pin]);
    two.run();
    let before = seen(admin, "sn-1");
    until_true("both poll", || seen(admin, "sn-1") != before && seen(admin, "sn-2") != Value::Null);
}

/// Key and certificate as a factory burns them in, by openssl.
fn factory(folder: &Path, name: &str) -> (String, String) {
    let (key, certificate) = (folder.join("factory.key"), folder.join("factory.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            key.to_str().unwrap(),
            "-out",
            certificate.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (key.to_str().unwrap().into(), certificate.to_str().unwrap().into())
}

/// SHA-256 of the certificate's public key, as openssl tells it.
fn key_digest(certificate: &str) -> String {
    let script = format!(
        "openssl x509 -in '{certificate}' -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r"
    );
    let told = Command::new("sh").args(["-c", &script]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    format!("sha256:{}", told.split_whitespace().next().unwrap())
}

#[test]
fn a_key_that_the_factory_told_lets_its_device_in_and_no_other() {
    let (server, pin) = start();
    let admin = server.admin();
    let device = Device::new("sn-7");
    let (key, certificate) = factory(device.folder.path(), "anything");
    let words = ["--pin", &pin, "--key", &key, "--certificate", &certificate];
    assert!(!device.join(&server, &words).status.success(), "nobody has told of this key yet");
    let claims =
        json!({ "claims": [{ "name": "sn-7", "key": key_digest(&certificate), "labels": { "site": "oslo" } }] });
    assert_eq!(admin.post("/claims", &claims).expect(201).at("/created"), json!(1));
    let _ = admin.post("/claims", &claims).expect(409);
    let other = Device::new("sn-8");
    let refused = other.join(&server, &words);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--device sn-7"), "{refused:?}");
    device.joined(&server, &words);
    let known = admin.get("/devices/sn-7").expect(200);
    assert_eq!((known.at("/state"), known.at("/labels/site")), (json!("accepted"), json!("oslo")));
    let claims = admin.get("/claims").expect(200);
    assert_ne!(claims.at("/items/0/claimed_at"), Value::Null);
}
