use std::sync::mpsc::channel;

use muster_domain::rollout::Phase;
use muster_vocab::{ProjectId, ReleaseId, RolloutId};

use super::*;
use crate::Store;
use crate::sample::{self, NOW};

type Told = oneshot::Receiver<Result<(), StoreError>>;
type Flow = Box<dyn FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send>;

/// Has all these flows wait behind a busy writer, so that one commit takes them; answers what each was told.
fn write_together(store: &Store, flows: Vec<Flow>) -> Vec<Result<(), StoreError>> {
    let (started, has_started) = channel();
    let (go, may_go) = channel();
    let busy: Told = store
        .writer()
        .submit(move |_| {
            started.send(()).unwrap();
            may_go.recv().unwrap();
            Ok(())
        })
        .unwrap();
    has_started.recv().unwrap();
    let commits = store.writer().counters().commits.load(Ordering::Relaxed);
    let told: Vec<Told> = flows.into_iter().map(|flow| store.writer().submit(flow).unwrap()).collect();
    go.send(()).unwrap();
    busy.blocking_recv().unwrap().unwrap();
    let outcomes = told.into_iter().map(|told| told.blocking_recv().unwrap()).collect();
    let commits = store.writer().counters().commits.load(Ordering::Relaxed) - commits;
    assert_eq!(commits, 2, "the busy flow's own commit and one of all the others");
    outcomes
}

fn add_project(name: &'static str) -> Flow {
    Box::new(move |tx| tx.insert_project(name, NOW).map(|_| ()))
}

fn names(store: &Store) -> Vec<String> {
    let projects = store.read(|view| view.projects()).unwrap();
    projects.into_iter().map(|project| project.name).collect()
}

/// A project with a release and a draft.
fn with_rollout(store: &Store) -> (ProjectId, ReleaseId, RolloutId) {
    let made = store.writer().write(|tx| -> Result<_, StoreError> {
        let project = tx.insert_project("plant", NOW)?;
        let release = tx.insert_release(project, &sample::release("os", "1"))?;
        Ok((project, release, tx.insert_rollout(project, &sample::rollout("first", release))?))
    });
    made.unwrap()
}

fn revision(store: &Store, project: ProjectId, id: RolloutId) -> u64 {
    store.read(|view| view.rollout(project, id)).unwrap().revision
}

/// Counts one up, as each device report does.
fn bump(project: ProjectId, id: RolloutId) -> Flow {
    Box::new(move |tx| {
        let mut rollout = tx.rollout(project, id)?;
        rollout.revision += 1;
        tx.save_rollout(project, rollout);
        Ok(())
    })
}

#[test]
fn a_refused_flow_leaves_nothing_and_harms_no_other_of_its_commit() {
    let (store, _folder) = sample::store();
    let refused: Flow = Box::new(|tx| {
        tx.insert_project("refused", NOW)?;
        Err(StoreError::NoDevice("gw-1".into()))
    });
    let told = write_together(&store, vec![add_project("before"), refused, add_project("after")]);
    assert!(matches!(told.as_slice(), [Ok(()), Err(StoreError::NoDevice(_)), Ok(())]), "{told:?}");
    assert_eq!(names(&store), ["before", "after"]);
    let counters = store.writer().counters();
    assert_eq!(counters.refused.load(Ordering::Relaxed), 1);
    assert_eq!(counters.broken.load(Ordering::Relaxed), 0);
}

#[test]
fn a_broken_invariant_stops_its_flow_only_and_is_counted() {
    let (store, _folder) = sample::store();
    let broken: Flow = Box::new(|tx| {
        tx.insert_project("broken", NOW)?;
        let waves: Vec<u16> = Vec::new();
        assert_eq!(waves.len(), 1, "this panic belongs to the test");
        Ok(())
    });
    let told = write_together(&store, vec![add_project("before"), broken, add_project("after")]);
    assert!(matches!(told.as_slice(), [Ok(()), Err(StoreError::Invariant), Ok(())]), "{told:?}");
    assert_eq!(names(&store), ["before", "after"]);
    assert_eq!(store.writer().counters().broken.load(Ordering::Relaxed), 1);
    store.writer().write(add_project("later")).unwrap();
    assert_eq!(names(&store), ["before", "after", "later"]);
}

#[test]
fn flows_of_one_commit_see_each_others_rollout() {
    let (store, _folder) = sample::store();
    let (project, _, id) = with_rollout(&store);
    let told = write_together(&store, (0..5).map(|_| bump(project, id)).collect());
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    assert_eq!(revision(&store, project, id), 6);
}

#[test]
fn a_rollout_saved_by_a_flow_that_failed_is_seen_by_nobody() {
    let (store, _folder) = sample::store();
    let (project, _, id) = with_rollout(&store);
    let fails = |panics: bool| -> Flow {
        Box::new(move |tx| {
            let mut rollout = tx.rollout(project, id)?;
            rollout.revision += 100;
            rollout.phase = Phase::Denied { by: "ann".into() };
            tx.save_rollout(project, rollout);
            assert!(!panics, "this panic belongs to the test");
            Err(StoreError::Busy)
        })
    };
    let told = write_together(
        &store,
        vec![bump(project, id), fails(false), bump(project, id), fails(true), bump(project, id)],
    );
    assert!(matches!(told.as_slice(), [Ok(()), Err(_), Ok(()), Err(_), Ok(())]), "{told:?}");
    assert_eq!(revision(&store, project, id), 4);
    assert_eq!(store.read(|view| view.rollout(project, id)).unwrap().phase, Phase::Draft);
}

#[test]
fn a_rollout_of_another_project_is_not_found_while_it_is_held() {
    let (store, _folder) = sample::store();
    let (project, _, id) = with_rollout(&store);
    let other: Flow = Box::new(move |tx| {
        let other = tx.insert_project("other", NOW)?;
        tx.rollout(other, id).map(|_| ())
    });
    let told = write_together(&store, vec![bump(project, id), other]);
    assert!(matches!(told.as_slice(), [Ok(()), Err(StoreError::NoRollout(_))]), "{told:?}");
}

#[test]
fn a_rollout_deleted_in_the_same_commit_is_gone_and_its_successor_is_not_overwritten() {
    let (store, _folder) = sample::store();
    let (project, release, id) = with_rollout(&store);
    let delete: Flow = Box::new(move |tx| tx.delete_rollout(project, id));
    let add: Flow = Box::new(move |tx| {
        let mut next = sample::rollout("next", release);
        next.phase = Phase::AwaitingApproval;
        tx.insert_rollout(project, &next).map(|_| ())
    });
    let told = write_together(&store, vec![bump(project, id), delete, bump(project, id), add]);
    assert!(matches!(told.as_slice(), [Ok(()), Ok(()), Err(StoreError::NoRollout(_)), Ok(())]), "{told:?}");
    let next = store.read(|view| view.rollout_named(project, "next").and_then(|id| view.rollout(project, id))).unwrap();
    assert_eq!((next.phase, next.revision), (Phase::AwaitingApproval, 1));
}

#[test]
fn caches_hear_of_a_commit_before_anybody_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (hand, handed) = channel::<Told>();
    let (give_back, given_back) = channel();
    let on_commit: OnCommit = Box::new(move |changes| {
        let mut told = handed.recv().unwrap();
        let unanswered = matches!(told.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let heard: Vec<String> = changes.projects.iter().map(|project| project.name.clone()).collect();
        give_back.send((unanswered, heard, told)).unwrap();
    });
    let store = Store::open(folder.path(), on_commit).unwrap();
    let refused: Flow = Box::new(|tx| {
        tx.insert_project("refused", NOW)?;
        Err(StoreError::Busy)
    });
    for (flow, expected) in [(add_project("one"), vec!["one"]), (refused, vec![]), (add_project("two"), vec!["two"])] {
        hand.send(store.writer().submit(flow).unwrap()).unwrap();
        let (unanswered, heard, told) = given_back.recv().unwrap();
        assert!(unanswered, "the answer came before the caches knew");
        assert_eq!(heard, expected);
        assert_eq!(told.blocking_recv().unwrap().is_ok(), !expected.is_empty());
    }
}

#[test]
fn what_is_queued_when_the_store_is_dropped_is_on_the_disk() {
    let (store, folder) = sample::store();
    let (project, _, id) = with_rollout(&store);
    let told: Vec<Told> = (0..500).map(|_| store.writer().submit(bump(project, id)).unwrap()).collect();
    drop(store);
    for told in told {
        told.blocking_recv().unwrap().unwrap();
    }
    let again = Store::open(folder.path(), Box::new(|_| ())).unwrap();
    assert_eq!(revision(&again, project, id), 501);
}

#[test]
fn a_part_that_is_refused_leaves_nothing_and_the_rest_of_its_flow_stands() {
    let (store, _folder) = sample::store();
    let (project, _, id) = with_rollout(&store);
    let before = revision(&store, project, id);
    let part: Flow = Box::new(move |tx| {
        tx.insert_project("before", NOW)?;
        let refused = tx.attempt(|tx| {
            tx.insert_project("refused", NOW)?;
            let mut rollout = tx.rollout(project, id)?;
            rollout.revision += 1;
            tx.save_rollout(project, rollout);
            Err::<(), _>(StoreError::NoDevice("gw-1".into()))
        });
        assert!(matches!(refused, Err(StoreError::NoDevice(_))));
        assert_eq!(tx.rollout(project, id)?.revision, before);
        tx.attempt(|tx| tx.insert_project("kept", NOW)).map(|_| ())
    });
    assert!(write_together(&store, vec![part]).iter().all(Result::is_ok));
    assert_eq!(names(&store), ["plant", "before", "kept"]);
    assert_eq!(revision(&store, project, id), before);
}
