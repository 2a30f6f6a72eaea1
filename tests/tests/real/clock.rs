//! A server whose clock jumps, by Debian's libfaketime: a day ahead and back, while it runs and across a restart.

use std::path::Path;
use std::process::Command;

use muster_tests::agent;
use muster_tests::field::{Field, NAME};
use muster_tests::operator;
use muster_tests::server::Server;
use muster_tests::wait::until;
use serde_json::json;

/// What makes a program take its clock from a file. The linker puts its folder of libraries in for `$LIB`.
fn clock_of(file: &Path) -> [(&str, &str); 4] {
    [
        ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]
}

/// Sets a clock file so that no reader sees half of it.
fn set_clock(file: &Path, offset: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, offset).unwrap();
    std::fs::rename(&next, file).unwrap();
}

/// Waits until the server writes this day into what it makes.
fn wait_for_day(field: &Field, day: &str) {
    let output = Command::new("date").args(["--utc", "--date", day, "+%Y-%m-%d"]).output().unwrap();
    let expected = String::from_utf8(output.stdout).unwrap();
    until(format_args!("the server's clock says {day}"), || {
        let _ = operator::add_device(field.admin(), "clock");
        let made = field.admin().get("/devices/clock").expect(200).at("/created_at");
        let _ = field.admin().delete("/devices/clock").expect(204);
        made.as_str().unwrap().starts_with(expected.trim()).then_some(())
    });
}

/// One more update from its offer to its end, and no broken invariant behind.
fn goes_on(field: &Field, version: &str) {
    let offer = field.running(version);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    let _ = operator::rollout_in(field.admin(), &offer.rollout, "finished");
    assert!(!field.server.log().contains("panicked"), "{}", field.server.log());
}

#[test]
fn a_server_that_was_a_day_ahead_goes_on_with_the_right_time() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    set_clock(&clock, "+1d");
    let mut field = Field::with_server(Server::start_under(&clock_of(&clock)));
    wait_for_day(&field, "1 day");
    let offer = field.running("1");
    let waiting = field.another("sn-2");
    field.server.kill();
    field.server.set_environment(&[]);
    field.server.restart();
    wait_for_day(&field, "now");
    let _ = waiting.poll().expect(200);
    let _ = field.admin().get(&format!("/devices/{NAME}/why")).expect(200);
    assert_eq!(field.state_of(offer.action), "running");
    let _ = field.device.report("deploymentBase", offer.action, ("proceeding", "none")).expect(200);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    let _ = operator::rollout_in(field.admin(), &offer.rollout, "finished");
    goes_on(&field, "2");
}

#[test]
fn a_clock_that_jumps_ahead_ends_silent_actions_and_one_that_jumps_back_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    set_clock(&clock, "+0");
    let field = Field::with_server(Server::start_under(&clock_of(&clock)));
    let silent = field.offer("1", &json!({ "silence_s": 3600 }));
    let _ = field.device.get(&silent.link).expect(200);
    set_clock(&clock, "+1d");
    wait_for_day(&field, "1 day");
    let _ = operator::action_in(field.admin(), &silent.rollout, NAME, &["lost"]);
    let _ = operator::rollout_in(field.admin(), &silent.rollout, "paused");
    let patient = field.running("2");
    set_clock(&clock, "+0");
    wait_for_day(&field, "now");
    let _ = field.device.poll().expect(200);
    assert_eq!(field.state_of(patient.action), "running");
    let _ = field.device.report("deploymentBase", patient.action, ("closed", "success")).expect(200);
    let _ = operator::rollout_in(field.admin(), &patient.rollout, "finished");
    goes_on(&field, "3");
}

#[test]
fn a_join_token_lets_nobody_in_once_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    set_clock(&clock, "+0");
    let field = Field::with_server(Server::start_under(&clock_of(&clock)));
    let made = field.admin().post("/join-tokens", &json!({ "name": "short", "life_s": 3600 })).expect(201);
    let token = made.at("/secret").as_str().unwrap().to_owned();
    let device = agent::joined(&field.server, &token, "in-time");
    set_clock(&clock, "+1d");
    wait_for_day(&field, "1 day");
    let refused = agent::join(&field.server, &token, "late").expect(401);
    assert!(refused.text().contains("join token short has expired"), "{refused}");
    let _ = field.admin().get("/devices/late").expect(404);
    let _ = device.get("/orders").expect(200);
}
