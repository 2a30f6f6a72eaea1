//! Devices as operators see them.

use std::collections::BTreeMap;

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::identity::{DeviceCertificate, Hold};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// Registered itself and waits for a person.
    Pending,
    Accepted,
    Rejected,
    /// Kept out by Muster, because something is wrong with its identity: `hold` says what.
    Quarantined,
    /// Decommissioned; it has yet to say that it has destroyed its data.
    Retiring,
    /// Decommissioned; its history stays until it is deleted.
    Retired,
    /// It belongs to another project now.
    Transferred,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Unique in the project; hawkBit's controllerId.
    pub name: String,
    pub state: DeviceState,
    /// Given by people.
    pub labels: BTreeMap<String, String>,
    /// Reported by the device.
    pub attributes: BTreeMap<String, String>,
    /// What it runs: `name@version` of the last release installed through Muster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Seconds between two polls that the device is told to keep.
    pub poll_interval_s: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_confirm: Option<AutoConfirm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DeviceCertificate>,
    /// Why it is in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Also sent as ETag.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AutoConfirm {
    pub initiator: String,
    pub remark: String,
    #[schema(value_type = String, format = DateTime)]
    pub activated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceCreate {
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A new device, and its token for `Authorization: TargetToken …`, shown only now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCreated {
    pub device: Device,
    pub token: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceToken {
    pub token: String,
}

/// JSON merge patch (RFC 7396): a label set to null is removed, others stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicePatch {
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
}

/// Accept or reject every waiting device that a selector matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceBulk {
    pub select: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceBulkDone {
    pub changed: u64,
}

/// Why a device is where it is, most urgent reason first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    pub device: String,
    pub reasons: Vec<Reason>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// Stable: `waits_for_wave`, `waits_for_action`, `waits_for_window`, `failed`, `rolled_back`, `idle` …
    pub code: String,
    /// For people: what holds it and what would move it.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<i64>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub text: String,
    /// Log lines the device sent along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCount {
    pub count: u64,
}

/// Who gives the standing consent, and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoConfirmSet {
    /// The caller if left out.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub initiator: String,
    #[serde(default)]
    #[schema(max_length = 512)]
    pub remark: String,
}
