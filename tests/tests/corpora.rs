//! What do others' collections of hostile input find? They lie beside the project where they are at all; what stands here in
//! their place is a handful of the same kind.

use std::path::{Path, PathBuf};

use muster_tests::exchange::Payload;
use muster_tests::field::{Field, NAME};
use serde_json::Value;

mod certificates;

const JSON: &str = "application/json";

/// Of a collection, if this machine has it.
fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/corpora").join(name);
    if !path.exists() {
        eprintln!("{name} is not on this machine: only a sample of its kind is tried");
    }
    path.exists().then_some(path)
}

/// By name: what begins with y is JSON, what begins with n is not, and of i nobody is sure.
fn json_cases() -> Vec<(String, Vec<u8>)> {
    let sample: [(&str, &[u8]); 12] = [
        ("y_nested", b"[[1e5, -0, \"\\u00e9\\ud83d\\ude00\"], {\"a\": null}]"),
        ("y_keys_twice", b"{\"a\":1,\"a\":2}"),
        ("y_space", b" [true,\n\tfalse] "),
        ("n_comma", b"[1,]"),
        ("n_control", b"[\"\x01\"]"),
        ("n_zero", b"[01]"),
        ("n_word", b"[nan]"),
        ("n_open", b"[{"),
        ("n_behind", b"[1] 2"),
        ("i_not_utf8", b"[\"\xff\"]"),
        ("i_half_a_pair", b"[\"\\ud800\"]"),
        ("i_huge", b"[1e999]"),
    ];
    let mut cases: Vec<(String, Vec<u8>)> = sample.map(|(name, text)| (name.to_owned(), text.to_vec())).into();
    if let Some(folder) = corpus("json/test_parsing") {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            cases.push((name, std::fs::read(path).unwrap()));
        }
    }
    cases
}

#[test]
fn devices_and_people_who_send_odd_json_are_told_so_and_harm_nothing() {
    let field = Field::new();
    for (name, text) in json_cases() {
        // Beside what the server reads: hawkBit's clients may say more than it knows.
        let mut body = b"{\"mode\":\"merge\",\"data\":{\"board\":\"x\"},\"more\":".to_vec();
        body.extend_from_slice(&text);
        body.push(b'}');
        let status = field.device.send("PUT", "/configData", &[], Payload::Bytes(JSON, &body)).status;
        match name.as_bytes()[0] {
            b'y' => assert_eq!(status, 200, "{name} was refused"),
            b'n' => assert!((400..500).contains(&status), "{name} was answered with {status}"),
            _ => assert!(status < 500, "{name} was answered with {status}"),
        }
        let status = field.admin().send("POST", "/devices", &[], Payload::Bytes(JSON, &text)).status;
        assert!((400..500).contains(&status), "{name} made a device, or worse: {status}");
    }
    let told = field.admin().get(&format!("/devices/{NAME}")).expect(200);
    assert_eq!(told.at("/attributes/board"), Value::from("x"));
}
