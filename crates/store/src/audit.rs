//! The audit log's rows. How they are chained is decided in `trust`.

use muster_vocab::selector::Selector;
use muster_vocab::{ProjectId, Sha256, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::select::{AUDIT, Sql};
use crate::{Cursor, Paged, StoreError, Tx, View};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub sequence: u64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub target: String,
    /// JSON.
    pub detail: String,
    pub previous: Sha256,
    pub digest: Sha256,
}

/// A signed tree head as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// How many records it is of.
    pub size: u64,
    /// Digest of the last of them.
    pub head: Sha256,
    /// Roots of the tree's full subtrees, the largest first.
    pub edge: Vec<Sha256>,
    /// The signed text.
    pub note: String,
}

const CHECKPOINT: &str = "SELECT size, head, edge, note FROM audit_checkpoint";

const ROW: &str = "SELECT sequence, at, actor, action, target, detail, previous, digest FROM audit";

impl View<'_> {
    /// The newest record.
    pub fn audit_head(&self, project: ProjectId) -> Result<Option<AuditRow>, StoreError> {
        self.conn
            .prepare_cached(&format!("{ROW} WHERE project_id = ?1 ORDER BY sequence DESC LIMIT 1"))
            .and_then(|mut it| it.query_row([project.0], read).optional())
            .doing("the audit log's head")
    }

    /// Newest first.
    pub fn audit(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (Option<Cursor>, u32),
        now: Timestamp,
    ) -> Result<Paged<AuditRow>, StoreError> {
        let (before, limit) = page;
        let mut sql = Sql::new(&format!("{ROW} WHERE project_id = "));
        sql.bind(project.0);
        sql.and_select(select, &AUDIT, now);
        sql.push(" AND sequence < ").bind(before.map_or(i64::MAX, |cursor| cursor.0));
        sql.push(" ORDER BY sequence DESC LIMIT ").bind(limit + 1);
        let rows = sql.query(self.conn, "the audit log", |row| read(row).doing("the audit log"))?;
        Ok(cut(rows, limit, |row| row.sequence.cast_signed()))
    }

    /// Oldest first, for walking the chain.
    pub fn audit_after(&self, project: ProjectId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.conn
            .prepare_cached(&format!("{ROW} WHERE project_id = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3"))
            .and_then(|mut it| it.query_map((project.0, after.cast_signed(), limit), read)?.collect())
            .doing("the audit log")
    }

    /// The newest checkpoint.
    pub fn audit_checkpoint_head(&self, project: ProjectId) -> Result<Option<CheckpointRow>, StoreError> {
        self.conn
            .prepare_cached(&format!("{CHECKPOINT} WHERE project_id = ?1 ORDER BY size DESC LIMIT 1"))
            .and_then(|mut it| it.query_row([project.0], read_checkpoint).optional())
            .doing("the newest checkpoint")
    }

    /// Oldest first: those of more records than `after`, up to `last` records.
    pub fn audit_checkpoints(
        &self,
        project: ProjectId,
        (after, last): (u64, u64),
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        self.conn
            .prepare_cached(&format!(
                "{CHECKPOINT} WHERE project_id = ?1 AND size > ?2 AND size <= ?3 ORDER BY size LIMIT ?4"
            ))
            .and_then(|mut it| {
                it.query_map((project.0, after.cast_signed(), last.cast_signed(), limit), read_checkpoint)?.collect()
            })
            .doing("checkpoints")
    }
}

impl Tx<'_> {
    pub fn insert_audit(&mut self, project: ProjectId, row: &AuditRow) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO audit (project_id, sequence, at, actor, action, target, detail, previous, digest)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .and_then(|mut it| {
                it.execute((
                    project.0,
                    row.sequence.cast_signed(),
                    row.at.0,
                    &row.actor,
                    &row.action,
                    &row.target,
                    &row.detail,
                    row.previous.0,
                    row.digest.0,
                ))
            })
            .doing("an audit record")?;
        Ok(())
    }

    pub fn insert_audit_checkpoint(&mut self, project: ProjectId, row: &CheckpointRow) -> Result<(), StoreError> {
        let edge: Vec<u8> = row.edge.iter().flat_map(|root| root.0).collect();
        self.conn
            .prepare_cached(
                "INSERT INTO audit_checkpoint (project_id, size, head, edge, note) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .and_then(|mut it| it.execute((project.0, row.size.cast_signed(), row.head.0, edge, &row.note)))
            .doing("a checkpoint")?;
        Ok(())
    }
}

fn read_checkpoint(row: &Row<'_>) -> rusqlite::Result<CheckpointRow> {
    let edge: Vec<u8> = row.get(2)?;
    // Bytes left over make a tree that can't be gone on with, which its reader refuses.
    let (edge, _) = edge.as_chunks::<32>();
    Ok(CheckpointRow {
        size: row.get::<_, i64>(0)?.cast_unsigned(),
        head: Sha256(row.get(1)?),
        edge: edge.iter().copied().map(Sha256).collect(),
        note: row.get(3)?,
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        sequence: row.get::<_, i64>(0)?.cast_unsigned(),
        at: Timestamp(row.get(1)?),
        actor: row.get(2)?,
        action: row.get(3)?,
        target: row.get(4)?,
        detail: row.get(5)?,
        previous: Sha256(row.get(6)?),
        digest: Sha256(row.get(7)?),
    })
}
