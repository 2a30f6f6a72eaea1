//! Who vouches for people, whom they know, and which roles their groups gave.

use std::collections::BTreeMap;

use muster_vocab::{AccountId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// An OpenID provider as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub id: i64,
    pub project: ProjectId,
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    /// Sealed; none for a public client.
    pub client_secret: Option<Vec<u8>>,
    /// Where browsers reach this server; none if only the device grant is used.
    pub server_url: Option<String>,
    /// PEM: the provider's authorities, in the place of those that everybody trusts.
    pub certificates: Option<String>,
    pub scopes: String,
    pub name_claim: String,
    pub groups_claim: String,
    /// Group to roles.
    pub groups: BTreeMap<String, Vec<String>>,
    pub created_at: Timestamp,
}

const PROVIDER: &str =
    "SELECT id, project_id, name, issuer, client_id, client_secret, server_url, certificates, scopes,
     name_claim, groups_claim, groups, created_at FROM oidc_provider";

impl View<'_> {
    pub fn oidc_provider(&self, project: ProjectId, name: &str) -> Result<Provider, StoreError> {
        self.conn
            .prepare_cached(&format!("{PROVIDER} WHERE project_id = ?1 AND name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), |row| Ok(read(row))).optional())
            .doing("an OpenID provider")?
            .ok_or_else(|| StoreError::Missing { kind: "OpenID provider", name: name.to_owned() })?
    }

    pub fn oidc_providers(&self, project: ProjectId) -> Result<Vec<Provider>, StoreError> {
        self.conn
            .prepare_cached(&format!("{PROVIDER} WHERE project_id = ?1 ORDER BY name"))
            .and_then(|mut it| it.query_map([project.0], |row| Ok(read(row)))?.collect::<Result<Vec<_>, _>>())
            .doing("OpenID providers")?
            .into_iter()
            .collect()
    }

    /// Of all projects, for sealing their secrets again.
    pub fn oidc_providers_after(&self, after: i64, limit: u32) -> Result<Vec<Provider>, StoreError> {
        self.conn
            .prepare_cached(&format!("{PROVIDER} WHERE id > ?1 ORDER BY id LIMIT ?2"))
            .and_then(|mut it| it.query_map((after, limit), |row| Ok(read(row)))?.collect::<Result<Vec<_>, _>>())
            .doing("OpenID providers")?
            .into_iter()
            .collect()
    }

    /// The account of whom an issuer calls so.
    pub fn oidc_account(
        &self,
        project: ProjectId,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<AccountId>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT account_id FROM oidc_identity WHERE project_id = ?1 AND issuer = ?2 AND subject = ?3",
            )
            .and_then(|mut it| it.query_row((project.0, issuer, subject), |row| row.get(0).map(AccountId)).optional())
            .doing("whom an issuer knows")
    }

    /// Whether some issuer knows this account: it is a person's, also without a password.
    pub fn is_known_to_issuers(&self, project: ProjectId, account: AccountId) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM oidc_identity WHERE project_id = ?1 AND account_id = ?2)")
            .and_then(|mut it| it.query_row((project.0, account.0), |row| row.get(0)))
            .doing("whom an issuer knows")
    }

    /// Roles that the groups of the last login gave and that have not ended.
    pub fn group_roles(
        &self,
        project: ProjectId,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT DISTINCT role FROM group_role WHERE account_id = ?2 AND project_id = ?1 AND expires_at > ?3",
            )
            .and_then(|mut it| it.query_map((project.0, account.0, now.0), |row| row.get(0))?.collect())
            .doing("roles of groups")
    }
}

impl Tx<'_> {
    /// In the place of one of the same name.
    pub fn save_oidc_provider(&mut self, new: &Provider) -> Result<(), StoreError> {
        let what = "an OpenID provider";
        let groups = serde_json::to_string(&new.groups).doing("groups")?;
        self.conn
            .execute(
                "INSERT INTO oidc_provider (project_id, name, issuer, client_id, client_secret, server_url, certificates,
                   scopes, name_claim, groups_claim, groups, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 ON CONFLICT (project_id, name) DO UPDATE SET issuer = excluded.issuer,
                   client_id = excluded.client_id, client_secret = excluded.client_secret,
                   server_url = excluded.server_url, certificates = excluded.certificates, scopes = excluded.scopes,
                   name_claim = excluded.name_claim, groups_claim = excluded.groups_claim, groups = excluded.groups",
                (
                    new.project.0,
                    &new.name,
                    &new.issuer,
                    &new.client_id,
                    &new.client_secret,
                    &new.server_url,
                    &new.certificates,
                    &new.scopes,
                    &new.name_claim,
                    &new.groups_claim,
                    groups,
                    new.created_at.0,
                ),
            )
            .doing(what)?;
        Ok(())
    }

    /// What its groups gave goes with it; whom its issuer knows stays known.
    pub fn delete_oidc_provider(&mut self, project: ProjectId, name: &str) -> Result<bool, StoreError> {
        let what = "deleting an OpenID provider";
        self.conn
            .execute("DELETE FROM group_role WHERE project_id = ?1 AND provider = ?2", (project.0, name))
            .doing(what)?;
        let gone = self
            .conn
            .execute("DELETE FROM oidc_provider WHERE project_id = ?1 AND name = ?2", (project.0, name))
            .doing(what)?;
        Ok(gone > 0)
    }

    /// Whoever was known so before is now this account.
    pub fn save_oidc_identity(
        &mut self,
        (project, account): (ProjectId, AccountId),
        (issuer, subject): (&str, &str),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO oidc_identity (project_id, issuer, subject, account_id, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (project_id, issuer, subject) DO UPDATE SET account_id = excluded.account_id",
                (project.0, issuer, subject, account.0, now.0),
            )
            .doing("whom an issuer knows")?;
        Ok(())
    }

    /// In the place of all that this provider's groups gave the account before.
    pub fn save_group_roles(
        &mut self,
        (project, account): (ProjectId, AccountId),
        provider: &str,
        roles: &[String],
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let what = "roles of groups";
        self.conn
            .execute("DELETE FROM group_role WHERE account_id = ?1 AND provider = ?2", (account.0, provider))
            .doing(what)?;
        for role in roles {
            self.conn
                .execute(
                    "INSERT INTO group_role (account_id, project_id, provider, role, expires_at)
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                    (account.0, project.0, provider, role, expires_at.0),
                )
                .doing(what)?;
        }
        Ok(())
    }

    /// What this account has decided counts as decided by the other.
    pub fn save_same_person(
        &mut self,
        project: ProjectId,
        account: AccountId,
        same_as: AccountId,
    ) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE account SET same_as = ?3 WHERE project_id = ?1 AND id = ?2",
                (project.0, account.0, same_as.0),
            )
            .doing("whose an account is")?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Provider, StoreError> {
    let what = "an OpenID provider";
    let groups: String = row.get(11).doing(what)?;
    Ok(Provider {
        id: row.get(0).doing(what)?,
        project: ProjectId(row.get(1).doing(what)?),
        name: row.get(2).doing(what)?,
        issuer: row.get(3).doing(what)?,
        client_id: row.get(4).doing(what)?,
        client_secret: row.get(5).doing(what)?,
        server_url: row.get(6).doing(what)?,
        certificates: row.get(7).doing(what)?,
        scopes: row.get(8).doing(what)?,
        name_claim: row.get(9).doing(what)?,
        groups_claim: row.get(10).doing(what)?,
        groups: serde_json::from_str(&groups).doing("groups")?,
        created_at: Timestamp(row.get(12).doing(what)?),
    })
}
