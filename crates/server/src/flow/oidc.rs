//! People whom OpenID providers vouch for: who may vouch, whose account it is, and what their groups may.
//!
//! A person is an issuer and a subject, for ever; names and e-mail addresses change hands. What groups give ends by
//! itself, so that whoever leaves the company is out also if he never logs in again.

use std::collections::BTreeSet;

use muster_domain::access::{BuiltinRole, Rights};
use muster_domain::{Actor, Permission};
use muster_store::accounts::{Account, Token};
use muster_store::oidc::Provider;
use muster_store::{StoreError, Tx};
use muster_trust::secret;
use muster_vocab::digest::hex;
use muster_vocab::{AccountId, Name, ProjectId, Timestamp, limit};
use serde_json::json;

use super::error::FlowError;
use super::{access, audit, tokens};
use crate::oidc::certificates;
use crate::vault::Vault;

/// Whom a provider has vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub issuer: String,
    pub subject: String,
    /// What he is called, which proves nothing.
    pub name: Option<String>,
    pub groups: Vec<String>,
}

/// A provider knows him, and nobody here has given his groups a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRole;

#[must_use]
pub fn purpose(project: ProjectId, provider: &str) -> String {
    format!("oidc {}/{provider}", project.0)
}

/// Says who vouches for people. `new.client_secret` is sealed already.
pub fn set(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: Provider) -> Result<Provider, FlowError> {
    actor.may(Permission::Admin)?;
    check(&new)?;
    let project = actor.project();
    for role in new.groups.values().flatten() {
        if BuiltinRole::named(role).is_none() && tx.role(project, role)?.is_none() {
            return Err(StoreError::Missing { kind: "role", name: role.clone() }.into());
        }
    }
    let all = tx.oidc_providers(project)?;
    let before = all.iter().find(|provider| provider.name == new.name);
    if before.is_none() && all.len() >= limit::OIDC_PROVIDERS_PER_PROJECT_MAX {
        return Err(FlowError::Conflict("the project has too many OpenID providers: delete some".into()));
    }
    // Another issuer's groups are other groups.
    if before.is_some_and(|before| before.issuer != new.issuer) {
        tx.delete_oidc_provider(project, &new.name)?;
    }
    let new = Provider { project, created_at: before.map_or(now, |before| before.created_at), ..new };
    tx.save_oidc_provider(&new)?;
    let detail = json!({ "issuer": new.issuer, "client_id": new.client_id, "groups": new.groups });
    audit::record(tx, now, actor, ("oidc_provider.set", format!("oidc_provider:{}", new.name)), &detail)?;
    Ok(new)
}

pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    if !tx.delete_oidc_provider(actor.project(), name)? {
        return Err(StoreError::Missing { kind: "OpenID provider", name: name.to_owned() }.into());
    }
    audit::record(tx, now, actor, ("oidc_provider.delete", format!("oidc_provider:{name}")), &json!({}))
}

fn check(new: &Provider) -> Result<(), FlowError> {
    Name::parse(&new.name).map_err(|source| FlowError::Name { field: "name", source })?;
    check_issuer(&new.issuer, new.certificates.as_deref())?;
    let is_word = |text: &str, most: usize| {
        !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !is_word(&new.client_id, 255) {
        return Err(FlowError::invalid("client_id", "a client id is 1 to 255 ASCII characters without blanks"));
    }
    if !new.scopes.split(' ').any(|scope| scope == "openid") || !new.scopes.split(' ').all(|scope| is_word(scope, 100))
    {
        return Err(FlowError::invalid("scopes", "scopes are words with a blank between; openid is one of them"));
    }
    for (field, claim) in [("name_claim", &new.name_claim), ("groups_claim", &new.groups_claim)] {
        if !is_word(claim, 100) {
            return Err(FlowError::invalid(field, "a claim is called by 1 to 100 ASCII characters without blanks"));
        }
    }
    if let Some(url) = &new.server_url {
        check_server_url(url)?;
    }
    if new.groups.len() > limit::OIDC_GROUPS_MAX
        || new.groups.values().any(|roles| roles.len() > limit::OIDC_GROUPS_MAX)
    {
        return Err(FlowError::invalid("groups", format!("at most {} groups have roles", limit::OIDC_GROUPS_MAX)));
    }
    Ok(())
}

/// An issuer is reached over TLS only.
pub fn check_issuer(issuer: &str, pem: Option<&str>) -> Result<(), FlowError> {
    let rest = issuer.strip_prefix("https://").unwrap_or_default();
    let is_clean = rest.bytes().all(|byte| byte.is_ascii_graphic()) && !rest.contains(['?', '#', '@', '\\']);
    if rest.is_empty() || rest.starts_with('/') || !is_clean || issuer.len() > 500 {
        return Err(FlowError::invalid("issuer", "an issuer is an address such as https://id.example/realm"));
    }
    if pem.is_some_and(|pem| pem.len() > limit::API_BODY_BYTES_MAX || certificates(pem).is_empty()) {
        return Err(FlowError::invalid("certificates", "there is no certificate in it: it is PEM"));
    }
    Ok(())
}

/// People's browsers go there with codes in their addresses: encrypted, or without leaving the machine.
fn check_server_url(url: &str) -> Result<(), FlowError> {
    let wrong =
        || FlowError::invalid("server_url", "write where browsers reach this server, as in https://muster.example");
    let (kind, host) = url.split_once("://").ok_or_else(wrong)?;
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    let is_local = crate::edge::http::return_to::is_loopback(host);
    if is_host && (kind == "https" || (kind == "http" && is_local)) { Ok(()) } else { Err(wrong()) }
}

/// A session for whom the provider vouches. Refused people lose what their groups gave before: that is a commit, too.
pub fn log_in(
    tx: &mut Tx<'_>,
    now: Timestamp,
    (project, provider): (ProjectId, &str),
    person: &Person,
) -> Result<Result<(Account, Token, String), NoRole>, FlowError> {
    let provider = tx.oidc_provider(project, provider)?;
    if provider.issuer != person.issuer {
        return Err(FlowError::Conflict("the provider was changed in the meantime: log in again".into()));
    }
    let mapped = person.groups.iter().filter_map(|group| provider.groups.get(group)).flatten();
    let roles: Vec<String> = mapped.cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let account = match tx.oidc_account(project, &person.issuer, &person.subject)? {
        Some(id) => tx.account_by_id(project, id)?,
        None if roles.is_empty() => return Ok(Err(NoRole)),
        None => welcome(tx, now, &provider, person)?,
    };
    let before: BTreeSet<String> = tx.group_roles(project, account.id, now)?.into_iter().collect();
    tx.save_group_roles((project, account.id), &provider.name, &roles, now.plus(limit::ISSUER_SESSION_LIFE))?;
    let after: BTreeSet<String> = tx.group_roles(project, account.id, now)?.into_iter().collect();
    if before != after {
        let detail = json!({ "provider": provider.name, "roles": after });
        let muster = Actor::Muster { project };
        audit::record(tx, now, &muster, ("account.groups", format!("account:{}", account.name)), &detail)?;
    }
    let rights = access::rights(tx, now, project, account.id, &account.permissions)?;
    if rights == Rights::default() {
        return Ok(Err(NoRole));
    }
    let (token, secret) = tokens::log_in_by_issuer(tx, now, &account, rights)?;
    Ok(Ok((account, token, secret)))
}

/// An account of his own: one of the same name is somebody else's until its owner links it.
fn welcome(tx: &mut Tx<'_>, now: Timestamp, provider: &Provider, person: &Person) -> Result<Account, FlowError> {
    let mark = &hex(&secret::digest(&format!("{}\n{}", person.issuer, person.subject)))[..8];
    let cleaned = |name: &str| -> String {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        name.chars().take(40).map(|c| if is_fine(c) { c } else { '-' }).collect()
    };
    let plain = person.name.as_deref().map(cleaned).filter(|name| !name.is_empty());
    let mut names = vec![format!("{}:{mark}", provider.name)];
    if let Some(plain) = plain {
        names.insert(0, format!("{}:{plain}-{mark}", provider.name));
        names.insert(0, format!("{}:{plain}", provider.name));
    }
    names.retain(|name| Name::parse(name).is_ok());
    let project = provider.project;
    for name in names {
        let new = Account { id: AccountId(0), project, name, password: None, permissions: Vec::new(), created_at: now };
        let id = match tx.insert_account(&new) {
            Err(StoreError::Exists { .. }) => continue,
            other => other?,
        };
        tx.save_oidc_identity((project, id), (&person.issuer, &person.subject), now)?;
        let detail = json!({ "provider": provider.name, "issuer": person.issuer, "subject": person.subject });
        let muster = Actor::Muster { project };
        audit::record(tx, now, &muster, ("account.create", format!("account:{}", new.name)), &detail)?;
        return Ok(Account { id, ..new });
    }
    Err(FlowError::Conflict("all names for the account are taken: ask the project's admin".into()))
}

/// From now on this login is that of the asking person's own account, and what was decided by it before was decided by
/// him. The caller has checked his password.
pub fn link(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (provider, person): (&str, &Person),
    hash: &str,
) -> Result<(), FlowError> {
    let Actor::Account { id, project, .. } = actor else { return Err(FlowError::WrongPassword) };
    let (id, project) = (*id, *project);
    if tx.account_by_id(project, id)?.password.as_deref() != Some(hash) {
        return Err(FlowError::WrongPassword);
    }
    if let Some(before) = tx.oidc_account(project, &person.issuer, &person.subject)? {
        if before == id {
            return Ok(());
        }
        if tx.account_by_id(project, before)?.password.is_some() {
            return Err(FlowError::Conflict("this login is linked to another account".into()));
        }
        tx.save_group_roles((project, before), provider, &[], now)?;
        tx.save_same_person(project, before, id)?;
    }
    tx.save_oidc_identity((project, id), (&person.issuer, &person.subject), now)?;
    let detail = json!({ "provider": provider, "issuer": person.issuer, "subject": person.subject });
    audit::record(tx, now, actor, ("account.link", actor.to_string()), &detail)
}

/// Seals client secrets again with the newest master key.
pub fn reseal_some(tx: &mut Tx<'_>, vault: &Vault, after: i64) -> Result<Option<i64>, FlowError> {
    let some = tx.oidc_providers_after(after, limit::WORK_BATCH_ACTIONS)?;
    let last = some.last().map(|provider| provider.id);
    for provider in some {
        let Some(sealed) = &provider.client_secret else { continue };
        if let Some(sealed) = vault.resealed(&purpose(provider.project, &provider.name), sealed)? {
            tx.save_oidc_provider(&Provider { client_secret: Some(sealed), ..provider })?;
        }
    }
    Ok(last)
}
