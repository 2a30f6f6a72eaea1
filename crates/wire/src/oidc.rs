//! Logging in by somebody else who vouches: OpenID Connect.

use std::collections::BTreeMap;

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An OpenID provider; its client secret is never told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OidcProvider {
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    pub has_client_secret: bool,
    /// What the provider has to know as this server's callback, if `server_url` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    pub scopes: String,
    pub name_claim: String,
    pub groups_claim: String,
    /// Group to roles.
    pub groups: BTreeMap<String, Vec<String>>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcProviderPut {
    /// `https://…`, as the provider writes it.
    pub issuer: String,
    pub client_id: String,
    /// None for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Where browsers reach this server; needed for logins in a browser, not for the device grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_url: Option<String>,
    /// PEM: authorities to believe about the provider, in the place of those that everybody trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<String>,
    /// `openid profile` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// What people are called here: `preferred_username` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_claim: Option<String>,
    /// `groups` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// Group to roles; whoever is in none of them can't log in.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
}

impl std::fmt::Debug for OidcProviderPut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcProviderPut")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// A login without a browser on the same machine begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcDevice {
    /// The only project if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// SHA-256 of a secret that the caller keeps and shows when it redeems its ticket.
    #[schema(value_type = String, example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub challenge: Sha256,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OidcDeviceStarted {
    /// For asking how far it is.
    pub login: String,
    /// What the person types at the provider's address.
    pub user_code: String,
    pub verification_uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// Ask at most this often.
    pub interval_s: u64,
    pub expires_in_s: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcPoll {
    pub login: String,
}

/// A ticket once the person has logged in at the provider.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OidcPolled {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Ask again after this time if there is none.
    pub interval_s: u64,
}

/// A ticket works once, for a minute, and only for whoever began the login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcRedeem {
    pub ticket: String,
    /// The secret whose SHA-256 the login began with.
    pub verifier: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcLink {
    pub ticket: String,
    pub verifier: String,
    /// Of the account that is logged in: a token alone must not let anybody in for good.
    pub password: String,
    /// Of its second factor, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

macro_rules! silent {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

silent!(OidcDeviceStarted, OidcPoll, OidcPolled, OidcRedeem, OidcLink);
