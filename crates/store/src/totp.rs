//! Second factors of people: sealed secrets, and digests of recovery codes.

use muster_vocab::{AccountId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// A second factor as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totp {
    pub account: AccountId,
    pub project: ProjectId,
    pub sealed: Vec<u8>,
    /// Asked for at logins once this is set.
    pub confirmed_at: Option<Timestamp>,
    /// Codes of steps up to this one were used.
    pub last_step: u64,
    /// Wrong codes since the last right one.
    pub failures: u32,
    pub locked_until: Option<Timestamp>,
}

const TOTP: &str = "SELECT account_id, project_id, sealed, confirmed_at, last_step, failures, locked_until FROM totp";

impl View<'_> {
    pub fn totp(&self, project: ProjectId, account: AccountId) -> Result<Option<Totp>, StoreError> {
        self.conn
            .prepare_cached(&format!("{TOTP} WHERE project_id = ?1 AND account_id = ?2"))
            .and_then(|mut it| it.query_row((project.0, account.0), read).optional())
            .doing("a second factor")
    }

    pub fn count_recovery_codes(&self, account: AccountId) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM recovery_code WHERE account_id = ?1")
            .and_then(|mut it| it.query_row([account.0], |row| row.get(0)))
            .doing("recovery codes")
    }

    /// Of all projects, for sealing them again.
    pub fn totps_after(&self, after: AccountId, limit: u32) -> Result<Vec<Totp>, StoreError> {
        self.conn
            .prepare_cached(&format!("{TOTP} WHERE account_id > ?1 ORDER BY account_id LIMIT ?2"))
            .and_then(|mut it| it.query_map((after.0, limit), read)?.collect())
            .doing("second factors")
    }
}

impl Tx<'_> {
    /// In the place of one that was there.
    pub fn save_totp(&mut self, totp: &Totp) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO totp (account_id, project_id, sealed, confirmed_at, last_step, failures, locked_until)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (account_id) DO UPDATE SET sealed = excluded.sealed,
                   confirmed_at = excluded.confirmed_at, last_step = excluded.last_step,
                   failures = excluded.failures, locked_until = excluded.locked_until",
                (
                    totp.account.0,
                    totp.project.0,
                    &totp.sealed,
                    totp.confirmed_at.map(|at| at.0),
                    totp.last_step.cast_signed(),
                    totp.failures,
                    totp.locked_until.map(|at| at.0),
                ),
            )
            .doing("a second factor")?;
        Ok(())
    }

    /// Whether there was one; its recovery codes go with it.
    pub fn delete_totp(&mut self, project: ProjectId, account: AccountId) -> Result<bool, StoreError> {
        let gone = self
            .conn
            .execute("DELETE FROM totp WHERE project_id = ?1 AND account_id = ?2", (project.0, account.0))
            .doing("deleting a second factor")?;
        if gone > 0 {
            self.save_recovery_codes(account, &[])?;
        }
        Ok(gone > 0)
    }

    /// In the place of those there were.
    pub fn save_recovery_codes(&mut self, account: AccountId, digests: &[[u8; 32]]) -> Result<(), StoreError> {
        let what = "recovery codes";
        self.conn.execute("DELETE FROM recovery_code WHERE account_id = ?1", [account.0]).doing(what)?;
        for digest in digests {
            self.conn
                .execute("INSERT INTO recovery_code (account_id, digest) VALUES (?1, ?2)", (account.0, digest))
                .doing(what)?;
        }
        Ok(())
    }

    /// Whether it was one of the account's, which it is no more.
    pub fn use_recovery_code(&mut self, account: AccountId, digest: &[u8; 32]) -> Result<bool, StoreError> {
        let gone = self
            .conn
            .execute("DELETE FROM recovery_code WHERE account_id = ?1 AND digest = ?2", (account.0, digest))
            .doing("a recovery code")?;
        Ok(gone > 0)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Totp> {
    Ok(Totp {
        account: AccountId(row.get(0)?),
        project: ProjectId(row.get(1)?),
        sealed: row.get(2)?,
        confirmed_at: row.get::<_, Option<i64>>(3)?.map(Timestamp),
        last_step: row.get::<_, i64>(4)?.cast_unsigned(),
        failures: row.get(5)?,
        locked_until: row.get::<_, Option<i64>>(6)?.map(Timestamp),
    })
}
