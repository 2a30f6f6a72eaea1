//! Which document is needed next?
//!
//! Without IO: [`Session::want`] says what to load, to fetch or to keep, [`Session::answer`] takes what came of it. The
//! caller has to make `Keep` durable before it answers, so a power cut between any two steps leaves documents that the
//! next session starts from.

use std::collections::BTreeSet;

use muster_vocab::{Timestamp, limit};

use crate::tuf::document::{Spelling, Target};
use crate::tuf::pattern;
use crate::tuf::trusted::{Refused, Taken, Trusted};

/// What the session waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A document that was kept earlier; nothing if there is none, or none that can be read.
    Load { file: String },
    /// A document of the repository; nothing if there is none.
    Fetch { file: String, bytes_max: u64 },
    /// These bytes, as they were fetched, under this name.
    Keep { file: String, bytes: Vec<u8> },
    /// Nothing more: all is fresh, and the search is over.
    Done,
}

/// A refresh, and searches after it.
#[derive(Debug)]
pub struct Session {
    trusted: Trusted,
    now: Timestamp,
    step: Step,
    roots_left: u32,
    search: Option<Search>,
}

#[derive(Debug)]
enum Step {
    FetchRoot,
    LoadTimestamp,
    FetchTimestamp,
    LoadSnapshot,
    FetchSnapshot,
    LoadTargets(Edge),
    FetchTargets(Edge),
    Keep { file: String, bytes: Vec<u8>, then: Box<Step> },
    Done,
}

/// A role, and the one that delegates to it.
#[derive(Debug, Clone)]
struct Edge {
    role: String,
    delegator: String,
}

#[derive(Debug)]
struct Search {
    path: String,
    /// Roles to visit, the next one last.
    ahead: Vec<Edge>,
    visited: BTreeSet<String>,
    found: Option<(Target, String)>,
}

impl Session {
    /// Starts from the root that is trusted, at this time: all of the session has one time (5.1).
    ///
    /// # Errors
    /// If the root doesn't hold by its own keys.
    pub fn start(root: &[u8], now: Timestamp, spelling: Spelling) -> Result<Self, Refused> {
        let trusted = Trusted::start(root, spelling)?;
        Ok(Self { trusted, now, step: Step::FetchRoot, roots_left: limit::TUF_ROOTS_MAX, search: None })
    }

    #[must_use]
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// What to do next.
    #[must_use]
    pub fn want(&self) -> Want {
        match &self.step {
            Step::FetchRoot => {
                let next = self.trusted.root().version.saturating_add(1);
                Want::Fetch { file: format!("{next}.root.json"), bytes_max: limit::TUF_ROOT_BYTES_MAX }
            }
            Step::LoadTimestamp => Want::Load { file: "timestamp.json".into() },
            Step::FetchTimestamp => {
                Want::Fetch { file: "timestamp.json".into(), bytes_max: limit::TUF_TIMESTAMP_BYTES_MAX }
            }
            Step::LoadSnapshot => Want::Load { file: "snapshot.json".into() },
            Step::FetchSnapshot => {
                let pin = self.trusted.snapshot_wanted().ok();
                self.fetch("snapshot", pin, limit::TUF_SNAPSHOT_BYTES_MAX)
            }
            Step::LoadTargets(edge) => Want::Load { file: file_of(&edge.role) },
            Step::FetchTargets(edge) => {
                let pin = self.trusted.targets_wanted(&edge.role).ok();
                self.fetch(&edge.role, pin, limit::TUF_TARGETS_BYTES_MAX)
            }
            Step::Keep { file, bytes, .. } => Want::Keep { file: file.clone(), bytes: bytes.clone() },
            Step::Done => Want::Done,
        }
    }

    /// Takes what came of the last want: the bytes, or nothing.
    ///
    /// # Errors
    /// If the session is over, because a document is refused or missing. What was kept until then stays good.
    pub fn answer(&mut self, found: Option<Vec<u8>>) -> Result<(), Refused> {
        // Left in place by every way out with an error: a session that failed asks for nothing more.
        let step = std::mem::replace(&mut self.step, Step::Done);
        self.step = match step {
            Step::FetchRoot => self.got_root(found)?,
            Step::LoadTimestamp => {
                // One that today's keys didn't sign is no floor (5.3.11), and needs no other treatment.
                let _ = found.map(|bytes| self.trusted.remember_timestamp(&bytes));
                Step::FetchTimestamp
            }
            Step::FetchTimestamp => {
                let bytes = needed(found, "timestamp.json")?;
                match self.trusted.take_timestamp(&bytes, self.now)? {
                    Taken::New => keep("timestamp", bytes, Step::LoadSnapshot),
                    Taken::Same => Step::LoadSnapshot,
                }
            }
            Step::LoadSnapshot => {
                let kept = found.map(|bytes| self.trusted.remember_snapshot(&bytes, self.now));
                if matches!(kept, Some(Ok(true))) { self.top() } else { Step::FetchSnapshot }
            }
            Step::FetchSnapshot => {
                let bytes = needed(found, "snapshot.json")?;
                self.trusted.take_snapshot(&bytes, self.now)?;
                keep("snapshot", bytes, self.top())
            }
            Step::LoadTargets(edge) => {
                let taken = found.map(|bytes| self.take(&bytes, &edge));
                if matches!(taken, Some(Ok(()))) { self.visit(&edge) } else { self.wanted(edge)? }
            }
            Step::FetchTargets(edge) => {
                let bytes = needed(found, &file_of(&edge.role))?;
                self.take(&bytes, &edge)?;
                keep(&edge.role, bytes, self.visit(&edge))
            }
            Step::Keep { then, .. } => *then,
            Step::Done => Step::Done,
        };
        Ok(())
    }

    /// Looks for a target, once the refresh is done: in the order of the delegations, depth first (5.6.7).
    pub fn find(&mut self, path: &str) {
        assert!(matches!(self.step, Step::Done), "a search comes after the refresh");
        let first = Edge { role: "targets".into(), delegator: "root".into() };
        self.search = Some(Search { path: path.to_owned(), ahead: Vec::new(), visited: BTreeSet::new(), found: None });
        self.step = self.visit(&first);
    }

    /// What the last search found, and the role that says it.
    #[must_use]
    pub fn found(&self) -> Option<(&Target, &str)> {
        let search = self.search.as_ref().filter(|_| matches!(self.step, Step::Done))?;
        search.found.as_ref().map(|(target, role)| (target, role.as_str()))
    }

    fn got_root(&mut self, found: Option<Vec<u8>>) -> Result<Step, Refused> {
        let Some(bytes) = found else {
            self.trusted.root_is_fresh(self.now)?;
            return Ok(Step::LoadTimestamp);
        };
        self.trusted.take_root(&bytes)?;
        self.roots_left = self.roots_left.saturating_sub(1);
        let then = if self.roots_left > 0 {
            Step::FetchRoot
        } else {
            // The next session goes on from here.
            self.trusted.root_is_fresh(self.now)?;
            Step::LoadTimestamp
        };
        Ok(keep("root", bytes, then))
    }

    fn top(&self) -> Step {
        Step::LoadTargets(Edge { role: "targets".into(), delegator: "root".into() })
    }

    fn take(&mut self, bytes: &[u8], edge: &Edge) -> Result<(), Refused> {
        self.trusted.take_targets(bytes, &edge.role, &edge.delegator, self.now)
    }

    /// A role that the snapshot doesn't know is not asked for.
    fn wanted(&self, edge: Edge) -> Result<Step, Refused> {
        self.trusted.targets_wanted(&edge.role)?;
        Ok(Step::FetchTargets(edge))
    }

    /// Looks into a role that is believed, and says where to go from there.
    fn visit(&mut self, edge: &Edge) -> Step {
        let Some(search) = &mut self.search else { return Step::Done };
        let Some(targets) = self.trusted.targets(&edge.role, &edge.delegator) else {
            return Step::LoadTargets(edge.clone());
        };
        if let Some(target) = targets.targets.get(&search.path) {
            search.found = Some((target.clone(), edge.role.clone()));
            return Step::Done;
        }
        search.visited.insert(edge.role.clone());
        let mut next = Vec::new();
        for delegation in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
            if pattern::covers(delegation, &search.path) {
                next.push(Edge { role: delegation.name.clone(), delegator: edge.role.clone() });
                if delegation.terminating {
                    search.ahead.clear();
                    break;
                }
            }
        }
        search.ahead.extend(next.into_iter().rev());
        while let Some(edge) = search.ahead.pop() {
            if search.visited.len() >= limit::TUF_ROLES_VISITED_MAX {
                break;
            }
            if !search.visited.contains(&edge.role) {
                return if self.trusted.targets(&edge.role, &edge.delegator).is_some() {
                    self.visit(&edge)
                } else {
                    Step::LoadTargets(edge)
                };
            }
        }
        Step::Done
    }

    fn fetch(&self, role: &str, pin: Option<&crate::tuf::document::Pin>, bytes_max: u64) -> Want {
        let pin = pin.expect("this step is reached only when it is known");
        let file = file_of(role);
        let file = if self.trusted.root().consistent_snapshot { format!("{}.{file}", pin.version) } else { file };
        Want::Fetch { file, bytes_max: pin.length.map_or(bytes_max, |length| length.min(bytes_max)) }
    }
}

/// The file in which a role is kept, and by which it is fetched: safe in a path, whatever the role is called.
#[must_use]
pub fn file_of(role: &str) -> String {
    format!("{}.json", quoted(role, ""))
}

/// Where a target is fetched from, below the targets' address (TUF 5.7.2); `None` without consistent snapshots needs
/// no hash.
#[must_use]
pub fn place_of(path: &str, target: &Target, consistent_snapshot: bool) -> String {
    let path = quoted(path, "/");
    let hash = target.hashes.get("sha256").or_else(|| target.hashes.values().next());
    let Some(hash) = hash.filter(|_| consistent_snapshot) else { return path };
    match path.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{hash}.{name}"),
        None => format!("{hash}.{path}"),
    }
}

/// Percent-encoded but for letters, digits, `-._~` and what is said.
fn quoted(text: &str, plain: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || plain.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn needed(found: Option<Vec<u8>>, name: &str) -> Result<Vec<u8>, Refused> {
    found.ok_or_else(|| Refused::Absent(name.to_owned()))
}

fn keep(role: &str, bytes: Vec<u8>, then: Step) -> Step {
    Step::Keep { file: file_of(role), bytes, then: Box::new(then) }
}
