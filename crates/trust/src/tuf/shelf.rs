//! What does a repository serve, and what has to be written when something in it changes?
//!
//! Documents signed offline are put on the shelf; snapshot and timestamp are written anew by the key that is online. All
//! of it is read as a device would read it before anything is handed out: what devices would refuse is never served.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_vocab::Timestamp;

use crate::tuf::document::{self, Document, RootRole, Spelling, TargetsRole, TimestampRole};
use crate::tuf::make::{self, MakeError};
use crate::tuf::secret_key::SecretKey;
use crate::tuf::session::{Session, Want, file_of};
use crate::tuf::trusted::Refused;

/// A device that has not heard of the repository for this long takes no order: the bound on a freeze.
pub const TIMESTAMP_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Written anew when less than this is left, so that a server may be away over a long weekend.
pub const RENEW_BEFORE: Duration = Duration::from_secs(5 * 24 * 3600);

#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("the document can't be read")]
    Unreadable(#[source] document::DocumentError),
    #[error("devices would refuse it")]
    Refused(#[source] Refused),
    #[error("writing snapshot and timestamp")]
    Make(#[source] MakeError),
    #[error("{role} version {offered} is not above {there}")]
    NotNewer { role: String, there: u64, offered: u64 },
    #[error("there is no root yet: `muster keys ceremony` makes one")]
    NoRoot,
    #[error("there is no version of targets yet")]
    NoTargets,
}

/// Documents by the names under which they are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Shelf {
    /// The newest version of a role that is signed offline.
    #[must_use]
    pub fn newest(&self, role: &str) -> Option<(u64, &[u8])> {
        let suffix = format!(".{}", file_of(role));
        let versions = self.files.iter().filter_map(|(name, bytes)| {
            let version = name.strip_suffix(&suffix)?.parse().ok()?;
            Some((version, bytes.as_slice()))
        });
        versions.max_by_key(|(version, _)| *version)
    }

    /// Roles of targets that are there, and to which the top delegates.
    ///
    /// # Errors
    /// If the top can't be read.
    pub fn channels(&self) -> Result<Vec<String>, ShelfError> {
        let Some((_, top)) = self.newest("targets") else { return Ok(Vec::new()) };
        let top: Document<TargetsRole> = Document::read(top, Spelling::Exact).map_err(ShelfError::Unreadable)?;
        let roles = top.signed.delegations.into_iter().flat_map(|delegations| delegations.roles);
        Ok(roles.map(|role| role.name).filter(|role| self.newest(role).is_some()).collect())
    }

    /// Puts a document there that was signed offline: `root`, `targets` or a channel's. As soon as there are a root and
    /// targets, all that depends on it is written anew.
    ///
    /// # Errors
    /// If it isn't newer than what is there, or devices would refuse it; nothing has changed then.
    pub fn put(&mut self, role: &str, bytes: &[u8], online: &SecretKey, now: Timestamp) -> Result<(), ShelfError> {
        let version = match role {
            "root" => Document::<RootRole>::read(bytes, Spelling::Exact).map(|read| read.signed.version),
            _ => Document::<TargetsRole>::read(bytes, Spelling::Exact).map(|read| read.signed.version),
        };
        let offered = version.map_err(ShelfError::Unreadable)?;
        if let Some((there, _)) = self.newest(role).filter(|(there, _)| *there >= offered) {
            return Err(ShelfError::NotNewer { role: role.into(), there, offered });
        }
        let mut next = self.clone();
        next.files.insert(format!("{offered}.{}", file_of(role)), bytes.to_vec());
        if next.newest("targets").is_some() {
            next.announce(online, now)?;
            next.holds(role, now)?;
        } else {
            next.root_holds(now)?;
        }
        *self = next;
        Ok(())
    }

    /// Writes the timestamp anew if it is to expire soon. Says whether it did.
    ///
    /// # Errors
    /// If devices would refuse what came of it.
    pub fn renew(&mut self, online: &SecretKey, now: Timestamp) -> Result<bool, ShelfError> {
        let Some(timestamp) = self.timestamp()? else { return Ok(false) };
        if timestamp.expires > now.plus(RENEW_BEFORE) {
            return Ok(false);
        }
        let mut next = self.clone();
        next.announce(online, now)?;
        next.holds("targets", now)?;
        *self = next;
        Ok(true)
    }

    /// A new snapshot and timestamp over the newest version of every role.
    fn announce(&mut self, online: &SecretKey, now: Timestamp) -> Result<(), ShelfError> {
        let roles: BTreeMap<String, (u64, Vec<u8>)> = self.pinned();
        let expires = now.plus(TIMESTAMP_LIFE);
        let version = self.newest("snapshot").map_or(0, |(version, _)| version) + 1;
        let snapshot = make::snapshot(version, expires, &roles).map_err(ShelfError::Make)?;
        let snapshot = snapshot.document(&[online.sign(&snapshot)]);
        let stamp = self.timestamp()?.map_or(0, |timestamp| timestamp.version) + 1;
        let timestamp = make::timestamp(stamp, expires, (version, &snapshot)).map_err(ShelfError::Make)?;
        self.files.insert(format!("{version}.snapshot.json"), snapshot);
        self.files.insert("timestamp.json".into(), timestamp.document(&[online.sign(&timestamp)]));
        self.forget_old();
        Ok(())
    }

    /// Every role of targets that was ever put there: devices refuse a snapshot that forgets one (5.5.5), also where the
    /// top doesn't delegate to it any more.
    fn pinned(&self) -> BTreeMap<String, (u64, Vec<u8>)> {
        let names = self.files.keys().filter_map(|name| versioned(name)).map(|(role, _)| role.to_owned());
        let names = names.filter(|role| !matches!(role.as_str(), "root" | "snapshot"));
        let names: std::collections::BTreeSet<String> = names.collect();
        let newest =
            |role: String| self.newest(&role).map(|(version, bytes)| (role.clone(), (version, bytes.to_vec())));
        names.into_iter().filter_map(newest).collect()
    }

    /// Devices may be in the middle of reading the version before the newest. Roots all stay: one that was away for years
    /// goes from each to the next.
    fn forget_old(&mut self) {
        let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (role, version) in self.files.keys().filter_map(|name| versioned(name)) {
            versions.entry(role.to_owned()).or_default().push(version);
        }
        for (role, mut versions) in versions.into_iter().filter(|(role, _)| role != "root") {
            versions.sort_unstable_by(|a, b| b.cmp(a));
            for old in versions.into_iter().skip(2) {
                self.files.remove(&format!("{old}.{role}.json"));
            }
        }
    }

    fn timestamp(&self) -> Result<Option<TimestampRole>, ShelfError> {
        let Some(bytes) = self.files.get("timestamp.json") else { return Ok(None) };
        let read: Document<TimestampRole> = Document::read(bytes, Spelling::Exact).map_err(ShelfError::Unreadable)?;
        Ok(Some(read.signed))
    }

    fn root_holds(&self, now: Timestamp) -> Result<(), ShelfError> {
        let mut session = self.start(now)?;
        while let Want::Fetch { file, .. } = session.want() {
            let Some(bytes) = self.files.get(&file) else { break };
            session.answer(Some(bytes.clone())).map_err(ShelfError::Refused)?;
            session.answer(None).map_err(ShelfError::Refused)?;
        }
        session.trusted().root_is_fresh(now).map_err(ShelfError::Refused)
    }

    fn start(&self, now: Timestamp) -> Result<Session, ShelfError> {
        // Devices in the field may have any root since the first.
        let root = self.files.get("1.root.json").ok_or(ShelfError::NoRoot)?;
        Session::start(root, now, Spelling::Exact).map_err(ShelfError::Refused)
    }

    /// Reads it as a device would that has the first root only, and with it the role that is new. Another channel may
    /// have expired, or wait for its new key's signature: that is no reason to leave the rest of them without news.
    fn holds(&self, role: &str, now: Timestamp) -> Result<(), ShelfError> {
        let mut session = self.start(now)?;
        self.go_on(&mut session)?;
        let Some(channel) = role.strip_prefix("channel-") else { return Ok(()) };
        // A path that no channel has: the search ends in the channel's own document.
        session.find(&format!("{channel}/"));
        self.go_on(&mut session)?;
        if session.trusted().targets(role, "targets").is_some() {
            return Ok(());
        }
        Err(ShelfError::Refused(Refused::NotDelegated(role.to_owned())))
    }

    fn go_on(&self, session: &mut Session) -> Result<(), ShelfError> {
        loop {
            let found = match session.want() {
                Want::Done => return Ok(()),
                Want::Load { .. } | Want::Keep { .. } => None,
                Want::Fetch { file, .. } => self.files.get(&file).cloned(),
            };
            session.answer(found).map_err(ShelfError::Refused)?;
        }
    }
}

/// `4.channel-stable.json`: role and version.
fn versioned(name: &str) -> Option<(&str, u64)> {
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    Some((role, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::threats::world::{Device, NOW, Owner, draft, release, sign};

    fn shelf(owner: &Owner) -> Shelf {
        let mut shelf = Shelf::default();
        let root = sign(&draft(owner.root_plan(1).draft()), &[&owner.root[0], &owner.root[1]]);
        shelf.put("root", &root, &owner.online, NOW).unwrap();
        let top = sign(&draft(owner.top_plan(1).draft()), &[&owner.targets]);
        shelf.put("targets", &top, &owner.online, NOW).unwrap();
        shelf
    }

    #[test]
    fn a_release_signed_offline_reaches_devices() {
        let (owner, release) = (Owner::new(), release("one", 1));
        let mut shelf = shelf(&owner);
        let channel = sign(&draft(owner.channel_plan(1, &[&release]).draft()), &[&owner.channel]);
        shelf.put("channel-stable", &channel, &owner.online, NOW).unwrap();
        let mut repository = crate::tuf::threats::world::Repository { files: shelf.files.clone() };
        let director = draft(owner.director_plan(1, crate::tuf::threats::world::DEVICE, &release).draft());
        repository.put("director.json", sign(&director, &[&owner.director]));
        assert!(Device::new(&repository).would_install(&repository, &release).unwrap());
    }

    #[test]
    fn what_devices_would_refuse_is_never_served() {
        let (owner, release) = (Owner::new(), release("one", 1));
        let mut shelf = shelf(&owner);
        let before = shelf.clone();
        let channel = sign(&draft(owner.channel_plan(1, &[&release]).draft()), &[&owner.online]);
        assert!(matches!(shelf.put("channel-stable", &channel, &owner.online, NOW), Err(ShelfError::Refused(_))));
        let root = sign(&draft(owner.root_plan(2).draft()), &[&owner.root[0]]);
        assert!(matches!(shelf.put("root", &root, &owner.online, NOW), Err(ShelfError::Refused(_))));
        let old = sign(&draft(owner.top_plan(1).draft()), &[&owner.targets]);
        assert!(matches!(shelf.put("targets", &old, &owner.online, NOW), Err(ShelfError::NotNewer { .. })));
        assert_eq!(shelf, before);
    }

    #[test]
    fn old_versions_go_but_roots_stay() {
        let owner = Owner::new();
        let mut shelf = shelf(&owner);
        for version in 2..=9 {
            let root = sign(&draft(owner.root_plan(version).draft()), &[&owner.root[0], &owner.root[1]]);
            shelf.put("root", &root, &owner.online, NOW).unwrap();
            let top = sign(&draft(owner.top_plan(version).draft()), &[&owner.targets]);
            shelf.put("targets", &top, &owner.online, NOW).unwrap();
        }
        let count = |role: &str| shelf.files.keys().filter(|name| name.ends_with(&format!(".{role}.json"))).count();
        assert_eq!((count("root"), count("targets"), count("snapshot")), (9, 2, 2));
    }

    #[test]
    fn a_channel_gets_another_key_and_loses_what_the_thief_put_there() {
        let (owner, good, evil) = (Owner::new(), release("one", 1), release("evil", 9));
        let mut shelf = shelf(&owner);
        let put = |shelf: &mut Shelf, role: &str, bytes: &[u8]| shelf.put(role, bytes, &owner.online, NOW);
        let stolen = sign(&draft(owner.channel_plan(1, &[&good, &evil]).draft()), &[&owner.channel]);
        put(&mut shelf, "channel-stable", &stolen).unwrap();
        let seen = crate::tuf::threats::world::Repository { files: shelf.files.clone() };
        let mut device = Device::that_saw(&seen);
        let mut next = Owner::new();
        next.channel = crate::tuf::threats::world::key(90);
        put(&mut shelf, "targets", &sign(&draft(next.top_plan(2).draft()), &[&next.targets])).unwrap();
        let plan = crate::tuf::make::TargetPlan { bytes: good.bytes(), custom: good.custom() };
        let place = crate::tuf::statement::release_path("stable", &good.release, &good.version);
        let life = NOW.plus(Duration::from_secs(3600));
        let afresh = make::next_channel((Some(&stolen), true), life, (&place, &plan)).unwrap();
        put(&mut shelf, "channel-stable", &afresh.document(&[next.channel.sign(&afresh)])).unwrap();
        let mut repository = crate::tuf::threats::world::Repository { files: shelf.files };
        for (version, wanted, expected) in [(1, &good, true), (2, &evil, false)] {
            let director = draft(next.director_plan(version, crate::tuf::threats::world::DEVICE, wanted).draft());
            repository.put("director.json", sign(&director, &[&next.director]));
            assert_eq!(device.would_install(&repository, wanted).unwrap(), expected);
        }
    }

    #[test]
    fn an_expired_channel_or_one_that_is_gone_leaves_the_others_their_news() {
        let (owner, release) = (Owner::new(), release("one", 1));
        let mut shelf = shelf(&owner);
        let mut plan = owner.channel_plan(1, &[&release]);
        plan.expires = NOW.plus(Duration::from_secs(3600));
        let channel = sign(&draft(plan.draft()), &[&owner.channel]);
        shelf.put("channel-stable", &channel, &owner.online, NOW).unwrap();
        let mut device = Device::that_saw(&crate::tuf::threats::world::Repository { files: shelf.files.clone() });
        let later = NOW.plus(Duration::from_secs(3 * 24 * 3600));
        assert!(shelf.renew(&owner.online, later).unwrap());
        let mut top = owner.top_plan(2);
        top.delegations.remove(0);
        let top = sign(&draft(top.draft()), &[&owner.targets]);
        shelf.put("targets", &top, &owner.online, later).unwrap();
        device.now = later;
        device.refresh(&crate::tuf::threats::world::Repository { files: shelf.files }).unwrap();
    }

    #[test]
    fn the_timestamp_is_written_anew_before_it_expires() {
        let owner = Owner::new();
        let mut shelf = shelf(&owner);
        let day = Duration::from_secs(24 * 3600);
        assert!(!shelf.renew(&owner.online, NOW.plus(day)).unwrap());
        assert!(shelf.renew(&owner.online, NOW.plus(day * 3)).unwrap());
        let mut device = Device::new(&crate::tuf::threats::world::Repository { files: shelf.files.clone() });
        device.now = NOW.plus(day * 9);
        device.refresh(&crate::tuf::threats::world::Repository { files: shelf.files }).unwrap();
    }
}
