//! What happens when the world around the server breaks: its disk is full, its clients stop in the middle?

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use muster_tests::ddi::Device;
use muster_tests::exchange::{Answer, Payload};
use muster_tests::field::{Field, NAME};
use muster_tests::operator::{self, digest, publish, roll_out};
use muster_tests::raw::Line;
use muster_tests::server::Server;
use muster_tests::wait::until;
use serde_json::json;

const MIB: usize = 1 << 20;
const BYTES: &str = "application/octet-stream";

/// A small file system of its own, unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=777");
        let mounted = as_root("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success(), "mounting a tmpfs failed; that needs root or sudo");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes up room; answers whether there was enough.
    fn fill(&self, length: usize) -> bool {
        match std::fs::write(self.path().join("filler"), noise(length)) {
            Ok(()) => true,
            Err(full) if full.kind() == ErrorKind::StorageFull => false,
            Err(failed) => panic!("{failed}"),
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Programs run by sudo, unless this is root already.
fn as_root(program: &str) -> Command {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout.trim_ascii() == b"0" {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--non-interactive", program]);
    sudo
}

/// Bytes that nothing stores smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(step).collect()
}

/// Announces an upload; answers its path below the API's root.
fn begin_upload(field: &Field, name: &str, bytes: &[u8]) -> String {
    let begun = json!({ "name": name, "size": bytes.len(), "digest": digest(bytes) });
    let begun = field.admin().post("/uploads", &begun);
    assert!(begun.is_success(), "{begun}");
    format!("/uploads/{}", begun.at("/id").as_str().unwrap())
}

fn send_from(field: &Field, upload: &str, offset: usize, bytes: &[u8]) -> anyhow::Result<Answer> {
    let offset = offset.to_string();
    field.admin().try_send("PATCH", upload, &[("upload-offset", &offset)], Payload::Bytes(BYTES, bytes))
}

/// Opens a line and begins a request of the operator API on it.
fn begin_request(field: &Field, method: &str, path: &str, headers: &str) -> Line {
    let mut line = Line::open(field.server.address()).unwrap();
    let token = field.admin().token().unwrap();
    let head = format!("{method} /api/v1{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{headers}\r\n");
    line.send(head.as_bytes());
    line
}

#[test]
fn a_full_disk_refuses_the_upload_and_devices_are_still_served() {
    let disk = SmallDisk::mount("24m");
    assert!(disk.fill(4 * MIB));
    let field = Field::with_server(Server::start_in(&disk.path().join("data")));
    let offer = field.running("1");
    let large = noise(40 * MIB);
    let upload = begin_upload(&field, "large.bin", &large);
    // The other way to end is that it answered and hung up while we still sent.
    if let Ok(answer) = send_from(&field, &upload, 0, &large) {
        assert!(matches!(answer.status, 503 | 507), "{answer}");
        assert_eq!(answer.code(), "disk_full", "{answer}");
    }
    let _ = field.device.poll().expect(200);
    let _ = field.device.get(&offer.link).expect(200);
    let _ = field.admin().delete(&upload).expect(204);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    assert_eq!(field.state_of(offer.action), "finished");
    let small = noise(MIB);
    let upload = begin_upload(&field, "small.bin", &small);
    let _ = send_from(&field, &upload, 0, &small).unwrap().expect(200);
}

#[test]
fn a_full_disk_answers_writes_with_try_again_and_loses_nothing_it_confirmed() {
    let disk = SmallDisk::mount("16m");
    let mut field = Field::with_server(Server::start_in(&disk.path().join("data")));
    assert!(!disk.fill(32 * MIB));
    let say =
        |field: &Field, key: &str, value: &str| field.device.put("/configData", &json!({ "data": { key: value } }));
    let said = |round: usize| (format!("k{}", round % 200), format!("{round}-{}", "v".repeat(100)));
    let mut confirmed = None;
    let refused = (0..3000).find_map(|round| {
        let (key, value) = said(round);
        let answer = say(&field, &key, &value);
        if answer.status == 200 {
            confirmed = Some(round);
            return None;
        }
        Some(answer)
    });
    let refused = refused.expect("the disk is full sooner or later").expect(503);
    assert!(refused.header("retry-after").is_some(), "{refused}");
    let _ = field.device.poll().expect(200);
    disk.make_room();
    until("it takes words again", || (say(&field, "last", "word").status == 200).then_some(()));
    field.server.kill();
    field.server.restart();
    let attributes = field.admin().get(&format!("/devices/{NAME}")).expect(200).at("/attributes");
    assert_eq!(attributes["last"], "word");
    if let Some((key, value)) = confirmed.map(said) {
        assert_eq!(attributes[key], value);
    }
}

#[test]
fn an_upload_that_is_cut_goes_on_where_the_server_says() {
    let mut field = Field::new();
    let bytes = noise(20 * MIB);
    let upload = begin_upload(&field, "image.bin", &bytes);
    let headers = format!("upload-offset: 0\r\ncontent-type: {BYTES}\r\ncontent-length: {}\r\n", bytes.len());
    let mut line = begin_request(&field, "PATCH", &upload, &headers);
    line.send(&bytes[..12 * MIB]);
    line.cut();
    let kept = until("the server keeps what it got", || {
        field.admin().get(&upload).expect(200).at("/offset").as_u64().filter(|offset| *offset > 0)
    });
    assert!(kept <= 12 << 20, "{kept}");
    field.server.kill();
    field.server.restart();
    let head = field.admin().send("HEAD", &upload, &[], Payload::None);
    let kept: usize = head.header("upload-offset").unwrap().parse().unwrap();
    assert!(kept > 0 && kept <= 12 * MIB, "{kept}");
    let gap = send_from(&field, &upload, kept + 1, &bytes[kept + 1..kept + 2]).unwrap();
    assert_eq!(gap.status, 409, "{gap}");
    let done = send_from(&field, &upload, kept, &bytes[kept..]).unwrap().expect(200);
    assert_eq!(done.at("/artifact/digest"), digest(&bytes));
    let content = field.admin().get(&format!("/artifacts/{}/content", digest(&bytes))).expect(200);
    assert!(content.body == bytes, "the bytes are not those sent");
}

#[test]
fn bytes_that_hash_to_something_else_are_not_kept() {
    let field = Field::new();
    let (promised, sent) = (noise(4096), vec![7; 4096]);
    let upload = begin_upload(&field, "image.bin", &promised);
    let answer = send_from(&field, &upload, 0, &sent).unwrap();
    assert!((400..500).contains(&answer.status), "{answer}");
    for bytes in [&promised, &sent] {
        let _ = field.admin().get(&format!("/artifacts/{}", digest(bytes))).expect(404);
    }
}

#[test]
fn headers_that_never_end_are_cut_off_and_others_are_served_meanwhile() {
    let field = Field::new();
    let begun = Instant::now();
    let mut slow: Vec<Line> = (0..50).map(|_| Line::open(field.server.address()).unwrap()).collect();
    for line in &mut slow {
        line.send(format!("GET /default/controller/v1/{NAME} HTTP/1.1\r\nhost: x\r\n").as_bytes());
    }
    until("all slow lines are cut", || {
        let _ = field.device.poll().expect(200);
        slow.retain_mut(|line| {
            line.send(b"x-slow: y\r\n");
            !line.is_cut(Duration::from_millis(10)).unwrap()
        });
        slow.is_empty().then_some(())
    });
    assert!(begun.elapsed() > Duration::from_secs(5), "an honest slow device needs some seconds");
}

#[test]
fn downloads_nobody_reads_hold_up_neither_others_nor_the_end() {
    let mut field = Field::new();
    let bytes = noise(16 * MIB);
    let release = publish(field.admin(), "image", "1", ("image.bin", &bytes));
    let content = format!("/artifacts/{}/content", digest(&bytes));
    let mut unread: Vec<Line> = (0..40).map(|_| begin_request(&field, "GET", &content, "")).collect();
    for line in &mut unread {
        assert_eq!(line.status(), Some(200));
    }
    let begun = Instant::now();
    let _ = roll_out(field.admin(), &release, NAME, &json!({}));
    let deployment = field.device.get(&field.device.link_to_come("deploymentBase")).expect(200);
    let link = deployment.at("/deployment/chunks/0/artifacts/0/_links/download-http/href");
    let file = field.device.get(link.as_str().unwrap()).expect(200);
    assert!(file.body == bytes, "the bytes are not those sent");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let status = field.server.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn half_a_feedback_changes_nothing_and_one_without_its_answer_may_be_sent_again() {
    let field = Field::new();
    let offer = field.running("1");
    let token = field.admin().post(&format!("/devices/{NAME}/token"), &json!({})).expect(200).at("/token");
    let token = token.as_str().unwrap();
    let body = json!({ "status": { "execution": "closed", "result": { "finished": "success" } } }).to_string();
    let head = format!(
        "POST /default/controller/v1/{NAME}/deploymentBase/{}/feedback HTTP/1.1\r\nhost: x\r\n\
         authorization: TargetToken {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        offer.action,
        token,
        body.len()
    );
    let say = |body: &str| {
        let mut line = Line::open(field.server.address()).unwrap();
        line.send(head.as_bytes());
        line.send(body.as_bytes());
        line
    };
    for length in [0, 1, body.len() - 1] {
        say(&body[..length]).cut();
    }
    assert_ne!(field.state_of(offer.action), "finished");
    say(&body).cut();
    let device = Device::new(&field.server.origin(), NAME).with_target_token(token);
    let again = device.report("deploymentBase", offer.action, ("closed", "success"));
    assert!(matches!(again.status, 200 | 410), "{again}");
    assert_eq!(field.state_of(offer.action), "finished");
    let _ = operator::rollout_in(field.admin(), &offer.rollout, "finished");
}
