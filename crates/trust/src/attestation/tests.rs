use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::tuf::key::{Key, KeyValue};

const KIND: &str = "application/vnd.in-toto+json";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn key(pair: &Ed25519KeyPair) -> Key {
    let public = muster_vocab::digest::hex(pair.public_key().as_ref());
    Key { keytype: "ed25519".into(), scheme: "ed25519".into(), keyval: KeyValue { public } }
}

fn statement(predicate_type: &str, predicate: &Value) -> Value {
    json!({ "_type": "https://in-toto.io/Statement/v1", "predicateType": predicate_type, "predicate": predicate,
        "subject": [{ "name": "image", "digest": { "sha256": "AB".repeat(32) } }] })
}

fn enveloped(statement: &Value) -> Vec<u8> {
    let payload = statement.to_string();
    let signature = pair().sign(&dsse::pae(KIND, payload.as_bytes()));
    let signatures = json!([{ "keyid": "ignored", "sig": STANDARD.encode(signature.as_ref()) }]);
    json!({ "payloadType": KIND, "payload": STANDARD.encode(&payload), "signatures": signatures })
        .to_string()
        .into_bytes()
}

fn slsa() -> Value {
    let predicate =
        json!({ "buildDefinition": {}, "runDetails": { "builder": { "id": "https://ci.example/runner" } } });
    statement("https://slsa.dev/provenance/v1", &predicate)
}

#[test]
fn the_encoding_before_signing_is_that_of_the_protocol() {
    let encoded = dsse::pae("http://example.com/HelloWorld", b"hello world");
    assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

#[test]
fn provenance_is_read_with_its_builder_its_subject_and_its_signer() {
    let read = Attestation::read(&enveloped(&slsa())).unwrap();
    assert_eq!(read.said, Said::Provenance { builder: "https://ci.example/runner".into() });
    assert_eq!(read.subjects, [Sha256([0xab; 32])]);
    let keys = [("other", key(&Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap())), ("ci", key(&pair()))];
    assert_eq!(read.envelope.as_ref().unwrap().signer(&keys), Some(&"ci"));
    assert_eq!(read.envelope.unwrap().signer(&keys[..1]), None);
    let old = json!({ "builder": { "id": "https://ci.example/old" } });
    let old = Attestation::read(&enveloped(&statement("https://slsa.dev/provenance/v0.2", &old))).unwrap();
    assert_eq!(old.said, Said::Provenance { builder: "https://ci.example/old".into() });
}

#[test]
fn no_byte_of_the_payload_or_signature_changes_without_the_signer_being_lost() {
    let keys = [((), key(&pair()))];
    let document = String::from_utf8(enveloped(&slsa())).unwrap();
    let envelope: Value = serde_json::from_str(&document).unwrap();
    let flipped = |member: &str, at: usize| {
        let mut envelope = envelope.clone();
        let place = if member == "sig" { &mut envelope["signatures"][0]["sig"] } else { &mut envelope[member] };
        let mut bytes = STANDARD.decode(place.as_str().unwrap()).unwrap();
        bytes[at] ^= 1;
        *place = json!(URL_SAFE.encode(bytes));
        envelope.to_string().into_bytes()
    };
    for at in 0..64 {
        let read = Attestation::read(&flipped("sig", at)).unwrap();
        assert_eq!(read.envelope.unwrap().signer(&keys), None, "byte {at} of the signature");
    }
    for at in 0..slsa().to_string().len() {
        // Most of them are no statement any more.
        if let Ok(read) = Attestation::read(&flipped("payload", at)) {
            assert_eq!(read.envelope.unwrap().signer(&keys), None, "byte {at} of the payload");
        }
    }
}

#[test]
fn bills_of_materials_are_read_signed_and_as_they_are() {
    let cyclone = json!({ "bomFormat": "CycloneDX", "specVersion": "1.5", "components": [
        { "type": "library", "name": "openssl", "version": "3.0.15", "purl": "pkg:deb/debian/openssl@3.0.15",
          "components": [{ "name": "inner", "version": "1" }] }, { "name": "zlib", "version": "1.3" }] });
    let Said::Sbom { format, packages } = Attestation::read(cyclone.to_string().as_bytes()).unwrap().said else {
        panic!("it is a bill");
    };
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!((format, packages.len()), (SbomFormat::CycloneDx, 3));
    assert!(names.contains(&"openssl") && names.contains(&"inner"), "{names:?}");
    let spdx = json!({ "spdxVersion": "SPDX-2.3", "packages": [{ "name": "busybox", "versionInfo": "1.36",
        "externalRefs": [{ "referenceType": "purl", "referenceLocator": "pkg:generic/busybox@1.36" }] }] });
    let read = Attestation::read(spdx.to_string().as_bytes()).unwrap();
    let package = Package { name: "busybox".into(), version: "1.36".into(), purl: "pkg:generic/busybox@1.36".into() };
    assert_eq!(read.said, Said::Sbom { format: SbomFormat::Spdx, packages: vec![package] });
    let signed = Attestation::read(&enveloped(&statement("https://spdx.dev/Document/v2.3", &spdx))).unwrap();
    assert_eq!((signed.said, signed.subjects.len()), (read.said, 1));
}

#[test]
fn what_is_nothing_of_this_is_refused_with_what_is_known() {
    for (document, told) in [
        (b"{".to_vec(), "not JSON"),
        (b"{}".to_vec(), "neither"),
        (br#"{"bomFormat":"CycloneDX","specVersion":"9.9"}"#.to_vec(), "CycloneDX 9.9"),
        (br#"{"spdxVersion":"SPDX-3.0"}"#.to_vec(), "SPDX-3.0"),
        (br#"{"payload":"e30=","payloadType":"text/plain"}"#.to_vec(), "text/plain"),
        (br#"{"payload":"!","payloadType":"application/vnd.in-toto+json"}"#.to_vec(), "not base64"),
        (enveloped(&json!({ "_type": "x", "predicateType": "y", "predicate": {} })), "type x"),
        (enveloped(&statement("https://example.com/other", &json!({}))), "https://example.com/other"),
        (enveloped(&statement("https://slsa.dev/provenance/v1", &json!({}))), "no builder"),
    ] {
        let refused = Attestation::read(&document).unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
    }
    let mut nobody = slsa();
    nobody["subject"] = json!([{ "name": "image", "digest": { "sha1": "00" } }]);
    assert_eq!(Attestation::read(&enveloped(&nobody)), Err(BadAttestation::Subject));
    let many = json!({ "bomFormat": "CycloneDX", "specVersion": "1.5",
        "components": vec![json!({ "name": "a" }); PACKAGES_MAX + 1] });
    assert_eq!(Attestation::read(many.to_string().as_bytes()), Err(BadAttestation::TooMany));
    let deep = "{\"name\":\"a\",\"components\":[".repeat(100_000);
    let bomb = format!("{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"components\":[{deep}");
    assert!(matches!(Attestation::read(bomb.as_bytes()), Err(BadAttestation::Json(_))), "the parser has its own limit");
}
