//! Tokens: made from a login or by their owner, never with more than the owner may.

use std::time::Duration;

use muster_domain::access::{Rights, includes};
use muster_domain::actor::{NotAllowed, Origin};
use muster_domain::{Actor, Permission};
use muster_store::Tx;
use muster_store::accounts::{Account, NewToken, Token};
use muster_trust::secret;
use muster_vocab::{AccountId, Name, Timestamp, TokenId, limit};
use serde_json::json;

use super::error::FlowError;
use super::{access, audit};

const LIFE_MIN: Duration = Duration::from_secs(60);
const LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// In the audit log: somebody has shown his password.
const LOGIN: &str = "account.login";

/// A token for somebody whose password was right. Returns its secret, which is shown only now.
pub fn log_in(tx: &mut Tx<'_>, now: Timestamp, account: &Account) -> Result<(Token, String), FlowError> {
    let rights = access::rights(tx, now, account.project, account.id, &account.permissions)?;
    let permissions = all_of(account, &rights);
    let (id, name, project) = (account.id, account.name.clone(), account.project);
    let origin = Origin { shown: "password".to_owned(), ..Origin::default() };
    let actor = Actor::Account { id, name, project, rights, origin };
    let new = (id, "login".to_owned(), permissions, limit::SESSION_LIFE);
    insert(tx, now, &actor, new, LOGIN)
}

/// A token for somebody whom an issuer vouched for. It is no login of this server's own: tokens that it makes end with
/// it, so that nothing outlives what the issuer has said.
pub fn log_in_by_issuer(
    tx: &mut Tx<'_>,
    now: Timestamp,
    account: &Account,
    rights: Rights,
) -> Result<(Token, String), FlowError> {
    let permissions = all_of(account, &rights);
    let (id, name, project) = (account.id, account.name.clone(), account.project);
    let origin = Origin { shown: "issuer".to_owned(), ..Origin::default() };
    let actor = Actor::Account { id, name, project, rights, origin };
    let new = (id, "login".to_owned(), permissions, limit::ISSUER_SESSION_LIFE);
    insert(tx, now, &actor, new, "account.login.oidc")
}

/// An account's own scopes, and what its roles add to them.
fn all_of(account: &Account, rights: &Rights) -> Vec<Permission> {
    let mut permissions = account.permissions.clone();
    for wanted in Permission::ALL.into_iter().rev() {
        if rights.may_somewhere(wanted) && !permissions.iter().any(|had| includes(*had, wanted)) {
            permissions.push(wanted);
        }
    }
    permissions
}

/// A token as somebody asks for it.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub name: String,
    pub permissions: Vec<Permission>,
    pub life: Duration,
    /// A service account that the asking person has made, if the token is not for himself.
    pub account: Option<String>,
}

/// `by` is the token that asks.
pub fn create(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    by: TokenId,
    wanted: Wanted,
) -> Result<(Token, String), FlowError> {
    let Wanted { name, permissions, life, account } = wanted;
    Name::parse(&name).map_err(|source| FlowError::Name { field: "name", source })?;
    if permissions.is_empty() {
        return Err(FlowError::invalid("scopes", "give the token at least one scope, such as read"));
    }
    let rights = actor.rights().ok_or_else(|| FlowError::Conflict("only accounts have tokens".into()))?;
    if let Some(missing) = permissions.iter().find(|permission| !rights.may_somewhere(**permission)) {
        return Err(NotAllowed(*missing).into());
    }
    if life < LIFE_MIN || life > LIFE_MAX {
        return Err(FlowError::invalid("life_s", "a token lives between 60 s and 10 years"));
    }
    let maker = tx.token(actor.project(), by)?;
    // One that was found or stolen can't be made to last.
    let life = if maker.is_login { life } else { life.min(maker.expires_at.since(now)) };
    let account = match account {
        Some(service) => own_service(tx, actor, maker.account, &service)?,
        None => maker.account,
    };
    insert(tx, now, actor, (account, name, permissions, life), "token.create")
}

/// Only its maker may have tokens of a service account: what it approves is his approval, so that another's token of it
/// would let him approve what is his own.
pub(super) fn own_service(tx: &Tx<'_>, actor: &Actor, asking: AccountId, name: &str) -> Result<AccountId, FlowError> {
    actor.may(Permission::Admin)?;
    let project = actor.project();
    let service = tx.account(project, name)?;
    if service.id == asking {
        return Ok(asking);
    }
    if service.password.is_some() || tx.is_known_to_issuers(project, service.id)? {
        return Err(FlowError::Conflict(format!("{name} is a person, who makes tokens after logging in")));
    }
    if tx.person_behind(project, service.id)? != tx.person_behind(project, asking)? {
        return Err(FlowError::Conflict(format!(
            "{name} was made by somebody else, who alone makes its tokens: make a service account of your own"
        )));
    }
    Ok(service.id)
}

pub(super) fn insert(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    new: (AccountId, String, Vec<Permission>, Duration),
    action: &str,
) -> Result<(Token, String), FlowError> {
    let project = actor.project();
    if tx.count_tokens(project)? >= limit::TOKENS_PER_PROJECT_MAX {
        return Err(FlowError::Conflict("the project has too many tokens: delete some".into()));
    }
    let secret = secret::generate(secret::TOKEN_PREFIX)?;
    let (account, name, permissions, life) = new;
    let is_login = action == LOGIN;
    let new =
        NewToken { account, name, digest: secret::digest(&secret), permissions, expires_at: now.plus(life), is_login };
    let id = tx.insert_token(project, &new, now)?;
    let detail = json!({ "name": new.name, "permissions": new.permissions, "expires_at": new.expires_at });
    audit::record(tx, now, actor, (action, format!("token:{id}")), &detail)?;
    Ok((tx.token(project, id)?, secret))
}

/// One's own, or anybody's for an admin.
pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: TokenId) -> Result<(), FlowError> {
    let token = tx.token(actor.project(), id)?;
    let own = matches!(actor, Actor::Account { id, .. } if *id == token.account);
    if !own {
        actor.may(Permission::Admin)?;
    }
    tx.delete_token(actor.project(), id)?;
    audit::record(tx, now, actor, ("token.delete", format!("token:{id}")), &json!({}))
}
