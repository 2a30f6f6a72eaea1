//! Devices whose key lies in a TPM (swtpm, tpm2-tools), and those who pretend.

use muster_agent::io::identity::NewKey;
use muster_agent::io::tpm::Prover;
use muster_tests::agent::Device as Plain;
use muster_tests::api::Api;
use muster_tests::exchange::Answer;
use muster_tests::server::Server;
use muster_tests::tpm::{Maker, Tpm};
use muster_tests::wait::until_true;
use muster_wire::agent::TpmEvidence;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::identity::{Device, seen, start};

/// The project believes this maker, and lets its chips in.
fn believe(admin: &Api, maker: &Maker) {
    let authority = json!({ "name": "chips", "certificate": maker.certificate(), "tpm": true });
    let _ = admin.post("/authorities", &authority).expect(201);
    let policy = json!({ "rules": [{ "shows": "tpm", "then": "accept", "site": "oslo" }] });
    let _ = admin.put("/enrollment-policy", &policy).expect(200);
}

/// Somebody who joins by hand, with a TPM.
struct Hand {
    _folder: TempDir,
    prover: Prover,
}

impl Hand {
    fn new(tpm: &Tpm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prover = Prover::start(folder.path(), Some(&tpm.tcti())).unwrap();
        Self { _folder: folder, prover }
    }

    fn shows(&self, server: &Server, device: &str, evidence: &TpmEvidence) -> Answer {
        let request = NewKey::in_tpm(self.prover.key()).request().unwrap();
        let join = json!({ "project": "default", "device": device, "request": request, "tpm": evidence });
        Plain::new(&server.origin(), "").post("/join", &join)
    }
}

fn task(answer: &Answer) -> muster_wire::agent::TpmTask {
    serde_json::from_value(answer.json()).unwrap()
}

#[test]
fn a_device_whose_key_lies_in_its_tpm_joins_by_itself_and_its_disk_alone_is_worth_nothing() {
    let (server, pin) = start();
    let admin = server.admin();
    let maker = Maker::new();
    let (tpm, other) = (maker.make(), maker.make());
    believe(admin, &maker);
    let mut device = Device::new("sn-1");
    device.joined(&server, &["--pin", &pin, "--tpm", "--tcti", &tpm.tcti()]);
    let known = admin.get("/devices/sn-1").expect(200);
    assert_eq!((known.at("/state"), known.at("/labels/site")), (json!("accepted"), json!("oslo")));
    let identity = device.identity();
    assert!(!identity.to_string().contains("PRIVATE KEY"), "{identity}");
    device.run();
    until_true("it polls", || seen(admin, "sn-1") != Value::Null);
    device.stop();

    // A copy of the disk in another machine, with a TPM of its own that has a key under the same handle.
    let copy = Device::new("sn-2");
    copy.joined(&server, &["--pin", &pin, "--tpm", "--tcti", &other.tcti()]);
    let stolen = device.text("state/identity.json").replace(&tpm.tcti(), &other.tcti());
    assert!(stolen.contains(&other.tcti()), "{stolen}");
    let path = device.folder.path().join("state/identity.json");
    let original = device.text("state/identity.json");
    std::fs::write(&path, stolen).unwrap();
    let last = seen(admin, "sn-1");
    device.run();
    until_true("it can not reach the server", || device.text("log").contains("could not be asked"));
    device.stop();
    assert_eq!(seen(admin, "sn-1"), last, "the disk alone has spoken for the device");
    // Back in its own machine nothing has changed.
    std::fs::write(&path, original).unwrap();
    device.run();
    until_true("it polls again", || seen(admin, "sn-1") != last);
}

#[test]
fn a_tpm_of_a_maker_that_nobody_believes_lets_nobody_in() {
    let server = Server::start();
    let (believed, unknown) = (Maker::new(), Maker::new());
    let (_chip, other) = (believed.make(), unknown.make());
    believe(server.admin(), &believed);
    let hand = Hand::new(&other);
    let refused = hand.shows(&server, "sn-1", &hand.prover.evidence()).expect(401);
    assert!(refused.text().contains("of no maker"), "{refused}");
    let _ = server.admin().get("/devices/sn-1").expect(404);
}

#[test]
fn keys_of_one_tpm_with_the_certificate_of_another_open_nothing() {
    let server = Server::start();
    let maker = Maker::new();
    let (real, thief) = (maker.make(), maker.make());
    believe(server.admin(), &maker);
    let (real, thief) = (Hand::new(&real), Hand::new(&thief));
    let mixed = TpmEvidence { endorsement: real.prover.evidence().endorsement, ..thief.prover.evidence() };
    let set = thief.shows(&server, "sn-1", &mixed).expect(200);
    assert!(thief.prover.answer(task(&set)).is_err(), "a secret for one TPM was opened in another");
    assert!(real.prover.answer(task(&set)).is_err(), "a secret was opened for a key that is not there");
    // One key certified, another one shown.
    let swapped = TpmEvidence { key: real.prover.evidence().key, ..thief.prover.evidence() };
    let refused = real.shows(&server, "sn-1", &swapped).expect(401);
    assert!(refused.text().contains("has not certified"), "{refused}");
    // The request is for a key that is not the one in the TPM.
    let refused = real.shows(&server, "sn-1", &thief.prover.evidence()).expect(401);
    assert!(refused.text().contains("another key"), "{refused}");
}

#[test]
fn an_answer_is_good_once_and_for_one_device_only() {
    let server = Server::start();
    let maker = Maker::new();
    let tpm = maker.make();
    believe(server.admin(), &maker);
    let hand = Hand::new(&tpm);
    let opened = |device: &str| {
        let set = hand.shows(&server, device, &hand.prover.evidence()).expect(200);
        hand.prover.answer(task(&set)).unwrap()
    };
    let answer = opened("sn-1");
    let _ = hand.shows(&server, "sn-2", &answer).expect(401);
    let _ = hand.shows(&server, "sn-1", &answer).expect(401);
    let answer = opened("sn-1");
    let joined = hand.shows(&server, "sn-1", &answer).expect(201);
    assert!(joined.at("/certificate/chain").as_str().unwrap().contains("BEGIN CERTIFICATE"));
    let replayed = hand.shows(&server, "sn-1", &answer).expect(401);
    assert_eq!(replayed.code(), "tpm_refused");
    // The TPM is that of sn-1, whatever it is called next.
    let _ = hand.shows(&server, "sn-2", &opened("sn-2")).expect(409);
    let again = hand.shows(&server, "sn-1", &opened("sn-1"));
    assert!(again.is_success(), "a lost answer may be asked for again: {again}");
}
