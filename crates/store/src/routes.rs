//! By which ways beside its own bytes can an artifact be fetched, and which are to be made?

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::release::Release;
use muster_vocab::{ProjectId, ReleaseId, Sha256, Timestamp, limit};
use rusqlite::Row;

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// What came of making one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The digest and size of what was made.
    Made(Sha256, u64),
    /// It would not spare the device anything; nothing is kept.
    NotSmaller,
    /// It is tried again when the server starts.
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The artifact that it leads to.
    pub digest: Sha256,
    /// The bytes that it starts from; none: the whole, compressed.
    pub from: Option<Sha256>,
    pub outcome: Outcome,
    pub made_at: Timestamp,
}

/// One that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRoute {
    pub project: ProjectId,
    pub digest: Sha256,
    pub size: u64,
    /// Digest and size.
    pub from: Option<(Sha256, u64)>,
    /// Two deltas that lead there, one after the other: what they are stored as. It is made from them.
    pub chain: Option<(Sha256, Sha256)>,
    /// How many devices it is for.
    pub devices: u64,
}

/// Releases that devices may be brought to: published, and new, in a channel, or in a rollout that goes on.
const WANTED: &str = "SELECT r.project_id, r.id FROM release r WHERE r.state = 'published' AND (r.published_at >= ?1
     OR EXISTS (SELECT 1 FROM channel c WHERE c.release_id = r.id)
     OR EXISTS (SELECT 1 FROM rollout o WHERE o.release_id = r.id
                AND o.state NOT IN ('denied', 'rolled_back', 'aborted', 'finished')))
     AND EXISTS (SELECT 1 FROM device_queue q WHERE q.project_id = r.project_id)
     ORDER BY r.published_at DESC, r.id DESC LIMIT ?2";

impl View<'_> {
    /// All known ways to an artifact, the compressed whole first.
    pub fn routes(&self, project: ProjectId, digest: Sha256) -> Result<Vec<Route>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT digest, from_digest, outcome, reason, made, size, made_at FROM route
                 WHERE project_id = ?1 AND digest = ?2 ORDER BY from_digest",
            )
            .and_then(|mut it| it.query_map((project.0, digest.0), read)?.collect())
            .doing("ways to an artifact")
    }

    pub fn route(&self, project: ProjectId, digest: Sha256, from: Option<Sha256>) -> Result<Option<Route>, StoreError> {
        Ok(self.routes(project, digest)?.into_iter().find(|route| route.from == from))
    }

    /// Those that are to be made next: for the newest releases first, and from what most devices run.
    ///
    /// Costs a look at each device of Muster's own agent: some 100 ms for 100,000.
    pub fn due_routes(&self, now: Timestamp, most: usize) -> Result<Vec<DueRoute>, StoreError> {
        let running = self.running_releases()?;
        let mut due = Vec::new();
        for (project, id) in self.wanted_releases(now)? {
            let release = self.release(project, id)?;
            for component in &release.components {
                for artifact in &component.artifacts {
                    if self.route(project, artifact.digest, None)?.is_none() {
                        let size = self.artifact(project, artifact.digest)?.size;
                        let route =
                            DueRoute { project, digest: artifact.digest, size, from: None, chain: None, devices: 0 };
                        due.push(route);
                    }
                }
            }
            let sources = running.get(&project).map(Vec::as_slice).unwrap_or_default();
            let sources = sources.iter().filter(|(source, _)| *source != id).take(limit::DELTA_CHAINS_MAX);
            for (rank, (source, devices)) in sources.enumerate() {
                let is_direct = rank < limit::DELTA_SOURCES_MAX;
                let both = (&release, &self.release(project, *source)?);
                self.due_deltas(project, both, (*devices, is_direct), &mut due)?;
            }
            if due.len() >= most {
                break;
            }
        }
        due.truncate(most);
        Ok(due)
    }

    /// Artifacts that there are routes to although no device may be brought to them any more, and no chain leads over
    /// them.
    pub fn unwanted_routes(&self, now: Timestamp) -> Result<Vec<(ProjectId, Sha256)>, StoreError> {
        let mut wanted = BTreeSet::new();
        for (project, id) in self.wanted_releases(now)? {
            wanted.extend(digests(&self.release(project, id)?).map(|digest| (project, digest)));
        }
        let routed: Vec<(ProjectId, Sha256)> = self
            .conn
            .prepare_cached("SELECT DISTINCT project_id, digest FROM route")
            .and_then(|mut it| it.query_map([], |row| Ok((ProjectId(row.get(0)?), Sha256(row.get(1)?))))?.collect())
            .doing("artifacts with routes")?;
        if routed.iter().all(|one| wanted.contains(one)) {
            return Ok(Vec::new());
        }
        for (project, releases) in self.running_releases()? {
            for (id, _) in releases.into_iter().take(limit::DELTA_SOURCES_MAX) {
                wanted.extend(digests(&self.release(project, id)?).map(|digest| (project, digest)));
            }
        }
        Ok(routed.into_iter().filter(|one| !wanted.contains(one)).collect())
    }

    fn wanted_releases(&self, now: Timestamp) -> Result<Vec<(ProjectId, ReleaseId)>, StoreError> {
        let new = now.minus(limit::DELTA_RELEASE_NEW);
        self.conn
            .prepare_cached(WANTED)
            .and_then(|mut it| {
                it.query_map((new.0, limit::DELTA_RELEASES_MAX), |row| {
                    Ok((ProjectId(row.get(0)?), ReleaseId(row.get(1)?)))
                })?
                .collect()
            })
            .doing("releases that devices may be brought to")
    }

    /// What Muster's own agents run, what most of them run first.
    fn running_releases(&self) -> Result<BTreeMap<ProjectId, Vec<(ReleaseId, u64)>>, StoreError> {
        let rows: Vec<(ProjectId, ReleaseId, u64)> = self
            .conn
            .prepare_cached(
                "SELECT d.project_id, d.installed_release_id, count(*) AS devices FROM device_queue q
                 JOIN device d ON d.id = q.device_id WHERE d.installed_release_id IS NOT NULL
                 GROUP BY d.project_id, d.installed_release_id ORDER BY devices DESC, d.installed_release_id DESC",
            )
            .and_then(|mut it| {
                it.query_map([], |row| {
                    Ok((ProjectId(row.get(0)?), ReleaseId(row.get(1)?), row.get::<_, i64>(2)?.cast_unsigned()))
                })?
                .collect()
            })
            .doing("what devices run")?;
        let mut running: BTreeMap<ProjectId, Vec<(ReleaseId, u64)>> = BTreeMap::new();
        for (project, release, devices) in rows {
            running.entry(project).or_default().push((release, devices));
        }
        Ok(running)
    }

    fn due_deltas(
        &self,
        project: ProjectId,
        (to, from): (&Release, &Release),
        (devices, is_direct): (u64, bool),
        due: &mut Vec<DueRoute>,
    ) -> Result<(), StoreError> {
        for (new, old) in pairs(to, from) {
            let is_listed = due.iter().any(|one| one.digest == new && one.from.is_some_and(|(from, _)| from == old));
            if is_listed || self.route(project, new, Some(old))?.is_some() {
                continue;
            }
            let chain = if is_direct { None } else { self.chain(project, new, old)? };
            if chain.is_none() && !is_direct {
                continue;
            }
            let (size, old_size) = (self.artifact(project, new)?.size, self.artifact(project, old)?.size);
            due.push(DueRoute { project, digest: new, size, from: Some((old, old_size)), chain, devices });
        }
        Ok(())
    }

    /// The two smallest deltas that lead there by way of a version between.
    fn chain(&self, project: ProjectId, new: Sha256, old: Sha256) -> Result<Option<(Sha256, Sha256)>, StoreError> {
        let mut best: Option<(u64, (Sha256, Sha256))> = None;
        for second in self.routes(project, new)? {
            let (Some(between), Outcome::Made(second, second_size)) = (second.from, second.outcome) else { continue };
            let first = self.route(project, between, Some(old))?.map(|first| first.outcome);
            let Some(Outcome::Made(first, first_size)) = first else { continue };
            let size = first_size + second_size;
            if best.is_none_or(|(least, _)| size < least) {
                best = Some((size, (first, second)));
            }
        }
        Ok(best.map(|(_, chain)| chain))
    }
}

impl Tx<'_> {
    /// Forgets it if the artifact, or what it starts from, is gone meanwhile.
    pub fn save_route(&mut self, project: ProjectId, route: &Route) -> Result<(), StoreError> {
        for digest in std::iter::once(route.digest).chain(route.from) {
            match self.artifact(project, digest) {
                Ok(_) => {}
                Err(StoreError::Missing { .. }) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
        let (outcome, reason, made, size) = match &route.outcome {
            Outcome::Made(digest, size) => ("made", "", Some(digest.0), size.cast_signed()),
            Outcome::NotSmaller => ("not_smaller", "", None, 0),
            Outcome::Failed(why) => ("failed", why.as_str(), None, 0),
        };
        let from = route.from.map_or_else(Vec::new, |from| from.0.to_vec());
        self.conn
            .execute(
                "INSERT OR REPLACE INTO route (project_id, digest, from_digest, outcome, reason, made, size, made_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (project.0, route.digest.0, from, outcome, reason, made, size, route.made_at.0),
            )
            .doing("a way to an artifact")?;
        Ok(())
    }

    /// There may be routes to make that nobody asked for before.
    pub fn touch_routes(&mut self) {
        self.own.routes = true;
    }

    pub fn delete_failed_routes(&mut self) -> Result<(), StoreError> {
        self.conn.execute("DELETE FROM route WHERE outcome = 'failed'", ()).doing("ways that failed")?;
        Ok(())
    }

    pub fn delete_routes_to(&mut self, project: ProjectId, digest: Sha256) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM route WHERE project_id = ?1 AND digest = ?2", (project.0, digest.0))
            .doing("ways to an artifact")?;
        Ok(())
    }
}

/// The artifacts of both releases that are one another's new and old version: same component, same place in it.
pub fn pairs<'a>(to: &'a Release, from: &'a Release) -> impl Iterator<Item = (Sha256, Sha256)> + 'a {
    to.components.iter().flat_map(|new| {
        let old = from.components.iter().find(|old| old.name == new.name);
        let olds = old.map(|old| old.artifacts.as_slice()).unwrap_or_default();
        new.artifacts.iter().zip(olds).map(|(new, old)| (new.digest, old.digest)).filter(|(new, old)| new != old)
    })
}

fn digests(release: &Release) -> impl Iterator<Item = Sha256> + '_ {
    release.components.iter().flat_map(|component| component.artifacts.iter().map(|artifact| artifact.digest))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Route> {
    let from: Vec<u8> = row.get(1)?;
    let outcome: String = row.get(2)?;
    let made: Option<[u8; 32]> = row.get(4)?;
    let outcome = match (outcome.as_str(), made) {
        ("made", Some(digest)) => Outcome::Made(Sha256(digest), row.get::<_, i64>(5)?.cast_unsigned()),
        ("not_smaller", _) => Outcome::NotSmaller,
        _ => Outcome::Failed(row.get(3)?),
    };
    Ok(Route {
        digest: Sha256(row.get(0)?),
        from: <[u8; 32]>::try_from(from).ok().map(Sha256),
        outcome,
        made_at: Timestamp(row.get(6)?),
    })
}

#[cfg(test)]
mod tests {
    use muster_domain::device::{DeviceState, Installed};
    use muster_domain::release::{Component, ComponentArtifact, ReleaseState};
    use muster_vocab::{ActionId, ModuleId, Name};

    use super::*;
    use crate::artifacts::Artifact;
    use crate::devices::NewDevice;
    use crate::queue::Queue;
    use crate::sample::{NOW, release, rollout, store};

    fn digest(number: u8) -> Sha256 {
        Sha256([number; 32])
    }

    /// `os` with one artifact whose bytes are all this number; published at `NOW`.
    fn publish(tx: &mut Tx<'_>, project: ProjectId, version: u8) -> ReleaseId {
        let artifact = Artifact {
            id: 0,
            digest: digest(version),
            name: "os.img".into(),
            size: 1000 + u64::from(version),
            sha1: String::new(),
            md5: String::new(),
            created_at: NOW,
            created_by: "ann".into(),
        };
        tx.insert_artifact(project, &artifact).unwrap();
        let component = Component {
            module: ModuleId(0),
            name: "os".into(),
            version: Name::parse("1").unwrap(),
            metadata: BTreeMap::new(),
            artifacts: vec![ComponentArtifact { digest: digest(version), file_name: "os.img".into() }],
        };
        let draft = Release { components: vec![component], ..release("os", &version.to_string()) };
        let id = tx.insert_release(project, &draft).unwrap();
        tx.save_release_state(project, id, ReleaseState::Published, Some(NOW)).unwrap();
        id
    }

    /// A device with Muster's own agent that runs this release.
    fn agent(tx: &mut Tx<'_>, project: ProjectId, name: &str, runs: Option<ReleaseId>) {
        let new = NewDevice { name: name.into(), state: DeviceState::Accepted, token: None, poll_interval_s: 0 };
        let id = tx.insert_device(project, &new, NOW).unwrap();
        tx.save_device_queue(project, id, &Queue { name: "q".into(), through: 1 }).unwrap();
        if let Some(release) = runs {
            tx.save_installed(project, id, Installed { release, action: ActionId(1) }).unwrap();
        }
    }

    fn made(number: u8, from: Option<u8>) -> Route {
        let outcome = Outcome::Made(digest(100 + number), 10);
        Route { digest: digest(number), from: from.map(digest), outcome, made_at: NOW }
    }

    fn due(view: &View<'_>, now: Timestamp) -> Vec<(Sha256, Option<Sha256>, u64)> {
        let due = view.due_routes(now, 100).unwrap();
        due.into_iter().map(|due| (due.digest, due.from.map(|(from, _)| from), due.devices)).collect()
    }

    #[test]
    fn what_most_devices_run_comes_first_and_what_is_there_is_not_due() {
        let (store, _folder) = store();
        let write = |tx: &mut Tx<'_>| -> Result<(), StoreError> {
            let project = tx.insert_project("one", NOW)?;
            let [one, two, three] = [1, 2, 3].map(|version| publish(tx, project, version));
            for (name, runs) in [("a", Some(one)), ("b", Some(two)), ("c", Some(two)), ("d", None), ("e", Some(three))]
            {
                agent(tx, project, name, runs);
            }
            let due_to_three: Vec<_> = due(tx, NOW).into_iter().filter(|due| due.0 == digest(3)).collect();
            let compressed = (digest(3), None, 0);
            let (from_two, from_one) = ((digest(3), Some(digest(2)), 2), (digest(3), Some(digest(1)), 1));
            assert_eq!(due_to_three, [compressed, from_two, from_one]);
            for route in [made(3, None), made(3, Some(2))] {
                tx.save_route(project, &route)?;
            }
            let due_to_three: Vec<_> = due(tx, NOW).into_iter().filter(|due| due.0 == digest(3)).collect();
            assert_eq!(due_to_three, [from_one]);
            assert_eq!(tx.routes(project, digest(3))?, [made(3, None), made(3, Some(2))]);
            assert_eq!(tx.routes(ProjectId(project.0 + 1), digest(3))?, []);
            Ok(())
        };
        store.writer().write(write).unwrap();
    }

    #[test]
    fn only_for_agents_and_releases_that_devices_may_be_brought_to() {
        let (store, _folder) = store();
        let write = |tx: &mut Tx<'_>| -> Result<(), StoreError> {
            let later = NOW.plus(limit::DELTA_RELEASE_NEW * 2);
            let (without, with) = (tx.insert_project("ddi", NOW)?, tx.insert_project("agents", NOW)?);
            publish(tx, without, 1);
            assert_eq!(due(tx, NOW), []);
            let old = publish(tx, with, 1);
            agent(tx, with, "a", None);
            assert_eq!(due(tx, NOW).len(), 1);
            assert_eq!(due(tx, later), []);
            tx.save_route(with, &made(1, None))?;
            assert_eq!(tx.unwanted_routes(NOW)?, []);
            assert_eq!(tx.unwanted_routes(later)?, [(with, digest(1))]);
            tx.insert_rollout(with, &rollout("r", old))?;
            assert_eq!(tx.unwanted_routes(later)?, []);
            Ok(())
        };
        store.writer().write(write).unwrap();
    }

    #[test]
    fn what_few_devices_run_is_led_over_a_version_between_if_deltas_lead_there() {
        let (store, _folder) = store();
        let write = |tx: &mut Tx<'_>| -> Result<(), StoreError> {
            let project = tx.insert_project("one", NOW)?;
            let versions: Vec<u8> = (1..=10).collect();
            let releases: Vec<ReleaseId> = versions.iter().map(|version| publish(tx, project, *version)).collect();
            // Of the oldest there is one device; of all others but the newest there are two.
            agent(tx, project, "old", Some(releases[0]));
            for (at, release) in releases[1..9].iter().enumerate() {
                agent(tx, project, &format!("a-{at}"), Some(*release));
                agent(tx, project, &format!("b-{at}"), Some(*release));
            }
            let chain = |tx: &mut Tx<'_>| -> Option<(Sha256, Sha256)> {
                let due = tx.due_routes(NOW, 1000).unwrap();
                let wanted = |due: &DueRoute| due.digest == digest(10) && due.from == Some((digest(1), 1001));
                due.into_iter().find(wanted).map(|due| due.chain.unwrap())
            };
            assert_eq!(chain(tx), None, "nothing leads there");
            tx.save_route(project, &made(5, Some(1)))?;
            assert_eq!(chain(tx), None, "one alone does not");
            tx.save_route(project, &made(10, Some(5)))?;
            assert_eq!(chain(tx), Some((digest(105), digest(110))));
            let later = NOW.plus(limit::DELTA_RELEASE_NEW * 2);
            assert_eq!(tx.unwanted_routes(later)?, [(project, digest(10))], "what devices run is led over");
            Ok(())
        };
        store.writer().write(write).unwrap();
    }

    #[test]
    fn a_route_goes_with_the_artifact_it_leads_to_or_starts_from() {
        let (store, _folder) = store();
        let write = |tx: &mut Tx<'_>| -> Result<(), StoreError> {
            let project = tx.insert_project("one", NOW)?;
            for version in [1, 2] {
                publish(tx, project, version);
            }
            tx.save_route(project, &made(2, Some(1)))?;
            assert!(tx.blob_is_used(digest(102))?);
            tx.delete_artifact(project, digest(1))?;
            assert_eq!((tx.routes(project, digest(2))?, tx.blob_is_used(digest(102))?), (vec![], false));
            // Made while its artifact was deleted.
            tx.save_route(project, &made(2, Some(1)))?;
            assert_eq!(tx.routes(project, digest(2))?, []);
            Ok(())
        };
        store.writer().write(write).unwrap();
    }

    #[test]
    fn what_failed_is_forgotten_and_what_spares_nothing_is_not() {
        let (store, _folder) = store();
        let write = |tx: &mut Tx<'_>| -> Result<(), StoreError> {
            let project = tx.insert_project("one", NOW)?;
            publish(tx, project, 2);
            publish(tx, project, 1);
            let failed = Route { outcome: Outcome::Failed("no memory".into()), ..made(2, None) };
            let useless = Route { outcome: Outcome::NotSmaller, ..made(2, Some(1)) };
            tx.save_route(project, &failed)?;
            tx.save_route(project, &useless)?;
            assert_eq!(tx.routes(project, digest(2))?, [failed, useless.clone()]);
            tx.delete_failed_routes()?;
            assert_eq!(tx.routes(project, digest(2))?, [useless]);
            Ok(())
        };
        store.writer().write(write).unwrap();
    }
}
