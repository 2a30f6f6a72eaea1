//! hawkBit's words as they travel.

use std::collections::BTreeMap;

use muster_domain::standing::Handling;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize)]
pub(super) struct Href {
    href: String,
}

impl Href {
    pub(super) fn new(href: String) -> Self {
        Self { href }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Poll {
    config: PollConfig,
    #[serde(rename = "_links")]
    links: PollLinks,
}

#[derive(Debug, Serialize)]
struct PollConfig {
    polling: Polling,
}

#[derive(Debug, Serialize)]
struct Polling {
    sleep: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PollLinks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_base: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_action: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation_base: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed_base: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_data: Option<Href>,
}

impl Poll {
    /// `sleep` is HH:MM:SS, eight characters: the SDK parses it as a time of day.
    pub(super) fn new(sleep_s: u32, links: PollLinks) -> Self {
        let sleep = format!("{:02}:{:02}:{:02}", sleep_s / 3600, sleep_s / 60 % 60, sleep_s % 60);
        Self { config: PollConfig { polling: Polling { sleep } }, links }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeploymentBase {
    /// A string: the crate hawkbit takes nothing else.
    pub id: String,
    pub deployment: Deployment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_history: Option<ActionHistory>,
}

#[derive(Debug, Serialize)]
pub(super) struct ConfirmationAction {
    pub id: String,
    pub confirmation: Deployment,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployment {
    pub download: &'static str,
    pub update: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<&'static str>,
    pub chunks: Vec<Chunk>,
}

#[derive(Debug, Serialize)]
pub(super) struct Chunk {
    pub part: String,
    pub name: String,
    pub version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<KeyValue>,
    pub artifacts: Vec<Artifact>,
}

#[derive(Debug, Serialize)]
pub(super) struct KeyValue {
    pub key: String,
    pub value: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Artifact {
    pub filename: String,
    pub size: u64,
    /// All three: the crate hawkbit wants them.
    pub hashes: Hashes,
    #[serde(rename = "_links")]
    pub links: BTreeMap<&'static str, Href>,
}

#[derive(Debug, Serialize)]
pub(super) struct Hashes {
    pub sha1: String,
    pub md5: String,
    pub sha256: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ActionHistory {
    pub status: &'static str,
    /// Newest first.
    pub messages: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CancelAction {
    pub id: String,
    pub cancel_action: StopId,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StopId {
    pub stop_id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfirmationBase {
    pub auto_confirm: AutoConfirmState,
    #[serde(rename = "_links")]
    pub links: BTreeMap<&'static str, Href>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AutoConfirmState {
    pub active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<i64>,
}

/// Unknown members are ignored everywhere: old clients send `id`, `time` and `status` along.
#[derive(Debug, Deserialize)]
pub(super) struct ConfigData {
    #[serde(default)]
    pub mode: Option<String>,
    #[serde(default)]
    pub data: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Feedback {
    pub status: Status,
}

#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub execution: String,
    pub result: FeedbackResult,
    #[serde(default)]
    pub code: Option<serde_json::Value>,
    #[serde(default)]
    pub details: Option<Vec<serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FeedbackResult {
    pub finished: String,
    /// Any JSON: RAUC sends `{"cnt","of"}`, others send numbers or nothing.
    #[serde(default)]
    pub progress: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConfirmationFeedback {
    pub confirmation: String,
    #[serde(default)]
    pub code: Option<serde_json::Value>,
    #[serde(default)]
    pub details: Option<Vec<serde_json::Value>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ActivateAutoConfirm {
    #[serde(default)]
    pub initiator: Option<String>,
    #[serde(default)]
    pub remark: Option<String>,
}

pub(super) fn handling(handling: Handling) -> &'static str {
    match handling {
        Handling::Skip => "skip",
        Handling::Attempt => "attempt",
        Handling::Forced => "forced",
    }
}

/// A component's name as hawkBit's module type and name. Zephyr takes only `bApp`.
pub(super) fn part_and_name(component: &str) -> (String, String) {
    let (kind, name) = component.split_once('/').unwrap_or((component, component));
    let part = match kind {
        "app" | "application" => "bApp",
        "runtime" => "jvm",
        other => other,
    };
    (part.to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_has_eight_characters() {
        let sleep = |seconds| Poll::new(seconds, PollLinks::default()).config.polling.sleep;
        assert_eq!(sleep(300), "00:05:00");
        assert_eq!(sleep(86_399), "23:59:59");
    }

    #[test]
    fn applications_and_runtimes_have_hawkbits_names() {
        assert_eq!(part_and_name("app/web"), ("bApp".into(), "web".into()));
        assert_eq!(part_and_name("runtime/jre"), ("jvm".into(), "jre".into()));
        assert_eq!(part_and_name("os"), ("os".into(), "os".into()));
        assert_eq!(part_and_name("firmware/radio"), ("firmware".into(), "radio".into()));
    }
}
