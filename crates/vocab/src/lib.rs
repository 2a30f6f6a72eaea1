//! Which nouns does every Muster program share, and what bounds them?
//!
//! No IO, no clock, no dependencies on other crates of ours.

pub mod digest;
pub mod id;
pub mod limit;
pub mod name;
pub mod nearest;
pub mod secret_mark;
pub mod selector;
pub mod time;

pub use digest::Sha256;
pub use id::{
    AccountId, ActionId, DeviceId, ModuleId, OutboxId, ProjectId, ReleaseId, ReviewId, RolloutId, RuleId, TokenId,
};
pub use name::{BadName, Name};
pub use selector::{Selector, SelectorError};
pub use time::Timestamp;
