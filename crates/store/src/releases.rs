//! Releases with their components.

use std::collections::BTreeMap;

use muster_domain::release::{Component, ComponentArtifact, Release, ReleaseState};
use muster_vocab::selector::Selector;
use muster_vocab::{ActionId, DeviceId, ModuleId, Name, ProjectId, ReleaseId, Sha256, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::select::{RELEASES, Sql};
use crate::{Cursor, Paged, StoreError, Tx, View};

const RELEASE: &str =
    "SELECT id, name, version, state, notes, created_at, created_by, published_at, revision FROM release";

impl View<'_> {
    pub fn release(&self, project: ProjectId, id: ReleaseId) -> Result<Release, StoreError> {
        let release = self
            .conn
            .prepare_cached(&format!("{RELEASE} WHERE project_id = ?1 AND id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id.0), |row| Ok(read(row))).optional())
            .doing("a release")?
            .ok_or_else(|| StoreError::Missing { kind: "release", name: id.to_string() })??;
        self.with_components(release)
    }

    pub fn release_named(&self, project: ProjectId, name: &str, version: &str) -> Result<Release, StoreError> {
        let release = self
            .conn
            .prepare_cached(&format!("{RELEASE} WHERE project_id = ?1 AND name = ?2 AND version = ?3"))
            .and_then(|mut it| it.query_row((project.0, name, version), |row| Ok(read(row))).optional())
            .doing("a release")?
            .ok_or_else(|| StoreError::Missing { kind: "release", name: format!("{name}@{version}") })??;
        self.with_components(release)
    }

    /// `name@version`.
    pub fn release_label(&self, project: ProjectId, id: ReleaseId) -> Result<String, StoreError> {
        self.conn
            .prepare_cached("SELECT name || '@' || version FROM release WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.query_row((project.0, id.0), |row| row.get(0)).optional())
            .doing("a release's name")?
            .ok_or_else(|| StoreError::Missing { kind: "release", name: id.to_string() })
    }

    /// Newest first.
    pub fn releases(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (Option<Cursor>, u32),
        now: Timestamp,
    ) -> Result<Paged<Release>, StoreError> {
        let (before, limit) = page;
        let mut sql = Sql::new(&format!("{RELEASE} WHERE project_id = "));
        sql.bind(project.0);
        sql.and_select(select, &RELEASES, now);
        sql.push(" AND id < ").bind(before.map_or(i64::MAX, |cursor| cursor.0));
        sql.push(" ORDER BY id DESC LIMIT ").bind(limit + 1);
        let paged = cut(sql.query(self.conn, "releases", read)?, limit, |release| release.id.0);
        let rows = paged.rows.into_iter().map(|release| self.with_components(release)).collect::<Result<_, _>>()?;
        Ok(Paged { rows, next: paged.next })
    }

    /// What uses a release, in words; `None` if nothing does.
    pub fn release_used_by(&self, project: ProjectId, id: ReleaseId) -> Result<Option<String>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT 'rollout ' || name FROM rollout WHERE project_id = ?1 AND release_id = ?2
                 UNION ALL SELECT 'channel ' || name FROM channel WHERE project_id = ?1 AND release_id = ?2
                 UNION ALL SELECT 'device ' || name FROM device WHERE project_id = ?1 AND installed_release_id = ?2 LIMIT 1",
            )
            .and_then(|mut it| it.query_row((project.0, id.0), |row| row.get(0)).optional())
            .doing("what uses a release")
    }

    /// Is this module part of a release that some action gave or gives to this device?
    pub fn device_may_read_module(
        &self,
        project: ProjectId,
        device: DeviceId,
        module: ModuleId,
    ) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM action a JOIN module m ON m.release_id = a.release_id
                 WHERE a.project_id = ?1 AND a.device_id = ?2 AND m.project_id = ?1 AND m.id = ?3 AND a.state > 1)",
            )
            .and_then(|mut it| it.query_row((project.0, device.0, module.0), |row| row.get(0)))
            .doing("who may read a module")
    }

    /// Is this artifact part of a release that some action gave or gives to this device?
    pub fn device_may_read_artifact(
        &self,
        project: ProjectId,
        device: DeviceId,
        digest: Sha256,
    ) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM module_artifact x JOIN module m ON m.id = x.module_id
                 JOIN action a ON a.release_id = m.release_id AND a.device_id = ?2
                 WHERE x.project_id = ?1 AND x.digest = ?3 AND a.project_id = ?1 AND a.state > 1)",
            )
            .and_then(|mut it| it.query_row((project.0, device.0, digest.0), |row| row.get(0)))
            .doing("who may read an artifact")
    }

    /// The device's open action that a module belongs to.
    pub fn action_of_module(
        &self,
        project: ProjectId,
        device: DeviceId,
        module: ModuleId,
    ) -> Result<Option<ActionId>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT a.id FROM action a JOIN module m ON m.release_id = a.release_id
                 WHERE a.project_id = ?1 AND a.device_id = ?2 AND m.id = ?3 AND a.state IN (3, 4) LIMIT 1",
            )
            .and_then(|mut it| it.query_row((project.0, device.0, module.0), |row| row.get(0)).optional())
            .map(|found| found.map(ActionId))
            .doing("a module's action")
    }

    pub fn module_artifacts(&self, project: ProjectId, module: ModuleId) -> Result<Vec<ComponentArtifact>, StoreError> {
        let what = "a module's artifacts";
        self.conn
            .prepare_cached("SELECT digest, file_name FROM module_artifact WHERE project_id = ?1 AND module_id = ?2 ORDER BY position")
            .and_then(|mut it| {
                it.query_map((project.0, module.0), |row| {
                    Ok(ComponentArtifact { digest: Sha256(row.get(0)?), file_name: row.get(1)? })
                })?
                .collect()
            })
            .doing(what)
    }

    fn with_components(&self, release: Release) -> Result<Release, StoreError> {
        let what = "a release's components";
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT id, name, version, metadata, project_id FROM module WHERE release_id = ?1 ORDER BY position",
            )
            .doing(what)?;
        let mut rows = statement.query([release.id.0]).doing(what)?;
        let mut components = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            let module = ModuleId(row.get(0).doing(what)?);
            let metadata: String = row.get(3).doing(what)?;
            components.push(Component {
                module,
                name: row.get(1).doing(what)?,
                version: read_name(row, 2)?,
                metadata: serde_json::from_str::<BTreeMap<String, String>>(&metadata).doing("metadata")?,
                artifacts: self.module_artifacts(ProjectId(row.get(4).doing(what)?), module)?,
            });
        }
        Ok(Release { components, ..release })
    }
}

impl Tx<'_> {
    /// The release and its modules get their numbers here.
    pub fn insert_release(&mut self, project: ProjectId, release: &Release) -> Result<ReleaseId, StoreError> {
        let what = "a release";
        let added = self
            .conn
            .execute(
                "INSERT INTO release (project_id, name, version, state, notes, created_at, created_by, revision)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1) ON CONFLICT DO NOTHING",
                (
                    project.0,
                    release.name.as_str(),
                    release.version.as_str(),
                    state_name(release.state),
                    &release.notes,
                    release.created_at.0,
                    &release.created_by,
                ),
            )
            .doing(what)?;
        if added == 0 {
            let name = format!("{}@{}", release.name, release.version);
            return Err(StoreError::Exists { kind: "release", name });
        }
        let id = ReleaseId(self.conn.last_insert_rowid());
        for (position, component) in release.components.iter().enumerate() {
            self.insert_module(project, id, (position, component))?;
        }
        Ok(id)
    }

    fn insert_module(
        &mut self,
        project: ProjectId,
        release: ReleaseId,
        at: (usize, &Component),
    ) -> Result<(), StoreError> {
        let (position, component) = at;
        let metadata = serde_json::to_string(&component.metadata).doing("metadata")?;
        self.conn
            .execute(
                "INSERT INTO module (project_id, release_id, position, name, version, metadata)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    project.0,
                    release.0,
                    position_number(position),
                    &component.name,
                    component.version.as_str(),
                    metadata,
                ),
            )
            .doing("a component")?;
        let module = self.conn.last_insert_rowid();
        for (position, artifact) in component.artifacts.iter().enumerate() {
            self.conn
                .execute(
                    "INSERT INTO module_artifact (module_id, position, project_id, digest, file_name)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    (module, position_number(position), project.0, artifact.digest.0, &artifact.file_name),
                )
                .doing("a component's artifact")?;
        }
        Ok(())
    }

    pub fn save_release_state(
        &mut self,
        project: ProjectId,
        id: ReleaseId,
        state: ReleaseState,
        published_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE release SET state = ?3, published_at = ?4, revision = revision + 1 WHERE project_id = ?1 AND id = ?2",
                (project.0, id.0, state_name(state), published_at.map(|at| at.0)),
            )
            .doing("a release's state")?;
        self.own.routes = true;
        Ok(())
    }

    pub fn delete_release(&mut self, project: ProjectId, id: ReleaseId) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM release WHERE project_id = ?1 AND id = ?2", (project.0, id.0))
            .doing("deleting a release")?;
        Ok(())
    }
}

fn state_name(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::Draft => "draft",
        ReleaseState::Published => "published",
        ReleaseState::Yanked => "yanked",
    }
}

fn read_name(row: &Row<'_>, at: usize) -> Result<Name, StoreError> {
    let text: String = row.get(at).doing("a name")?;
    Name::parse(&text).map_err(|bad| StoreError::broken("name", bad))
}

fn read(row: &Row<'_>) -> Result<Release, StoreError> {
    let what = "a release";
    let state: String = row.get(3).doing(what)?;
    let known = [ReleaseState::Draft, ReleaseState::Published, ReleaseState::Yanked];
    Ok(Release {
        id: ReleaseId(row.get(0).doing(what)?),
        name: read_name(row, 1)?,
        version: read_name(row, 2)?,
        state: known
            .into_iter()
            .find(|known| state_name(*known) == state)
            .ok_or_else(|| StoreError::broken("release state", state))?,
        components: Vec::new(),
        notes: row.get(4).doing(what)?,
        created_at: Timestamp(row.get(5).doing(what)?),
        created_by: row.get(6).doing(what)?,
        published_at: row.get::<_, Option<i64>>(7).doing(what)?.map(Timestamp),
        revision: row.get::<_, i64>(8).doing(what)?.cast_unsigned(),
    })
}

fn position_number(position: usize) -> i64 {
    i64::try_from(position).expect("a release has few parts")
}
