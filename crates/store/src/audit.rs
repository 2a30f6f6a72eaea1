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
