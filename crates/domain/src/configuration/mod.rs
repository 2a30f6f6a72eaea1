//! Which files shall a device have, and with what in them?
//!
//! Operators write configurations: a selector and files whose contents are templates. Every device gets the files of all
//! configurations that match it, rendered from what is known of it. Paths and commands are checked in `check`,
//! templates in `template`, rendered in `render`; `twin` compares what is desired with what the device said.

pub mod check;
pub mod render;
pub mod template;
pub mod twin;

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};

/// A configuration as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    pub name: String,
    pub spec: Spec,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub updated_by: String,
    pub revision: u64,
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Which devices.
    pub select: String,
    /// Files of a higher priority are written and reloaded first.
    pub priority: u16,
    pub files: Vec<File>,
}

/// One file on the device; rendered, `content` is what it shall hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute, without `..`.
    pub path: String,
    /// A template, or what came of it.
    pub content: String,
    /// Octal, such as `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `user:group`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Words of a command that says by its exit code whether the new file is good; `{}` stands for its path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validate: Vec<String>,
    /// Words of a command that makes the service read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload: Vec<String>,
}
