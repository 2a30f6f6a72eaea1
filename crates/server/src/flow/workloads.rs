//! Programs that issuers vouch for: which there are, and what they get for their word.

use std::time::Duration;

use muster_domain::access::includes;
use muster_domain::actor::{NotAllowed, Origin};
use muster_domain::workload::{check_subject, is_meant};
use muster_domain::{Actor, Permission};
use muster_store::accounts::Token;
use muster_store::workloads::Workload;
use muster_store::{StoreError, Tx};
use muster_vocab::{Name, Timestamp, limit};
use serde_json::json;

use super::error::FlowError;
use super::oidc::check_issuer;
use super::{access, audit, tokens};

const LIFE_S_MIN: u64 = 60;

/// Says which program is which service account here. `new.account_name` is looked up; the account must be a service
/// account of the asking person's own, because what it decides counts as his decision.
pub fn set(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: Workload) -> Result<Workload, FlowError> {
    actor.may(Permission::Admin)?;
    check(&new)?;
    let Actor::Account { id: asking, project, .. } = actor else { return Err(NotAllowed(Permission::Admin).into()) };
    let project = *project;
    let account = tokens::own_service(tx, actor, *asking, &new.account_name)?;
    let is_person =
        tx.account_by_id(project, account)?.password.is_some() || tx.is_known_to_issuers(project, account)?;
    if is_person {
        let detail = format!("{} is a person: make a service account for programs", new.account_name);
        return Err(FlowError::Conflict(detail));
    }
    let before = tx.workload(project, &new.name)?;
    if before.is_none() && tx.workloads(project)?.len() >= limit::WORKLOADS_PER_PROJECT_MAX {
        return Err(FlowError::Conflict("the project has too many workloads: delete some".into()));
    }
    let created_at = before.map_or(now, |before| before.created_at);
    let new = Workload { project, account, created_at, ..new };
    tx.save_workload(&new)?;
    let detail = json!({ "issuer": new.issuer, "audience": new.audience, "subject": new.subject,
        "account": new.account_name, "permissions": new.permissions, "life_s": new.life_s });
    audit::record(tx, now, actor, ("workload.set", format!("workload:{}", new.name)), &detail)?;
    Ok(new)
}

fn check(new: &Workload) -> Result<(), FlowError> {
    Name::parse(&new.name).map_err(|source| FlowError::Name { field: "name", source })?;
    check_issuer(&new.issuer, new.certificates.as_deref())?;
    check_subject(&new.subject).map_err(|bad| FlowError::invalid("subject", bad.to_string()))?;
    if new.audience.is_empty() || new.audience.len() > 255 || new.audience.contains(char::is_control) {
        return Err(FlowError::invalid("audience", "an audience has 1 to 255 characters"));
    }
    if new.permissions.is_empty() {
        return Err(FlowError::invalid("scopes", "give the workload at least one scope, such as read"));
    }
    if new.permissions.iter().any(|permission| includes(*permission, Permission::RolloutsApprove)) {
        return Err(FlowError::invalid("scopes", "a program approves nothing: leave admin and rollouts:approve out"));
    }
    let most = limit::WORKLOAD_TOKEN_LIFE_MAX.as_secs();
    if !(LIFE_S_MIN..=most).contains(&new.life_s) {
        return Err(FlowError::invalid(
            "life_s",
            format!("a workload's token lives between {LIFE_S_MIN} and {most} s"),
        ));
    }
    Ok(())
}

pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    if !tx.delete_workload(actor.project(), name)? {
        return Err(StoreError::Missing { kind: "workload", name: name.to_owned() }.into());
    }
    audit::record(tx, now, actor, ("workload.delete", format!("workload:{name}")), &json!({}))
}

/// A short token for a program. `seen` is the workload by which its token was believed, `subject` who it is in there.
pub fn exchange(tx: &mut Tx<'_>, now: Timestamp, seen: &Workload, subject: &str) -> Result<(Token, String), FlowError> {
    let refused = || FlowError::ExchangeRefused("the token is not that of this workload".into());
    let workload = tx.workload(seen.project, &seen.name)?.ok_or_else(refused)?;
    // What was checked outside of this transaction must still be what is wanted.
    if &workload != seen || !is_meant(&workload.subject, subject) {
        return Err(refused());
    }
    let account = tx.account_by_id(workload.project, workload.account)?;
    let rights = access::rights(tx, now, workload.project, account.id, &account.permissions)?;
    let (id, name, project) = (account.id, account.name.clone(), account.project);
    let origin = Origin { shown: format!("issuer:{}", workload.issuer), ..Origin::default() };
    let actor = Actor::Account { id, name, project, rights, origin };
    let life = Duration::from_secs(workload.life_s).min(limit::WORKLOAD_TOKEN_LIFE_MAX);
    let detail = json!({ "workload": workload.name, "issuer": workload.issuer, "subject": subject });
    audit::record(tx, now, &actor, ("workload.exchange", format!("workload:{}", workload.name)), &detail)?;
    tokens::insert(tx, now, &actor, (account.id, workload.name, workload.permissions, life), "token.create")
}
