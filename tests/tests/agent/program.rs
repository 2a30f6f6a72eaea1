//! The agent itself, as a device's init starts it, against a real server.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use muster_tests::operator::{self, action_in, make_gateway_token, publish, roll_out};
use muster_tests::server::{Server, program};
use muster_tests::wait::until_true;
use serde_json::json;
use tempfile::TempDir;

/// A device in a folder; its agent is killed with it.
struct Device {
    folder: TempDir,
    agent: Child,
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}---", self.text("log"));
        }
    }
}

impl Device {
    /// `policy`: of the agent's file, with `{folder}` for the device's.
    fn start(server: &Server, token: &str, policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let file = folder.path().join("agent.toml");
        let text = format!(
            "server = \"{}\"\nfolder = \"{at}/state\"\n\n[policy]\n{}\n\n[health]\ninterval_s = 1\n\n\
             [component.os]\ninstaller = \"tree\"\nroot = \"{at}/app\"\n",
            server.origin(),
            policy.replace("{folder}", &at.to_string()),
        );
        std::fs::write(&file, text).unwrap();
        let agent = program("muster-agent").unwrap();
        let file = file.to_str().unwrap();
        let words = ["join", "--token", token, "--project", "default", "--device", "sn-1", "--config", file];
        let joined = Command::new(&agent).args(words).output().unwrap();
        assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut run = Command::new(agent);
        run.args(["run", "--config", file]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { agent: run.spawn().unwrap(), folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }
}

fn start() -> (Server, String) {
    let server = Server::start();
    let project = json!({ "registration": "accept", "poll_interval_s": 1, "confirmation": true });
    operator::set_project(server.admin(), &project);
    let token = make_gateway_token(server.admin());
    (server, token)
}

/// Answers with what the file `answer` says, and keeps what it was asked.
const ASKS: &str =
    r#"consent = ["sh", "-c", "cat > {folder}/asked; echo not during surgery; exit $(cat {folder}/answer)"]"#;

#[test]
fn the_person_at_the_device_is_asked_and_the_answer_told() {
    let (server, token) = start();
    let device = Device::start(&server, &token, ASKS);
    std::fs::write(device.path().join("answer"), "3").unwrap();
    let admin = server.admin();
    let release = publish(admin, "app", "1", ("page", b"one"));
    let first = roll_out(admin, &release, "sn-1", &json!({ "confirmation": true }));
    let action = action_in(admin, &first, "sn-1", &["awaiting_confirmation"]);
    until_true("the person's no is told", || {
        let told = operator::reports(admin, action);
        told.iter().any(|report| report["messages"].to_string().contains("not during surgery"))
    });
    let asked: serde_json::Value = serde_json::from_str(&device.text("asked")).unwrap();
    assert_eq!((&asked["release"], &asked["version"]), (&json!("app"), &json!("1")));
    assert!(!device.path().join("app/current").exists(), "{}", device.text("log"));
    operator::cancel(admin, action, true);

    std::fs::write(device.path().join("answer"), "0").unwrap();
    let release = publish(admin, "app", "2", ("page", b"two"));
    let second = roll_out(admin, &release, "sn-1", &json!({ "confirmation": true }));
    let _ = action_in(admin, &second, "sn-1", &["finished"]);
    assert_eq!(device.text("app/current/page"), "two");
}

#[test]
fn without_anybody_to_ask_an_operator_consents() {
    let (server, token) = start();
    let device = Device::start(&server, &token, "");
    let admin = server.admin();
    let release = publish(admin, "app", "1", ("page", b"one"));
    let rollout = roll_out(admin, &release, "sn-1", &json!({ "confirmation": true }));
    let _ = action_in(admin, &rollout, "sn-1", &["awaiting_confirmation"]);
    until_true("the agent says so in its log", || device.text("log").contains("there is no policy.consent to ask"));
    let _ = admin.put("/devices/sn-1/auto-confirm", &json!({})).expect(204);
    let _ = action_in(admin, &rollout, "sn-1", &["finished"]);
    assert_eq!(device.text("app/current/page"), "one");
}
