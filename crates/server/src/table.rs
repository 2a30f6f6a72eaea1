//! What is every device told, without touching the disk?
//!
//! The device table answers polls from memory. It is a cache of the store: the writer's thread brings it up to date
//! after each commit and before the commit is answered, and it may be dropped and refilled at any moment. Reading
//! takes no lock; the maps are lock-free.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use muster_domain::device::DeviceState;
use muster_domain::identity::Keys;
use muster_domain::project::Settings;
use muster_domain::standing::{Answer, Link, Standing, answer};
use muster_store::Changes;
use muster_store::projects::Project;
use muster_vocab::{ActionId, DeviceId, ProjectId, Timestamp};
use papaya::HashMap;

use crate::waiting::Waiting;

/// All projects and their devices.
#[derive(Debug, Default)]
pub struct Table {
    projects: HashMap<Box<str>, Arc<Tenant>>,
    /// Devices that wait for a change of their answer.
    pub waiting: Waiting,
}

/// One project: what its devices' edges need to know of it.
#[derive(Debug)]
pub struct Tenant {
    pub id: ProjectId,
    pub name: String,
    pub settings: Settings,
    pub gateway_token: Option<[u8; 32]>,
    /// Shared by all versions of the project's settings.
    devices: Arc<HashMap<Box<str>, Entry>>,
}

/// One device's part: about 100 bytes beside its name.
#[derive(Debug)]
struct Entry {
    device: DeviceId,
    token: Option<[u8; 32]>,
    keys: Option<Box<Keys>>,
    state: DeviceState,
    attributes_requested: bool,
    twin: bool,
    link: Link,
    /// The device's own interval; 0 is the project's.
    interval_s: u32,
    /// Told instead while a window is near; 0 otherwise.
    shortened_s: u32,
    installed: Option<ActionId>,
    /// Time alone changes the answer then.
    valid_until: i64,
    last_seen: AtomicI64,
    /// `last_seen` is newer than the store's.
    seen_unsaved: AtomicBool,
}

/// A device as a poll finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    pub device: DeviceId,
    pub state: DeviceState,
    pub token: Option<[u8; 32]>,
    pub keys: Option<Keys>,
    pub attributes_requested: bool,
    /// The store has a command for it, or a configuration that it has not tried.
    pub twin: bool,
    pub link: Link,
    pub sleep_s: u32,
    pub installed: Option<ActionId>,
    /// Time alone changes the answer then.
    pub valid_until: Option<Timestamp>,
    /// The answer is out of date: have it worked out again.
    pub stale: bool,
}

impl Table {
    #[must_use]
    pub fn new(waiting: Waiting) -> Self {
        Self { projects: HashMap::default(), waiting }
    }

    /// Brings the table up to date with a commit. Called by the writer's thread, in order.
    pub fn apply(&self, changes: &Changes, now: Timestamp) {
        for project in &changes.projects {
            self.put_project(project);
        }
        let guard = self.projects.pin();
        for standing in &changes.devices {
            if let Some((_, tenant)) = guard.iter().find(|(_, tenant)| tenant.id == standing.project) {
                tenant.put(standing, now);
            }
        }
        for (project, name) in &changes.gone {
            if let Some((_, tenant)) = guard.iter().find(|(_, tenant)| tenant.id == *project) {
                let gone = tenant.devices.pin().remove(name.as_str()).map(|entry| entry.device);
                self.waiting.wake(gone);
            }
        }
        self.waiting.wake(changes.devices.iter().map(|standing| standing.device));
    }

    pub fn put_project(&self, project: &Project) {
        let projects = self.projects.pin();
        let folded: Box<str> = project.name.to_lowercase().into();
        let devices = projects.get(&folded).map_or_else(Arc::default, |tenant| tenant.devices.clone());
        let tenant = Tenant {
            id: project.id,
            name: project.name.clone(),
            settings: project.settings.clone(),
            gateway_token: project.gateway_token,
            devices,
        };
        projects.insert(folded, Arc::new(tenant));
    }

    /// By name without regard to case, as hawkBit's tenants are.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let projects = self.projects.pin();
        projects.get(name).or_else(|| projects.get(name.to_lowercase().as_str())).cloned()
    }

    #[must_use]
    pub fn tenant_by_id(&self, id: ProjectId) -> Option<Arc<Tenant>> {
        self.projects.pin().values().find(|tenant| tenant.id == id).cloned()
    }

    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.projects.pin().values().cloned().collect()
    }
}

impl Tenant {
    /// The device has been heard of: it has proven that it is the one.
    pub fn saw(&self, name: &str, now: Timestamp) {
        if let Some(entry) = self.devices.pin().get(name) {
            entry.last_seen.store(now.0, Ordering::Relaxed);
            entry.seen_unsaved.store(true, Ordering::Relaxed);
        }
    }

    /// What the device is told now.
    #[must_use]
    pub fn look(&self, name: &str, now: Timestamp) -> Option<Polled> {
        self.devices.pin().get(name).map(|entry| self.read(entry, now))
    }

    /// When the device was last heard of, newer than the store knows.
    #[must_use]
    pub fn last_seen(&self, name: &str) -> Option<Timestamp> {
        let at = self.devices.pin().get(name)?.last_seen.load(Ordering::Relaxed);
        (at > 0).then_some(Timestamp(at))
    }

    #[must_use]
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// The seconds between two polls of a device with this own interval.
    #[must_use]
    pub fn interval_s(&self, own_s: u32) -> u32 {
        if own_s == 0 { self.settings.poll_interval_s } else { own_s }
    }

    /// Who was seen since the last call, for writing down: in the order in which they lie on the disk, so that
    /// devices that share a page are written together.
    #[must_use]
    pub fn take_seen(&self) -> Vec<(DeviceId, Timestamp)> {
        let devices = self.devices.pin();
        let unsaved = devices.values().filter(|entry| entry.seen_unsaved.swap(false, Ordering::Relaxed));
        let seen = unsaved.map(|entry| (entry.device, Timestamp(entry.last_seen.load(Ordering::Relaxed))));
        let mut seen: Vec<_> = seen.collect();
        seen.sort_unstable();
        seen
    }

    pub fn put(&self, standing: &Standing, now: Timestamp) {
        let effective = Standing { poll_interval_s: self.interval_s(standing.poll_interval_s), ..standing.clone() };
        let Answer { link, sleep_s, valid_until } = answer(&effective, now);
        let shortened_s = if sleep_s == effective.poll_interval_s { 0 } else { sleep_s };
        let devices = self.devices.pin();
        let before = devices.get(standing.name.as_str());
        let seen = before.map(|entry| entry.last_seen.load(Ordering::Relaxed));
        let unsaved = before.is_some_and(|entry| entry.seen_unsaved.load(Ordering::Relaxed));
        let entry = Entry {
            device: standing.device,
            token: standing.token,
            keys: standing.keys.map(Box::new),
            state: standing.state,
            attributes_requested: standing.attributes_requested,
            twin: standing.twin,
            link,
            interval_s: standing.poll_interval_s,
            shortened_s,
            installed: standing.installed,
            valid_until: valid_until.map_or(i64::MAX, |at| at.0),
            last_seen: AtomicI64::new(seen.or(standing.last_seen.map(|at| at.0)).unwrap_or(0)),
            seen_unsaved: AtomicBool::new(unsaved),
        };
        devices.insert(standing.name.as_str().into(), entry);
    }

    fn read(&self, entry: &Entry, now: Timestamp) -> Polled {
        Polled {
            device: entry.device,
            state: entry.state,
            token: entry.token,
            keys: entry.keys.as_deref().copied(),
            attributes_requested: entry.attributes_requested,
            twin: entry.twin,
            link: entry.link,
            sleep_s: if entry.shortened_s == 0 { self.interval_s(entry.interval_s) } else { entry.shortened_s },
            installed: entry.installed,
            valid_until: (entry.valid_until != i64::MAX).then_some(Timestamp(entry.valid_until)),
            stale: now.0 >= entry.valid_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn table() -> Table {
        let table = Table::default();
        table.put_project(&Project {
            id: ProjectId(1),
            name: "Default".into(),
            settings: Settings::default(),
            gateway_token: None,
            revision: 1,
        });
        table
    }

    fn standing(name: &str) -> Standing {
        Standing {
            device: DeviceId(7),
            project: ProjectId(1),
            name: name.into(),
            state: DeviceState::Accepted,
            token: None,
            keys: None,
            attributes_requested: true,
            installed: None,
            poll_interval_s: 0,
            last_seen: None,
            twin: false,
            open: Vec::new(),
        }
    }

    #[test]
    fn a_project_is_found_without_regard_to_case() {
        let table = table();
        assert!(table.tenant("DEFAULT").is_some() && table.tenant("default").is_some());
        assert!(table.tenant("other").is_none());
    }

    #[test]
    fn a_device_changed_by_a_commit_keeps_when_it_was_seen() {
        let table = table();
        let tenant = table.tenant("default").unwrap();
        tenant.put(&standing("sn-1"), NOW);
        assert_eq!(tenant.look("sn-1", NOW).unwrap().sleep_s, 300);
        assert_eq!(tenant.last_seen("sn-1"), None);
        tenant.saw("sn-1", NOW);
        let changed = Standing { attributes_requested: false, ..standing("sn-1") };
        table.apply(&Changes { devices: vec![changed], ..Changes::default() }, NOW);
        assert_eq!(tenant.last_seen("sn-1"), Some(NOW));
        assert_eq!(tenant.take_seen(), [(DeviceId(7), NOW)]);
        assert_eq!(tenant.take_seen(), []);
    }

    #[test]
    fn a_deleted_device_is_unknown_at_once() {
        let table = table();
        let tenant = table.tenant("default").unwrap();
        tenant.put(&standing("sn-1"), NOW);
        table.apply(&Changes { gone: vec![(ProjectId(1), "sn-1".into())], ..Changes::default() }, NOW);
        assert_eq!(tenant.look("sn-1", NOW), None);
    }
}
