//! Which join tokens are there, and who came in with which?

use std::collections::BTreeMap;

use muster_vocab::{DeviceId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

/// What lets new devices in; its secret is not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinToken {
    pub id: i64,
    pub name: String,
    /// Devices that came in with it.
    pub uses: u64,
    /// Devices that still may; none: any number.
    pub uses_left: Option<u64>,
    pub expires_at: Timestamp,
    /// Given to the devices.
    pub labels: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub created_by: String,
}

const JOIN_TOKEN: &str = "SELECT id, name, uses, uses_left, expires_at, labels, created_at, created_by FROM join_token";

impl View<'_> {
    pub fn join_token(&self, project: ProjectId, name: &str) -> Result<JoinToken, StoreError> {
        self.conn
            .prepare_cached(&format!("{JOIN_TOKEN} WHERE project_id = ?1 AND name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), |row| Ok(read(row))).optional())
            .doing("a join token")?
            .ok_or_else(|| StoreError::Missing { kind: "join token", name: name.to_owned() })?
    }

    pub fn join_token_by_digest(&self, project: ProjectId, digest: &[u8; 32]) -> Result<Option<JoinToken>, StoreError> {
        self.conn
            .prepare_cached(&format!("{JOIN_TOKEN} WHERE project_id = ?1 AND digest = ?2"))
            .and_then(|mut it| it.query_row((project.0, digest), |row| Ok(read(row))).optional())
            .doing("a join token")?
            .transpose()
    }

    pub fn join_tokens(&self, project: ProjectId, after: Cursor, limit: u32) -> Result<Paged<JoinToken>, StoreError> {
        let rows = self
            .conn
            .prepare_cached(&format!("{JOIN_TOKEN} WHERE project_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))
            .and_then(|mut it| {
                it.query_map((project.0, after.0, limit + 1), |row| Ok(read(row)))?.collect::<Result<Vec<_>, _>>()
            })
            .doing("join tokens")?
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        Ok(cut(rows, limit, |token| token.id))
    }

    pub fn count_join_tokens(&self, project: ProjectId) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM join_token WHERE project_id = ?1")
            .and_then(|mut it| it.query_row([project.0], |row| row.get(0)))
            .doing("join tokens")
    }

    /// The digest of the secret that a device joined with, if it joined.
    pub fn joined_with(&self, project: ProjectId, device: DeviceId) -> Result<Option<[u8; 32]>, StoreError> {
        self.conn
            .prepare_cached("SELECT digest FROM device_join WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| it.query_row((device.0, project.0), |row| row.get(0)).optional())
            .doing("how a device joined")
    }
}

impl Tx<'_> {
    pub fn insert_join_token(
        &mut self,
        project: ProjectId,
        new: &JoinToken,
        digest: [u8; 32],
    ) -> Result<(), StoreError> {
        let labels = serde_json::to_string(&new.labels).doing("labels")?;
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO join_token (project_id, name, digest, uses, uses_left, expires_at, labels, created_at,
                 created_by) VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut it| {
                let left = new.uses_left.map(u64::cast_signed);
                let (expires_at, created_at) = (new.expires_at.0, new.created_at.0);
                it.execute((project.0, &new.name, digest, left, expires_at, labels, created_at, &new.created_by))
            })
            .doing("a join token")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "join token", name: new.name.clone() });
        }
        Ok(())
    }

    /// Counts one device; what is used up stays used up.
    pub fn count_join(&mut self, project: ProjectId, token: i64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "UPDATE join_token SET uses = uses + 1, uses_left = max(uses_left - 1, 0)
                 WHERE project_id = ?1 AND id = ?2",
            )
            .and_then(|mut it| it.execute((project.0, token)))
            .doing("a use of a join token")?;
        Ok(())
    }

    /// The device joins afresh: what it joined with before opens nothing.
    pub fn forget_join(&mut self, project: ProjectId, device: DeviceId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM device_join WHERE project_id = ?1 AND device_id = ?2")
            .and_then(|mut it| it.execute((project.0, device.0)))
            .doing("how a device joined")?;
        Ok(())
    }

    pub fn delete_join_token(&mut self, project: ProjectId, name: &str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM join_token WHERE project_id = ?1 AND name = ?2")
            .and_then(|mut it| it.execute((project.0, name)))
            .doing("deleting a join token")?;
        Ok(())
    }

    pub fn save_joined_with(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO device_join (device_id, project_id, digest, joined_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (device_id) DO UPDATE SET digest = excluded.digest, joined_at = excluded.joined_at",
            )
            .and_then(|mut it| it.execute((device.0, project.0, digest, now.0)))
            .doing("how a device joined")?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<JoinToken, StoreError> {
    let what = "a join token";
    let labels: String = row.get(5).doing(what)?;
    Ok(JoinToken {
        id: row.get(0).doing(what)?,
        name: row.get(1).doing(what)?,
        uses: row.get::<_, i64>(2).doing(what)?.cast_unsigned(),
        uses_left: row.get::<_, Option<i64>>(3).doing(what)?.map(i64::cast_unsigned),
        expires_at: Timestamp(row.get(4).doing(what)?),
        labels: serde_json::from_str(&labels).doing("labels")?,
        created_at: Timestamp(row.get(6).doing(what)?),
        created_by: row.get(7).doing(what)?,
    })
}
