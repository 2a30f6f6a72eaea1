//! Programs that an issuer vouches for, and the exchange of its word for a token (RFC 8693).

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::token::Scope;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workload {
    pub name: String,
    pub issuer: String,
    pub audience: String,
    pub subject: String,
    /// The service account that it is here.
    pub account: String,
    pub scopes: Vec<Scope>,
    pub life_s: u64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadPut {
    /// `https://…`, as its tokens write it.
    pub issuer: String,
    /// Whom its tokens must be for.
    pub audience: String,
    /// Whose they must be; `*` stands for anything, but not at the beginning.
    pub subject: String,
    /// A service account that one has made oneself.
    pub account: String,
    pub scopes: Vec<Scope>,
    /// 60 s to an hour; a quarter of an hour if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_s: Option<u64>,
    /// PEM: authorities to believe about the issuer, in the place of those that everybody trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<String>,
}

/// As `application/x-www-form-urlencoded`, or as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`
    pub grant_type: String,
    /// What the issuer signed.
    pub subject_token: String,
    /// `urn:ietf:params:oauth:token-type:jwt` or `urn:ietf:params:oauth:token-type:id_token`
    pub subject_token_type: String,
    /// The workload's name.
    pub workload: String,
    /// The only project if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exchanged {
    /// For `Authorization: Bearer …`.
    pub access_token: String,
    pub issued_token_type: String,
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    /// Separated by spaces.
    pub scope: String,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("workload", &self.workload).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchanged").field("scope", &self.scope).finish_non_exhaustive()
    }
}
