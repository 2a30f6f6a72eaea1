//! Canaries are planted wherever secrets come in; then everything that was written, logged and answered is searched.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use muster_tests::api::Api;
use muster_tests::exchange::Payload;
use muster_tests::operator::{make_gateway_token, publish, roll_out};
use muster_tests::server::{PASSWORD, Server, program};
use serde_json::{Value, json};

use super::{configure, in_state, path_in, set, with_device};
use crate::agent::identity::Device;

/// What was planted, by where it came in.
#[derive(Default)]
struct Canaries(BTreeMap<String, String>);

impl Canaries {
    fn plant(&mut self, place: &str, value: &str) {
        assert!(value.len() >= 8, "{place}: a short canary sings by chance");
        self.0.insert(place.to_owned(), value.to_owned());
    }

    /// How a value could stand somewhere: as it is, in JSON, in base64 and in hex.
    fn spellings(value: &str) -> Vec<Vec<u8>> {
        let json = serde_json::to_string(value).unwrap();
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut all = vec![value.to_owned(), json.trim_matches('"').to_owned(), hex];
        // In base64 a text looks different at each of three places.
        for skipped in 0..3 {
            let shifted = value.as_bytes().get(skipped..).unwrap_or_default();
            let whole = &shifted[..shifted.len() / 3 * 3];
            all.extend([STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole)]);
        }
        all.into_iter().filter(|spelling| spelling.len() >= 8).map(String::into_bytes).collect()
    }

    /// Where canaries sing.
    fn found_in(&self, what: &str, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (place, value) in &self.0 {
            if Self::spellings(value).iter().any(|spelling| memmem::find(bytes, spelling).is_some()) {
                found.push(format!("{place} in {what}"));
            }
        }
        found
    }
}

/// Every file below, with its bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(path),
                kind if kind.is_file() => all.push((path.display().to_string(), std::fs::read(&path).unwrap())),
                _ => {}
            }
        }
    }
    all
}

/// All that can be read by the operator API, with names of things that are there.
fn answers(admin: &Api) -> Vec<(String, Vec<u8>)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for path in paths.iter().filter(|(_, methods)| methods.get("get").is_some()).map(|(path, _)| path) {
        let path = path.strip_prefix("/api/v1").unwrap();
        // Streams don't end.
        if path.contains("watch") || path.ends_with("/events") {
            continue;
        }
        for name in ["sn-1", "app", "key", "r-1", "default", "1"] {
            let filled = fill(path, name);
            let answer = admin.get(&filled);
            all.push((format!("the answer of {filled}"), answer.body));
            if filled == path {
                break;
            }
        }
    }
    assert!(all.len() > 100, "{} answers", all.len());
    all
}

fn fill(path: &str, name: &str) -> String {
    let mut filled = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push_str(name);
        rest = after.split_once('}').unwrap().1;
    }
    filled + rest
}

/// What an operator types, and what he sees.
fn said(server: &Server, words: &[&str]) -> (String, Vec<u8>) {
    let mut muster = Command::new(program("muster").unwrap());
    muster.args(words).env("MUSTER_SERVER", server.origin()).env("MUSTER_TOKEN", server.admin().token().unwrap());
    let output = muster.output().unwrap();
    (format!("what `muster {}` prints", words.join(" ")), [output.stdout, output.stderr].concat())
}

/// Everything that takes a secret is given one, in the right place and in wrong ones.
fn plant(server: &Server, device: &Device) -> Canaries {
    let (admin, mut canaries) = (server.admin(), Canaries::default());
    for (name, value) in [("key", "canary-secret-4711"), ("line", "first canary line\nsecond canary line\n")] {
        set(admin, name, value);
        canaries.plant(&format!("secret {name}"), value);
    }
    set(admin, "key", "canary-secret-4712");
    canaries.plant("secret key, second value", "canary-secret-4712");
    let ann = "canary-password-of-ann";
    let _ = admin.post("/accounts", &json!({ "name": "ann", "scopes": ["read"], "password": ann })).expect(201);
    canaries.plant("the password of ann", ann);
    canaries.plant("the password of admin", PASSWORD);
    let wrong = json!({ "account": "ann", "password": "canary-mistyped-password" });
    let _ = server.anonymous().post("/login", &wrong).expect(401);
    canaries.plant("a mistyped password", "canary-mistyped-password");
    let made = admin.post("/tokens", &json!({ "name": "ci", "scopes": ["read"], "life_s": 3600 })).expect(201);
    canaries.plant("an operator's token", made.at("/secret").as_str().unwrap());
    canaries.plant("the admin's token", admin.token().unwrap());
    let made = admin.post("/join-tokens", &json!({ "name": "line-4", "life_s": 3600 })).expect(201);
    canaries.plant("a join token", made.at("/secret").as_str().unwrap());
    canaries.plant("the gateway token", &make_gateway_token(admin));
    let other = muster_tests::agent::joined(server, made.at("/secret").as_str().unwrap(), "sn-2");
    canaries.plant("a device's token", &other.token);
    let misplaced = "canary-in-a-wrong-place";
    for body in
        [json!({ "value": [misplaced] }), json!({ "valu": misplaced }), json!({ "value": format!("{misplaced}\0") })]
    {
        let refused = admin.put("/secrets/key", &body);
        assert!(!refused.is_success() && canaries.found_in("", &refused.body).is_empty(), "{refused}");
    }
    let cut = format!("{{\"value\":\"{misplaced}");
    let refused = admin.send("PUT", "/secrets/key", &[], Payload::Bytes("application/json", cut.as_bytes()));
    assert!(!refused.text().contains(misplaced), "{refused}");
    canaries.plant("a secret in a wrong place", misplaced);
    let identity = device.identity();
    let key = identity["key"].as_str().unwrap().lines().nth(1).unwrap();
    canaries.plant("the device's own key", key);
    canaries
}

#[test]
fn no_canary_sings_in_anything_that_is_written_logged_or_answered() {
    let (mut server, mut device) = with_device();
    let canaries = plant(&server, &device);
    let admin = server.admin();
    let content = "{{ secret.key }}\n{{ secret.line }}";
    let says_all = json!(["cat", "{}"]);
    configure(admin, &json!({ "path": path_in(&device), "content": content, "validate": says_all }));
    let _ = in_state(admin, "applied", 1);
    // One that fails with the file in its output.
    let bad =
        json!({ "path": path_in(&device), "content": format!("{content} more"), "validate": ["cat", "{}", "/none"] });
    configure(admin, &bad);
    let _ = in_state(admin, "reverted", 2);
    let preview = json!({ "device": "sn-1" });
    let previewed = admin.post("/configurations:preview", &preview).expect(200);
    let release = publish(admin, "app", "1", ("page", b"one"));
    let _ = roll_out(admin, &release, "sn-1", &json!({}));

    let mut all = answers(admin);
    all.push(("a preview".into(), previewed.body));
    let metrics = muster_tests::exchange::exchange(
        &muster_tests::exchange::agent(),
        "GET",
        &format!("{}/metrics", server.origin()),
        &[],
        Payload::None,
    );
    all.push(("metrics".into(), metrics.unwrap().body));
    for words in [
        vec!["secret", "list", "-o", "json"],
        vec!["configuration", "show", "app"],
        vec!["device", "configuration", "sn-1"],
        vec!["audit", "list", "-o", "json"],
        vec!["account", "list"],
        vec!["secret", "set", "key", "--file", "/nowhere"],
    ] {
        all.push(said(&server, &words));
    }
    device.stop();
    let _ = server.stop();
    let limits = "the server's limits";
    all.extend(files(&server.data()));
    all.push(("the server's log".into(), std::fs::read(server.log_file()).unwrap()));
    all.extend(files(device.folder.path()));
    let may_have = |place: &str, what: &str| {
        let own = device.folder.path().display().to_string();
        // The file it is for, and the file that a key lies in.
        what == format!("{own}/etc/app.conf") && place.starts_with("secret ")
            || what == format!("{own}/state/identity.json") && place == "the device's own key"
    };
    assert!(all.iter().any(|(what, bytes)| what.ends_with("/etc/app.conf") && !bytes.is_empty()), "{limits}");
    let sings: Vec<String> = all
        .iter()
        .flat_map(|(what, bytes)| {
            let found = canaries.found_in(what, bytes);
            found.into_iter().filter(|one| !may_have(one.split(" in ").next().unwrap_or_default(), what))
        })
        .collect();
    println!("figure secrets_planted {}", canaries.0.len());
    println!("figure secrets_found {}", sings.len());
    assert!(sings.is_empty(), "{sings:#?}");
}

#[test]
fn a_crash_of_the_server_leaves_no_memory_behind() {
    let server = Server::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process_id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(line.split_whitespace().nth(4), Some("0"), "{line}");
}

#[test]
fn a_canary_is_found_however_it_is_spelt() {
    let mut canaries = Canaries::default();
    canaries.plant("here", "a canary with \"quotes\"");
    for text in [
        "xx a canary with \"quotes\" xx".to_owned(),
        "{\"a\":\"a canary with \\\"quotes\\\"\"}".to_owned(),
        STANDARD.encode("a canary with \"quotes\""),
        STANDARD.encode("xa canary with \"quotes\""),
        STANDARD.encode("xxa canary with \"quotes\" and more"),
        "612063616e6172792077697468202271756f74657322".to_owned(),
    ] {
        assert_eq!(canaries.found_in("text", text.as_bytes()), ["here in text"], "{text}");
    }
    assert!(canaries.found_in("text", b"a canary").is_empty());
}
