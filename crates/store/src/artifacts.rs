//! Which artifacts does a project have, and which uploads are on their way?

use muster_vocab::selector::Selector;
use muster_vocab::{ProjectId, Sha256, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::select::{ARTIFACTS, Sql};
use crate::{Cursor, Paged, StoreError, Tx, View};

#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub id: i64,
    pub digest: Sha256,
    pub name: String,
    pub size: u64,
    pub sha1: String,
    pub md5: String,
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    pub id: String,
    pub project: ProjectId,
    pub name: String,
    pub size: u64,
    pub digest: Sha256,
    pub created_by: String,
    pub touched_at: Timestamp,
}

const ARTIFACT: &str = "SELECT id, digest, name, size, sha1, md5, created_at, created_by FROM artifact";
const UPLOAD: &str = "SELECT id, project_id, name, size, digest, created_by, touched_at FROM upload";

impl View<'_> {
    pub fn artifact(&self, project: ProjectId, digest: Sha256) -> Result<Artifact, StoreError> {
        self.conn
            .prepare_cached(&format!("{ARTIFACT} WHERE project_id = ?1 AND digest = ?2"))
            .and_then(|mut it| it.query_row((project.0, digest.0), |row| Ok(read(row))).optional())
            .doing("an artifact")?
            .ok_or_else(|| StoreError::Missing { kind: "artifact", name: digest.to_string() })?
    }

    /// Newest first.
    pub fn artifacts(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (Option<Cursor>, u32),
        now: Timestamp,
    ) -> Result<Paged<Artifact>, StoreError> {
        let (before, limit) = page;
        let mut sql = Sql::new(&format!("{ARTIFACT} WHERE project_id = "));
        sql.bind(project.0);
        sql.and_select(select, &ARTIFACTS, now);
        sql.push(" AND id < ").bind(before.map_or(i64::MAX, |cursor| cursor.0));
        sql.push(" ORDER BY id DESC LIMIT ").bind(limit + 1);
        Ok(cut(sql.query(self.conn, "artifacts", read)?, limit, |artifact| artifact.id))
    }

    /// `name@version` of a release that has it.
    pub fn artifact_used_by(&self, project: ProjectId, digest: Sha256) -> Result<Option<String>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT r.name || '@' || r.version FROM module_artifact x JOIN module m ON m.id = x.module_id
                 JOIN release r ON r.id = m.release_id WHERE x.project_id = ?1 AND x.digest = ?2
                 UNION ALL SELECT r.name || '@' || r.version FROM attestation a JOIN release r ON r.id = a.release_id
                 WHERE a.project_id = ?1 AND a.document = ?2 LIMIT 1",
            )
            .and_then(|mut it| it.query_row((project.0, digest.0), |row| row.get(0)).optional())
            .doing("what uses an artifact")
    }

    /// Artifacts of all projects that no release has used since `before`.
    pub fn unreferenced_artifacts(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(ProjectId, Sha256)>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT a.project_id, a.digest FROM artifact a WHERE a.created_at < ?1 AND NOT EXISTS
                 (SELECT 1 FROM module_artifact x WHERE x.project_id = a.project_id AND x.digest = a.digest)
                 AND NOT EXISTS
                 (SELECT 1 FROM attestation t WHERE t.project_id = a.project_id AND t.document = a.digest) LIMIT ?2",
            )
            .and_then(|mut it| {
                it.query_map((before.0, limit), |row| Ok((ProjectId(row.get(0)?), Sha256(row.get(1)?))))?.collect()
            })
            .doing("unreferenced artifacts")
    }

    /// Does any project still have these bytes?
    pub fn blob_is_used(&self, digest: Sha256) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM artifact WHERE digest = ?1) OR EXISTS (SELECT 1 FROM route WHERE made = ?1)",
            )
            .and_then(|mut it| it.query_row([digest.0], |row| row.get(0)))
            .doing("whether bytes are used")
    }

    pub fn upload(&self, project: ProjectId, id: &str) -> Result<Upload, StoreError> {
        self.conn
            .prepare_cached(&format!("{UPLOAD} WHERE project_id = ?1 AND id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id), |row| Ok(read_upload(row))).optional())
            .doing("an upload")?
            .ok_or_else(|| StoreError::Missing { kind: "upload", name: id.to_owned() })?
    }

    /// Uploads of all projects that nobody continued since `before`.
    pub fn abandoned_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<Upload>, StoreError> {
        let mut statement =
            self.conn.prepare_cached(&format!("{UPLOAD} WHERE touched_at < ?1 LIMIT ?2")).doing("abandoned uploads")?;
        let rows = statement.query_map((before.0, limit), |row| Ok(read_upload(row))).doing("abandoned uploads")?;
        rows.map(|row| row.doing("abandoned uploads")?).collect()
    }
}

impl Tx<'_> {
    /// Keeps what is there if the project has these bytes already.
    pub fn insert_artifact(&mut self, project: ProjectId, artifact: &Artifact) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO artifact (project_id, digest, name, size, sha1, md5, created_at, created_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                (
                    project.0,
                    artifact.digest.0,
                    &artifact.name,
                    artifact.size.cast_signed(),
                    &artifact.sha1,
                    &artifact.md5,
                    artifact.created_at.0,
                    &artifact.created_by,
                ),
            )
            .doing("an artifact")?;
        Ok(())
    }

    /// Somebody wants it again: it counts as new for collecting what nobody needs.
    pub fn touch_artifact(&mut self, project: ProjectId, digest: Sha256, now: Timestamp) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE artifact SET created_at = ?3 WHERE project_id = ?1 AND digest = ?2",
                (project.0, digest.0, now.0),
            )
            .doing("an artifact")?;
        Ok(())
    }

    /// Together with the ways that lead to it or start from it.
    pub fn delete_artifact(&mut self, project: ProjectId, digest: Sha256) -> Result<(), StoreError> {
        self.conn
            .execute(
                "DELETE FROM route WHERE project_id = ?1 AND (digest = ?2 OR from_digest = ?2)",
                (project.0, digest.0),
            )
            .doing("ways to an artifact")?;
        self.conn
            .execute("DELETE FROM artifact WHERE project_id = ?1 AND digest = ?2", (project.0, digest.0))
            .doing("deleting an artifact")?;
        Ok(())
    }

    pub fn save_upload(&mut self, upload: &Upload) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO upload (id, project_id, name, size, digest, created_by, touched_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE SET touched_at = excluded.touched_at",
                (
                    &upload.id,
                    upload.project.0,
                    &upload.name,
                    upload.size.cast_signed(),
                    upload.digest.0,
                    &upload.created_by,
                    upload.touched_at.0,
                ),
            )
            .doing("an upload")?;
        Ok(())
    }

    pub fn delete_upload(&mut self, project: ProjectId, id: &str) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM upload WHERE project_id = ?1 AND id = ?2", (project.0, id))
            .doing("deleting an upload")?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Artifact, StoreError> {
    let what = "an artifact";
    Ok(Artifact {
        id: row.get(0).doing(what)?,
        digest: Sha256(row.get(1).doing(what)?),
        name: row.get(2).doing(what)?,
        size: row.get::<_, i64>(3).doing(what)?.cast_unsigned(),
        sha1: row.get(4).doing(what)?,
        md5: row.get(5).doing(what)?,
        created_at: Timestamp(row.get(6).doing(what)?),
        created_by: row.get(7).doing(what)?,
    })
}

fn read_upload(row: &Row<'_>) -> Result<Upload, StoreError> {
    let what = "an upload";
    Ok(Upload {
        id: row.get(0).doing(what)?,
        project: ProjectId(row.get(1).doing(what)?),
        name: row.get(2).doing(what)?,
        size: row.get::<_, i64>(3).doing(what)?.cast_unsigned(),
        digest: Sha256(row.get(4).doing(what)?),
        created_by: row.get(5).doing(what)?,
        touched_at: Timestamp(row.get(6).doing(what)?),
    })
}
