//! What changed, for those who watch.

use muster_vocab::{ProjectId, RolloutId, Timestamp};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub sequence: u64,
    pub at: Timestamp,
    pub kind: String,
    pub target: String,
    pub change: String,
    pub rollout: Option<RolloutId>,
}

/// A change as a flow tells it.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    pub kind: &'a str,
    pub target: &'a str,
    pub change: &'a str,
    pub rollout: Option<RolloutId>,
}

impl View<'_> {
    pub fn events_after(&self, project: ProjectId, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT sequence, at, kind, target, change, rollout_id FROM event
                 WHERE sequence > ?2 AND project_id = ?1 ORDER BY sequence LIMIT ?3",
            )
            .and_then(|mut it| {
                it.query_map((project.0, after.cast_signed(), limit), |row| {
                    Ok(EventRow {
                        sequence: row.get::<_, i64>(0)?.cast_unsigned(),
                        at: Timestamp(row.get(1)?),
                        kind: row.get(2)?,
                        target: row.get(3)?,
                        change: row.get(4)?,
                        rollout: row.get::<_, Option<i64>>(5)?.map(RolloutId),
                    })
                })?
                .collect()
            })
            .doing("events")
    }

    /// The newest event's number, and the oldest one's that is still kept.
    pub fn event_range(&self) -> Result<(u64, u64), StoreError> {
        self.conn
            // Asked for one by one: only then does the key answer, instead of every row.
            .prepare_cached(
                "SELECT coalesce((SELECT max(sequence) FROM event), 0), coalesce((SELECT min(sequence) FROM event), 0)",
            )
            .and_then(|mut it| {
                it.query_row([], |row| {
                    Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
                })
            })
            .doing("events")
    }
}

impl Tx<'_> {
    pub fn emit_event(&mut self, project: ProjectId, at: Timestamp, event: &NewEvent<'_>) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO event (project_id, at, kind, target, change, rollout_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut it| {
                let rollout = event.rollout.map(|id| id.0);
                it.execute((project.0, at.0, event.kind, event.target, event.change, rollout))
            })
            .doing("an event")?;
        self.own.events = true;
        Ok(())
    }

    /// Keeps the newest; a client that was away for longer starts over.
    pub fn delete_old_events(&mut self, kept: u32) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM event WHERE sequence <= (SELECT max(sequence) FROM event) - ?1", [kept])
            .doing("deleting old events")?;
        Ok(())
    }
}
