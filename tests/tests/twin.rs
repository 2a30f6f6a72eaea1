//! What a device gets besides updates: configurations, commands, remote sessions.

mod cli;
mod commands;
mod configurations;
mod sessions;

use muster_tests::agent::{Device, joined};
use muster_tests::api::Api;
use muster_tests::operator::{make_gateway_token, set_project};
use muster_tests::server::Server;
use serde_json::{Value, json};

/// A server and one device of Muster's own agent, which is called so.
pub const NAME: &str = "sn-1";

#[track_caller]
pub fn field() -> (Server, Device) {
    let server = Server::start();
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let device = joined(&server, &make_gateway_token(server.admin()), NAME);
    (server, device)
}

#[track_caller]
pub fn label(admin: &Api, labels: &Value) {
    let _ = admin.patch(&format!("/devices/{NAME}"), &json!({ "labels": labels })).expect(200);
}

/// The same server with a token of these scopes.
#[track_caller]
pub fn scoped(admin: &Api, scopes: &[&str]) -> Api {
    let made = admin.post("/tokens", &json!({ "name": "t", "scopes": scopes, "life_s": 3600 })).expect(201);
    admin.with_token(made.at("/secret").as_str().unwrap())
}

/// The records of the audit log with this action, newest first.
#[track_caller]
pub fn audited(admin: &Api, action: &str) -> Vec<Value> {
    let page = admin.get("/audit?limit=500").expect(200);
    page.at("/items").as_array().unwrap().iter().filter(|record| record["action"] == action).cloned().collect()
}
