//! What can somebody do who has the repository, and the keys on it, but no offline key?

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{DEVICE, Device, NOW, Owner, draft, release, sign};
use super::{Threat, holds, refused};
use crate::tuf::make;
use crate::tuf::trusted::Refused;

pub const THREATS: &[Threat] = &[
    Threat { name: "rollback of the timestamp", attempt: rollback_of_the_timestamp },
    Threat { name: "rollback of the snapshot", attempt: rollback_of_the_snapshot },
    Threat { name: "rollback of targets in a new snapshot", attempt: rollback_of_targets },
    Threat { name: "freeze", attempt: freeze },
    Threat { name: "freeze of a channel", attempt: freeze_of_a_channel },
    Threat { name: "mix and match", attempt: mix_and_match },
    Threat { name: "mix and match under an announced version", attempt: mix_and_match_under_one_version },
    Threat { name: "a role vanishes from the snapshot", attempt: a_role_vanishes },
    Threat { name: "endless data", attempt: endless_data },
    Threat { name: "one document in the place of another", attempt: another_kind },
    Threat { name: "a release that was never signed", attempt: unsigned_release },
    Threat { name: "stolen server image signs a release", attempt: stolen_server_signs_a_release },
    Threat { name: "stolen server image delegates a channel to itself", attempt: stolen_server_delegates },
    Threat { name: "another artifact under a signed release", attempt: another_artifact },
    Threat { name: "another release's components under a signed name", attempt: another_counter },
    Threat { name: "genuine release aimed at the wrong device", attempt: wrong_device },
    Threat { name: "director of another device", attempt: director_of_another_device },
    Threat { name: "rollback of the director", attempt: rollback_of_the_director },
    Threat { name: "director vouches for what no channel has", attempt: director_alone },
];

fn rollback_of_the_timestamp() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let old = owner.publish(1, &[&release]);
    let mut device = Device::that_saw(&owner.publish(2, &[&release]));
    refused(device.refresh(&old), |why| matches!(why, Refused::Rollback { role, .. } if role == "timestamp"))
}

fn rollback_of_the_snapshot() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut repository = owner.publish(2, &[&release]);
    let mut device = Device::that_saw(&repository);
    let old = owner.publish(1, &[&release]);
    // The thief has the online key: a new timestamp over the old snapshot.
    let snapshot = old.file("1.snapshot.json");
    repository.put("1.snapshot.json", snapshot.clone());
    let timestamp = make::timestamp(3, NOW.plus(Duration::from_secs(3600)), (1, &snapshot));
    repository.put("timestamp.json", sign(&draft(timestamp), &[&owner.online]));
    refused(device.refresh(&repository), |why| matches!(why, Refused::Rollback { role, .. } if role == "snapshot"))
}

fn rollback_of_targets() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let old = owner.publish(1, &[&release]);
    let mut repository = owner.publish(2, &[&release]);
    let mut device = Device::that_saw(&repository);
    let (top, channel) = (old.file("1.targets.json"), old.file("1.channel-stable.json"));
    repository.put("1.channel-stable.json", channel.clone());
    repository.put("1.targets.json", top.clone());
    repository.announce(&owner.online, 3, [("targets", 1, top), ("channel-stable", 1, channel)]);
    refused(device.refresh(&repository), |why| matches!(why, Refused::Rollback { role, .. } if role.ends_with(".json")))
}

fn freeze() -> Result<(), String> {
    let owner = Owner::new();
    let repository = owner.publish(1, &[&release("one", 1)]);
    let mut device = Device::that_saw(&repository);
    device.now = NOW.plus(Duration::from_secs(8 * 24 * 3600));
    refused(device.refresh(&repository), |why| matches!(why, Refused::Expired { role, .. } if role == "timestamp"))
}

fn freeze_of_a_channel() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut repository = owner.publish(1, &[&release]);
    let mut plan = owner.channel_plan(2, &[&release]);
    plan.expires = NOW;
    let channel = sign(&draft(plan.draft()), &[&owner.channel]);
    repository.put("2.channel-stable.json", channel.clone());
    let top = repository.file("1.targets.json");
    repository.announce(&owner.online, 2, [("targets", 1, top), ("channel-stable", 2, channel)]);
    refused(Device::new(&repository).would_install(&repository, &release), |why| matches!(why, Refused::Expired { .. }))
}

fn mix_and_match() -> Result<(), String> {
    let (owner, old, new) = (Owner::new(), release("one", 1), release("two", 2));
    let mut repository = owner.publish(2, &[&new]);
    // Today's snapshot, and under its name the channel of yesterday.
    repository.put("2.channel-stable.json", owner.publish(1, &[&old]).file("1.channel-stable.json"));
    refused(Device::new(&repository).would_install(&repository, &old), |why| matches!(why, Refused::Mismatch { .. }))
}

fn mix_and_match_under_one_version() -> Result<(), String> {
    let (owner, old, new) = (Owner::new(), release("one", 1), release("two", 2));
    let mut repository = owner.publish(2, &[&new]);
    // Both are signed, and both are version 2: the pinned hash tells them apart.
    repository.put("2.channel-stable.json", owner.publish(2, &[&old]).file("2.channel-stable.json"));
    refused(Device::new(&repository).would_install(&repository, &old), |why| matches!(why, Refused::Mismatch { .. }))
}

fn a_role_vanishes() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut repository = owner.publish(1, &[&release]);
    let mut device = Device::that_saw(&repository);
    let top = repository.file("1.targets.json");
    repository.announce(&owner.online, 2, [("targets", 1, top)]);
    refused(device.refresh(&repository), |why| matches!(why, Refused::Removed(_)))
}

fn endless_data() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut repository = owner.publish(1, &[&release]);
    let mut longer = repository.file("timestamp.json");
    longer.resize(100_000, b' ');
    repository.put("timestamp.json", longer);
    // The device stops reading at the bound, and has no document then.
    refused(Device::new(&repository).refresh(&repository), |why| matches!(why, Refused::Absent(_)))
}

fn another_kind() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut repository = owner.publish(1, &[&release]);
    repository.put("timestamp.json", repository.file("1.snapshot.json"));
    refused(Device::new(&repository).refresh(&repository), |why| matches!(why, Refused::Unreadable { .. }))
}

fn unsigned_release() -> Result<(), String> {
    let (owner, known) = (Owner::new(), release("one", 1));
    let repository = owner.publish(1, &[&known]);
    let taken = Device::new(&repository).would_install(&repository, &release("evil", 9));
    holds(matches!(taken, Ok(false)), "a release that no channel knows was taken")
}

/// Disk image and running process: online key, director's key, every document. The channel's key was never there.
fn stolen_server_signs_a_release() -> Result<(), String> {
    let (owner, known, evil) = (Owner::new(), release("one", 1), release("evil", 9));
    for signers in [[&owner.online], [&owner.director]] {
        let mut repository = owner.publish(1, &[&known]);
        let mut device = Device::that_saw(&repository);
        let channel = sign(&draft(owner.channel_plan(2, &[&evil]).draft()), &signers);
        repository.put("2.channel-stable.json", channel.clone());
        let top = repository.file("1.targets.json");
        repository.announce(&owner.online, 2, [("targets", 1, top), ("channel-stable", 2, channel)]);
        let director = draft(owner.director_plan(2, DEVICE, &evil).draft());
        repository.put("director.json", sign(&director, &[&owner.director]));
        let by = |why: &Refused| matches!(why, Refused::BadSignature { .. } | Refused::Unsigned { .. });
        refused(device.would_install(&repository, &evil), by)?;
    }
    Ok(())
}

fn stolen_server_delegates() -> Result<(), String> {
    let (owner, known, evil) = (Owner::new(), release("one", 1), release("evil", 9));
    let mut repository = owner.publish(1, &[&known]);
    let mut device = Device::that_saw(&repository);
    let mut plan = owner.top_plan(2);
    plan.delegations[0].keys = super::world::one(&owner.online);
    let top = sign(&draft(plan.draft()), &[&owner.online]);
    let channel = sign(&draft(owner.channel_plan(2, &[&evil]).draft()), &[&owner.online]);
    repository.put("2.targets.json", top.clone());
    repository.put("2.channel-stable.json", channel.clone());
    repository.announce(&owner.online, 2, [("targets", 2, top), ("channel-stable", 2, channel)]);
    let by = |why: &Refused| matches!(why, Refused::BadSignature { .. } | Refused::Unsigned { .. });
    refused(device.would_install(&repository, &evil), by)
}

fn another_artifact() -> Result<(), String> {
    let (owner, known) = (Owner::new(), release("one", 1));
    let repository = owner.publish(1, &[&known]);
    let mut order = known;
    order.components[0].artifacts[0].digest = muster_vocab::Sha256([0xee; 32]);
    let taken = Device::new(&repository).would_install(&repository, &order);
    holds(matches!(taken, Ok(false)), "an order with another artifact was taken")
}

fn another_counter() -> Result<(), String> {
    let (owner, known) = (Owner::new(), release("one", 1));
    let repository = owner.publish(1, &[&known]);
    let mut order = known;
    order.counter = 99;
    let taken = Device::new(&repository).would_install(&repository, &order);
    holds(matches!(taken, Ok(false)), "an order with another counter was taken")
}

/// The repository is in other hands, channel key included; the director isn't.
fn wrong_device() -> Result<(), String> {
    let (owner, mine, others) = (Owner::new(), release("mine", 2), release("others", 1));
    let mut repository = owner.publish(1, &[&others, &mine]);
    let director = draft(owner.director_plan(1, DEVICE, &mine).draft());
    repository.put("director.json", sign(&director, &[&owner.director]));
    let mut device = Device::new(&repository);
    holds(matches!(device.would_install(&repository, &mine), Ok(true)), "the right release was refused")?;
    let taken = device.would_install(&repository, &others);
    holds(matches!(taken, Ok(false)), "a genuine release for other devices was taken")
}

fn director_of_another_device() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut repository = owner.publish(1, &[&release]);
    let director = draft(owner.director_plan(9, "default/gateway-8", &release).draft());
    repository.put("director.json", sign(&director, &[&owner.director]));
    let taken = Device::new(&repository).would_install(&repository, &release);
    refused(taken, |why| matches!(why, Refused::OtherDevice(_)))
}

fn rollback_of_the_director() -> Result<(), String> {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut repository = owner.publish(1, &[&release]);
    let old = repository.file("director.json");
    repository.put("director.json", sign(&draft(owner.director_plan(2, DEVICE, &release).draft()), &[&owner.director]));
    let mut device = Device::new(&repository);
    holds(matches!(device.would_install(&repository, &release), Ok(true)), "an honest director was refused")?;
    repository.put("director.json", old);
    refused(device.would_install(&repository, &release), |why| matches!(why, Refused::Rollback { .. }))
}

fn director_alone() -> Result<(), String> {
    let (owner, known, evil) = (Owner::new(), release("one", 1), release("evil", 9));
    let mut repository = owner.publish(1, &[&known]);
    repository.put("director.json", sign(&draft(owner.director_plan(2, DEVICE, &evil).draft()), &[&owner.director]));
    let taken = Device::new(&repository).would_install(&repository, &evil);
    holds(matches!(taken, Ok(false)), "the director alone could aim a release at a device")?;
    // Nor does its delegation cover a path of a channel.
    let documents: BTreeMap<_, _> = repository.files;
    holds(!documents.contains_key("1.director.json"), "the director is in the snapshot")
}
