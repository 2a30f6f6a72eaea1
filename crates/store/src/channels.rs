//! Channels: moving names for releases.

use muster_vocab::{ProjectId, ReleaseId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    pub id: i64,
    pub name: String,
    pub release: ReleaseId,
    pub updated_at: Timestamp,
    pub updated_by: String,
    pub revision: u64,
}

const CHANNEL: &str = "SELECT id, name, release_id, updated_at, updated_by, revision FROM channel";

impl View<'_> {
    pub fn channel(&self, project: ProjectId, name: &str) -> Result<Channel, StoreError> {
        self.conn
            .prepare_cached(&format!("{CHANNEL} WHERE project_id = ?1 AND name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), read).optional())
            .doing("a channel")?
            .ok_or_else(|| StoreError::Missing { kind: "channel", name: name.to_owned() })
    }

    pub fn channels(&self, project: ProjectId, after: Cursor, limit: u32) -> Result<Paged<Channel>, StoreError> {
        let rows = self
            .conn
            .prepare_cached(&format!("{CHANNEL} WHERE project_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))
            .and_then(|mut it| it.query_map((project.0, after.0, limit + 1), read)?.collect::<Result<Vec<_>, _>>())
            .doing("channels")?;
        Ok(cut(rows, limit, |channel| channel.id))
    }
}

impl Tx<'_> {
    pub fn save_channel(&mut self, project: ProjectId, channel: &Channel) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO channel (project_id, name, release_id, updated_at, updated_by, revision)
                 VALUES (?1, ?2, ?3, ?4, ?5, 1)
                 ON CONFLICT (project_id, name) DO UPDATE SET release_id = excluded.release_id,
                 updated_at = excluded.updated_at, updated_by = excluded.updated_by, revision = channel.revision + 1",
                (project.0, &channel.name, channel.release.0, channel.updated_at.0, &channel.updated_by),
            )
            .doing("a channel")?;
        self.own.routes = true;
        Ok(())
    }

    pub fn delete_channel(&mut self, project: ProjectId, name: &str) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM channel WHERE project_id = ?1 AND name = ?2", (project.0, name))
            .doing("deleting a channel")?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Channel> {
    Ok(Channel {
        id: row.get(0)?,
        name: row.get(1)?,
        release: ReleaseId(row.get(2)?),
        updated_at: Timestamp(row.get(3)?),
        updated_by: row.get(4)?,
        revision: row.get::<_, i64>(5)?.cast_unsigned(),
    })
}
