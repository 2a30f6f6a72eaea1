//! What happened to a device or an action, in order?

use muster_vocab::{ActionId, DeviceId, ProjectId, RolloutId, Timestamp};
use rusqlite::Row;

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, View};

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub at: Timestamp,
    pub text: String,
    pub code: Option<i32>,
    pub messages: Vec<String>,
    pub action: Option<ActionId>,
    pub rollout: Option<RolloutId>,
    sequence: i64,
}

impl View<'_> {
    /// An action's reports, newest first.
    pub fn reports(
        &self,
        project: ProjectId,
        action: ActionId,
        page: (Option<Cursor>, u32),
    ) -> Result<Paged<Entry>, StoreError> {
        let (before, limit) = page;
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT r.at, r.text, r.code, r.messages, a.id, a.rollout_id, r.sequence
                 FROM report r JOIN action a ON a.id = r.action_id
                 WHERE a.project_id = ?1 AND r.action_id = ?2 AND r.sequence < ?3 ORDER BY r.sequence DESC LIMIT ?4",
            )
            .doing("reports")?;
        let before = before.map_or(i64::MAX, |cursor| cursor.0);
        let mut rows = statement.query((project.0, action.0, before, limit + 1)).doing("reports")?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().doing("reports")? {
            entries.push(read(row)?);
        }
        Ok(cut(entries, limit, |entry| entry.sequence))
    }

    /// Reports and audited changes of a device, newest first.
    ///
    /// The cursor is a time in milliseconds: entries of the same millisecond as the last of a page are on that page.
    pub fn timeline(
        &self,
        project: ProjectId,
        device: (DeviceId, &str),
        page: (Option<Cursor>, u32),
    ) -> Result<Paged<Entry>, StoreError> {
        let (before, limit) = page;
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT r.at, r.text, r.code, r.messages, a.id, a.rollout_id, r.at
                 FROM report r JOIN action a ON a.id = r.action_id
                 WHERE a.project_id = ?1 AND a.device_id = ?2 AND r.at < ?4
                 UNION ALL
                 SELECT at, actor || ': ' || action, NULL, '[]', NULL, NULL, at FROM audit
                 WHERE project_id = ?1 AND target = ?3 AND at < ?4
                 ORDER BY 1 DESC",
            )
            .doing("a timeline")?;
        let target = format!("device:{}", device.1);
        let before = before.map_or(i64::MAX, |cursor| cursor.0);
        let mut rows = statement.query((project.0, device.0.0, target, before)).doing("a timeline")?;
        let mut entries: Vec<Entry> = Vec::new();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        while let Some(row) = rows.next().doing("a timeline")? {
            let entry = read(row)?;
            if let Some(last) = entries.last()
                && entries.len() >= limit
                && last.at != entry.at
            {
                let next = Some(Cursor(last.at.0));
                return Ok(Paged { rows: entries, next });
            }
            entries.push(entry);
        }
        Ok(Paged { rows: entries, next: None })
    }
}

fn read(row: &Row<'_>) -> Result<Entry, StoreError> {
    let what = "a history entry";
    let messages: String = row.get(3).doing(what)?;
    Ok(Entry {
        at: Timestamp(row.get(0).doing(what)?),
        text: row.get(1).doing(what)?,
        code: row.get(2).doing(what)?,
        messages: serde_json::from_str(&messages).doing("messages")?,
        action: row.get::<_, Option<i64>>(4).doing(what)?.map(ActionId),
        rollout: row.get::<_, Option<i64>>(5).doing(what)?.map(RolloutId),
        sequence: row.get(6).doing(what)?,
    })
}
