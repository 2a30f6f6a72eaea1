//! Lists hold what their selector says, and a selector that says nothing is refused with a hint.

use std::collections::BTreeSet;

use muster_tests::api::Api;
use muster_tests::ddi::Device;
use muster_tests::field::{CONTENT, FILE};
use muster_tests::operator::{add_device, digest, publish, roll_out, rollout_in, upload};
use muster_tests::server::Server;
use muster_tests::wait::until_true;
use serde_json::json;

/// Text of a query, percent-encoded whole.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// One member of every row that the selector leaves, in any order.
#[track_caller]
fn selected(admin: &Api, list: &str, member: &str, select: &str) -> BTreeSet<String> {
    let page = admin.get(&format!("{list}?limit=500&select={}", encoded(select))).expect(200);
    let items = page.at("/items").as_array().cloned().unwrap();
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    items.iter().map(|row| text(&row[member])).collect()
}

#[track_caller]
fn check(admin: &Api, list: &str, member: &str, cases: &[(&str, &[&str])]) {
    for (select, expected) in cases {
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(selected(admin, list, member, select), expected, "{list} with {select}");
    }
}

#[track_caller]
fn refused(admin: &Api, list: &str, select: &str) -> String {
    let refused = admin.get(&format!("{list}?select={}", encoded(select))).expect(400);
    assert_eq!((refused.code().as_str(), refused.at("/field")), ("bad_input", json!("select")), "{refused}");
    refused.at("/detail").as_str().unwrap().to_owned()
}

/// Devices `a` to `d`: labels by hand, attributes by themselves; `d` has neither.
fn fleet() -> Server {
    let server = Server::start();
    let devices = [
        ("a", json!({ "site": "berlin" }), json!({ "ram": "1024", "kernel": "6.10" })),
        ("b", json!({ "site": "new york" }), json!({ "ram": "512", "kernel": "6.9" })),
        ("c", json!({ "site": "Berlin", "dc.rack": "7" }), json!({ "ram": "64.5", "kernel": "none" })),
    ];
    for (name, labels, attributes) in devices {
        let token = add_device(server.admin(), name);
        let _ = server.admin().patch(&format!("/devices/{name}"), &json!({ "labels": labels })).expect(200);
        let device = Device::new(&server.origin(), name).with_target_token(&token);
        let _ = device.put("/configData", &json!({ "data": attributes })).expect(200);
    }
    let _ = add_device(server.admin(), "d");
    server
}

#[test]
fn devices_are_selected_by_names_labels_and_attributes() {
    let server = fleet();
    check(
        server.admin(),
        "/devices",
        "name",
        &[
            ("all", &["a", "b", "c", "d"]),
            ("not all", &[]),
            ("name == a", &["a"]),
            ("name in (a, d) and state == accepted", &["a", "d"]),
            ("label.site == berlin", &["a"]),
            ("label.site != berlin", &["b", "c", "d"]),
            ("label.site like BERL*", &["a", "c"]),
            ("label.site == \"new york\" or name == d", &["b", "d"]),
            ("not exists label.site", &["d"]),
            ("label.dc.rack == 7", &["c"]),
            ("name like \"%\" or name like \"_\"", &[]),
            ("not (name == a or name == b)", &["c", "d"]),
            ("name == \"a' or 'a' == 'a\"", &[]),
        ],
    );
}

#[test]
fn bare_numbers_compare_as_numbers_and_quoted_ones_as_texts() {
    let server = fleet();
    check(
        server.admin(),
        "/devices",
        "name",
        &[
            ("attribute.ram < 512", &["c"]),
            ("attribute.ram <= 512", &["b", "c"]),
            ("attribute.ram > 64", &["a", "b", "c"]),
            ("attribute.ram > -1", &["a", "b", "c"]),
            ("attribute.ram < \"512\"", &["a"]),
            ("attribute.ram == 1024", &["a"]),
            ("attribute.ram == 1024.0", &[]),
            ("attribute.kernel > 0", &["a", "b"]),
            ("attribute.kernel >= 6.9", &["b"]),
            ("not (attribute.kernel > 0)", &["c", "d"]),
        ],
    );
}

#[test]
fn times_may_be_relative_to_now() {
    let server = fleet();
    let everything: &[&str] = &["a", "b", "c", "d"];
    check(
        server.admin(),
        "/devices",
        "name",
        &[
            ("created_at > -1h", everything),
            ("created_at < -1h", &[]),
            ("created_at <= now", everything),
            ("created_at < +30m and created_at > now-7d", everything),
            ("created_at > 2020-01-01T00:00:00Z", everything),
            ("created_at < 2020-01-01T00:00:00+02:00", &[]),
            ("created_at > -9223372036854775s", everything),
            ("created_at < +9223372036854775s", everything),
            ("not exists last_seen and name == d", &["d"]),
        ],
    );
    // What devices said last is written down now and then, not at every poll.
    until_true("polls are written down", || selected(server.admin(), "/devices", "name", "last_seen > -1m").len() == 3);
}

#[test]
fn actions_and_rollouts_are_selected_by_what_they_belong_to() {
    let server = Server::start();
    let admin = server.admin();
    for name in ["a", "b"] {
        let _ = add_device(admin, name);
        let release = publish(admin, "os", name, (FILE, CONTENT));
        let rollout = roll_out(admin, &release, name, &json!({ "name": format!("to-{name}") }));
        let _ = rollout_in(admin, &rollout, "running");
    }
    until_true("both are offered", || selected(admin, "/actions", "device", "state == offered").len() == 2);
    check(
        admin,
        "/actions",
        "device",
        &[
            ("all", &["a", "b"]),
            ("device == a", &["a"]),
            ("rollout == r-2", &["b"]),
            ("rollout == to-a", &["a"]),
            ("rollout != r-2", &["a"]),
            ("rollout in (to-a, r-2)", &["a", "b"]),
            ("wave == 1", &["a", "b"]),
            ("wave > 1", &[]),
            ("state in (finished, failed)", &[]),
            ("state != finished and release == os@a", &["a"]),
            ("release like OS@*", &["a", "b"]),
            ("changed_at > -1h", &["a", "b"]),
        ],
    );
    check(
        admin,
        "/rollouts",
        "name",
        &[
            ("all", &["to-a", "to-b"]),
            ("name like *-A", &["to-a"]),
            ("state == running", &["to-a", "to-b"]),
            ("state == draft", &[]),
            ("release == os@b", &["to-b"]),
            ("created_by == admin and created_at > -1h", &["to-a", "to-b"]),
            ("created_by != admin", &[]),
        ],
    );
}

#[test]
fn releases_artifacts_tokens_and_records_are_selected_too() {
    let server = Server::start();
    let admin = server.admin();
    let _ = publish(admin, "os", "1", (FILE, CONTENT));
    let _ = publish(admin, "app", "1", (FILE, CONTENT));
    let _ = admin.post("/releases/app/1/yank", &json!({ "reason": "crashes" })).expect(200);
    let small = upload(admin, "small.bin", b"s");
    let token = json!({ "name": "ci", "scopes": ["read"], "life_s": 60 });
    let _ = admin.post("/tokens", &token).expect(201);
    check(
        admin,
        "/releases",
        "name",
        &[("version == 1", &["app", "os"]), ("state == yanked", &["app"]), ("name like o*", &["os"])],
    );
    let by_digest = format!("digest == {small:?}");
    check(
        admin,
        "/artifacts",
        "name",
        &[
            ("size < 2", &["small.bin"]),
            ("size == 11", &[FILE]),
            ("size >= 1", &["small.bin", FILE]),
            ("name like *.swu", &[FILE]),
            (&by_digest, &["small.bin"]),
            ("created_at < -1m", &[]),
        ],
    );
    assert_eq!(small, digest(b"s"));
    check(
        admin,
        "/tokens",
        "name",
        &[("expires_at < +2m", &["ci"]), ("name == ci and account == admin", &["ci"]), ("account == eve", &[])],
    );
    let releases: &[&str] = &["release.create", "release.publish", "release.yank"];
    check(
        admin,
        "/audit",
        "action",
        &[("action like release.*", releases), ("actor == account:eve", &[]), ("at < -1h", &[])],
    );
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest() {
    let server = Server::start();
    let near = [
        ("/devices", "nmae == a", "name"),
        ("/devices", "lable.site == a", "label."),
        ("/devices", "state == acepted", "accepted"),
        ("/actions", "divice == a", "device"),
        ("/actions", "state == runing", "running"),
        ("/rollouts", "stat == running", "state"),
        ("/releases", "versoin == 1", "version"),
        ("/artifacts", "sise > 1", "size"),
        ("/tokens", "acount == a", "account"),
        ("/audit", "acter == a", "actor"),
    ];
    for (list, select, meant) in near {
        let detail = refused(server.admin(), list, select);
        assert!(detail.contains(&format!("did you mean {meant}")), "{list} with {select}: {detail}");
        assert!(detail.contains('^'), "it shows where: {detail}");
    }
    let detail = refused(server.admin(), "/releases", "label.site == a");
    assert!(detail.contains("releases have no labels"), "{detail}");
}

#[test]
fn a_selector_that_can_not_be_read_is_refused_and_never_means_everything() {
    let server = Server::start();
    let unreadable = [
        "",
        " ",
        "name",
        "name ==",
        "name = ",
        "== a",
        "name == a b",
        "(name == a",
        "name == a)",
        "and",
        "not",
        "name like",
        "name in ()",
        "name in (a",
        "name == *",
        "created_at > yesterday",
        "created_at like 2026*",
        "name == \"a",
        "all all",
        "name == a; drop table device",
        "label. == a",
        "created_at > -99999999999999999999w",
        "state < accepted",
    ];
    for select in unreadable {
        let detail = refused(server.admin(), "/devices", select);
        assert!(!detail.is_empty(), "{select:?}");
        let bulk = server.admin().post("/devices:accept", &json!({ "select": select })).expect(400);
        assert_eq!(bulk.code(), "bad_input", "{bulk}");
        let count = server.admin().get(&format!("/devices:count?select={}", encoded(select))).expect(400);
        assert_eq!(count.code(), "bad_input", "{count}");
    }
    let many = format!("name in ({})", vec!["x"; 257].join(","));
    let long = format!("name == {}", "x".repeat(4096));
    let deep = format!("{}all{}", "(".repeat(33), ")".repeat(33));
    for select in [many, long, deep, vec!["name == a"; 65].join(" or ")] {
        let bulk = server.admin().post("/devices:accept", &json!({ "select": select })).expect(400);
        assert!(bulk.at("/detail").as_str().unwrap().contains("at most"), "{bulk}");
    }
}

#[test]
fn a_list_without_fields_takes_no_selector() {
    let server = Server::start();
    for list in ["/channels", "/accounts"] {
        let detail = refused(server.admin(), list, "all");
        assert!(detail.contains("takes no selector"), "{list}: {detail}");
    }
}
