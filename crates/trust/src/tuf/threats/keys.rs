//! What can somebody do who stole a key, and how does the owner get rid of them?

use super::world::{Device, Owner, Repository, draft, key, release, sign};
use super::{Threat, holds, refused};
use crate::tuf::document::{RootRole, Signature};
use crate::tuf::make::{self, RootPlan};
use crate::tuf::secret_key::SecretKey;
use crate::tuf::trusted::Refused;

pub const THREATS: &[Threat] = &[
    Threat { name: "root by one of three keys", attempt: root_by_one_key },
    Threat { name: "root by one key under two ids", attempt: root_by_one_key_twice },
    Threat { name: "root that skips a version", attempt: root_skips },
    Threat { name: "root of strangers", attempt: root_of_strangers },
    Threat { name: "root whose new keys didn't sign", attempt: root_not_by_its_own_keys },
    Threat { name: "rollback of the root", attempt: rollback_of_the_root },
    Threat { name: "recovery: a stolen root key is replaced", attempt: recovery_of_a_root_key },
    Threat { name: "recovery: a stolen channel key is replaced", attempt: recovery_of_a_channel_key },
    Threat { name: "recovery: a stolen online key is replaced", attempt: recovery_of_the_online_key },
    Threat { name: "recovery: a stolen director's key is replaced", attempt: recovery_of_the_director },
    Threat { name: "fast-forward of the timestamp, and recovery", attempt: fast_forward_of_the_timestamp },
    Threat { name: "fast-forward of the snapshot, and recovery", attempt: fast_forward_of_the_snapshot },
    Threat { name: "fast-forward of targets, and recovery", attempt: fast_forward_of_targets },
    Threat { name: "a power cut between new root and new timestamp", attempt: power_cut_in_a_rotation },
];

fn next_root(plan: &RootPlan, keys: &[&SecretKey]) -> Vec<u8> {
    sign(&draft(plan.draft()), keys)
}

fn by_signature(why: &Refused) -> bool {
    matches!(why, Refused::Unsigned { .. } | Refused::BadSignature { .. })
}

fn with_root(owner: &Owner, bytes: Vec<u8>) -> Repository {
    let mut repository = owner.publish(1, &[&release("one", 1)]);
    repository.put("2.root.json", bytes);
    repository
}

fn root_by_one_key() -> Result<(), String> {
    let owner = Owner::new();
    let repository = with_root(&owner, next_root(&owner.root_plan(2), &[&owner.root[0]]));
    refused(Device::new(&repository).refresh(&repository), by_signature)
}

fn root_by_one_key_twice() -> Result<(), String> {
    let owner = Owner::new();
    let made = draft(owner.root_plan(2).draft());
    let first = owner.root[0].sign(&made);
    // The same signature under the id of a key that the thief doesn't have.
    let second = Signature { keyid: make::key_id(&owner.root[1].public()), sig: first.sig.clone() };
    let repository = with_root(&owner, made.document(&[first, second]));
    refused(Device::new(&repository).refresh(&repository), by_signature)
}

fn root_skips() -> Result<(), String> {
    let owner = Owner::new();
    let repository = with_root(&owner, next_root(&owner.root_plan(3), &[&owner.root[0], &owner.root[1]]));
    refused(Device::new(&repository).refresh(&repository), |why| matches!(why, Refused::RootOrder { .. }))
}

fn root_of_strangers() -> Result<(), String> {
    let (owner, mut strangers) = (Owner::new(), Owner::new());
    strangers.root = vec![key(101), key(102), key(103)];
    let repository = with_root(&owner, next_root(&strangers.root_plan(2), &[&strangers.root[0], &strangers.root[1]]));
    refused(Device::new(&repository).refresh(&repository), by_signature)
}

fn root_not_by_its_own_keys() -> Result<(), String> {
    let (owner, mut next) = (Owner::new(), Owner::new());
    next.root = vec![key(104), key(105), key(106)];
    let repository = with_root(&owner, next_root(&next.root_plan(2), &[&owner.root[0], &owner.root[1]]));
    refused(Device::new(&repository).refresh(&repository), by_signature)
}

fn rollback_of_the_root() -> Result<(), String> {
    let owner = Owner::new();
    let two = next_root(&owner.root_plan(2), &[&owner.root[0], &owner.root[1]]);
    let mut repository = with_root(&owner, two);
    let mut device = Device::that_saw(&repository);
    repository.put("3.root.json", repository.file("1.root.json"));
    refused(device.refresh(&repository), |why| matches!(why, Refused::RootOrder { .. }))
}

fn recovery_of_a_root_key() -> Result<(), String> {
    let (owner, mut next) = (Owner::new(), Owner::new());
    next.root[0] = key(107);
    let two = next_root(&next.root_plan(2), &[&owner.root[1], &owner.root[2], &next.root[0]]);
    let mut repository = with_root(&owner, two);
    let mut device = Device::that_saw(&repository);
    // The stolen key and one that stayed: two signatures, one of which counts no more.
    let three = next_root(&next.root_plan(3), &[&owner.root[0], &owner.root[1]]);
    repository.put("3.root.json", three);
    refused(device.refresh(&repository), by_signature)
}

fn recovery_of_a_channel_key() -> Result<(), String> {
    let (owner, known, evil) = (Owner::new(), release("one", 1), release("evil", 9));
    let mut device = Device::that_saw(&owner.publish(1, &[&known]));
    let mut next = Owner::new();
    next.channel = key(108);
    let mut repository = next.publish(2, &[&known]);
    holds(matches!(device.would_install(&repository, &known), Ok(true)), "the new key was not believed")?;
    let channel = sign(&draft(owner.channel_plan(3, &[&evil]).draft()), &[&owner.channel]);
    repository.put("3.channel-stable.json", channel.clone());
    let top = repository.file("2.targets.json");
    repository.announce(&owner.online, 3, [("targets", 2, top), ("channel-stable", 3, channel)]);
    refused(device.would_install(&repository, &evil), by_signature)
}

fn recovery_of_the_online_key() -> Result<(), String> {
    let (owner, known) = (Owner::new(), release("one", 1));
    let mut device = Device::that_saw(&owner.publish(1, &[&known]));
    let mut next = Owner::new();
    next.online = key(109);
    let mut repository = next.publish(2, &[&known]);
    repository.put("2.root.json", next_root(&next.root_plan(2), &[&owner.root[0], &owner.root[1]]));
    holds(matches!(device.would_install(&repository, &known), Ok(true)), "the new key was not believed")?;
    let mut stolen = owner.publish(3, &[&known]);
    stolen.put("2.root.json", repository.file("2.root.json"));
    refused(device.refresh(&stolen), by_signature)
}

fn recovery_of_the_director() -> Result<(), String> {
    let (owner, known) = (Owner::new(), release("one", 1));
    let mut next = Owner::new();
    next.director = key(110);
    let mut repository = next.publish(2, &[&known]);
    let mut device = Device::that_saw(&repository);
    repository.put("director.json", owner.publish(2, &[&known]).file("director.json"));
    refused(device.would_install(&repository, &known), by_signature)
}

/// The thief raises a version to the highest there is; the owner replaces the key and goes on from a low one.
fn recovers(attacked: &Repository, version: u64) -> Result<(), String> {
    let (owner, known) = (Owner::new(), release("one", 1));
    let mut device = Device::that_saw(attacked);
    let mut next = Owner::new();
    next.online = key(111);
    let mut repository = next.publish(version, &[&known]);
    let two = next_root(&next.root_plan(2), &[&owner.root[0], &owner.root[1]]);
    repository.put("2.root.json", two);
    match device.would_install(&repository, &known) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the recovered repository is not believed".into()),
        Err(why) => Err(format!("the device can't recover: {why}")),
    }
}

fn fast_forward_of_the_timestamp() -> Result<(), String> {
    let owner = Owner::new();
    let mut repository = owner.publish(1, &[&release("one", 1)]);
    let snapshot = repository.file("1.snapshot.json");
    let timestamp =
        make::timestamp(u64::MAX, super::world::NOW.plus(std::time::Duration::from_secs(60)), (1, &snapshot));
    repository.put("timestamp.json", sign(&draft(timestamp), &[&owner.online]));
    recovers(&repository, 2)
}

fn fast_forward_of_the_snapshot() -> Result<(), String> {
    let owner = Owner::new();
    let mut repository = owner.publish(1, &[&release("one", 1)]);
    let (top, channel) = (repository.file("1.targets.json"), repository.file("1.channel-stable.json"));
    let roles = [("targets", 1, top), ("channel-stable", 1, channel)];
    repository.announce(&owner.online, u64::MAX, roles);
    recovers(&repository, 2)
}

fn fast_forward_of_targets() -> Result<(), String> {
    let owner = Owner::new();
    recovers(&owner.publish(u64::MAX, &[&release("one", 1)]), 2)
}

/// 5.3.11 without a step that a power cut could skip: what older keys signed counts no more as soon as the root is kept.
fn power_cut_in_a_rotation() -> Result<(), String> {
    let (owner, known) = (Owner::new(), release("one", 1));
    let mut device = Device::that_saw(&owner.publish(u64::MAX, &[&known]));
    let mut next = Owner::new();
    next.online = key(112);
    let two = next_root(&next.root_plan(2), &[&owner.root[0], &owner.root[1]]);
    let _: RootRole = crate::tuf::document::Document::read(&two, crate::tuf::document::Spelling::Exact)
        .map_err(|why| why.to_string())?
        .signed;
    device.kept.insert("root.json".into(), two.clone());
    let mut repository = next.publish(2, &[&known]);
    repository.put("2.root.json", two);
    holds(matches!(device.would_install(&repository, &known), Ok(true)), "the old timestamp was still a floor")
}
