//! Accounts: people and services.

use muster_domain::{Actor, Permission};
use muster_store::Tx;
use muster_store::accounts::Account;
use muster_vocab::{AccountId, Name, Timestamp};
use serde_json::json;

use super::audit;
use super::error::FlowError;

/// An account as somebody asks for it; the password is hashed already, because that takes a while.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub name: String,
    pub permissions: Vec<Permission>,
    pub password_hash: Option<String>,
}

pub fn create(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: NewAccount) -> Result<Account, FlowError> {
    actor.may(Permission::Admin)?;
    Name::parse(&new.name).map_err(|source| FlowError::Name { field: "name", source })?;
    let account = Account {
        id: AccountId(0),
        project: actor.project(),
        name: new.name,
        password: new.password_hash,
        permissions: new.permissions,
        created_at: now,
    };
    let id = tx.insert_account(&account)?;
    if let Actor::Account { id: maker, project, .. } = actor {
        tx.save_account_maker(*project, id, *maker)?;
    }
    let detail = json!({ "permissions": account.permissions, "has_password": account.password.is_some() });
    audit::record(tx, now, actor, ("account.create", format!("account:{}", account.name)), &detail)?;
    Ok(Account { id, ..account })
}

/// Its tokens stop working at once. Nobody can delete himself: the last admin would lock everybody out.
pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    let account = tx.account(actor.project(), name)?;
    if matches!(actor, Actor::Account { id, .. } if *id == account.id) {
        return Err(FlowError::Conflict("an account can't delete itself".into()));
    }
    tx.delete_account(actor.project(), account.id)?;
    audit::record(tx, now, actor, ("account.delete", format!("account:{name}")), &json!({}))
}

/// `old_hash` is what the old password was checked against, outside this transaction because checking takes a while.
pub fn change_password(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    old_hash: &str,
    new_hash: &str,
) -> Result<(), FlowError> {
    let Actor::Account { id, name, project, .. } = actor else { return Err(FlowError::WrongPassword) };
    let account = tx.account_by_id(*project, *id)?;
    if account.password.as_deref() != Some(old_hash) {
        return Err(FlowError::WrongPassword);
    }
    tx.save_password(*project, *id, new_hash)?;
    audit::record(tx, now, actor, ("account.password", format!("account:{name}")), &json!({}))
}
