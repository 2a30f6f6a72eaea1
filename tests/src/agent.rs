//! Muster's own device protocol as a device speaks it: thin enough to send anything.

use serde_json::{Value, json};

use crate::exchange::{Answer, Payload, agent, exchange};
use crate::server::Server;
use crate::wait::until;

/// One device's view of the server.
#[derive(Debug, Clone)]
pub struct Device {
    agent: ureq::Agent,
    origin: String,
    pub token: String,
}

/// Joins; whatever comes back is an answer.
#[must_use]
pub fn join(server: &Server, token: &str, device: &str) -> Answer {
    let body = json!({ "token": token, "project": "default", "device": device });
    Device::new(&server.origin(), "").post("/join", &body)
}

/// Joins and is let in.
#[must_use]
#[track_caller]
pub fn joined(server: &Server, token: &str, device: &str) -> Device {
    let answer = join(server, token, device).expect(201);
    let own = answer.at("/token");
    Device::new(&server.origin(), own.as_str().expect("whoever joined has a token"))
}

impl Device {
    #[must_use]
    pub fn new(origin: &str, token: &str) -> Self {
        Self { agent: agent(), origin: origin.to_owned(), token: token.to_owned() }
    }

    /// `path` below `/device/v1`.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("/device/v1{path}"), &[], Payload::None)
    }

    #[track_caller]
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", &format!("/device/v1{path}"), &[], Payload::Json(body))
    }

    /// `path` as a route of an artifact names it, or below `/device/v1` in full.
    #[track_caller]
    #[must_use]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], payload: Payload<'_>) -> Answer {
        let url = format!("{}{path}", self.origin);
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        match exchange(&self.agent, method, &url, &all, payload) {
            Ok(answer) => answer,
            Err(failed) => panic!("{method} {url}: {failed:#}"),
        }
    }

    #[track_caller]
    #[must_use]
    pub fn orders(&self) -> Value {
        self.get("/orders").expect(200).json()
    }

    /// Asks until there is an order of this kind for an action; answers the action.
    #[track_caller]
    #[must_use]
    pub fn ordered(&self, kind: &str) -> i64 {
        until(format_args!("the device is ordered to {kind}"), || {
            let order = self.orders()["action"].clone();
            if order["kind"] == kind { order["action"].as_i64() } else { None }
        })
    }

    /// Sends reports whose numbers begin at `first`; each is what is said, with its `kind`.
    #[track_caller]
    #[must_use]
    pub fn report(&self, first: u64, said: &[Value]) -> Answer {
        self.post("/reports", &batch("q", first, said))
    }

    /// Says one thing about an action under this number, and is believed.
    #[track_caller]
    pub fn say(&self, sequence: u64, action: i64, state: &str) {
        let answer = self.report(sequence, &[said(action, state)]).expect(200);
        assert_eq!(answer.at("/through"), json!(sequence), "{answer}");
    }
}

/// A report's body about an action.
#[must_use]
pub fn said(action: i64, state: &str) -> Value {
    json!({ "kind": "action", "action": action, "state": state })
}

/// Numbered and dated.
#[must_use]
pub fn batch(queue: &str, first: u64, said: &[Value]) -> Value {
    let now = jiff::Timestamp::now().to_string();
    let numbered = said.iter().zip(first..).map(|(said, sequence)| {
        let mut report = said.clone();
        report["sequence"] = json!(sequence);
        if report["at"].is_null() {
            report["at"] = json!(now);
        }
        report
    });
    json!({ "queue": queue, "reports": numbered.collect::<Vec<_>>() })
}
