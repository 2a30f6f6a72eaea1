//! Why was a flow refused?

use muster_domain::action;
use muster_domain::actor::NotAllowed;
use muster_domain::command::BadCommand;
use muster_domain::configuration::check::BadConfiguration;
use muster_domain::configuration::twin::UnknownVersion;
use muster_domain::device::{BadAttributes, BadLabels};
use muster_domain::project::BadSettings;
use muster_domain::release::BadRelease;
use muster_domain::rollout::spec::BadSpec;
use muster_domain::rollout::step as rollout;
use muster_domain::session;
use muster_domain::window::BadWindow;
use muster_store::StoreError;
use muster_trust::password::BadPassword;
use muster_trust::seal::SealError;
use muster_trust::secret::NoChance;
use muster_vocab::BadName;
use muster_vocab::selector::SelectorError;

#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error("wrong account or password")]
    WrongPassword,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the rollout can't do that: {0}")]
    Rollout(#[from] rollout::Refused),
    #[error("whoever broke the glass or made the rollout can't close its review; somebody else has to")]
    OwnReview,
    /// Names the role, or the roles any of which would do.
    #[error("this rollout is approved by {0}, over the whole project, and you don't have that role")]
    RoleNeeded(String),
    #[error("{0}")]
    Action(#[from] action::Refused),
    #[error("{0}")]
    Spec(#[from] BadSpec),
    #[error("{0}")]
    Release(#[from] BadRelease),
    #[error("{0}")]
    Labels(#[from] BadLabels),
    #[error("{0}")]
    Attributes(#[from] BadAttributes),
    #[error("{0}")]
    Settings(#[from] BadSettings),
    #[error("{0}")]
    Configuration(#[from] BadConfiguration),
    #[error("{0}")]
    Command(#[from] BadCommand),
    #[error("{0}")]
    UnknownVersion(#[from] UnknownVersion),
    #[error("{0}")]
    Session(#[from] session::Refused),
    #[error("{0}")]
    Window(#[from] BadWindow),
    #[error("{0}")]
    Password(#[from] BadPassword),
    #[error(transparent)]
    Chance(#[from] NoChance),
    #[error("something sealed can't be opened")]
    Sealed(#[from] SealError),
    #[error("{field}: {source}")]
    Selector { field: String, source: SelectorError },
    #[error("{field}: {source}")]
    Name { field: &'static str, source: BadName },
    /// Anything else about the input, with the sentence that says what to do.
    #[error("{detail}")]
    Invalid { field: &'static str, detail: String },
    /// What a device shows lets nobody in; says what to do.
    #[error("{0}")]
    JoinRefused(String),
    #[error("{0}")]
    ExchangeRefused(String),
    #[error("this device was rejected: ask the project's operator")]
    DeviceRejected,
    /// It can't be done in the present state of things.
    #[error("{0}")]
    Conflict(String),
    #[error("it was changed in the meantime: read it again")]
    Revision,
    #[error("this key was used for another request")]
    IdempotencyMismatch,
    #[error("too many reports for one action")]
    TooManyReports,
    #[error("the bytes are not what was announced: {0}")]
    Digest(String),
}

impl FlowError {
    pub(crate) fn invalid(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid { field, detail: detail.into() }
    }
}
