//! A project's settings and its gateway token.

use muster_domain::actor::NotAllowed;
use muster_domain::project::Settings;
use muster_domain::{Actor, Permission};
use muster_store::accounts::Account;
use muster_store::projects::Project;
use muster_store::{Tx, View};
use muster_trust::secret;
use muster_vocab::{AccountId, Name, Timestamp, limit};
use serde_json::json;

use super::audit;
use super::devices::check_revision;
use super::error::FlowError;
use super::rollouts::device_selector;
use crate::start::PROJECT;

pub fn save_settings(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    revision: Option<u64>,
    change: impl FnOnce(Settings) -> Settings,
) -> Result<Project, FlowError> {
    actor.may(Permission::Admin)?;
    let project = tx.project(actor.project())?;
    check_revision(revision, project.revision)?;
    let settings = change(project.settings);
    settings.check()?;
    for (at, over) in settings.poll_overrides.iter().enumerate() {
        device_selector(&format!("poll_overrides/{at}/select"), &over.select)?;
    }
    for (at, rule) in settings.enrollment.iter().enumerate().filter(|(_, rule)| !rule.select.is_empty()) {
        device_selector(&format!("enrollment/{at}/select"), &rule.select)?;
    }
    tx.save_settings(project.id, &settings)?;
    let detail = serde_json::to_value(&settings).unwrap_or_default();
    audit::record(tx, now, actor, ("project.change", format!("project:{}", project.name)), &detail)?;
    Ok(tx.project(project.id)?)
}

/// Who may say what projects there are: an admin of the first one, whom the server's owner has given its password.
pub(crate) fn check_owner(view: &View<'_>, actor: &Actor) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    if view.project(actor.project())?.name != PROJECT {
        return Err(NotAllowed(Permission::Admin).into());
    }
    Ok(())
}

pub fn all(view: &View<'_>, actor: &Actor) -> Result<Vec<Project>, FlowError> {
    check_owner(view, actor)?;
    Ok(view.projects()?)
}

/// A project with its first account. Nothing of one project is seen from another.
pub fn create(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    name: &str,
    (account, password): (&str, String),
) -> Result<Project, FlowError> {
    check_owner(tx, actor)?;
    for (field, text) in [("name", name), ("account", account)] {
        Name::parse(text).map_err(|source| FlowError::Name { field, source })?;
    }
    let projects = tx.projects()?;
    if projects.len() >= limit::PROJECTS_MAX {
        return Err(FlowError::Conflict(format!("a server has at most {} projects", limit::PROJECTS_MAX)));
    }
    if projects.iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
        return Err(muster_store::StoreError::Exists { kind: "project", name: name.to_owned() }.into());
    }
    let project = tx.insert_project(name, now)?;
    tx.insert_account(&Account {
        id: AccountId(0),
        project,
        name: account.to_owned(),
        password: Some(password),
        permissions: vec![Permission::Admin],
        created_at: now,
    })?;
    let detail = json!({ "account": account });
    audit::record(tx, now, actor, ("project.create", format!("project:{name}")), &detail)?;
    audit::record(tx, now, &Actor::Muster { project }, ("project.create", format!("project:{name}")), &detail)?;
    Ok(tx.project(project)?)
}

/// A new token for all the project's devices; the old one stops working.
pub fn new_gateway_token(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor) -> Result<String, FlowError> {
    actor.may(Permission::Admin)?;
    let token = secret::generate("")?;
    tx.save_gateway_token(actor.project(), Some(secret::digest(&token)))?;
    let name = tx.project(actor.project())?.name;
    audit::record(tx, now, actor, ("project.gateway-token", format!("project:{name}")), &json!({ "exists": true }))?;
    Ok(token)
}

pub fn delete_gateway_token(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    tx.save_gateway_token(actor.project(), None)?;
    let name = tx.project(actor.project())?.name;
    audit::record(tx, now, actor, ("project.gateway-token", format!("project:{name}")), &json!({ "exists": false }))
}
