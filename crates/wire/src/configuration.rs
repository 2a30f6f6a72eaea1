//! Configurations as operators write them, and how a device stands with them.

use std::collections::BTreeMap;

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    pub name: String,
    /// Which devices.
    pub select: String,
    /// Files of a higher priority are written and reloaded first.
    pub priority: u16,
    pub files: Vec<ConfigurationFile>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    pub updated_by: String,
    /// Also sent as ETag.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationPut {
    /// Which devices.
    pub select: String,
    /// Files of a higher priority are written and reloaded first; 500 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub priority: Option<u16>,
    #[schema(min_items = 1, max_items = 64)]
    pub files: Vec<ConfigurationFile>,
}

/// One file on the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationFile {
    /// Absolute, without `..`.
    #[schema(max_length = 512)]
    pub path: String,
    /// A template; see docs/configuration.md.
    pub content: String,
    /// Octal, such as `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `user:group`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Words of a command that says by its exit code whether the new file is good; `{}` stands for its path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub validate: Vec<String>,
    /// Words of a command that makes the service read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub reload: Vec<String>,
}

/// What would a device get? Nothing is saved and nothing is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationPreview {
    pub device: String,
    /// With this in the place of the configuration of that name, or beside the others if the name is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationPut>,
}

/// What the device would get, or why it would get nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigurationPreviewed {
    pub device: String,
    /// Which configurations match it.
    pub configurations: Vec<String>,
    pub files: Vec<ConfigurationFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceConfigurationState {
    /// No configuration ever matched the device.
    Nothing,
    /// It can't be rendered for the device; `error` says why. The device is sent nothing.
    Failed,
    /// The device has not said anything about the desired version.
    Pending,
    Applied,
    /// The device refused it, or took it back; `messages` say why.
    Reverted,
    /// Somebody changed a file on the device; `messages` say which.
    Drifted,
}

/// How a device stands with its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceConfiguration {
    pub device: String,
    pub state: DeviceConfigurationState,
    /// Goes up whenever what the device shall have changes; 0: never had anything.
    pub desired: u64,
    /// The last version that the device spoke of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<u64>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the device said along: why it was reverted, or which files drifted.
    pub messages: Vec<String>,
    /// Whether somebody changed a file on the device.
    pub drift: bool,
    /// Of the desired version.
    pub files: Vec<ConfigurationFile>,
}

/// What a device shall have and what it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Twin {
    pub device: String,
    pub release: TwinRelease,
    /// As the device reports them, by name.
    pub components: BTreeMap<String, InstalledComponent>,
    pub configuration: TwinConfiguration,
    /// Of the device: labels, attributes and state.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TwinRelease {
    /// `name@version` of the action under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
    /// `name@version` of the last release installed through Muster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstalledComponent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TwinConfiguration {
    pub state: DeviceConfigurationState,
    pub desired: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<u64>,
    pub drift: bool,
}
