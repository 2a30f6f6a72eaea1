//! A server, a provider that it knows as `corp`, and a browser.

use muster_tests::api::Api;
use muster_tests::browser::Browser;
use muster_tests::exchange::Answer;
use muster_tests::oidc_provider::Provider;
use muster_tests::operator::digest;
use muster_tests::server::Server;
use serde_json::{Value, json};

/// What the program that begins a login keeps.
pub const VERIFIER: &str = "the secret of whoever begins";
/// Where its ticket goes; nobody listens there, the browser stops before.
pub const BACK: &str = "http://127.0.0.1:9/";

pub struct World {
    pub server: Server,
    pub provider: Provider,
}

impl World {
    pub fn new() -> Self {
        Self::with(&json!({}))
    }

    /// With further fields of the provider's resource.
    pub fn with(more: &Value) -> Self {
        let server = Server::start();
        let provider = Provider::start(&format!("{}/api/v1/login/oidc/corp/callback", server.origin()));
        let world = Self { server, provider };
        let mut body = world.resource();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let _ = world.server.admin().put("/oidc-providers/corp", &body).expect(200);
        world
    }

    /// As an admin writes it.
    pub fn resource(&self) -> Value {
        json!({
            "issuer": self.provider.issuer, "client_id": "muster", "client_secret": "client secret",
            "server_url": self.server.origin(), "certificates": self.provider.certificate,
            "scopes": "openid profile groups email",
            "groups": { "fitters": ["operator"], "leads": ["admin"], "readers": ["viewer"] },
        })
    }

    pub fn api(&self) -> Api {
        self.server.anonymous()
    }

    pub fn browser(&self) -> Browser {
        Browser::new(&self.provider.certificate)
    }

    pub fn start_url(&self) -> String {
        let challenge = digest(VERIFIER.as_bytes());
        format!("{}/api/v1/login/oidc/corp/start?return_to={BACK}&challenge={challenge}", self.server.origin())
    }

    /// Logs in at the provider; answers the address of the callback, not yet visited.
    pub fn callback(&self, browser: &mut Browser) -> String {
        browser.follow(&self.start_url(), &format!("{}/api/v1/login/oidc/corp/callback", self.server.origin()))
    }

    /// All the way through the browser; the answer of the last step.
    pub fn visit(&self) -> Answer {
        let mut browser = self.browser();
        let callback = self.callback(&mut browser);
        browser.step(&callback, None)
    }

    pub fn ticket(&self) -> String {
        ticket_of(&self.visit())
    }

    pub fn redeem(&self, ticket: &str) -> Answer {
        self.api().post("/login/oidc/redeem", &json!({ "ticket": ticket, "verifier": VERIFIER }))
    }

    /// Logs in as somebody in these groups; answers his session.
    pub fn log_in(&mut self, subject: &str, name: &str, groups: &[&str]) -> (Answer, Api) {
        self.provider.person(subject, &json!({ "preferred_username": name, "groups": groups }));
        let answer = self.redeem(&self.ticket()).expect(200);
        let api = self.api().with_token(answer.at("/token").as_str().unwrap());
        (answer, api)
    }
}

#[track_caller]
pub fn ticket_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer}");
    let next = answer.header("location").unwrap();
    next.strip_prefix(&format!("{BACK}?ticket=")).unwrap_or_else(|| panic!("{next}")).to_owned()
}
