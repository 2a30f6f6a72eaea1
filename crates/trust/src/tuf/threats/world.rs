//! Who is there to attack? An owner with keys, a repository anybody may have taken over, and a device.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_vocab::{Sha256, Timestamp};

use crate::tuf::document::{Spelling, Target};
use crate::tuf::make::{self, DelegationPlan, Draft, Keys, RootPlan, TargetPlan, TargetsPlan};
use crate::tuf::secret_key::SecretKey;
use crate::tuf::session::{Session, Want};
use crate::tuf::statement::{self, SignedArtifact, SignedComponent, Statement};
use crate::tuf::trusted::{DIRECTOR, Refused};

pub const NOW: Timestamp = Timestamp(1_795_000_000_000);
pub const DEVICE: &str = "default/gateway-7";
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// All keys. `online`, `director` are on the server; the others never are.
#[derive(Debug)]
pub struct Owner {
    pub root: Vec<SecretKey>,
    pub targets: SecretKey,
    pub channel: SecretKey,
    pub online: SecretKey,
    pub director: SecretKey,
}

/// What is served, by name. Attackers write here.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A device: what it keeps, and its clock.
#[derive(Debug, Clone)]
pub struct Device {
    pub kept: BTreeMap<String, Vec<u8>>,
    pub now: Timestamp,
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32]).expect("any 32 bytes are a key")
}

impl Default for Owner {
    fn default() -> Self {
        Self::new()
    }
}

impl Owner {
    /// Always the same keys: what is tried can be tried again.
    #[must_use]
    pub fn new() -> Self {
        let root = (1..=3).map(key).collect();
        Self { root, targets: key(10), channel: key(11), online: key(12), director: key(13) }
    }

    pub fn root_plan(&self, version: u64) -> RootPlan {
        RootPlan {
            version,
            expires: NOW.plus(YEAR),
            root: Keys { keys: self.root.iter().map(SecretKey::public).collect(), threshold: 2 },
            targets: one(&self.targets),
            snapshot: one(&self.online),
            timestamp: one(&self.online),
        }
    }

    pub fn top_plan(&self, version: u64) -> TargetsPlan {
        let channel = DelegationPlan {
            role: statement::channel_role("stable"),
            keys: one(&self.channel),
            paths: vec!["stable/*".into()],
        };
        let director =
            DelegationPlan { role: DIRECTOR.into(), keys: one(&self.director), paths: vec!["director/*".into()] };
        TargetsPlan {
            version,
            expires: NOW.plus(YEAR),
            targets: BTreeMap::new(),
            delegations: vec![channel, director],
            device: None,
        }
    }

    /// Releases of a channel.
    pub fn channel_plan(&self, version: u64, releases: &[&Statement]) -> TargetsPlan {
        let target = |release: &&Statement| {
            let plan = TargetPlan { bytes: release.bytes(), custom: release.custom() };
            (statement::release_path("stable", &release.release, &release.version), plan)
        };
        let targets = releases.iter().map(target).collect();
        TargetsPlan { version, expires: NOW.plus(YEAR), targets, delegations: Vec::new(), device: None }
    }

    /// What the director says to a device.
    pub fn director_plan(&self, version: u64, device: &str, release: &Statement) -> TargetsPlan {
        let plan = self.channel_plan(version, &[release]);
        TargetsPlan { device: Some(device.into()), expires: NOW.plus(WEEK), ..plan }
    }

    /// A whole repository at this version of everything but the root, which is version 1.
    pub fn publish(&self, version: u64, releases: &[&Statement]) -> Repository {
        let mut repository = Repository::default();
        let root = sign(&draft(self.root_plan(1).draft()), &[&self.root[0], &self.root[1]]);
        let top = sign(&draft(self.top_plan(version).draft()), &[&self.targets]);
        let channel = sign(&draft(self.channel_plan(version, releases).draft()), &[&self.channel]);
        repository.put("1.root.json", root);
        repository.put(&format!("{version}.targets.json"), top.clone());
        repository.put(&format!("{version}.channel-stable.json"), channel.clone());
        repository.announce(&self.online, version, [("targets", version, top), ("channel-stable", version, channel)]);
        if let Some(release) = releases.last() {
            let director = draft(self.director_plan(version, DEVICE, release).draft());
            repository.put("director.json", sign(&director, &[&self.director]));
        }
        repository
    }
}

impl Repository {
    pub fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(name.into(), bytes);
    }

    /// Writes snapshot and timestamp of a version over these roles: what whoever has the online key can do.
    pub fn announce<const N: usize>(&mut self, online: &SecretKey, version: u64, roles: [(&str, u64, Vec<u8>); N]) {
        let roles = roles.into_iter().map(|(role, version, bytes)| (role.to_owned(), (version, bytes))).collect();
        let snapshot = sign(&draft(make::snapshot(version, NOW.plus(WEEK), &roles)), &[online]);
        self.announce_snapshot(online, version, (version, snapshot));
    }

    pub fn announce_snapshot(&mut self, online: &SecretKey, version: u64, snapshot: (u64, Vec<u8>)) {
        let timestamp = make::timestamp(version, NOW.plus(WEEK), (snapshot.0, &snapshot.1));
        self.put("timestamp.json", sign(&draft(timestamp), &[online]));
        self.put(&format!("{}.snapshot.json", snapshot.0), snapshot.1);
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        self.files.get(name).cloned().unwrap_or_default()
    }
}

impl Device {
    /// A device that was made with the first root.
    pub fn new(repository: &Repository) -> Self {
        let kept = BTreeMap::from([("root.json".to_owned(), repository.file("1.root.json"))]);
        Self { kept, now: NOW }
    }

    /// A device that has seen this repository.
    pub fn that_saw(repository: &Repository) -> Self {
        let mut device = Self::new(repository);
        device.refresh(repository).expect("an honest repository is believed");
        device
    }

    pub fn refresh(&mut self, repository: &Repository) -> Result<Session, Refused> {
        let root = self.kept.get("root.json").cloned().unwrap_or_default();
        let mut session = Session::start(&root, self.now, Spelling::Exact)?;
        self.go_on(&mut session, repository)?;
        Ok(session)
    }

    /// Whether the device would install this release: its channel and its director vouch for it.
    pub fn would_install(&mut self, repository: &Repository, order: &Statement) -> Result<bool, Refused> {
        let mut session = self.refresh(repository)?;
        session.find(&statement::release_path("stable", &order.release, &order.version));
        self.go_on(&mut session, repository)?;
        let found: Option<Target> = session.found().map(|(target, _)| target.clone());
        let director = repository.file("director.json");
        let kept = self.kept.get("director.json").map(Vec::as_slice);
        let said = session.trusted().take_director(&director, DEVICE, kept, self.now)?;
        self.kept.insert("director.json".into(), director);
        let path = statement::release_path("stable", &order.release, &order.version);
        let agreed = said.targets.get(&path).is_some_and(|target| order.is(target));
        Ok(agreed && found.is_some_and(|target| order.is(&target)))
    }

    fn go_on(&mut self, session: &mut Session, repository: &Repository) -> Result<(), Refused> {
        loop {
            let found = match session.want() {
                Want::Done => return Ok(()),
                Want::Load { file } => self.kept.get(&file).cloned(),
                Want::Fetch { file, bytes_max } => {
                    repository.files.get(&file).filter(|bytes| bytes.len() as u64 <= bytes_max).cloned()
                }
                Want::Keep { file, bytes } => {
                    self.kept.insert(file, bytes);
                    None
                }
            };
            session.answer(found)?;
        }
    }
}

/// A release with one artifact, whose content is its name.
pub fn release(name: &str, counter: u64) -> Statement {
    let artifact =
        SignedArtifact { file_name: "image".into(), size: 1000 + counter, digest: Sha256([counter as u8; 32]) };
    let component = SignedComponent {
        name: "os".into(),
        version: format!("{counter}.0.0"),
        metadata: BTreeMap::new(),
        artifacts: vec![artifact],
    };
    Statement { release: name.into(), version: format!("{counter}.0.0"), counter, components: vec![component] }
}

pub fn one(key: &SecretKey) -> Keys {
    Keys { keys: vec![key.public()], threshold: 1 }
}

pub fn draft(made: Result<Draft, make::MakeError>) -> Draft {
    made.expect("there are no fractions in it")
}

pub fn sign(draft: &Draft, keys: &[&SecretKey]) -> Vec<u8> {
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(draft)).collect();
    draft.document(&signatures)
}
