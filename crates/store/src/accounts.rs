//! Accounts and their tokens; secrets only as digests.

use muster_domain::Permission;
use muster_vocab::selector::Selector;
use muster_vocab::{AccountId, ProjectId, Timestamp, TokenId};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::select::{Sql, TOKENS};
use crate::{Cursor, Paged, StoreError, Tx, View};

#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub id: AccountId,
    pub project: ProjectId,
    pub name: String,
    /// An argon2id hash; none for service accounts.
    pub password: Option<String>,
    pub permissions: Vec<Permission>,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub id: TokenId,
    pub project: ProjectId,
    pub account: AccountId,
    pub account_name: String,
    pub name: String,
    pub permissions: Vec<Permission>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    /// Somebody has shown his password for it.
    pub is_login: bool,
}

#[derive(Debug, Clone)]
pub struct NewToken {
    pub account: AccountId,
    pub name: String,
    pub digest: [u8; 32],
    pub permissions: Vec<Permission>,
    pub expires_at: Timestamp,
    pub is_login: bool,
}

const ACCOUNT: &str = "SELECT id, project_id, name, password, permissions, created_at FROM account";
const TOKEN: &str =
    "SELECT t.id, t.project_id, t.account_id, a.name, t.name, t.permissions, t.created_at, t.expires_at,
     t.last_used_at, t.is_login FROM token t JOIN account a ON a.id = t.account_id";

impl View<'_> {
    pub fn account(&self, project: ProjectId, name: &str) -> Result<Account, StoreError> {
        self.conn
            .prepare_cached(&format!("{ACCOUNT} WHERE project_id = ?1 AND name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), |row| Ok(read_account(row))).optional())
            .doing("an account")?
            .ok_or_else(|| StoreError::Missing { kind: "account", name: name.to_owned() })?
    }

    pub fn account_by_id(&self, project: ProjectId, id: AccountId) -> Result<Account, StoreError> {
        self.conn
            .prepare_cached(&format!("{ACCOUNT} WHERE project_id = ?1 AND id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id.0), |row| Ok(read_account(row))).optional())
            .doing("an account")?
            .ok_or_else(|| StoreError::Missing { kind: "account", name: id.to_string() })?
    }

    pub fn accounts(&self, project: ProjectId, after: Cursor, limit: u32) -> Result<Paged<Account>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached(&format!("{ACCOUNT} WHERE project_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))
            .doing("accounts")?;
        let rows = statement
            .query_map((project.0, after.0, limit + 1), |row| Ok(read_account(row)))
            .doing("accounts")?
            .map(|row| row.doing("accounts")?)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(cut(rows, limit, |account| account.id.0))
    }

    pub fn token_by_digest(&self, digest: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.conn
            .prepare_cached(&format!("{TOKEN} WHERE t.digest = ?1"))
            .and_then(|mut it| it.query_row([digest], |row| Ok(read_token(row))).optional())
            .doing("a token")?
            .transpose()
    }

    pub fn token(&self, project: ProjectId, id: TokenId) -> Result<Token, StoreError> {
        self.conn
            .prepare_cached(&format!("{TOKEN} WHERE t.project_id = ?1 AND t.id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id.0), |row| Ok(read_token(row))).optional())
            .doing("a token")?
            .ok_or_else(|| StoreError::Missing { kind: "token", name: id.to_string() })?
    }

    pub fn tokens(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (Cursor, u32),
        now: Timestamp,
    ) -> Result<Paged<Token>, StoreError> {
        let (after, limit) = page;
        let mut sql = Sql::new(&format!("{TOKEN} WHERE t.project_id = "));
        sql.bind(project.0);
        sql.and_select(select, &TOKENS, now);
        sql.push(" AND t.id > ").bind(after.0).push(" ORDER BY t.id LIMIT ").bind(limit + 1);
        let rows = sql.query(self.conn, "tokens", read_token)?;
        Ok(cut(rows, limit, |token| token.id.0))
    }

    pub fn count_tokens(&self, project: ProjectId) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM token WHERE project_id = ?1")
            .and_then(|mut it| it.query_row([project.0], |row| row.get(0)))
            .doing("tokens")
    }
}

impl Tx<'_> {
    pub fn insert_account(&mut self, account: &Account) -> Result<AccountId, StoreError> {
        let permissions = serde_json::to_string(&account.permissions).doing("permissions")?;
        let added = self
            .conn
            .execute(
                "INSERT INTO account (project_id, name, password, permissions, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
                (account.project.0, &account.name, &account.password, permissions, account.created_at.0),
            )
            .doing("an account")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "account", name: account.name.clone() });
        }
        Ok(AccountId(self.conn.last_insert_rowid()))
    }

    pub fn save_password(&mut self, project: ProjectId, id: AccountId, password: &str) -> Result<(), StoreError> {
        self.conn
            .execute("UPDATE account SET password = ?3 WHERE project_id = ?1 AND id = ?2", (project.0, id.0, password))
            .doing("a password")?;
        Ok(())
    }

    /// Its tokens go with it.
    pub fn delete_account(&mut self, project: ProjectId, id: AccountId) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM account WHERE project_id = ?1 AND id = ?2", (project.0, id.0))
            .doing("deleting an account")?;
        self.own.tokens = true;
        Ok(())
    }

    pub fn insert_token(&mut self, project: ProjectId, new: &NewToken, now: Timestamp) -> Result<TokenId, StoreError> {
        let permissions = serde_json::to_string(&new.permissions).doing("permissions")?;
        self.conn
            .execute(
                "INSERT INTO token (project_id, account_id, name, digest, permissions, created_at, expires_at, is_login)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (
                    project.0,
                    new.account.0,
                    &new.name,
                    new.digest,
                    permissions,
                    now.0,
                    new.expires_at.0,
                    new.is_login,
                ),
            )
            .doing("a token")?;
        Ok(TokenId(self.conn.last_insert_rowid()))
    }

    pub fn delete_token(&mut self, project: ProjectId, id: TokenId) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM token WHERE project_id = ?1 AND id = ?2", (project.0, id.0))
            .doing("deleting a token")?;
        self.own.tokens = true;
        Ok(())
    }

    pub fn save_token_use(&mut self, project: ProjectId, id: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.conn
            .execute("UPDATE token SET last_used_at = ?3 WHERE project_id = ?1 AND id = ?2", (project.0, id.0, at.0))
            .doing("a token's use")?;
        Ok(())
    }

    pub fn delete_expired_tokens(&mut self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        self.conn
            .execute(
                "DELETE FROM token WHERE id IN (SELECT id FROM token WHERE expires_at < ?1 LIMIT ?2)",
                (before.0, limit),
            )
            .doing("deleting expired tokens")
    }
}

fn read_account(row: &Row<'_>) -> Result<Account, StoreError> {
    let what = "an account";
    let permissions: String = row.get(4).doing(what)?;
    Ok(Account {
        id: AccountId(row.get(0).doing(what)?),
        project: ProjectId(row.get(1).doing(what)?),
        name: row.get(2).doing(what)?,
        password: row.get(3).doing(what)?,
        permissions: serde_json::from_str(&permissions).doing("permissions")?,
        created_at: Timestamp(row.get(5).doing(what)?),
    })
}

fn read_token(row: &Row<'_>) -> Result<Token, StoreError> {
    let what = "a token";
    let permissions: String = row.get(5).doing(what)?;
    Ok(Token {
        id: TokenId(row.get(0).doing(what)?),
        project: ProjectId(row.get(1).doing(what)?),
        account: AccountId(row.get(2).doing(what)?),
        account_name: row.get(3).doing(what)?,
        name: row.get(4).doing(what)?,
        permissions: serde_json::from_str(&permissions).doing("permissions")?,
        created_at: Timestamp(row.get(6).doing(what)?),
        expires_at: Timestamp(row.get(7).doing(what)?),
        last_used_at: row.get::<_, Option<i64>>(8).doing(what)?.map(Timestamp),
        is_login: row.get(9).doing(what)?,
    })
}
