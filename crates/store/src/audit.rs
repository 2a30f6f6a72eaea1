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
    /// JSON; empty in records of older servers.
    pub context: String,
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

/// A project whose records a stream was not told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    pub project: ProjectId,
    pub name: String,
    /// The last one that it was told.
    pub after: u64,
    /// The newest one.
    pub head: u64,
}

const CHECKPOINT: &str = "SELECT size, head, edge, note FROM audit_checkpoint";

const ROW: &str = "SELECT sequence, at, actor, action, target, detail, context, previous, digest FROM audit";

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

    /// How many of the oldest records were dropped: those before the first that is there.
    pub fn audit_dropped(&self, project: ProjectId) -> Result<u64, StoreError> {
        self.conn
            .prepare_cached("SELECT min(sequence) FROM audit WHERE project_id = ?1")
            .and_then(|mut it| it.query_row([project.0], |row| row.get::<_, Option<i64>>(0)))
            .map(|first| first.map_or(0, |first| first.cast_unsigned() - 1))
            .doing("the audit log's beginning")
    }

    pub fn audit_record(&self, project: ProjectId, sequence: u64) -> Result<Option<AuditRow>, StoreError> {
        self.conn
            .prepare_cached(&format!("{ROW} WHERE project_id = ?1 AND sequence = ?2"))
            .and_then(|mut it| it.query_row((project.0, sequence.cast_signed()), read).optional())
            .doing("an audit record")
    }

    /// The newest record about a target.
    pub fn audit_of(&self, project: ProjectId, target: &str) -> Result<Option<AuditRow>, StoreError> {
        self.conn
            .prepare_cached(&format!("{ROW} WHERE project_id = ?1 AND target = ?2 ORDER BY sequence DESC LIMIT 1"))
            .and_then(|mut it| it.query_row((project.0, target), read).optional())
            .doing("the newest record of a target")
    }

    /// Digests of records, oldest first.
    pub fn audit_digests(
        &self,
        project: ProjectId,
        (after, last): (u64, u64),
        limit: u32,
    ) -> Result<Vec<Sha256>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT digest FROM audit WHERE project_id = ?1 AND sequence > ?2 AND sequence <= ?3
                 ORDER BY sequence LIMIT ?4",
            )
            .and_then(|mut it| {
                let of = (project.0, after.cast_signed(), last.cast_signed(), limit);
                it.query_map(of, |row| row.get(0).map(Sha256))?.collect()
            })
            .doing("digests of audit records")
    }

    /// The newest checkpoint that was signed of records up to `last`.
    pub fn audit_checkpoint_up_to(&self, project: ProjectId, last: u64) -> Result<Option<CheckpointRow>, StoreError> {
        self.conn
            .prepare_cached(&format!("{CHECKPOINT} WHERE project_id = ?1 AND size <= ?2 ORDER BY size DESC LIMIT 1"))
            .and_then(|mut it| it.query_row((project.0, last.cast_signed()), read_checkpoint).optional())
            .doing("a checkpoint")
    }

    /// How many records were made before a moment.
    pub fn audit_before(&self, project: ProjectId, before: Timestamp) -> Result<u64, StoreError> {
        self.conn
            .prepare_cached("SELECT ifnull(max(sequence), 0) FROM audit WHERE project_id = ?1 AND at < ?2")
            .and_then(|mut it| it.query_row((project.0, before.0), |row| row.get::<_, i64>(0)))
            .map(i64::cast_unsigned)
            .doing("old audit records")
    }

    /// The projects with records of which a stream was not told. Costs two searches for each project.
    pub fn audit_untold(&self, stream: &str) -> Result<Vec<Untold>, StoreError> {
        let untold = |row: &Row<'_>| {
            let (after, head): (i64, i64) = (row.get(2)?, row.get(3)?);
            let (after, head) = (after.cast_unsigned(), head.cast_unsigned());
            Ok(Untold { project: ProjectId(row.get(0)?), name: row.get(1)?, after, head })
        };
        self.conn
            .prepare_cached(
                "SELECT id, name, after, head FROM (
                   SELECT p.id, p.name, ifnull(s.sequence, 0) AS after,
                     ifnull((SELECT max(sequence) FROM audit WHERE project_id = p.id), 0) AS head
                   FROM project p LEFT JOIN audit_stream s ON s.project_id = p.id AND s.stream = ?1)
                 WHERE head > after ORDER BY id",
            )
            .and_then(|mut it| it.query_map([stream], untold)?.collect())
            .doing("audit records that were not told")
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
                "INSERT INTO audit (project_id, sequence, at, actor, action, target, detail, context, previous,
                 digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
                    &row.context,
                    row.previous.0,
                    row.digest.0,
                ))
            })
            .doing("an audit record")?;
        Ok(())
    }

    /// Drops the records that a checkpoint is of, and older checkpoints. Answers how many records.
    pub fn delete_audit(&mut self, project: ProjectId, size: u64) -> Result<usize, StoreError> {
        self.conn
            .prepare_cached("DELETE FROM audit_checkpoint WHERE project_id = ?1 AND size < ?2")
            .and_then(|mut it| it.execute((project.0, size.cast_signed())))
            .doing("old checkpoints")?;
        self.conn
            .prepare_cached("DELETE FROM audit WHERE project_id = ?1 AND sequence <= ?2")
            .and_then(|mut it| it.execute((project.0, size.cast_signed())))
            .doing("old audit records")
    }

    pub fn save_audit_streamed(&mut self, stream: &str, project: ProjectId, sequence: u64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO audit_stream (stream, project_id, sequence) VALUES (?1, ?2, ?3)
                 ON CONFLICT (stream, project_id) DO UPDATE SET sequence = excluded.sequence",
            )
            .and_then(|mut it| it.execute((stream, project.0, sequence.cast_signed())))
            .doing("an audit stream's place")?;
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
        context: row.get(6)?,
        previous: Sha256(row.get(7)?),
        digest: Sha256(row.get(8)?),
    })
}
