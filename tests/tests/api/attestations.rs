//! What is said of a release, by whom, and what is demanded before it is published.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_tests::api::Api;
use muster_tests::operator::upload;
use muster_tests::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

const IMAGE: &[u8] = b"an image";

/// Somebody who builds, with a key that `openssl` made.
struct Builder(TempDir);

impl Builder {
    fn new(kind: &[&str]) -> Self {
        let builder = Self(tempfile::tempdir().unwrap());
        builder.openssl(&[&["genpkey", "-out", "key.pem"], kind].concat());
        builder.openssl(&["pkey", "-in", "key.pem", "-pubout", "-out", "key.pub"]);
        builder
    }

    fn openssl(&self, words: &[&str]) {
        let ran = Command::new("openssl").args(words).current_dir(self.0.path()).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn public(&self) -> String {
        std::fs::read_to_string(self.0.path().join("key.pub")).unwrap()
    }

    /// A DSSE envelope, as others make them.
    fn signs(&self, statement: &Value) -> Vec<u8> {
        let (kind, payload) = ("application/vnd.in-toto+json", statement.to_string());
        let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        std::fs::write(self.0.path().join("signed"), signed).unwrap();
        let sign = ["pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "signed", "-out", "signature"];
        let digest = ["-digest", "sha256"];
        let is_ed25519 = std::fs::read_to_string(self.0.path().join("key.pem")).unwrap().len() < 150;
        self.openssl(&if is_ed25519 { sign.to_vec() } else { [&sign[..], &digest[..]].concat() });
        let signature = std::fs::read(self.0.path().join("signature")).unwrap();
        json!({ "payloadType": kind, "payload": STANDARD.encode(payload),
            "signatures": [{ "keyid": "", "sig": STANDARD.encode(signature) }] })
        .to_string()
        .into_bytes()
    }
}

fn provenance(digest: &str, builder: &str) -> Value {
    json!({ "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{ "name": "image", "digest": { "sha256": digest.trim_start_matches("sha256:") } }],
        "predicate": { "buildDefinition": {}, "runDetails": { "builder": { "id": builder } } } })
}

fn sbom() -> Vec<u8> {
    json!({ "bomFormat": "CycloneDX", "specVersion": "1.5",
        "components": [{ "type": "library", "name": "openssl", "version": "3.0.15" }] })
    .to_string()
    .into_bytes()
}

fn draft(admin: &Api, version: &str) -> String {
    let digest = upload(admin, "image", IMAGE);
    let component = json!({ "name": "os", "version": version, "artifacts": [{ "digest": digest }] });
    let _ =
        admin.post("/releases", &json!({ "name": "app", "version": version, "components": [component] })).expect(201);
    digest
}

#[track_caller]
fn attach(admin: &Api, version: &str, bytes: &[u8]) -> muster_tests::exchange::Answer {
    let document = upload(admin, "document.json", bytes);
    admin.post(&format!("/releases/app/{version}/attestations"), &json!({ "document": document }))
}

#[test]
fn a_release_is_published_when_all_is_said_that_the_policy_demands() {
    let server = Server::start();
    let admin = server.admin();
    let image = draft(admin, "1");
    let policy = json!({ "sbom": true, "provenance": true, "builders": ["https://ci.example/runner"] });
    let _ = admin.put("/release-policy", &policy).expect(200);
    let refused = admin.post("/releases/app/1/publish", &json!({})).expect(409);
    assert!(refused.text().contains("image: no bill of materials; image: no provenance"), "{refused}");

    let ci = Builder::new(&["-algorithm", "ED25519"]);
    let _ = admin.post("/key-ring", &json!({ "name": "ci", "public": ci.public() })).expect(201);
    let _ = attach(admin, "1", &sbom()).expect(200);
    let stranger = Builder::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let forged = stranger.signs(&provenance(&image, "https://ci.example/runner"));
    let said = attach(admin, "1", &forged).expect(200);
    assert_eq!((said.at("/items/1/signed"), said.at("/items/1/signer")), (json!(true), Value::Null));
    let refused = admin.post("/releases/app/1/publish", &json!({})).expect(409);
    assert!(refused.text().contains("signature is by no key of the ring"), "{refused}");
    let document = said.at("/items/1/document");
    let _ = admin.delete(&format!("/releases/app/1/attestations/{}", document.as_str().unwrap())).expect(204);

    let elsewhere = ci.signs(&provenance(&image, "https://laptop.example"));
    let elsewhere = attach(admin, "1", &elsewhere).expect(200).at("/items/1/document");
    let refused = admin.post("/releases/app/1/publish", &json!({})).expect(409);
    assert!(refused.text().contains("built by https://laptop.example"), "{refused}");
    let _ = admin.delete(&format!("/releases/app/1/attestations/{}", elsewhere.as_str().unwrap())).expect(204);

    let said = attach(admin, "1", &ci.signs(&provenance(&image, "https://ci.example/runner"))).expect(200);
    assert_eq!(said.at("/items/1/signer"), json!("ci"));
    let _ = admin.post("/releases/app/1/publish", &json!({})).expect(200);
    let document = said.at("/items/1/document").as_str().unwrap().to_owned();
    let used = admin.delete(&format!("/artifacts/{document}")).expect(409);
    assert!(used.text().contains("app@1"), "{used}");
}

#[test]
fn keys_of_every_kind_sign_and_one_that_is_removed_counts_no_more() {
    let server = Server::start();
    let admin = server.admin();
    let image = draft(admin, "1");
    let kinds: [&[&str]; 2] =
        [&["-algorithm", "ED25519"], &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]];
    for (at, kind) in kinds.into_iter().enumerate() {
        let (builder, name) = (Builder::new(kind), format!("key-{at}"));
        let _ = admin.post("/key-ring", &json!({ "name": name, "public": builder.public() })).expect(201);
        let said = attach(admin, "1", &builder.signs(&provenance(&image, &name))).expect(200);
        assert_eq!(said.at(&format!("/items/{at}/signer")), json!(name), "{said}");
    }
    let _ = admin.delete("/key-ring/key-0").expect(204);
    let refused = admin.post("/releases/app/1/publish", &json!({})).expect(409);
    assert!(refused.text().contains("by no key of the ring"), "{refused}");
    let again = admin.post("/key-ring", &json!({ "name": "key-1", "public": "00".repeat(32) }));
    assert_eq!(again.status, 409, "{again}");
    assert_eq!(admin.post("/key-ring", &json!({ "name": "x", "public": "nonsense" })).status, 400);
}

#[test]
fn documents_about_something_else_or_about_nothing_are_refused() {
    let server = Server::start();
    let admin = server.admin();
    let image = draft(admin, "1");
    let ci = Builder::new(&["-algorithm", "ED25519"]);
    let other = format!("sha256:{}", "7".repeat(64));
    let refused = attach(admin, "1", &ci.signs(&provenance(&other, "ci"))).expect(400);
    assert!(refused.text().contains("about no artifact of this release"), "{refused}");
    for nonsense in [b"{".to_vec(), b"{}".to_vec(), b"[1]".to_vec(), b"\0\xff".to_vec(), IMAGE.to_vec()] {
        assert_eq!(attach(admin, "1", &nonsense).status, 400);
    }
    let body = json!({ "document": other });
    assert_eq!(admin.post("/releases/app/1/attestations", &body).status, 404);
    assert_eq!(admin.post("/releases/app/9/attestations", &body).status, 404);
    let document = upload(admin, "sbom.json", &sbom());
    let body = json!({ "document": document, "artifact": other });
    assert_eq!(admin.post("/releases/app/1/attestations", &body).status, 400);
    let body = json!({ "document": document, "artifact": image });
    for _ in 0..2 {
        let said = admin.post("/releases/app/1/attestations", &body).expect(200);
        assert_eq!(said.at("/items").as_array().unwrap().len(), 1, "attaching again changes nothing");
    }
    let reader = crate::twin::scoped(admin, &["read", "artifacts:write"]);
    assert_eq!(reader.post("/releases/app/1/attestations", &body).status, 403);
    assert_eq!(reader.put("/release-policy", &json!({})).status, 403);
    assert_eq!(reader.post("/key-ring", &json!({ "name": "x", "public": "00".repeat(32) })).status, 403);
}
