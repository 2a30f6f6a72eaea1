//! How devices leave: for good, or to another project.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::device::Device;

/// The device's credentials are void from now on for everything but fetching and confirming this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecommissionOrder {
    /// Absolute paths on the device. It destroys those that its own file allows (`[wipe]`), and its key in any case.
    pub wipe: Vec<String>,
    /// And all that its own file names.
    pub wipe_defaults: bool,
    pub reason: String,
    /// Don't wait for the device: it can't be told anything from then on.
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decommissioned {
    pub device: Device,
    /// False: there is nobody who could be told. Its credentials are void, and what lies on it is still there.
    pub waits_for_device: bool,
}

/// How far a decommission has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decommission {
    pub wipe: Vec<String>,
    pub wipe_defaults: bool,
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub ordered_at: Timestamp,
    pub ordered_by: String,
    /// The device has the order.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// The device has destroyed its key and what it could.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// What the device's own file doesn't allow.
    pub refused: Vec<String>,
    pub wiped: Vec<String>,
    /// What could not be destroyed, and why.
    pub failed: Vec<String>,
}

/// Hands a device over to another project. It keeps its key; nothing but its name and labels goes along.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferOrder {
    /// The project.
    pub to: String,
    /// An operator's token in that project, with the right to change devices: an account belongs to one project.
    pub token: String,
    #[serde(default)]
    pub drop_labels: bool,
}

impl std::fmt::Debug for TransferOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransferOrder").field("to", &self.to).finish_non_exhaustive()
    }
}
