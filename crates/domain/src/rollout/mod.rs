//! What is a rollout, and how far is it?

use muster_vocab::{AccountId, ReleaseId, RolloutId, RuleId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action::ActionState;
use crate::rollout::spec::{Advance, Spec};

pub mod divide;
pub mod gate;
mod order;
pub mod spec;
pub mod step;
pub mod text;

#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    pub id: RolloutId,
    pub name: String,
    pub release: ReleaseId,
    pub spec: Spec,
    pub phase: Phase,
    pub waves: Vec<Wave>,
    /// The rollout whose failed devices this one tries again.
    pub retry_of: Option<RolloutId>,
    pub author: Person,
    pub approved_by: Option<Person>,
    pub clearance: Clearance,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub revision: u64,
}

/// By what right it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearance {
    /// Rules of approval that were met, or set aside, when it started.
    pub rules: Vec<RuleId>,
    /// Who started it without the approvals it needed.
    pub broke_glass: Option<Person>,
}

/// Somebody with an account, by number and by the name they had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub id: AccountId,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Draft,
    AwaitingApproval,
    Denied {
        by: String,
    },
    /// May start; waits for `start` or its time.
    Ready,
    /// Devices are being put into waves.
    Filling,
    /// `wave`: the newest that is open.
    Running {
        wave: u16,
    },
    Paused {
        wave: u16,
        why: PauseReason,
    },
    RollingBack {
        why: BackReason,
    },
    RolledBack {
        why: BackReason,
        at: Timestamp,
    },
    Aborting {
        by: String,
    },
    Aborted {
        by: String,
        at: Timestamp,
    },
    Finished {
        at: Timestamp,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    Person(String),
    /// More failures in a wave than its gate allows.
    TooMany {
        wave: u16,
        failed: u32,
        allowed: u32,
    },
    /// The wave ended, and fewer succeeded than its gate needs.
    TooFew {
        wave: u16,
        succeeded: u32,
        needed: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackReason {
    Person(String),
    TooMany { wave: u16, failed: u32, allowed: u32 },
    TooFew { wave: u16, succeeded: u32, needed: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub state: WaveState,
    /// Of the way there.
    pub counts: Counts,
    /// Of the way back.
    pub back: Counts,
    pub opened_at: Option<Timestamp>,
    /// Since when the success threshold is met: soaking starts here.
    pub met_at: Option<Timestamp>,
    /// A person went on in spite of the failures there were then.
    #[serde(default)]
    pub forgiven: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaveState {
    Waiting,
    Open,
    Passed,
    Stopped,
}

impl Wave {
    #[must_use]
    pub fn waiting() -> Self {
        Self {
            state: WaveState::Waiting,
            counts: Counts::default(),
            back: Counts::default(),
            opened_at: None,
            met_at: None,
            forgiven: 0,
        }
    }
}

/// Actions by state. Kept while states move; equal to a recount of the action table at every commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts([u32; ActionState::ALL.len()]);

impl Counts {
    #[must_use]
    pub fn of(self, state: ActionState) -> u32 {
        self.0[state as usize]
    }

    #[must_use]
    pub fn total(self) -> u32 {
        self.0.iter().sum()
    }

    /// Failed or lost: an update that kills the network looks exactly like silence.
    #[must_use]
    pub fn failed(self) -> u32 {
        self.of(ActionState::Failed) + self.of(ActionState::Lost)
    }

    #[must_use]
    pub fn succeeded(self) -> u32 {
        self.of(ActionState::Finished) + self.of(ActionState::Downloaded)
    }

    /// Not canceled: what thresholds are shares of.
    #[must_use]
    pub fn counted(self) -> u32 {
        self.total() - self.of(ActionState::Canceled)
    }

    /// Not ended yet.
    #[must_use]
    pub fn open(self) -> u32 {
        ActionState::ALL.iter().filter(|state| !state.is_terminal()).map(|state| self.of(*state)).sum()
    }

    pub fn add(&mut self, state: ActionState, count: u32) {
        self.0[state as usize] += count;
    }

    /// Taking away more than there are means the books are wrong: that stops the transaction.
    fn take(&mut self, state: ActionState, count: u32) {
        let had = self.0[state as usize];
        assert!(had >= count, "{count} actions left {state:?}, which held {had}");
        self.0[state as usize] = had - count;
    }
}

impl Phase {
    /// Nothing more happens by itself or through devices.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Denied { .. } | Self::RolledBack { .. } | Self::Aborted { .. } | Self::Finished { .. } => true,
            Self::Draft
            | Self::AwaitingApproval
            | Self::Ready
            | Self::Filling
            | Self::Running { .. }
            | Self::Paused { .. }
            | Self::RollingBack { .. }
            | Self::Aborting { .. } => false,
        }
    }

    /// The name of the state in selectors, events and the store.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Denied { .. } => "denied",
            Self::Ready => "ready",
            Self::Filling => "filling",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::RollingBack { .. } => "rolling_back",
            Self::RolledBack { .. } => "rolled_back",
            Self::Aborting { .. } => "aborting",
            Self::Aborted { .. } => "aborted",
            Self::Finished { .. } => "finished",
        }
    }
}

impl Rollout {
    /// When it was over, if it is.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::RolledBack { at, .. } | Phase::Aborted { at, .. } | Phase::Finished { at } => Some(*at),
            _ => None,
        }
    }

    /// When time alone will move it next.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Ready if self.spec.start => Some(self.spec.start_at.unwrap_or(self.created_at)),
            Phase::Running { wave } => {
                let (spec, wave) = (&self.spec.waves[usize::from(*wave)], &self.waves[usize::from(*wave)]);
                wave.met_at.filter(|_| spec.advance == Advance::Auto).map(|met_at| met_at.plus(spec.soak()))
            }
            _ => None,
        }
    }

    /// Sum of a count over all waves.
    #[must_use]
    pub fn sum(&self, count: impl Fn(&Wave) -> u32) -> u32 {
        self.waves.iter().map(count).sum()
    }
}
