//! Programs that issuers vouch for, and the service accounts that they are here.

use muster_domain::Permission;
use muster_vocab::{AccountId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub project: ProjectId,
    pub name: String,
    pub issuer: String,
    pub audience: String,
    /// A pattern: `*` stands for anything.
    pub subject: String,
    /// PEM: the issuer's authorities, in the place of those that everybody trusts.
    pub certificates: Option<String>,
    pub account: AccountId,
    pub account_name: String,
    pub permissions: Vec<Permission>,
    pub life_s: u64,
    pub created_at: Timestamp,
}

const WORKLOAD: &str = "SELECT w.project_id, w.name, w.issuer, w.audience, w.subject, w.certificates, w.account_id,
     a.name, w.permissions, w.life_s, w.created_at FROM workload w JOIN account a ON a.id = w.account_id";

impl View<'_> {
    pub fn workload(&self, project: ProjectId, name: &str) -> Result<Option<Workload>, StoreError> {
        self.conn
            .prepare_cached(&format!("{WORKLOAD} WHERE w.project_id = ?1 AND w.name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), |row| Ok(read(row))).optional())
            .doing("a workload")?
            .transpose()
    }

    pub fn workloads(&self, project: ProjectId) -> Result<Vec<Workload>, StoreError> {
        self.conn
            .prepare_cached(&format!("{WORKLOAD} WHERE w.project_id = ?1 ORDER BY w.name"))
            .and_then(|mut it| it.query_map([project.0], |row| Ok(read(row)))?.collect::<Result<Vec<_>, _>>())
            .doing("workloads")?
            .into_iter()
            .collect()
    }
}

impl Tx<'_> {
    /// In the place of one of the same name.
    pub fn save_workload(&mut self, new: &Workload) -> Result<(), StoreError> {
        let permissions = serde_json::to_string(&new.permissions).doing("permissions")?;
        self.conn
            .execute(
                "INSERT INTO workload (project_id, name, issuer, audience, subject, certificates, account_id,
                   permissions, life_s, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (project_id, name) DO UPDATE SET issuer = excluded.issuer, audience = excluded.audience,
                   subject = excluded.subject, certificates = excluded.certificates,
                   account_id = excluded.account_id, permissions = excluded.permissions, life_s = excluded.life_s",
                (
                    new.project.0,
                    &new.name,
                    &new.issuer,
                    &new.audience,
                    &new.subject,
                    &new.certificates,
                    new.account.0,
                    permissions,
                    new.life_s.cast_signed(),
                    new.created_at.0,
                ),
            )
            .doing("a workload")?;
        Ok(())
    }

    pub fn delete_workload(&mut self, project: ProjectId, name: &str) -> Result<bool, StoreError> {
        let gone = self
            .conn
            .execute("DELETE FROM workload WHERE project_id = ?1 AND name = ?2", (project.0, name))
            .doing("deleting a workload")?;
        Ok(gone > 0)
    }
}

fn read(row: &Row<'_>) -> Result<Workload, StoreError> {
    let what = "a workload";
    let permissions: String = row.get(8).doing(what)?;
    Ok(Workload {
        project: ProjectId(row.get(0).doing(what)?),
        name: row.get(1).doing(what)?,
        issuer: row.get(2).doing(what)?,
        audience: row.get(3).doing(what)?,
        subject: row.get(4).doing(what)?,
        certificates: row.get(5).doing(what)?,
        account: AccountId(row.get(6).doing(what)?),
        account_name: row.get(7).doing(what)?,
        permissions: serde_json::from_str(&permissions).doing("permissions")?,
        life_s: row.get::<_, i64>(9).doing(what)?.cast_unsigned(),
        created_at: Timestamp(row.get(10).doing(what)?),
    })
}
