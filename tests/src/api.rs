//! The operator API as a program sees it: methods, paths, JSON. Refusals are answers like any other.

use serde_json::Value;

use crate::exchange::{Answer, Payload, agent, exchange};

/// A client with one token, or none.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    root: String,
    token: Option<String>,
}

impl Api {
    /// `origin` such as `http://127.0.0.1:8080`.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self { agent: agent(), root: format!("{origin}/api/v1"), token: None }
    }

    /// The same server with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Payload::None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Payload::Json(body))
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], Payload::Json(body))
    }

    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[], Payload::Json(body))
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], Payload::None)
    }

    /// Anything: own headers, own bytes.
    ///
    /// # Panics
    /// If there is no answer at all.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], payload: Payload<'_>) -> Answer {
        match self.try_send(method, path, headers, payload) {
            Ok(answer) => answer,
            Err(failed) => panic!("no answer: {failed:#}"),
        }
    }

    /// For servers that may be down.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> anyhow::Result<Answer> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut all = headers.to_vec();
        if let Some(bearer) = &bearer {
            all.push(("authorization", bearer));
        }
        exchange(&self.agent, method, &format!("{}{path}", self.root), &all, payload)
    }
}
