//! Which roles does a project have, and who has them?

use muster_domain::Permission;
use muster_vocab::{AccountId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// A role of a project's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    pub name: String,
    pub permissions: Vec<Permission>,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// An account has a role over the project, or over the devices that a selector matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub id: i64,
    pub account: AccountId,
    pub account_name: String,
    pub role: String,
    /// Empty: the whole project.
    pub select: String,
    pub created_at: Timestamp,
    pub created_by: String,
}

const ROLE: &str = "SELECT name, permissions, created_at, created_by FROM role";
const BINDING: &str = "SELECT b.id, b.account_id, a.name, b.role, b.selector, b.created_at, b.created_by
     FROM role_binding b JOIN account a ON a.id = b.account_id";

impl View<'_> {
    pub fn role(&self, project: ProjectId, name: &str) -> Result<Option<Role>, StoreError> {
        self.conn
            .prepare_cached(&format!("{ROLE} WHERE project_id = ?1 AND name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), |row| Ok(read_role(row))).optional())
            .doing("a role")?
            .transpose()
    }

    pub fn roles(&self, project: ProjectId) -> Result<Vec<Role>, StoreError> {
        self.conn
            .prepare_cached(&format!("{ROLE} WHERE project_id = ?1 ORDER BY name"))
            .and_then(|mut it| it.query_map([project.0], |row| Ok(read_role(row)))?.collect::<Result<Vec<_>, _>>())
            .doing("roles")?
            .into_iter()
            .collect()
    }

    pub fn bindings(&self, project: ProjectId) -> Result<Vec<Binding>, StoreError> {
        self.conn
            .prepare_cached(&format!("{BINDING} WHERE b.project_id = ?1 ORDER BY b.id"))
            .and_then(|mut it| it.query_map([project.0], read_binding)?.collect())
            .doing("role bindings")
    }

    pub fn bindings_of(&self, project: ProjectId, account: AccountId) -> Result<Vec<Binding>, StoreError> {
        self.conn
            .prepare_cached(&format!("{BINDING} WHERE b.project_id = ?1 AND b.account_id = ?2 ORDER BY b.id"))
            .and_then(|mut it| it.query_map((project.0, account.0), read_binding)?.collect())
            .doing("role bindings")
    }

    /// Whose decisions an account's are: a person's own, whichever way he logged in; a service account's of whoever made
    /// it.
    pub fn person_behind(&self, project: ProjectId, account: AccountId) -> Result<AccountId, StoreError> {
        const STEPS_MAX: usize = 16;
        let mut at = account;
        for _ in 0..STEPS_MAX {
            let maker: Option<Option<i64>> = self
                .conn
                .prepare_cached(
                    "SELECT coalesce(same_as, CASE WHEN password IS NULL THEN created_by END) FROM account
                     WHERE project_id = ?1 AND id = ?2",
                )
                .and_then(|mut it| it.query_row((project.0, at.0), |row| row.get(0)).optional())
                .doing("who made an account")?;
            match maker.flatten() {
                Some(maker) => at = AccountId(maker),
                None => break,
            }
        }
        Ok(at)
    }
}

impl Tx<'_> {
    pub fn insert_role(&mut self, project: ProjectId, new: &Role) -> Result<(), StoreError> {
        let permissions = serde_json::to_string(&new.permissions).doing("permissions")?;
        let added = self
            .conn
            .execute(
                "INSERT INTO role (project_id, name, permissions, created_at, created_by) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
                (project.0, &new.name, permissions, new.created_at.0, &new.created_by),
            )
            .doing("a role")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "role", name: new.name.clone() });
        }
        Ok(())
    }

    /// Its bindings go with it.
    pub fn delete_role(&mut self, project: ProjectId, name: &str) -> Result<bool, StoreError> {
        let gone = self
            .conn
            .execute("DELETE FROM role WHERE project_id = ?1 AND name = ?2", (project.0, name))
            .doing("deleting a role")?;
        if gone > 0 {
            for table in ["role_binding", "group_role"] {
                self.conn
                    .execute(&format!("DELETE FROM {table} WHERE project_id = ?1 AND role = ?2"), (project.0, name))
                    .doing("deleting a role")?;
            }
        }
        Ok(gone > 0)
    }

    pub fn insert_binding(&mut self, project: ProjectId, new: &Binding) -> Result<i64, StoreError> {
        let added = self
            .conn
            .execute(
                "INSERT INTO role_binding (project_id, account_id, role, selector, created_at, created_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                (project.0, new.account.0, &new.role, &new.select, new.created_at.0, &new.created_by),
            )
            .doing("a role binding")?;
        if added == 0 {
            return Err(StoreError::Exists {
                kind: "role binding",
                name: format!("{} of {}", new.role, new.account_name),
            });
        }
        Ok(self.conn.last_insert_rowid())
    }

    /// What it was, if it was there.
    pub fn delete_binding(&mut self, project: ProjectId, id: i64) -> Result<Option<Binding>, StoreError> {
        let found = self
            .conn
            .prepare_cached(&format!("{BINDING} WHERE b.project_id = ?1 AND b.id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id), read_binding).optional())
            .doing("a role binding")?;
        self.conn
            .execute("DELETE FROM role_binding WHERE project_id = ?1 AND id = ?2", (project.0, id))
            .doing("deleting a role binding")?;
        Ok(found)
    }

    pub fn save_account_maker(
        &mut self,
        project: ProjectId,
        account: AccountId,
        maker: AccountId,
    ) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE account SET created_by = ?3 WHERE project_id = ?1 AND id = ?2",
                (project.0, account.0, maker.0),
            )
            .doing("who made an account")?;
        Ok(())
    }
}

fn read_role(row: &Row<'_>) -> Result<Role, StoreError> {
    let what = "a role";
    let permissions: String = row.get(1).doing(what)?;
    Ok(Role {
        name: row.get(0).doing(what)?,
        permissions: serde_json::from_str(&permissions).doing("permissions")?,
        created_at: Timestamp(row.get(2).doing(what)?),
        created_by: row.get(3).doing(what)?,
    })
}

fn read_binding(row: &Row<'_>) -> rusqlite::Result<Binding> {
    Ok(Binding {
        id: row.get(0)?,
        account: AccountId(row.get(1)?),
        account_name: row.get(2)?,
        role: row.get(3)?,
        select: row.get(4)?,
        created_at: Timestamp(row.get(5)?),
        created_by: row.get(6)?,
    })
}
