//! Has this request been answered before?

use muster_vocab::{AccountId, ProjectId, Timestamp};
use rusqlite::OptionalExtension;

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// An answer given earlier to the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// SHA-256 of the request it was given to.
    pub request: [u8; 32],
    pub status: u16,
    pub body: String,
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub project: ProjectId,
    pub account: AccountId,
    pub key: String,
}

impl View<'_> {
    pub fn answered(&self, key: &Key) -> Result<Option<Answered>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT request, status, body FROM idempotency WHERE project_id = ?1 AND account_id = ?2 AND key = ?3",
            )
            .and_then(|mut it| {
                it.query_row((key.project.0, key.account.0, &key.key), |row| {
                    Ok(Answered { request: row.get(0)?, status: row.get(1)?, body: row.get(2)? })
                })
                .optional()
            })
            .doing("an earlier answer")
    }
}

impl Tx<'_> {
    pub fn save_answer(&mut self, key: &Key, answered: &Answered, now: Timestamp) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO idempotency (project_id, account_id, key, request, status, body, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                (key.project.0, key.account.0, &key.key, answered.request, answered.status, &answered.body, now.0),
            )
            .doing("an answer")?;
        Ok(())
    }

    pub fn delete_old_answers(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.conn.execute("DELETE FROM idempotency WHERE created_at < ?1", [before.0]).doing("deleting old answers")?;
        Ok(())
    }
}
