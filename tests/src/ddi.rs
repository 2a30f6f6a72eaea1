//! hawkBit's device protocol as a device speaks it: thin enough to send anything.

use serde_json::{Value, json};

use crate::exchange::{Answer, Payload, agent, exchange};
use crate::wait::until;

/// One device's view of the server.
#[derive(Debug, Clone)]
pub struct Device {
    agent: ureq::Agent,
    /// `http://127.0.0.1:PORT/default/controller/v1/NAME`
    root: String,
    headers: Vec<(String, String)>,
}

/// Every value of `status.execution`.
pub const EXECUTIONS: [&str; 8] =
    ["closed", "canceled", "rejected", "download", "downloaded", "proceeding", "scheduled", "resumed"];
/// Every value of `status.result.finished`.
pub const FINISHED: [&str; 3] = ["success", "failure", "none"];

impl Device {
    /// `name` as it stands in the path, percent-encoded where needed.
    #[must_use]
    pub fn new(origin: &str, name: &str) -> Self {
        Self { agent: agent(), root: format!("{origin}/default/controller/v1/{name}"), headers: Vec::new() }
    }

    #[must_use]
    pub fn with_target_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("TargetToken {token}"))
    }

    #[must_use]
    pub fn with_gateway_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("GatewayToken {token}"))
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Asks what to do.
    #[track_caller]
    #[must_use]
    pub fn poll(&self) -> Answer {
        self.get("")
    }

    /// A link of the poll's answer by its name; none if it is not there.
    #[track_caller]
    #[must_use]
    pub fn link(&self, name: &str) -> Option<String> {
        self.poll().expect(200).at(&format!("/_links/{name}/href")).as_str().map(str::to_owned)
    }

    /// Polls until the link is there.
    #[track_caller]
    #[must_use]
    pub fn link_to_come(&self, name: &str) -> String {
        until(format_args!("{} is told {name}", self.root), || self.link(name))
    }

    /// `path` such as `/deploymentBase/7`.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Payload::None)
    }

    #[track_caller]
    #[must_use]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], Payload::Json(body))
    }

    #[track_caller]
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Payload::Json(body))
    }

    /// Feedback on `deploymentBase` or `cancelAction`.
    #[track_caller]
    #[must_use]
    pub fn report(&self, resource: &str, action: i64, said: (&str, &str)) -> Answer {
        self.post(&format!("/{resource}/{action}/feedback"), &feedback(said.0, said.1))
    }

    /// Anything below the device's root, or at an absolute link.
    ///
    /// # Panics
    /// If there is no answer at all.
    #[track_caller]
    #[must_use]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], payload: Payload<'_>) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.root) };
        let mut all: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(headers);
        match exchange(&self.agent, method, &url, &all, payload) {
            Ok(answer) => answer,
            Err(failed) => panic!("no answer: {failed:#}"),
        }
    }
}

#[must_use]
pub fn feedback(execution: &str, finished: &str) -> Value {
    json!({ "status": { "execution": execution, "result": { "finished": finished } } })
}

/// The number at the end of a link to an action.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn action_id(link: &str) -> i64 {
    let path = link.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    last.parse().unwrap_or_else(|_| panic!("{link} does not end with an action's number"))
}
