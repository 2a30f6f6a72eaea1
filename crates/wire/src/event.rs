//! What changed: server-sent events.

use muster_vocab::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One change. The event's SSE id is `sequence`; send it back as `Last-Event-ID` to go on where you were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub sequence: u64,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `rollout`, `action`, `device`, `release`, `artifact`, `channel`, `configuration`, `command`, `session`. Also the SSE event name.
    pub kind: String,
    /// The thing's name or id: fetch it for its new state.
    pub id: String,
    /// What became of it: a state, or `created`, `changed`, `deleted`.
    pub change: String,
    /// The rollout an action belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// Which events; all if left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Kinds, separated by commas: `rollout,action`.
    pub kind: Option<String>,
    /// Only what belongs to this rollout, such as `r-12`.
    pub rollout: Option<String>,
}
