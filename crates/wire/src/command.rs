//! Commands to devices, and remote sessions.

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a device shall do once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum CommandKind {
    Reboot,
    CollectLogs {
        /// Of this service only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// The newest so many; 500 if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 10000)]
        lines: Option<u32>,
    },
    /// A script that the device's own configuration allows, by name.
    RunScript {
        script: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schema(max_items = 64)]
        arguments: Vec<String>,
    },
    /// Needs the scope `sessions:write`, the project's setting `sessions`, and the device's own consent.
    OpenSession {
        session: SessionKind,
        /// Ended after so many seconds; an hour if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 28800)]
        seconds_max: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SessionKind {
    /// A terminal on the device.
    Shell,
    /// A TCP connection from the device.
    Forward {
        host: String,
        #[schema(minimum = 1)]
        port: u16,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandCreate {
    pub what: CommandKind,
    /// The device doesn't begin it later than so many seconds from now; an hour if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 10, maximum = 2678400)]
    pub deadline_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// The device has not asked yet.
    Pending,
    /// The device was told.
    Sent,
    Started,
    Succeeded,
    Failed,
    /// The device's own configuration doesn't allow it.
    Refused,
    /// Its deadline had passed when the device got it.
    Late,
    /// Nothing was heard of it in time.
    Expired,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Command {
    pub id: i64,
    pub device: String,
    pub what: CommandKind,
    pub state: CommandState,
    #[schema(value_type = String, format = DateTime)]
    pub deadline: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The end of it, if it was long. Left out in lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// The session that it opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// For the operator and the device to connect.
    Waiting,
    Open,
    Ended,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub id: String,
    pub device: String,
    pub kind: SessionKind,
    pub state: SessionState,
    pub seconds_max: u32,
    pub opened_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why it ended: `operator_left`, `device_left`, `time_out`, `idle`, `server_stopped`, `nobody_came` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Bytes that passed towards the device.
    pub to_device: u64,
    /// Bytes that passed towards the operator.
    pub to_operator: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
}

/// What was recorded of a session: asciicast v2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    #[schema(value_type = String)]
    pub digest: Sha256,
    pub bytes: u64,
    /// Nothing was left out because it was too long.
    pub complete: bool,
}
