//! A server that is stopped, killed and started again.

use muster_tests::field::{Field, NAME};
use muster_tests::operator;
use serde_json::json;

#[test]
fn a_stopped_server_says_goodbye_and_goes_on_where_it_was() {
    let mut field = Field::new();
    let offer = field.running("1");
    let status = field.server.stop();
    assert!(status.success(), "{status}");
    field.server.restart();
    assert_eq!(field.device.link("deploymentBase"), Some(offer.link.clone()));
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    let _ = operator::rollout_in(field.admin(), &offer.rollout, "finished");
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut field = Field::new();
    let offer = field.running("1");
    let _ = field.device.put("/configData", &json!({ "data": { "board": "box" } })).expect(200);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "failure")).expect(200);
    field.server.kill();
    field.server.restart();
    assert_eq!(field.state_of(offer.action), "failed");
    let device = field.admin().get(&format!("/devices/{NAME}")).expect(200);
    assert_eq!(device.at("/attributes/board"), "box");
    assert_eq!(field.device.link("configData"), None);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(410);
}

#[test]
fn a_session_outlives_a_restart_and_the_password_of_the_first_start_stays() {
    let mut field = Field::new();
    let _ = field.admin().get("/whoami").expect(200);
    field.server.kill();
    field.server.restart();
    let _ = field.admin().get("/whoami").expect(200);
    let again = field.server.login(muster_tests::server::ADMIN, muster_tests::server::PASSWORD);
    let _ = again.get("/whoami").expect(200);
}

#[test]
fn two_servers_never_share_a_folder() {
    let field = Field::new();
    let data = field.server.data();
    let program = muster_tests::server::program("muster").unwrap();
    let mut second = std::process::Command::new(program);
    let output = second.args(["server", "--listen", "127.0.0.1:0", "--data"]).arg(data).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    let _ = field.device.poll().expect(200);
}
