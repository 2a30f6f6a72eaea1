//! A thief has the server's whole disk and its running process: every byte, every key that is on it.

use muster_tests::operator::{self, action_in, roll_out};
use muster_trust::seal::Keyring;
use muster_trust::tuf::make::{TargetPlan, next_channel};
use muster_trust::tuf::secret_key::SecretKey;
use muster_trust::tuf::statement::{SignedArtifact, SignedComponent, Statement};
use muster_vocab::Timestamp;
use serde_json::json;

use super::device::{Device, Signed};

/// Everything is tried that can be written with the keys that were found.
#[test]
fn a_thief_of_the_server_installs_nothing_that_was_not_signed_offline() {
    let signed = Signed::start();
    let admin = signed.server.admin();
    let device = Device::start(&signed, "sn-1");
    let release = signed.release("1", b"one");
    signed.sign(&release, &[]);
    let rollout = roll_out(admin, &release, "sn-1", &json!({}));
    let _ = action_in(admin, &rollout, "sn-1", &["finished"]);

    let evil = b"evil";
    let release = signed.release("9", evil);
    let keys = signed.server.data().join("keys");
    let found: Vec<String> = std::fs::read_dir(&keys)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".pem"))
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    let before = admin.get("/metadata").expect(200);
    let roles = before.at("/roles");
    let channel = roles.as_array().unwrap().iter().find(|role| role["role"] == "channel-stable").unwrap();
    let document = channel["document"].as_str().unwrap().as_bytes().to_vec();
    for name in found {
        let key = stolen(&signed, &name);
        let statement = statement(evil);
        let plan = TargetPlan { bytes: statement.bytes(), custom: statement.custom() };
        let forged =
            next_channel((Some(&document), false), Timestamp(1_900_000_000_000), ("stable/app@9", &plan)).unwrap();
        let forged = forged.document(&[key.sign(&forged)]);
        // The server's own check stands in the way; the thief writes past it.
        let said =
            admin.put("/metadata/channel-stable", &json!({ "document": String::from_utf8(forged.clone()).unwrap() }));
        assert!(!said.is_success(), "{said}");
        write_past_the_server(&signed, &forged);
        let rollout = roll_out(admin, &release, "sn-1", &json!({}));
        let action = action_in(admin, &rollout, "sn-1", &["failed"]);
        let told = json!(operator::reports(admin, action)).to_string();
        assert!(told.contains("metadata was refused") || told.contains("vouches for it"), "{told}");
        assert_eq!(device.text("app/current/page"), "one");
    }
}

/// The master key lies on the same disk, unless its owner keeps it elsewhere.
fn stolen(signed: &Signed, name: &str) -> SecretKey {
    let data = signed.server.data();
    let master = Keyring::parse(&std::fs::read_to_string(data.join("master.key")).unwrap()).unwrap();
    let sealed = std::fs::read(data.join("keys").join(name)).unwrap();
    let pem = master.open(&format!("file {name}"), &sealed).unwrap();
    SecretKey::parse(std::str::from_utf8(&pem).unwrap()).unwrap()
}

fn statement(bytes: &[u8]) -> Statement {
    let digest = operator::digest(bytes).parse().unwrap();
    let artifact = SignedArtifact { file_name: "page".into(), size: bytes.len() as u64, digest };
    let component = SignedComponent {
        name: "os".into(),
        version: "9".into(),
        metadata: Default::default(),
        artifacts: vec![artifact],
    };
    Statement { release: "app".into(), version: "9".into(), counter: 9, components: vec![component] }
}

/// A new snapshot and timestamp over the forged channel, straight into the database of the running server.
fn write_past_the_server(signed: &Signed, forged: &[u8]) {
    use std::collections::BTreeMap;

    use muster_trust::tuf::make;

    let online = stolen(signed, "online.pem");
    let database = rusqlite::Connection::open(signed.server.data().join("muster.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    let read = |name: &str| -> Vec<u8> {
        database.query_row("SELECT bytes FROM metadata WHERE name = ?1", [name], |row| row.get(0)).unwrap()
    };
    let version = |bytes: &[u8]| -> u64 {
        let read: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        read["signed"]["version"].as_u64().unwrap()
    };
    let timestamp = read("timestamp.json");
    let stamp = version(&timestamp) + 1;
    let announced: serde_json::Value = serde_json::from_slice(&timestamp).unwrap();
    let snapshot = announced["signed"]["meta"]["snapshot.json"]["version"].as_u64().unwrap() + 1;
    let roles = BTreeMap::from([
        ("targets".to_owned(), (1, read("1.targets.json"))),
        ("channel-stable".to_owned(), (version(forged), forged.to_vec())),
    ]);
    let expires = Timestamp(1_900_000_000_000);
    let made = make::snapshot(snapshot, expires, &roles).unwrap();
    let snapshot_bytes = made.document(&[online.sign(&made)]);
    let made = make::timestamp(stamp, expires, (snapshot, &snapshot_bytes)).unwrap();
    let files = [
        (format!("{}.channel-stable.json", version(forged)), forged.to_vec()),
        (format!("{snapshot}.snapshot.json"), snapshot_bytes),
        ("timestamp.json".to_owned(), made.document(&[online.sign(&made)])),
    ];
    for (name, bytes) in files {
        database
            .execute("INSERT OR REPLACE INTO metadata SELECT project_id, ?1, ?2 FROM metadata LIMIT 1", (name, bytes))
            .unwrap();
    }
}
