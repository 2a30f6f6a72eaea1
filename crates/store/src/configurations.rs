//! Configurations as operators write them.

use muster_domain::configuration::Configuration;
use muster_vocab::{ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

const CONFIGURATION: &str =
    "SELECT id, name, body, created_at, updated_at, updated_by, revision FROM configuration WHERE project_id = ?1";

impl View<'_> {
    pub fn configuration(&self, project: ProjectId, name: &str) -> Result<Configuration, StoreError> {
        self.conn
            .prepare_cached(&format!("{CONFIGURATION} AND name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), |row| Ok(read(row))).optional())
            .doing("a configuration")?
            .map(|found| found.map(|(_, configuration)| configuration))
            .ok_or_else(|| StoreError::Missing { kind: "configuration", name: name.to_owned() })?
    }

    pub fn configurations(
        &self,
        project: ProjectId,
        after: Cursor,
        limit: u32,
    ) -> Result<Paged<Configuration>, StoreError> {
        let what = "configurations";
        let sql = format!("{CONFIGURATION} AND id > ?2 ORDER BY id LIMIT ?3");
        let mut statement = self.conn.prepare_cached(&sql).doing(what)?;
        let rows = statement.query_map((project.0, after.0, limit + 1), |row| Ok(read(row))).doing(what)?;
        let rows = rows.map(|row| row.doing(what)?).collect::<Result<Vec<_>, _>>()?;
        let paged = cut(rows, limit, |(id, _)| *id);
        Ok(Paged { rows: paged.rows.into_iter().map(|(_, one)| one).collect(), next: paged.next })
    }

    pub fn count_configurations(&self, project: ProjectId) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM configuration WHERE project_id = ?1")
            .and_then(|mut it| it.query_row([project.0], |row| row.get(0)))
            .doing("a count of configurations")
    }

    /// The projects that have any, for looking at all their devices again.
    pub fn projects_with_configurations(&self) -> Result<Vec<ProjectId>, StoreError> {
        self.conn
            .prepare_cached("SELECT DISTINCT project_id FROM configuration ORDER BY project_id")
            .and_then(|mut it| it.query_map([], |row| row.get(0).map(ProjectId))?.collect())
            .doing("projects with configurations")
    }
}

impl Tx<'_> {
    pub fn save_configuration(&mut self, project: ProjectId, new: &Configuration) -> Result<(), StoreError> {
        let body = serde_json::to_string(&new.spec).doing("a configuration")?;
        self.conn
            .execute(
                "INSERT INTO configuration (project_id, name, body, created_at, updated_at, updated_by, revision)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)
                 ON CONFLICT (project_id, name) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at,
                 updated_by = excluded.updated_by, revision = configuration.revision + 1",
                (project.0, &new.name, body, new.created_at.0, new.updated_at.0, &new.updated_by),
            )
            .doing("a configuration")?;
        Ok(())
    }

    pub fn delete_configuration(&mut self, project: ProjectId, name: &str) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM configuration WHERE project_id = ?1 AND name = ?2", (project.0, name))
            .doing("deleting a configuration")?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<(i64, Configuration), StoreError> {
    let what = "a configuration";
    let body: String = row.get(2).doing(what)?;
    let configuration = Configuration {
        name: row.get(1).doing(what)?,
        spec: serde_json::from_str(&body).doing(what)?,
        created_at: Timestamp(row.get(3).doing(what)?),
        updated_at: Timestamp(row.get(4).doing(what)?),
        updated_by: row.get(5).doing(what)?,
        revision: row.get::<_, i64>(6).doing(what)?.cast_unsigned(),
    };
    Ok((row.get(0).doing(what)?, configuration))
}
