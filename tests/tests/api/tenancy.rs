//! Nothing of one project is seen or touched from another, and nobody does what his roles don't say: on every address
//! of the OpenAPI document, one by one and in bulk.

use std::collections::BTreeMap;

use muster_tests::api::Api;
use muster_tests::exchange::{Answer, Payload};
use muster_tests::operator::{add_device, publish, roll_out, set_project};
use muster_tests::server::Server;
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// In every name of the first project's things.
const MARK: &str = "secretive";
const ABSENT: &str = "nothing-of-this-name";
/// They are about the caller himself, or about nobody.
const OWN: [&str; 14] = [
    "/api/v1/login",
    "/api/v1/login/oidc/link",
    "/api/v1/login/oidc/poll",
    "/api/v1/login/oidc/redeem",
    "/api/v1/login/oidc/{provider}/callback",
    "/api/v1/login/oidc/{provider}/device",
    "/api/v1/login/oidc/{provider}/start",
    "/api/v1/logout",
    "/api/v1/password",
    "/api/v1/tokens/exchange",
    "/api/v1/totp",
    "/api/v1/totp/confirm",
    "/api/v1/totp/disable",
    "/api/v1/whoami",
];

fn provider() -> Value {
    json!({ "issuer": "https://id.example", "client_id": MARK, "groups": {} })
}

fn workload() -> Value {
    json!({ "issuer": "https://id.example", "audience": MARK, "subject": MARK, "account": MARK, "scopes": ["read"] })
}

fn document() -> Value {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every address and method, below `/api/v1`.
fn routes() -> Vec<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, methods) in paths {
        for method in METHODS.iter().filter(|method| methods.get(**method).is_some()) {
            all.push((method.to_uppercase(), path.strip_prefix("/api/v1").unwrap().to_owned()));
        }
    }
    assert!(all.len() > 80, "{} routes", all.len());
    all
}

fn another_project(server: &Server, name: &str) -> Api {
    let body = json!({ "name": name, "account": "bob", "password": "correct horse battery" });
    let _ = server.admin().post("/projects", &body).expect(201);
    let login = json!({ "account": "bob", "password": "correct horse battery", "project": name });
    let token = server.anonymous().post("/login", &login).expect(200).at("/token");
    server.anonymous().with_token(token.as_str().unwrap())
}

/// Something of each kind, all of it marked. Answers what stands for each parameter of the addresses.
fn filled(server: &Server) -> BTreeMap<&'static str, String> {
    let admin = server.admin();
    let device = format!("{MARK}-device");
    set_project(admin, &json!({ "sessions": true }));
    let _ = add_device(admin, &device);
    let release = publish(admin, MARK, "1", (&format!("{MARK}.bin"), MARK.as_bytes()));
    let rollout = roll_out(admin, &release, &device, &json!({}));
    let _ = admin.put("/channels/secretive", &json!({ "release": format!("{MARK}@1") })).expect(200);
    let files = json!([{ "path": "/etc/secretive", "content": MARK }]);
    let _ = admin.put("/configurations/secretive", &json!({ "select": "all", "files": files }));
    let _ = admin.post("/join-tokens", &json!({ "name": MARK, "life_s": 3600 })).expect(201);
    let _ = admin.post("/accounts", &json!({ "name": MARK, "scopes": ["read"] })).expect(201);
    let _ = admin.post("/roles", &json!({ "name": MARK, "scopes": ["read"] })).expect(201);
    let _ = admin.put(&format!("/oidc-providers/{MARK}"), &provider()).expect(200);
    let _ = admin.put(&format!("/workloads/{MARK}"), &workload()).expect(200);
    let _ = admin.put(&format!("/secrets/{MARK}"), &json!({ "value": MARK })).expect(200);
    let ring = json!({ "name": MARK, "public": "01".repeat(32) });
    let _ = admin.post("/key-ring", &ring).expect(201);
    let binding = admin.post("/role-bindings", &json!({ "account": MARK, "role": "viewer" })).expect(201);
    let key = format!("sha256:{}", "ab".repeat(32));
    let _ = admin.post("/claims", &json!({ "claims": [{ "name": MARK, "key": key }] })).expect(201);
    let token = admin.post("/tokens", &json!({ "name": MARK, "scopes": ["read"], "life_s": 3600 })).expect(201);
    let order = json!({ "what": { "command": "run_script", "script": MARK, "arguments": [] } });
    let command = admin.post(&format!("/devices/{device}/commands"), &order).expect(201);
    let rule = json!({ "needed": 1, "role": "security-officer", "select": format!("name == {MARK}") });
    let rule = admin.put("/approval-rules", &rule).expect(200);
    let waiting = roll_out(admin, &release, &device, &json!({ "approval": true, "name": format!("{MARK}-waits") }));
    let _ = admin.post(&format!("/rollouts/{waiting}/break-glass"), &json!({ "reason": MARK })).expect(200);
    let review = admin.get("/reviews").expect(200);
    let artifacts = admin.get("/artifacts").expect(200);
    let upload = json!({ "name": MARK, "size": 7, "digest": format!("sha256:{}", "cd".repeat(32)) });
    let upload = admin.post("/uploads", &upload);
    let actions = admin.get("/actions").expect(200);
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    BTreeMap::from([
        ("devices", device),
        ("artifacts", text(artifacts.at("/items/0/digest"))),
        ("releases", MARK.to_owned()),
        ("channels", MARK.to_owned()),
        ("configurations", MARK.to_owned()),
        ("join-tokens", MARK.to_owned()),
        ("accounts", MARK.to_owned()),
        ("roles", MARK.to_owned()),
        ("oidc-providers", MARK.to_owned()),
        ("workloads", MARK.to_owned()),
        ("secrets", MARK.to_owned()),
        ("key-ring", MARK.to_owned()),
        ("role-bindings", text(binding.at("/id"))),
        ("claims", MARK.to_owned()),
        ("authorities", MARK.to_owned()),
        ("tokens", text(token.at("/token/id"))),
        ("commands", text(command.at("/id"))),
        ("uploads", text(upload.at("/id"))),
        ("actions", text(actions.at("/items/0/id"))),
        ("rollouts", rollout.to_string().trim_matches('"').to_owned()),
        ("sessions", MARK.to_owned()),
        ("metadata", "root".to_owned()),
        ("approval-rules", text(rule.at("/id"))),
        ("reviews", text(review.at("/items/0/id"))),
    ])
}

/// The address with the first project's things in it, or with what nobody has.
fn address(path: &str, things: &BTreeMap<&'static str, String>, is_absent: bool) -> String {
    let kind = path.split('/').nth(1).unwrap();
    let mut filled = String::new();
    for part in path.split('/').skip(1) {
        let value = match part {
            "{version}" => "1".to_owned(),
            _ if part.starts_with('{') => {
                let thing = things.get(kind).unwrap_or_else(|| panic!("name something for {path}"));
                absent_like(thing, is_absent)
            }
            _ => part.to_owned(),
        };
        filled.push_str(&format!("/{value}"));
    }
    filled
}

/// Of the same form, so that the two are refused for the same reason.
fn absent_like(thing: &str, is_absent: bool) -> String {
    if !is_absent {
        return thing.to_owned();
    }
    match thing {
        _ if thing.starts_with("sha256:") => format!("sha256:{}", "0".repeat(64)),
        _ if thing.chars().all(|digit| digit.is_ascii_digit()) => "987654321".to_owned(),
        _ => match thing.split_once('-') {
            Some((kind, number)) if number.chars().all(|digit| digit.is_ascii_digit()) => format!("{kind}-987654321"),
            _ => ABSENT.to_owned(),
        },
    }
}

fn body(method: &str, path: &str, things: &BTreeMap<&'static str, String>) -> Value {
    let device = &things["devices"];
    match (method, path) {
        (_, "/devices:accept" | "/devices:reject") => json!({ "select": "all" }),
        ("POST", "/devices") => json!({ "name": "other" }),
        ("PATCH", "/devices/{name}") => json!({ "labels": { "stolen": "yes" } }),
        ("POST", "/devices/{name}/commands") => json!({ "what": { "command": "reboot" } }),
        ("POST", "/configurations:preview") => json!({ "device": device }),
        ("PUT", "/configurations/{name}") => {
            json!({ "select": "all", "files": [{ "path": "/etc/a", "content": "b" }] })
        }
        ("PUT", "/oidc-providers/{name}") => provider(),
        ("PUT", "/workloads/{name}") => workload(),
        ("PUT", "/secrets/{name}") => json!({ "value": "x" }),
        ("POST", "/releases/{name}/{version}/attestations") => json!({ "document": things["artifacts"] }),
        ("POST", "/devices/{name}/transfer") => json!({ "to": "elsewhere", "token": "x" }),
        ("POST", "/identity/issuing") => json!({ "certificate": "x" }),
        ("POST", "/enrollment-policy/test") => json!({ "name": "x", "shows": "nothing" }),
        ("POST", "/key-ring") => json!({ "name": "x", "public": "02".repeat(32) }),
        ("PUT", "/metadata/{role}") => json!({ "document": "{}" }),
        ("PUT", "/channels/{name}") => json!({ "release": format!("{MARK}@1") }),
        ("POST", "/rollouts") => json!({ "release": format!("{MARK}@1"), "select": "all" }),
        ("POST", "/releases") => json!({ "name": "x", "version": "1", "components": [{ "name": "x", "version": "1",
            "artifacts": [{ "digest": things["artifacts"] }] }] }),
        ("POST", "/role-bindings") => json!({ "account": MARK, "role": "viewer" }),
        ("POST", "/accounts") => json!({ "name": "mallory", "scopes": ["admin"] }),
        ("POST", "/roles") => json!({ "name": "mallory", "scopes": ["admin"] }),
        ("POST", "/tokens") => json!({ "name": "mallory", "scopes": ["admin"], "life_s": 3600 }),
        ("POST", "/join-tokens") => json!({ "name": "mallory", "life_s": 3600 }),
        ("POST", "/uploads") => json!({ "name": "x", "size": 3, "digest": format!("sha256:{}", "ef".repeat(32)) }),
        ("POST", "/claims") => json!({ "claims": [{ "name": "x", "key": format!("sha256:{}", "ef".repeat(32)) }] }),
        ("POST", "/authorities") => json!({ "name": "x", "certificate": "x" }),
        ("POST", "/releases/{name}/{version}/yank") => json!({ "reason": "x" }),
        ("POST", "/projects") => json!({ "name": "x", "account": "x", "password": "correct horse battery" }),
        ("PUT", "/approval-rules") => json!({ "needed": 1, "role": "security-officer" }),
        ("POST", "/reviews/{id}/close") => json!({ "note": "x" }),
        ("POST" | "PUT" | "PATCH", _) => json!({}),
        _ => Value::Null,
    }
}

fn ask(api: &Api, method: &str, path: &str, body: &Value) -> Answer {
    let payload = if body.is_null() { Payload::None } else { Payload::Json(body) };
    api.send(method, path, &[], payload)
}

fn is_stream(path: &str) -> bool {
    path == "/events"
}

#[test]
fn another_project_sees_and_touches_nothing_and_cannot_tell_what_there_is() {
    let server = Server::start();
    let things = filled(&server);
    let other = another_project(&server, "elsewhere");
    let before = server.admin().get(&format!("/devices/{}", things["devices"])).expect(200).text().to_owned();
    let mut tried = 0;
    for (method, path) in routes() {
        let here = format!("/api/v1{path}");
        if OWN.contains(&here.as_str()) || is_stream(&path) {
            continue;
        }
        if method == "PUT"
            && ["/configurations/{name}", "/oidc-providers/{name}", "/secrets/{name}"].contains(&path.as_str())
        {
            // It makes what isn't there, in the caller's own project.
            continue;
        }
        let body = body(&method, &path, &things);
        let found = ask(&other, &method, &address(&path, &things, false), &body);
        tried += 1;
        let is_told = found.text().contains(MARK) && (200..300).contains(&found.status);
        assert!(!is_told, "{method} {path}: {found}");
        if !path.contains('{') {
            continue;
        }
        let absent_body = serde_json::from_str(&body.to_string().replace(MARK, ABSENT)).unwrap();
        let absent = ask(&other, &method, &address(&path, &things, true), &absent_body);
        assert_eq!(found.status, absent.status, "{method} {path}: {found}\n{absent}");
        assert_eq!(found.code(), absent.code(), "{method} {path}: {found}\n{absent}");
        assert!(!(200..300).contains(&found.status), "{method} {path}: {found}");
    }
    assert!(tried > 75, "{tried} routes");
    println!("figure tenant_routes {tried}");
    let after = server.admin().get(&format!("/devices/{}", things["devices"])).expect(200).text().to_owned();
    assert_eq!(before, after, "a device of the first project was changed");
    for (kind, thing) in [("channels", MARK), ("configurations", MARK), ("roles", MARK), ("accounts", MARK)] {
        let all = server.admin().get(&format!("/{kind}")).expect(200);
        assert!(all.text().contains(thing), "{kind} of the first project are gone: {all}");
    }
    let _ = other.get("/projects").expect(403);
    let _ = other
        .post("/projects", &json!({ "name": "x", "account": "y", "password": "correct horse battery" }))
        .expect(403);
}

#[test]
fn nobody_and_a_viewer_change_nothing_on_any_address() {
    let server = Server::start();
    let things = filled(&server);
    let viewer = server.admin().post(
        "/accounts",
        &json!({ "name": "vera", "scopes": ["read"],
        "password": "correct horse battery" }),
    );
    let _ = viewer.expect(201);
    let (viewer, nobody) = (server.login("vera", "correct horse battery"), server.anonymous());
    let mut asked = 0;
    for (method, path) in routes() {
        let here = format!("/api/v1{path}");
        if OWN.contains(&here.as_str()) || is_stream(&path) {
            continue;
        }
        asked += 1;
        let (address, body) = (address(&path, &things, false), body(&method, &path, &things));
        let answer = ask(&nobody, &method, &address, &body);
        assert_eq!(answer.status, 401, "{method} {path} without a token: {answer}");
        // A question about rules that everybody may read.
        if method == "GET" || path == "/enrollment-policy/test" {
            continue;
        }
        let answer = ask(&viewer, &method, &address, &body);
        asked += 1;
        assert_eq!(answer.status, 403, "{method} {path} by a viewer: {answer}");
    }
    println!("figure tenant_routes {asked}");
}

#[test]
fn a_role_over_some_devices_reaches_those_and_no_others_one_by_one_and_in_bulk() {
    let server = Server::start();
    let admin = server.admin();
    let sites = [("b-1", "berlin"), ("b-2", "berlin"), ("o-1", "oslo")];
    for (name, site) in sites {
        let _ = admin.post("/devices", &json!({ "name": name, "labels": { "site": site } })).expect(201);
    }
    let account = json!({ "name": "otto", "scopes": [], "password": "correct horse battery" });
    let _ = admin.post("/accounts", &account).expect(201);
    let scope = json!({ "account": "otto", "role": "operator", "select": "attribute.site == berlin" });
    let refused = admin.post("/role-bindings", &scope).expect(400);
    assert!(refused.text().contains("says of itself"), "{refused}");
    let scope = json!({ "account": "otto", "role": "operator", "select": "label.site == berlin" });
    let binding = admin.post("/role-bindings", &scope).expect(201).at("/id");
    let otto = server.login("otto", "correct horse battery");
    assert_eq!(otto.get("/devices:count").expect(200).at("/count"), json!(2));
    let listed = otto.get("/devices?select=all").expect(200);
    assert!(!listed.text().contains("o-1"), "{listed}");
    let _ = otto.patch("/devices/b-1", &json!({ "labels": { "ring": "lab" } })).expect(200);
    for path in ["/devices/o-1", "/devices/o-1/why", "/devices/o-1/timeline", "/devices/o-1/commands"] {
        assert_eq!(otto.get(path).expect(404).code(), otto.get(&path.replace("o-1", "none")).expect(404).code());
    }
    let _ = otto.patch("/devices/o-1", &json!({ "labels": { "site": "berlin" } })).expect(404);
    let _ = otto.post("/devices/o-1/revoke", &json!({})).expect(404);
    let _ = otto.post("/devices/o-1/commands", &json!({ "what": { "command": "reboot" } })).expect(404);
    // Bulk: a filter of his own doesn't widen what he may.
    for name in ["o-1", "b-1"] {
        let _ = admin.post(&format!("/devices/{name}/reject"), &json!({})).expect(200);
    }
    let _ = otto.post("/devices:accept", &json!({ "select": "all or label.site == oslo" })).expect(200);
    assert_eq!(admin.get("/devices/o-1").expect(200).at("/state"), json!("rejected"));
    // Nothing but devices is in his role.
    for path in ["/project", "/accounts", "/rollouts", "/releases", "/audit", "/role-bindings"] {
        let _ = otto.get(path).expect(403);
    }
    let _ = otto.post("/rollouts", &json!({ "release": "os@1", "select": "all" })).expect(403);
    let _ = admin.delete(&format!("/role-bindings/{}", binding.as_str().unwrap())).expect(204);
    let _ = otto.get("/devices").expect(403);
}

#[test]
fn nobody_approves_his_own_rollout_by_way_of_a_service_account_or_makes_a_token_that_outlives_its_maker() {
    let server = Server::start();
    let admin = server.admin();
    let _ = add_device(admin, "sn-1");
    let release = publish(admin, "os", "1", ("a.bin", b"content"));
    let rollout = roll_out(admin, &release, "sn-1", &json!({ "approval": true, "start": false }));
    let rollout = rollout.to_string().trim_matches('"').to_owned();
    let _ = admin.post("/accounts", &json!({ "name": "robot", "scopes": ["admin"] })).expect(201);
    let _ =
        admin.post("/accounts", &json!({ "name": "ann", "scopes": ["admin"], "password": "correct horse battery" }));
    let ann = server.login("ann", "correct horse battery");
    let approve = format!("/rollouts/{rollout}/approve");
    assert_eq!(admin.post(&approve, &json!({})).expect(403).code(), "own_rollout");
    let second = admin.post("/tokens", &json!({ "name": "second", "scopes": ["admin"], "life_s": 60 })).expect(201);
    let second = admin.with_token(second.at("/secret").as_str().unwrap());
    assert_eq!(second.post(&approve, &json!({})).expect(403).code(), "own_rollout");
    // The robot is the admin's own, and nobody else can act as it.
    let of_robot = json!({ "name": "robot", "scopes": ["admin"], "life_s": 3600, "account": "robot" });
    let robot = admin.post("/tokens", &of_robot).expect(201);
    let robot = admin.with_token(robot.at("/secret").as_str().unwrap());
    assert_eq!(robot.get("/whoami").expect(200).at("/account"), json!("robot"));
    assert_eq!(robot.post(&approve, &json!({})).expect(403).code(), "own_rollout");
    assert!(ann.post("/tokens", &of_robot).expect(409).text().contains("somebody else"));
    let of_ann = json!({ "name": "ann", "scopes": ["admin"], "life_s": 60, "account": "ann" });
    assert!(admin.post("/tokens", &of_ann).expect(409).text().contains("is a person"));
    // Nor does a robot of the robot help, or the other way round.
    let _ = robot.post("/accounts", &json!({ "name": "arm", "scopes": ["admin"] })).expect(201);
    let of_arm = json!({ "name": "arm", "scopes": ["admin"], "life_s": 60, "account": "arm" });
    let arm = robot.post("/tokens", &of_arm).expect(201);
    let arm = admin.with_token(arm.at("/secret").as_str().unwrap());
    assert_eq!(arm.post(&approve, &json!({})).expect(403).code(), "own_rollout");
    let by_arm = roll_out(&arm, &release, "sn-1", &json!({ "approval": true, "start": false }));
    assert_eq!(admin.post(&format!("/rollouts/{by_arm}/approve"), &json!({})).expect(403).code(), "own_rollout");
    let long = json!({ "name": "long", "scopes": ["read"], "life_s": 3600 });
    let long = second.post("/tokens", &long).expect(201).at("/token/expires_at");
    let listed = admin.get("/tokens").expect(200).at("/items");
    let second = listed.as_array().unwrap().iter().find(|token| token["name"] == "second").unwrap().clone();
    assert_eq!(long, second["expires_at"], "it outlives its maker");
    let _ = ann.post(&approve, &json!({})).expect(200);
}

#[test]
fn an_order_is_refused_before_anything_tells_whether_the_rollout_exists() {
    let server = Server::start();
    let admin = server.admin();
    let _ = add_device(admin, "sn-1");
    let release = publish(admin, "os", "1", ("a.bin", b"content"));
    let rollout = roll_out(admin, &release, "sn-1", &json!({ "approval": true, "start": false }));
    let reader = admin.post("/tokens", &json!({ "name": "r", "scopes": ["read"], "life_s": 60 })).expect(201);
    let reader = admin.with_token(reader.at("/secret").as_str().unwrap());
    let orders =
        ["start", "break-glass", "approve", "deny", "pause", "resume", "abort", "rollback", "next-wave", "retry"];
    for order in orders {
        let there = reader.post(&format!("/rollouts/{rollout}/{order}"), &json!({})).expect(403);
        for absent in ["r-987654321", "nothing-of-this-name"] {
            let answer = reader.post(&format!("/rollouts/{absent}/{order}"), &json!({})).expect(403);
            assert_eq!(answer.text(), there.text(), "{order} {absent}");
        }
    }
    let _ = reader.delete("/rollouts/r-987654321").expect(403);
}
