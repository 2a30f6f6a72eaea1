//! The second factor of people with a password: how it comes, how it is asked for, and how it goes.
//!
//! A code works once. Wrong ones are counted in the store, because a restart must not give a guesser new tries; only
//! who knows the password gets as far as here, so nobody else can lock a person out.

use muster_domain::{Actor, Permission};
use muster_store::accounts::Account;
use muster_store::totp::Totp;
use muster_store::{StoreError, Tx, View};
use muster_trust::{secret, totp};
use muster_vocab::{AccountId, ProjectId, Timestamp, limit};
use serde_json::json;
use zeroize::Zeroizing;

use super::audit;
use super::error::FlowError;
use crate::vault::Vault;

/// What showing a second factor came to. The wrong ones are kept, too: that is a commit and no refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// The account has none, or the code was right.
    Passed,
    Missing,
    Wrong,
    Locked(Timestamp),
}

/// What a person's app needs; shown once.
#[derive(Debug)]
pub struct Begun {
    pub secret: Zeroizing<String>,
    pub uri: Zeroizing<String>,
}

fn purpose(project: ProjectId, account: AccountId) -> String {
    format!("totp {}/{}", project.0, account.0)
}

/// A secret that counts once a code of it was shown. `hash` is what the password was checked against.
pub fn begin(
    tx: &mut Tx<'_>,
    vault: &Vault,
    (project, id): (ProjectId, AccountId),
    hash: &str,
) -> Result<Begun, FlowError> {
    let account = tx.account_by_id(project, id)?;
    if account.password.as_deref() != Some(hash) {
        return Err(FlowError::WrongPassword);
    }
    if tx.totp(project, id)?.is_some_and(|totp| totp.confirmed_at.is_some()) {
        return Err(FlowError::Conflict("there is a second factor already: disable it first".into()));
    }
    let plain = totp::generate()?;
    let sealed = vault.seal(&purpose(project, id), &plain)?;
    let new = Totp { account: id, project, sealed, confirmed_at: None, last_step: 0, failures: 0, locked_until: None };
    tx.save_totp(&new)?;
    let uri = totp::uri(&plain, "Muster", &account.name);
    Ok(Begun { secret: Zeroizing::new(totp::base32(&plain)), uri })
}

/// From now on logins ask for it. Answers recovery codes, which are shown only now.
pub fn confirm(
    tx: &mut Tx<'_>,
    now: Timestamp,
    (actor, vault): (&Actor, &Vault),
    code: &str,
) -> Result<Vec<String>, FlowError> {
    let (project, id) = person(actor)?;
    let begun = tx.totp(project, id)?.filter(|totp| totp.confirmed_at.is_none());
    let begun = begun.ok_or_else(|| FlowError::Conflict("nothing waits to be confirmed: enable it first".into()))?;
    let plain = vault.unseal(&purpose(project, id), &begun.sealed)?;
    let step = totp::check(&plain, code, now, 0)
        .ok_or_else(|| FlowError::invalid("code", "that is not the present code: look again, and at the clocks"))?;
    tx.save_totp(&Totp { confirmed_at: Some(now), last_step: step, ..begun })?;
    let codes = (0..limit::RECOVERY_CODES).map(|_| totp::recovery_code()).collect::<Result<Vec<_>, _>>()?;
    let digests: Vec<[u8; 32]> = codes.iter().map(|code| secret::digest(&totp::recovery_text(code))).collect();
    tx.save_recovery_codes(id, &digests)?;
    audit::record(tx, now, actor, ("account.totp.enable", target(actor)), &json!({}))?;
    Ok(codes)
}

/// Asks for the account's second factor, if it has one. `account` is one whose password was right.
pub fn show(
    tx: &mut Tx<'_>,
    now: Timestamp,
    vault: &Vault,
    account: &Account,
    code: Option<&str>,
) -> Result<Shown, FlowError> {
    let (project, id) = (account.project, account.id);
    let found = tx.totp(project, id)?.filter(|totp| totp.confirmed_at.is_some());
    let Some(mut held) = found else { return Ok(Shown::Passed) };
    if let Some(until) = held.locked_until
        && until > now
    {
        return Ok(Shown::Locked(until));
    }
    let Some(code) = code else { return Ok(Shown::Missing) };
    let plain = vault.unseal(&purpose(project, id), &held.sealed)?;
    if let Some(step) = totp::check(&plain, code, now, held.last_step) {
        tx.save_totp(&Totp { last_step: step, failures: 0, locked_until: None, ..held })?;
        return Ok(Shown::Passed);
    }
    let muster = Actor::Muster { project };
    let target = format!("account:{}", account.name);
    if tx.use_recovery_code(id, &secret::digest(&totp::recovery_text(code)))? {
        tx.save_totp(&Totp { failures: 0, locked_until: None, ..held })?;
        let left = json!({ "left": tx.count_recovery_codes(id)? });
        audit::record(tx, now, &muster, ("account.totp.recovery_code", target), &left)?;
        return Ok(Shown::Passed);
    }
    held.failures += 1;
    let is_too_much = held.failures >= limit::TOTP_WRONG_MAX;
    if is_too_much {
        held.failures = 0;
        held.locked_until = Some(now.plus(limit::TOTP_LOCK));
        audit::record(tx, now, &muster, ("account.totp.lock", target), &json!({ "until": held.locked_until }))?;
    }
    tx.save_totp(&held)?;
    Ok(Shown::Wrong)
}

/// One's own. The caller has asked for a code by [`show`].
pub fn disable(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor) -> Result<(), FlowError> {
    let (project, id) = person(actor)?;
    if !tx.delete_totp(project, id)? {
        return Err(none(&target(actor)));
    }
    audit::record(tx, now, actor, ("account.totp.disable", target(actor)), &json!({}))
}

/// For somebody who lost both his second factor and his recovery codes.
pub fn reset(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    let account = tx.account(actor.project(), name)?;
    if !tx.delete_totp(actor.project(), account.id)? {
        return Err(none(name));
    }
    audit::record(tx, now, actor, ("account.totp.reset", format!("account:{name}")), &json!({}))
}

/// Whether it is asked for, and how many recovery codes are left.
pub fn state(view: &View<'_>, project: ProjectId, account: AccountId) -> Result<(bool, u32), StoreError> {
    let is_on = view.totp(project, account)?.is_some_and(|totp| totp.confirmed_at.is_some());
    Ok((is_on, view.count_recovery_codes(account)?))
}

/// Seals a batch again with the newest master key; says after which one it goes on.
pub fn reseal_some(tx: &mut Tx<'_>, vault: &Vault, after: AccountId) -> Result<Option<AccountId>, FlowError> {
    let some = tx.totps_after(after, limit::WORK_BATCH_ACTIONS)?;
    let last = some.last().map(|totp| totp.account);
    for totp in some {
        if let Some(sealed) = vault.resealed(&purpose(totp.project, totp.account), &totp.sealed)? {
            tx.save_totp(&Totp { sealed, ..totp })?;
        }
    }
    Ok(last)
}

fn person(actor: &Actor) -> Result<(ProjectId, AccountId), FlowError> {
    match actor {
        Actor::Account { id, project, .. } => Ok((*project, *id)),
        Actor::Device { .. } | Actor::Muster { .. } => Err(FlowError::Conflict("only people have one".into())),
    }
}

fn target(actor: &Actor) -> String {
    actor.to_string()
}

fn none(whose: &str) -> FlowError {
    StoreError::Missing { kind: "second factor of", name: whose.to_owned() }.into()
}
