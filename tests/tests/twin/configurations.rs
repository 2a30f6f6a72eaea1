//! Configurations from the operator to the device and back.

use muster_tests::agent::{Device, joined};
use muster_tests::api::Api;
use muster_tests::exchange::{Answer, Payload};
use muster_tests::operator::make_gateway_token;
use muster_tests::wait::until;
use serde_json::{Value, json};

use super::{NAME, audited, field, label, scoped};

fn one_file(path: &str, content: &str) -> Value {
    json!({ "select": "all", "files": [{ "path": path, "content": content }] })
}

#[track_caller]
fn put(admin: &Api, name: &str, body: &Value) -> Answer {
    admin.put(&format!("/configurations/{name}"), body)
}

#[track_caller]
fn shown(admin: &Api) -> Value {
    admin.get(&format!("/devices/{NAME}/configuration")).expect(200).json()
}

#[track_caller]
fn in_state(admin: &Api, state: &str) -> Value {
    until(format_args!("the configuration of {NAME} is {state}"), || {
        Some(shown(admin)).filter(|shown| shown["state"] == state)
    })
}

#[track_caller]
fn ordered(device: &Device, version: u64) {
    until(format_args!("version {version} is ordered"), || {
        (device.orders()["configuration"] == json!(version)).then_some(())
    });
}

#[track_caller]
fn say(device: &Device, sequence: u64, version: u64, state: &str) {
    let said = json!({ "kind": "configuration", "version": version, "state": state, "messages": ["/etc/app.conf"] });
    assert_eq!(device.report(sequence, &[said]).expect(200).at("/through"), json!(sequence));
}

#[test]
fn a_device_gets_its_files_applies_them_and_gets_the_next_version() {
    let (server, device) = field();
    let admin = server.admin();
    assert_eq!(shown(admin)["state"], "nothing");
    assert_eq!(device.get("/configuration").status, 404);
    let body = json!({ "select": "name == sn-1", "priority": 7, "files": [{
        "path": "/etc/app.conf", "content": "site={{ label.site | default('none') }}\nboard={{ attribute.board }}\n",
        "mode": "0640", "owner": "root:app", "validate": ["app", "--check", "{}"], "reload": ["systemctl", "reload", "app"],
    }] });
    let told = json!({ "kind": "attributes", "all": true, "set": { "board": "rev-c" } });
    let _ = device.report(1, &[told]).expect(200);
    let saved = put(admin, "app", &body).expect(200);
    assert_eq!(
        (saved.header("etag"), saved.at("/revision"), saved.at("/priority")),
        (Some("\"1\""), json!(1), json!(7))
    );
    ordered(&device, 1);
    let got = device.get("/configuration").expect(200).json();
    let mut file = body["files"][0].clone();
    file["content"] = json!("site=none\nboard=rev-c\n");
    assert_eq!(got, json!({ "version": 1, "files": [file] }));
    assert_eq!(shown(admin)["state"], "pending");
    say(&device, 2, 1, "applied");
    assert_eq!((&shown(admin)["state"], &device.orders()["configuration"]), (&json!("applied"), &Value::Null));

    label(admin, &json!({ "site": "berlin" }));
    ordered(&device, 2);
    assert_eq!(device.get("/configuration").expect(200).at("/files/0/content"), json!("site=berlin\nboard=rev-c\n"));
    say(&device, 3, 2, "reverted");
    let reverted = shown(admin);
    assert_eq!((&reverted["state"], &reverted["messages"]), (&json!("reverted"), &json!(["/etc/app.conf"])));
    assert_eq!(device.orders()["configuration"], Value::Null, "what it took back is not ordered again");
    say(&device, 4, 2, "drifted");
    assert_eq!((&shown(admin)["drift"], &shown(admin)["desired"]), (&json!(true), &json!(2)));
    let twin = admin.get(&format!("/devices/{NAME}/twin")).expect(200).at("/configuration");
    assert_eq!(twin, json!({ "state": "drifted", "desired": 2, "reported": 2, "drift": true }));

    let _ = admin.delete("/configurations/app").expect(204);
    ordered(&device, 3);
    assert_eq!(device.get("/configuration").expect(200).json(), json!({ "version": 3, "files": [] }));
    assert_eq!(audited(admin, "configuration.put").len(), 1);
    assert_eq!(audited(admin, "configuration.delete").len(), 1);
    let detail = &audited(admin, "configuration.put")[0]["detail"];
    assert_eq!(detail["files"], json!(["/etc/app.conf"]), "contents stay out of the log");
}

#[test]
fn a_missing_value_is_told_to_the_operator_and_nothing_is_sent() {
    let (server, device) = field();
    let admin = server.admin();
    let _ = put(admin, "app", &one_file("/etc/app.conf", "a=1\nrack={{ label.rack }}\n")).expect(200);
    let failed = in_state(admin, "failed");
    let error = failed["error"].as_str().unwrap();
    for part in ["label.rack", NAME, "/etc/app.conf", "app", "line 2"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!((&failed["desired"], &device.orders()["configuration"]), (&json!(0), &Value::Null));
    assert_eq!(device.get("/configuration").expect(404).code(), "not_found");
    label(admin, &json!({ "rack": "r7" }));
    ordered(&device, 1);
    say(&device, 1, 1, "applied");
    label(admin, &json!({ "rack": null }));
    let failed = in_state(admin, "failed");
    assert_eq!((&failed["desired"], &device.orders()["configuration"]), (&json!(1), &Value::Null));
    label(admin, &json!({ "rack": "r7" }));
    assert_eq!(in_state(admin, "applied")["desired"], 1, "the same content again is the same version");
}

#[test]
fn two_configurations_that_give_one_path_are_an_error_naming_both() {
    let (server, device) = field();
    let admin = server.admin();
    let _ = put(admin, "base", &one_file("/etc/app.conf", "1")).expect(200);
    ordered(&device, 1);
    let _ = put(admin, "extra", &one_file("/etc/app.conf", "2")).expect(200);
    let failed = in_state(admin, "failed");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("base") && error.contains("extra") && error.contains("/etc/app.conf"), "{error}");
    assert_eq!(device.orders()["configuration"], Value::Null);
    let other = json!({ "select": "name == other", "files": [{ "path": "/etc/app.conf", "content": "2" }] });
    let _ = put(admin, "extra", &other).expect(200);
    ordered(&device, 1);
}

#[test]
fn paths_that_escape_and_templates_that_bomb_are_refused() {
    let (server, _device) = field();
    let admin = server.admin();
    for path in ["../etc/x", "etc/x", "/etc/../x", "/etc//x", "/proc/x", "/sys/x", "/dev/sda", "/etc/x\u{0}", "/", ""] {
        let refused = put(admin, "app", &one_file(path, "")).expect(400);
        assert_eq!((refused.code().as_str(), refused.at("/field")), ("bad_input", json!("files")), "{refused}");
    }
    for content in [
        "{% set a = 'x' %}",
        "{{ 'a' * 1000000000 }}",
        "{% for a in range(1000000000) %}{% endfor",
        "{{ open('/etc/shadow') }}{% include '/etc/shadow' %}",
    ] {
        let refused = put(admin, "app", &one_file("/etc/a", content)).expect(400);
        assert!(refused.text().contains("/etc/a") && refused.text().contains("line 1"), "{refused}");
    }
    for body in [
        json!({ "select": "all", "files": [] }),
        json!({ "select": "no such field == 1", "files": [{ "path": "/a", "content": "" }] }),
        json!({ "select": "all", "files": [{ "path": "/a", "content": "", "mode": "4755" }] }),
        json!({ "select": "all", "files": [{ "path": "/a", "content": "", "owner": "root" }] }),
        json!({ "select": "all", "files": [{ "path": "/a", "content": "" }, { "path": "/a", "content": "" }] }),
        json!({ "select": "all", "files": [{ "path": "/a", "content": "x".repeat(65 * 1024) }] }),
        json!({ "select": "all", "files": [{ "path": "/a", "content": "", "colour": "red" }] }),
    ] {
        assert_eq!(put(admin, "app", &body).expect(400).code(), "bad_input");
    }
    let nested = "{% for a in label | items %}".repeat(40) + "xxxxxxxxxx" + &"{% endfor %}".repeat(40);
    label(admin, &json!({ "a": "1", "b": "2", "c": "3" }));
    let _ = put(admin, "bomb", &one_file("/etc/a", &nested)).expect(200);
    let error = in_state(admin, "failed")["error"].clone();
    assert!(error.as_str().unwrap().contains("too many steps"), "{error}");
    assert_eq!(admin.get("/configurations").expect(200).at("/items/0/name"), json!("bomb"));
}

#[test]
fn a_preview_renders_what_is_not_saved() {
    let (server, device) = field();
    let admin = server.admin();
    let preview = |body: &Value| admin.post("/configurations:preview", body);
    let new = one_file("/etc/a", "{{ device }} in {{ project }}");
    let shown = preview(&json!({ "device": NAME, "name": "new", "configuration": new })).expect(200);
    assert_eq!((shown.at("/files/0/content"), shown.at("/configurations")), (json!("sn-1 in default"), json!(["new"])));
    let missing = preview(&json!({ "device": NAME, "configuration": one_file("/etc/a", "{{ site }}") })).expect(200);
    assert!(missing.at("/error").as_str().unwrap().contains("site"), "{missing}");
    assert_eq!(missing.at("/files"), json!([]));
    let elsewhere = json!({ "select": "name == x", "files": [{ "path": "/a", "content": "" }] });
    let none = preview(&json!({ "device": NAME, "configuration": elsewhere })).expect(200);
    assert_eq!((none.at("/configurations"), none.at("/files")), (json!([]), json!([])));
    assert_eq!(preview(&json!({ "device": "ghost" })).expect(404).code(), "not_found");
    assert_eq!(preview(&json!({ "device": NAME, "configuration": one_file("x", "") })).expect(400).code(), "bad_input");
    assert_eq!(admin.get("/configurations").expect(200).at("/items"), json!([]));
    assert_eq!(device.orders()["configuration"], Value::Null);
}

#[test]
fn a_configuration_changed_in_the_meantime_is_not_overwritten() {
    let (server, _device) = field();
    let admin = server.admin();
    let body = one_file("/etc/a", "1");
    let of =
        |tag: &str, body: &Value| admin.send("PUT", "/configurations/app", &[("if-match", tag)], Payload::Json(body));
    assert_eq!(of("\"1\"", &body).expect(412).code(), "revision_mismatch");
    let _ = put(admin, "app", &body).expect(200);
    let _ = of("\"1\"", &one_file("/etc/a", "2")).expect(200);
    assert_eq!(of("\"1\"", &one_file("/etc/a", "3")).expect(412).code(), "revision_mismatch");
    let stale = admin.send("DELETE", "/configurations/app", &[("if-match", "\"1\"")], Payload::None);
    assert_eq!(stale.expect(412).code(), "revision_mismatch");
    let kept = admin.get("/configurations/app").expect(200);
    assert_eq!((kept.at("/revision"), kept.at("/files/0/content")), (json!(2), json!("2")));
    let known = admin.send("GET", "/configurations/app", &[("if-none-match", "\"2\"")], Payload::None);
    assert_eq!(known.status, 304);
    assert_eq!(admin.get("/configurations/ghost").expect(404).code(), "not_found");
}

#[test]
fn only_who_may_write_devices_writes_configurations_and_a_device_reads_only_its_own() {
    let (server, _device) = field();
    let admin = server.admin();
    let reader = scoped(admin, &["read", "rollouts:write", "commands:write", "sessions:write"]);
    let body = one_file("/etc/a", "{{ device }}");
    assert_eq!(put(&reader, "app", &body).expect(403).code(), "not_allowed");
    let preview = reader.post("/configurations:preview", &json!({ "device": NAME, "configuration": body }));
    assert_eq!(preview.expect(403).code(), "not_allowed");
    let _ = put(&scoped(admin, &["devices:write"]), "app", &body).expect(200);
    assert_eq!(reader.delete("/configurations/app").expect(403).code(), "not_allowed");
    let other = joined(&server, &make_gateway_token(admin), "sn-2");
    ordered(&other, 1);
    assert_eq!(other.get("/configuration").expect(200).at("/files/0/content"), json!("sn-2"));
    assert_eq!(Device::new(&server.origin(), "mdt_x.y.z").get("/configuration").status, 401);
}

#[test]
fn configurations_and_versions_outlive_a_crash() {
    let (mut server, device) = field();
    let _ = put(server.admin(), "app", &one_file("/etc/a", "{{ device }}")).expect(200);
    ordered(&device, 1);
    say(&device, 1, 1, "applied");
    server.kill();
    server.restart();
    assert_eq!(shown(server.admin())["state"], "applied");
    assert_eq!(device.orders()["configuration"], Value::Null);
    let _ = put(server.admin(), "app", &one_file("/etc/a", "{{ device }}!")).expect(200);
    server.kill();
    server.restart();
    ordered(&device, 2);
}

#[test]
fn a_device_waiting_for_orders_is_woken_by_its_configuration() {
    let (server, device) = field();
    let first = device.orders();
    let waiting = {
        let (device, tag) = (device.clone(), first["tag"].as_str().unwrap().to_owned());
        std::thread::spawn(move || device.get(&format!("/orders?wait=30&tag={tag}")).expect(200).json())
    };
    let _ = put(server.admin(), "app", &one_file("/etc/a", "x")).expect(200);
    let woken = waiting.join().unwrap();
    assert_eq!(woken["configuration"], json!(1), "{woken}");
}
