//! Who devices are: enrolment, certificates, keys told in advance, authorities.

use std::collections::BTreeMap;

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new device shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// A join token.
    Token,
    /// A key that was told in advance.
    Claim,
    /// A certificate of an authority that the project has registered.
    Authority,
    /// Nothing but its own key.
    Nothing,
    /// A key in a TPM whose maker the project believes.
    Tpm,
    /// In a rule only: whatever it shows, if it came by EST.
    Est,
    /// In a rule only: whatever it shows.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnrollmentVerdict {
    Accept,
    /// It waits in the list `state == pending`.
    Wait,
    Refuse,
}

/// One line of the enrolment policy: the first that fits decides. Without one that does, proof lets in and nothing
/// is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentRule {
    /// For people, and for counting.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub shows: Shows,
    /// Devices by the name, labels and attributes that they come with. Empty: all.
    #[serde(default)]
    pub select: String,
    /// The device's name, with `*`, such as `SN-2026-*`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Where it calls from: addresses, or ranges such as `10.4.0.0/16`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who comes beyond it within an hour waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_hour_max: Option<u32>,
    pub then: EnrollmentVerdict,
    /// Given to the device that comes in by this rule, or waits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The label `site`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub site: String,
}

/// Who comes in by itself, who waits and who is refused: the first rule that fits decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentPolicy {
    #[serde(default)]
    pub rules: Vec<EnrollmentRule>,
}

/// A device that somebody imagines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentTest {
    pub name: String,
    pub shows: Shows,
    /// It comes by EST.
    #[serde(default)]
    pub est: bool,
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Now, if left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// By these rules instead of the project's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<EnrollmentRule>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrollmentTested {
    pub verdict: EnrollmentVerdict,
    /// The rule that decides, counted from 1; none: no rule fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The rule's hour is full, so that the device waits.
    pub hour_is_full: bool,
    pub labels: BTreeMap<String, String>,
}

/// A device's certificate, as far as the server keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCertificate {
    /// The first ten bytes of the key's digest: compare them with what the device shows.
    pub fingerprint: String,
    #[schema(value_type = String)]
    pub key: Sha256,
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// The device has asked for the next one and not used it yet.
    pub renewing: bool,
}

/// Why a device is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// Keys of devices that will come: a factory's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimsCreate {
    pub claims: Vec<ClaimCreate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimCreate {
    /// The name that the device will have: its serial number.
    pub name: String,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER).
    #[schema(value_type = String)]
    pub key: Sha256,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimsCreated {
    pub created: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    pub name: String,
    #[schema(value_type = String)]
    pub key: Sha256,
    pub labels: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
}

/// An authority of somebody else whose devices the project believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorityCreate {
    pub name: String,
    /// PEM.
    pub certificate: String,
    /// A maker of TPMs: believed about which chips are its own, and nothing else.
    #[serde(default)]
    pub tpm: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Authority {
    pub name: String,
    /// A maker of TPMs.
    #[serde(default)]
    pub tpm: bool,
    pub certificate: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
}

/// A request for an issuing authority's certificate, for the root to sign wherever its key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuingRequest {
    /// PKCS #10, PEM.
    pub request: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuingAccept {
    /// PEM, signed by the root.
    pub certificate: String,
}

/// The server's own authority: what devices pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerIdentity {
    /// PEM.
    pub root: String,
    /// SHA-256 of the root's certificate, for `muster-agent join --pin`.
    #[schema(value_type = String)]
    pub pin: Sha256,
    /// Whether the root's key lies in the server's data folder.
    #[serde(default)]
    pub root_key_is_here: bool,
    /// Names of the authorities that sign for devices now, newest last.
    pub issuing: Vec<String>,
}
