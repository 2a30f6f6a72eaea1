//! A project's settings and its gateway token.

use muster_domain::project::Settings;
use muster_domain::{Actor, Permission};
use muster_store::Tx;
use muster_store::projects::Project;
use muster_trust::secret;
use muster_vocab::Timestamp;
use serde_json::json;

use super::audit;
use super::devices::check_revision;
use super::error::FlowError;
use super::rollouts::device_selector;

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
