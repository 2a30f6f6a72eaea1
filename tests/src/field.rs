//! A server with one device in the field, and something to offer it.

use serde_json::{Value, json};

use crate::api::Api;
use crate::ddi::{Device, action_id};
use crate::operator::{self, ActionId};
use crate::server::Server;

/// The device's name wherever a test needs only one.
pub const NAME: &str = "sn-1";
/// What releases of these tests contain.
pub const CONTENT: &[u8] = b"hello fleet";
pub const FILE: &str = "u.swu";
/// hawkBit's own digests of [`CONTENT`].
pub const SHA1: &str = "a3eef108c230cdf80b2182b7b3e531c7a5201d08";
pub const MD5: &str = "aec9c2de1f51c0c230210c353aaeba93";
pub const SHA256: &str = "a9994f20a979dcf2df920d7796d3039499da1228ca5d707c259d718cfedbe8f5";

#[derive(Debug)]
pub struct Field {
    pub server: Server,
    /// Accepted, with its own token.
    pub device: Device,
}

/// A rollout's part for the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub rollout: String,
    pub action: ActionId,
    /// As the device was given it.
    pub link: String,
}

impl Field {
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::with_server(Server::start())
    }

    #[must_use]
    #[track_caller]
    pub fn with_server(server: Server) -> Self {
        let device = add_device(&server, NAME);
        Self { server, device }
    }

    pub fn admin(&self) -> &Api {
        self.server.admin()
    }

    /// One more accepted device.
    #[must_use]
    #[track_caller]
    pub fn another(&self, name: &str) -> Device {
        add_device(&self.server, name)
    }

    /// Publishes `os@VERSION` and offers it to the device; `more` goes into the rollout's request.
    #[must_use]
    #[track_caller]
    pub fn offer(&self, version: &str, more: &Value) -> Offer {
        let rollout = self.roll_out(version, more);
        let link = self.device.link_to_come("deploymentBase");
        Offer { rollout, action: action_id(&link), link }
    }

    /// The same without waiting for the device to be told.
    #[must_use]
    #[track_caller]
    pub fn roll_out(&self, version: &str, more: &Value) -> String {
        let release = operator::publish(self.admin(), "os", version, (FILE, CONTENT));
        operator::roll_out(self.admin(), &release, NAME, more)
    }

    /// An offer the device has fetched.
    #[must_use]
    #[track_caller]
    pub fn running(&self, version: &str) -> Offer {
        let offer = self.offer(version, &json!({}));
        let _ = self.device.get(&offer.link).expect(200);
        offer
    }

    /// An offer the device has fetched and an operator has canceled since.
    #[must_use]
    #[track_caller]
    pub fn canceling(&self, version: &str) -> Offer {
        let offer = self.running(version);
        operator::cancel(self.admin(), offer.action, false);
        offer
    }

    /// `state` of an action by the operator API.
    #[must_use]
    #[track_caller]
    pub fn state_of(&self, action: ActionId) -> String {
        operator::action(self.admin(), action)["state"].as_str().unwrap_or_default().to_owned()
    }
}

impl Default for Field {
    fn default() -> Self {
        Self::new()
    }
}

#[track_caller]
fn add_device(server: &Server, name: &str) -> Device {
    let token = operator::add_device(server.admin(), name);
    Device::new(&server.origin(), name).with_target_token(&token)
}
