//! Projects and their settings.

use muster_domain::project::Settings;
use muster_vocab::{ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// A project as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub settings: Settings,
    /// SHA-256 of the gateway token.
    pub gateway_token: Option<[u8; 32]>,
    pub revision: u64,
}

const PROJECT: &str = "SELECT id, name, settings, gateway_token, revision FROM project";

impl View<'_> {
    pub fn project(&self, id: ProjectId) -> Result<Project, StoreError> {
        self.conn
            .prepare_cached(&format!("{PROJECT} WHERE id = ?1"))
            .and_then(|mut it| it.query_row([id.0], |row| Ok(read(row))).optional())
            .doing("a project")?
            .ok_or_else(|| StoreError::Missing { kind: "project", name: id.to_string() })?
    }

    pub fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let mut statement = self.conn.prepare_cached(&format!("{PROJECT} ORDER BY id")).doing("projects")?;
        let rows = statement.query_map([], |row| Ok(read(row))).doing("projects")?;
        rows.map(|row| row.doing("projects")?).collect()
    }
}

impl Tx<'_> {
    pub fn insert_project(&mut self, name: &str, now: Timestamp) -> Result<ProjectId, StoreError> {
        let settings = serde_json::to_string(&Settings::default()).doing("settings")?;
        self.conn
            .execute(
                "INSERT INTO project (name, name_folded, settings, created_at, revision) VALUES (?1, ?2, ?3, ?4, 1)",
                (name, name.to_lowercase(), settings, now.0),
            )
            .doing("a project")?;
        let id = ProjectId(self.conn.last_insert_rowid());
        self.own.projects.insert(id);
        Ok(id)
    }

    pub fn save_settings(&mut self, project: ProjectId, settings: &Settings) -> Result<(), StoreError> {
        let settings = serde_json::to_string(settings).doing("settings")?;
        self.conn
            .execute("UPDATE project SET settings = ?2, revision = revision + 1 WHERE id = ?1", (project.0, settings))
            .doing("settings")?;
        self.own.projects.insert(project);
        Ok(())
    }

    pub fn save_gateway_token(&mut self, project: ProjectId, digest: Option<[u8; 32]>) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE project SET gateway_token = ?2, revision = revision + 1 WHERE id = ?1",
                (project.0, digest),
            )
            .doing("a gateway token")?;
        self.own.projects.insert(project);
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Project, StoreError> {
    let settings: String = row.get(2).doing("a project")?;
    Ok(Project {
        id: ProjectId(row.get(0).doing("a project")?),
        name: row.get(1).doing("a project")?,
        settings: serde_json::from_str(&settings).doing("settings")?,
        gateway_token: row.get(3).doing("a project")?,
        revision: row.get::<_, i64>(4).doing("a project")?.cast_unsigned(),
    })
}
