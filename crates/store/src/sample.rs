//! What do the tests of the store put into it?

use std::time::Duration;

use muster_domain::action::{Action, ActionState, Push};
use muster_domain::release::{Release, ReleaseState};
use muster_domain::rollout::spec::{Advance, ERRORS_DEFAULT, OnError, SUCCESS_DEFAULT, Spec, Take, WaveSpec};
use muster_domain::rollout::{Clearance, Person, Phase, Rollout, Wave};
use muster_vocab::{AccountId, ActionId, DeviceId, Name, ReleaseId, RolloutId, Timestamp};
use tempfile::TempDir;

use crate::Store;

pub(crate) const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// A store in a folder that goes with it.
pub(crate) fn store() -> (Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Store::open(folder.path(), Box::new(|_| ())).unwrap(), folder)
}

pub(crate) fn release(name: &str, version: &str) -> Release {
    Release {
        id: ReleaseId(0),
        name: Name::parse(name).unwrap(),
        version: Name::parse(version).unwrap(),
        state: ReleaseState::Published,
        components: Vec::new(),
        notes: String::new(),
        created_at: NOW,
        created_by: "ann".into(),
        published_at: Some(NOW),
        revision: 1,
    }
}

/// A draft of one wave.
pub(crate) fn rollout(name: &str, release: ReleaseId) -> Rollout {
    let wave = WaveSpec {
        take: Take::Rest,
        success: SUCCESS_DEFAULT,
        errors: ERRORS_DEFAULT,
        on_error: OnError::Pause,
        soak_s: 0,
        advance: Advance::Auto,
    };
    let spec = Spec {
        select: "all".into(),
        waves: vec![wave],
        push: Push::Forced,
        start: false,
        start_at: None,
        window: None,
        approval: false,
        confirmation: false,
        priority: 500,
        dynamic: false,
        allow_downgrade: false,
        silence_s: 3600,
    };
    Rollout {
        id: RolloutId(0),
        name: name.into(),
        release,
        spec,
        phase: Phase::Draft,
        waves: vec![Wave::waiting()],
        retry_of: None,
        author: Person { id: AccountId(1), name: "ann".into() },
        approved_by: None,
        clearance: Clearance::default(),
        created_at: NOW,
        started_at: None,
        revision: 1,
    }
}

pub(crate) fn action(device: DeviceId, rollout: RolloutId, release: ReleaseId) -> Action {
    Action {
        id: ActionId(0),
        device,
        rollout,
        wave: 0,
        rollback: false,
        release,
        previous: None,
        priority: 500,
        push: Push::Forced,
        confirmation: false,
        silence: Duration::from_secs(3600),
        state: ActionState::Queued,
        installed: false,
        told_skip: false,
        silent_at: None,
        reason: None,
        progress: None,
        created_at: NOW,
        changed_at: NOW,
        revision: 1,
    }
}
