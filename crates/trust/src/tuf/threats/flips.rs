//! Can a single bit of any document change without notice?

use super::world::{DEVICE, Device, NOW, Owner, draft, key, release, sign};
use crate::tuf::document::Spelling;
use crate::tuf::trusted::Trusted;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitFlips {
    pub tried: u64,
    pub accepted: u64,
}

type Take = fn(&mut Trusted, &[u8]) -> bool;

/// Flips each bit of each of six documents in turn, and asks a device that believes all that comes before it.
#[must_use]
pub fn bit_flips() -> BitFlips {
    let (owner, release) = (Owner::new(), release("one", 1));
    let mut next = Owner::new();
    next.root[0] = key(50);
    let mut repository = owner.publish(1, &[&release]);
    let keys = [&owner.root[0], &owner.root[1], &next.root[0]];
    repository.put("2.root.json", sign(&draft(next.root_plan(2).draft()), &keys));
    assert!(matches!(Device::new(&repository).would_install(&repository, &release), Ok(true)), "the honest case holds");

    let steps: [(&str, Take); 6] = [
        ("2.root.json", |trusted, bytes| trusted.take_root(bytes).is_ok()),
        ("timestamp.json", |trusted, bytes| trusted.take_timestamp(bytes, NOW).is_ok()),
        ("1.snapshot.json", |trusted, bytes| trusted.take_snapshot(bytes, NOW).is_ok()),
        ("1.targets.json", |trusted, bytes| trusted.take_targets(bytes, "targets", "root", NOW).is_ok()),
        ("1.channel-stable.json", |trusted, bytes| {
            trusted.take_targets(bytes, "channel-stable", "targets", NOW).is_ok()
        }),
        ("director.json", |trusted, bytes| trusted.take_director(bytes, DEVICE, None, NOW).is_ok()),
    ];
    let mut trusted = Trusted::start(&repository.file("1.root.json"), Spelling::Exact).expect("the honest root holds");
    let mut flips = BitFlips { tried: 0, accepted: 0 };
    for (name, take) in steps {
        let mut bytes = repository.file(name);
        for at in 0..bytes.len() * 8 {
            bytes[at / 8] ^= 1 << (at % 8);
            flips.tried += 1;
            flips.accepted += u64::from(take(&mut trusted.clone(), &bytes));
            bytes[at / 8] ^= 1 << (at % 8);
        }
        assert!(take(&mut trusted, &bytes), "the honest document is taken");
    }
    flips
}
