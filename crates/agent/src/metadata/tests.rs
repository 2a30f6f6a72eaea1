use muster_trust::tuf::document::Spelling;
use muster_trust::tuf::threats::world::{NOW, Owner, Repository, draft, key, release, sign};

use super::*;
use crate::workbench::Workbench;
use crate::world::World;

fn refresh(bench: &Workbench, repository: &Repository) -> Result<Session, MetadataError> {
    let folder = bench.path("metadata");
    let metadata = Metadata::new(bench.disk(), &folder, Spelling::Exact);
    metadata.begin(&repository.file("1.root.json"))?;
    metadata.refresh(NOW, &mut |file, _| Ok(repository.files.get(file).cloned()))
}

/// A repository whose root and online key were replaced, so that a refresh writes all four documents.
fn rotated(owner: &Owner) -> Repository {
    let mut next = Owner::new();
    next.online = key(70);
    let mut repository = next.publish(5, &[&release("two", 2)]);
    repository.put("1.root.json", owner.publish(1, &[]).file("1.root.json"));
    let keys = [&owner.root[0], &owner.root[1]];
    repository.put("2.root.json", sign(&draft(next.root_plan(2).draft()), &keys));
    repository
}

#[test]
fn after_a_power_cut_anywhere_the_next_refresh_gets_through() {
    let owner = Owner::new();
    let (before, after) = (owner.publish(u64::MAX, &[&release("one", 1)]), rotated(&owner));
    let mut cuts = 0;
    for changes in 0.. {
        let bench = Workbench::new();
        refresh(&bench, &before).unwrap();
        bench.cut_power_after(changes);
        let outcome = refresh(&bench, &after);
        bench.power_on();
        for name in bench.names("metadata").iter().filter(|name| name.ends_with(".json")) {
            let kept = bench.read(&format!("metadata/{name}"));
            let whole = before.files.values().chain(after.files.values()).any(|served| *served == kept);
            assert!(whole, "after {changes} changes {name} is neither the old nor the new document");
        }
        let session = refresh(&bench, &after).unwrap();
        assert_eq!(session.trusted().timestamp().unwrap().version, 5);
        if outcome.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 16, "four documents take four changes each; the power was cut {cuts} times");
}

#[test]
fn documents_are_kept_byte_for_byte() {
    let bench = Workbench::new();
    let repository = Owner::new().publish(3, &[&release("one", 1)]);
    refresh(&bench, &repository).unwrap();
    for (kept, served) in [("timestamp.json", "timestamp.json"), ("targets.json", "3.targets.json")] {
        assert_eq!(bench.read(&format!("metadata/{kept}")), repository.file(served));
    }
}

#[test]
fn a_document_that_rotted_on_the_disk_is_fetched_again() {
    let bench = Workbench::new();
    let repository = Owner::new().publish(3, &[&release("one", 1)]);
    refresh(&bench, &repository).unwrap();
    for name in ["timestamp.json", "snapshot.json", "targets.json"] {
        bench.write(&format!("metadata/{name}"), b"\0\0\0\0");
    }
    refresh(&bench, &repository).unwrap();
    assert_eq!(bench.read("metadata/snapshot.json"), repository.file("3.snapshot.json"));
}
