//! Debian's swupdate, unmodified, is updated by Muster.
//!
//! See `muster_tests::swupdate` for what it sends.

use muster_tests::field::NAME;
use muster_tests::operator::{self, action_in, publish, roll_out, set_project, was_told, why};
use muster_tests::server::Server;
use muster_tests::swupdate::{Image, Signer, Swupdate, require};
use muster_tests::wait::until_true;
use serde_json::json;
use tempfile::TempDir;

/// A device with swupdate on it that trusts one key.
struct Bench {
    server: Server,
    device: Swupdate,
    signer: Signer,
    keys: TempDir,
}

/// What comes out of the oven.
enum Baked {
    Sound,
    Corrupted,
    SignedBySomebodyElse,
}

impl Bench {
    fn new(options: &str) -> Self {
        require(&["swupdate", "cpio", "openssl"]);
        let server = Server::start();
        set_project(server.admin(), &json!({ "poll_interval_s": 1 }));
        let token = operator::add_device(server.admin(), NAME);
        let keys = tempfile::tempdir().unwrap();
        let signer = Signer::new(keys.path(), "release").unwrap();
        let device = Swupdate::new(server.address(), (NAME, &token), &signer, options).unwrap();
        Self { server, device, signer, keys }
    }

    /// Uploads an image, publishes it as `os@VERSION` and rolls it out; answers the rollout.
    fn roll_out(&self, version: &str, payload: &[u8], baked: &Baked) -> String {
        let target = self.device.target();
        let image = Image { version, target: &target, payload };
        let packed = match baked {
            Baked::Sound => image.pack(&self.signer),
            Baked::Corrupted => image.pack_corrupted(&self.signer),
            Baked::SignedBySomebodyElse => image.pack(&Signer::new(self.keys.path(), "stranger").unwrap()),
        };
        let release = publish(self.server.admin(), "os", version, ("update.swu", &packed.unwrap()));
        roll_out(self.server.admin(), &release, NAME, &json!({}))
    }

    fn runs(&self) -> serde_json::Value {
        self.server.admin().get("/devices/sn-1").expect(200).at("/release")
    }
}

fn payload(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8 ^ seed).collect()
}

#[test]
fn swupdate_installs_an_update_and_reports_success_after_its_restart() {
    let mut bench = Bench::new("");
    let content = payload(300_000, 1);
    bench.device.start().unwrap();
    let admin = bench.server.admin().clone();
    until_true("swupdate has told about itself", || {
        let attributes = admin.get("/devices/sn-1").expect(200).at("/attributes");
        attributes == json!({ "board": "box", "site": "north" })
    });
    let rollout = bench.roll_out("1.1", &content, &Baked::Sound);
    bench.device.wait_for_content(&content);
    let action = action_in(&admin, &rollout, NAME, &["running"]);
    until_true("it has said so", || was_told(&admin, action, "All Chunks Installed."));
    // It has not rebooted into it, so nothing is finished.
    bench.device.wait_for_log("pending testing");
    assert_eq!(operator::action(&admin, action)["state"], "running");
    assert_eq!(why(&admin, NAME).0[0], "installing");
    bench.device.stop();
    bench.device.start_confirming().unwrap();
    let _ = action_in(&admin, &rollout, NAME, &["finished"]);
    assert!(was_told(&admin, action, "Update Installed."));
    assert_eq!(bench.runs(), "os@1.1");
    assert_eq!(why(&admin, NAME).0[0], "done");
    let _ = operator::rollout_in(&admin, &rollout, "finished");
}

#[test]
fn swupdate_refuses_a_corrupted_artifact_and_why_says_so() {
    let mut bench = Bench::new("");
    bench.device.start().unwrap();
    let rollout = bench.roll_out("1.1", &payload(300_000, 2), &Baked::Corrupted);
    let admin = bench.server.admin();
    let action = action_in(admin, &rollout, NAME, &["failed"]);
    assert!(was_told(admin, action, "HASH mismatch"));
    let (codes, text) = why(admin, NAME);
    assert_eq!(codes[0], "failed");
    assert!(text.contains("No suitable .swu image found"), "{text}");
    assert_eq!(bench.device.installed(), None);
    assert_eq!(bench.runs(), json!(null));
    let _ = operator::rollout_in(admin, &rollout, "paused");
}

#[test]
fn swupdate_refuses_a_wrong_signature_and_why_says_so() {
    let mut bench = Bench::new("");
    bench.device.start().unwrap();
    let rollout = bench.roll_out("1.1", &payload(300_000, 3), &Baked::SignedBySomebodyElse);
    let admin = bench.server.admin();
    let action = action_in(admin, &rollout, NAME, &["failed"]);
    assert!(was_told(admin, action, "Authentication of all signatures failed"));
    let (codes, text) = why(admin, NAME);
    assert_eq!(codes[0], "failed");
    assert!(text.contains("No suitable .swu image found"), "{text}");
    assert_eq!(bench.device.installed(), None);
    assert_eq!(bench.runs(), json!(null));
}

#[test]
fn swupdate_stops_a_download_that_is_canceled_and_takes_the_next_update() {
    let mut bench = Bench::new("-n 2M");
    bench.device.start().unwrap();
    let rollout = bench.roll_out("1.1", &payload(32_000_000, 4), &Baked::Sound);
    let admin = bench.server.admin().clone();
    let action = action_in(&admin, &rollout, NAME, &["running"]);
    bench.device.wait_for_log("filename payload.bin");
    operator::cancel(&admin, action, false);
    let _ = action_in(&admin, &rollout, NAME, &["canceled"]);
    assert!(was_told(&admin, action, "cancellation acknowledged."));
    let (codes, text) = why(&admin, NAME);
    assert_eq!(codes[0], "canceled");
    assert!(text.contains("wrong site"), "{text}");
    assert_eq!(bench.device.installed(), None);
    assert_eq!(bench.runs(), json!(null));
    let small = payload(100_000, 5);
    let _ = bench.roll_out("1.2", &small, &Baked::Sound);
    bench.device.wait_for_content(&small);
}
