use std::collections::BTreeMap;

use muster_domain::Permission;
use muster_domain::device::DeviceState;
use muster_domain::rollout::Phase;
use muster_vocab::RolloutId;

use super::*;
use crate::Store;
use crate::devices::NewDevice;
use crate::roles::Role;
use crate::sample::{self, NOW};

type Digests = (Option<Sha256>, Option<Sha256>);

fn write<T: Send + 'static>(
    store: &Store,
    flow: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    store.writer().write(flow).unwrap()
}

#[test]
fn each_question_is_one_that_the_schema_answers() {
    let (store, _folder) = sample::store();
    for (kind, _) in KINDS {
        let digest = store.read(|view| view.state_digest(ProjectId(1), &format!("{kind}:x-1")));
        assert_eq!(digest.unwrap(), None, "{kind}");
    }
    assert_eq!(store.read(|view| view.state_digest(ProjectId(1), "metadata:root")).unwrap(), None);
}

#[test]
fn a_digest_is_there_before_and_after_a_change() {
    let (store, _folder) = sample::store();
    let project = write(&store, |tx| tx.insert_project("plant", NOW));
    let made = write(&store, move |tx| {
        let (permissions, created_by) = (vec![Permission::Read], "ann".to_owned());
        tx.insert_role(project, &Role { name: "fitter".into(), permissions, created_at: NOW, created_by })?;
        tx.state_digests(project, "role:fitter")
    });
    assert!(made.0.is_none() && made.1.is_some());
    let gone = write(&store, move |tx| {
        tx.delete_role(project, "fitter")?;
        tx.state_digests(project, "role:fitter")
    });
    assert_eq!(gone, (made.1, None));
}

#[test]
fn what_the_same_commit_said_of_a_target_counts_as_before() {
    let (store, _folder) = sample::store();
    let project = write(&store, |tx| tx.insert_project("plant", NOW));
    let label = move |value: &'static str| {
        move |tx: &mut Tx<'_>| -> Result<Digests, StoreError> {
            let mut device = tx.device(project, "sn-1")?;
            device.labels = BTreeMap::from([("site".to_owned(), value.to_owned())]);
            tx.save_labels(project, &device)?;
            tx.state_digests(project, "device:sn-1")
        }
    };
    let new = NewDevice { name: "sn-1".into(), state: DeviceState::Accepted, token: None, poll_interval_s: 60 };
    write(&store, move |tx| tx.insert_device(project, &new, NOW));
    let (first, second) = write(&store, move |tx| Ok((label("a")(tx)?, label("b")(tx)?)));
    assert_ne!(first.0, first.1);
    assert_eq!(first.1, second.0);
    assert_ne!(second.0, second.1);
}

#[test]
fn a_rollout_that_is_held_back_until_the_commit_counts_as_it_is() {
    let (store, _folder) = sample::store();
    let project = write(&store, |tx| tx.insert_project("plant", NOW));
    let id: RolloutId = write(&store, move |tx| {
        let release = tx.insert_release(project, &sample::release("os", "1"))?;
        tx.insert_rollout(project, &sample::rollout("first", release))
    });
    let digests = write(&store, move |tx| {
        let mut rollout = tx.rollout(project, id)?;
        rollout.phase = Phase::Ready;
        tx.save_rollout(project, rollout);
        tx.state_digests(project, &format!("rollout:{id}"))
    });
    assert!(digests.0.is_some() && digests.1.is_some());
    assert_ne!(digests.0, digests.1);
}
