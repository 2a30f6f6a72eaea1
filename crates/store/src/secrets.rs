//! Sealed values, by name. They are opened elsewhere.

use std::collections::BTreeMap;

use muster_vocab::{ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEntry {
    pub id: i64,
    pub name: String,
    /// Goes up with each new value.
    pub version: u64,
    pub updated_at: Timestamp,
    pub updated_by: String,
}

/// What is to be sealed again when the master key changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    pub id: i64,
    pub project: ProjectId,
    pub name: String,
    pub version: u64,
    pub sealed: Vec<u8>,
}

impl View<'_> {
    pub fn secrets(&self, project: ProjectId, after: Cursor, limit: u32) -> Result<Paged<SecretEntry>, StoreError> {
        let what = "secrets";
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT id, name, version, updated_at, updated_by FROM secret
                 WHERE project_id = ?1 AND sealed IS NOT NULL AND id > ?2 ORDER BY id LIMIT ?3",
            )
            .doing(what)?;
        let rows = statement.query_map((project.0, after.0, limit + 1), entry).doing(what)?;
        let rows = rows.collect::<Result<Vec<_>, _>>().doing(what)?;
        Ok(cut(rows, limit, |entry| entry.id))
    }

    pub fn secret(&self, project: ProjectId, name: &str) -> Result<SecretEntry, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT id, name, version, updated_at, updated_by FROM secret
                 WHERE project_id = ?1 AND name = ?2 AND sealed IS NOT NULL",
            )
            .and_then(|mut it| it.query_row((project.0, name), entry).optional())
            .doing("a secret")?
            .ok_or_else(|| StoreError::Missing { kind: "secret", name: name.to_owned() })
    }

    /// The version, also of one that was deleted; 0: there never was one.
    pub fn secret_version(&self, project: ProjectId, name: &str) -> Result<u64, StoreError> {
        self.conn
            .prepare_cached("SELECT version FROM secret WHERE project_id = ?1 AND name = ?2")
            .and_then(|mut it| it.query_row((project.0, name), |row| row.get::<_, i64>(0)).optional())
            .doing("a secret's version")
            .map(|version| version.unwrap_or(0).cast_unsigned())
    }

    /// All of a project: names and versions.
    pub fn secret_versions(&self, project: ProjectId) -> Result<BTreeMap<String, u64>, StoreError> {
        self.conn
            .prepare_cached("SELECT name, version FROM secret WHERE project_id = ?1 AND sealed IS NOT NULL")
            .and_then(|mut it| {
                let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
                it.query_map([project.0], read)?.collect()
            })
            .doing("secrets' versions")
    }

    pub fn count_secrets(&self, project: ProjectId) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM secret WHERE project_id = ?1 AND sealed IS NOT NULL")
            .and_then(|mut it| it.query_row([project.0], |row| row.get(0)))
            .doing("a count of secrets")
    }

    /// A value as it is kept, if it is still this version.
    pub fn sealed_secret(&self, project: ProjectId, name: &str, version: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.conn
            .prepare_cached("SELECT sealed FROM secret WHERE project_id = ?1 AND name = ?2 AND version = ?3")
            .and_then(|mut it| it.query_row((project.0, name, version.cast_signed()), |row| row.get(0)).optional())
            .doing("a secret's value")
            .map(Option::flatten)
    }

    /// The next secrets of all projects.
    pub fn sealed_secrets(&self, after: i64, limit: u32) -> Result<Vec<SealedSecret>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(SealedSecret {
                id: row.get(0)?,
                project: ProjectId(row.get(1)?),
                name: row.get(2)?,
                version: row.get::<_, i64>(3)?.cast_unsigned(),
                sealed: row.get(4)?,
            })
        };
        self.conn
            .prepare_cached(
                "SELECT id, project_id, name, version, sealed FROM secret
                 WHERE id > ?1 AND sealed IS NOT NULL ORDER BY id LIMIT ?2",
            )
            .and_then(|mut it| it.query_map((after, limit), read)?.collect())
            .doing("sealed secrets")
    }
}

impl Tx<'_> {
    pub fn save_secret(&mut self, project: ProjectId, new: &SecretEntry, sealed: &[u8]) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO secret (project_id, name, version, sealed, updated_at, updated_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (project_id, name) DO UPDATE SET version = excluded.version, sealed = excluded.sealed,
                 updated_at = excluded.updated_at, updated_by = excluded.updated_by",
                (project.0, &new.name, new.version.cast_signed(), sealed, new.updated_at.0, &new.updated_by),
            )
            .doing("a secret")?;
        Ok(())
    }

    /// Its value goes; its name and version stay.
    pub fn delete_secret(&mut self, project: ProjectId, name: &str) -> Result<(), StoreError> {
        self.conn
            .execute("UPDATE secret SET sealed = NULL WHERE project_id = ?1 AND name = ?2", (project.0, name))
            .doing("deleting a secret")?;
        Ok(())
    }

    /// The same value, sealed with another key.
    pub fn replace_sealed_secret(&mut self, id: i64, before: &[u8], sealed: &[u8]) -> Result<(), StoreError> {
        self.conn
            .execute("UPDATE secret SET sealed = ?3 WHERE id = ?1 AND sealed = ?2", (id, before, sealed))
            .doing("sealing a secret again")?;
        Ok(())
    }

    pub fn replace_authority_key(&mut self, id: i64, sealed: &[u8]) -> Result<(), StoreError> {
        self.conn
            .execute("UPDATE authority SET key = ?2 WHERE id = ?1", (id, sealed))
            .doing("sealing an authority's key again")?;
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<SecretEntry> {
    Ok(SecretEntry {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get::<_, i64>(2)?.cast_unsigned(),
        updated_at: Timestamp(row.get(3)?),
        updated_by: row.get(4)?,
    })
}
