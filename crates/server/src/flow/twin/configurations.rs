//! Configurations as operators write them.

use muster_domain::configuration::check::check;
use muster_domain::configuration::{Configuration, Spec};
use muster_domain::{Actor, Permission};
use muster_store::events::NewEvent;
use muster_store::{StoreError, Tx, View};
use muster_vocab::{Name, Timestamp, limit};
use serde_json::json;

use super::super::audit;
use super::super::devices::check_revision;
use super::super::error::FlowError;
use super::super::rollouts::device_selector;
use super::render::{Catalogue, Rendered};

/// Makes or replaces one. All devices are rendered again afterwards, by a worker.
pub fn put(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (&str, Option<u64>),
    spec: Spec,
) -> Result<Configuration, FlowError> {
    actor.may(Permission::DevicesWrite)?;
    let ((name, revision), project) = (of, actor.project());
    check_new(name, &spec)?;
    let created_at = match tx.configuration(project, name) {
        Ok(known) => {
            check_revision(revision, known.revision)?;
            if known.spec == spec {
                return Ok(known);
            }
            known.created_at
        }
        // A condition on what is not there yet can't be met.
        Err(StoreError::Missing { .. }) if revision.is_some() => return Err(FlowError::Revision),
        Err(StoreError::Missing { .. }) => {
            if tx.count_configurations(project)? >= limit::CONFIGURATIONS_PER_PROJECT_MAX {
                let most = limit::CONFIGURATIONS_PER_PROJECT_MAX;
                return Err(FlowError::Conflict(format!("a project has at most {most} configurations")));
            }
            now
        }
        Err(other) => return Err(other.into()),
    };
    let new = Configuration {
        name: name.to_owned(),
        spec,
        created_at,
        updated_at: now,
        updated_by: actor.to_string(),
        revision: 0,
    };
    tx.save_configuration(project, &new)?;
    tx.begin_render_sweep(project)?;
    event(tx, now, actor, (name, "changed"))?;
    // What is in the files stays out of the log: it may be what only the device should know.
    let paths: Vec<&str> = new.spec.files.iter().map(|file| file.path.as_str()).collect();
    let detail = json!({ "select": new.spec.select, "priority": new.spec.priority, "files": paths });
    audit::record(tx, now, actor, ("configuration.put", format!("configuration:{name}")), &detail)?;
    Ok(tx.configuration(project, name)?)
}

pub fn delete(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, of: (&str, Option<u64>)) -> Result<(), FlowError> {
    actor.may(Permission::DevicesWrite)?;
    let (name, project) = (of.0, actor.project());
    let known = tx.configuration(project, name)?;
    check_revision(of.1, known.revision)?;
    tx.delete_configuration(project, name)?;
    tx.begin_render_sweep(project)?;
    event(tx, now, actor, (name, "deleted"))?;
    audit::record(tx, now, actor, ("configuration.delete", format!("configuration:{name}")), &json!({}))
}

/// What a device would get. Needs the permission to write, because it shows what no device has yet.
pub fn preview(
    view: &View<'_>,
    now: Timestamp,
    actor: &Actor,
    device: &str,
    new: Option<(String, Spec)>,
) -> Result<Rendered, FlowError> {
    actor.may(Permission::DevicesWrite)?;
    let project = actor.project();
    let device = view.device(project, device)?;
    let mut catalogue = Catalogue::read(view, project)?;
    if let Some((name, spec)) = new {
        check_new(&name, &spec)?;
        let updated_by = actor.to_string();
        catalogue.replace(Configuration { name, spec, created_at: now, updated_at: now, updated_by, revision: 0 })?;
    }
    catalogue.render(view, &device, now)
}

fn check_new(name: &str, spec: &Spec) -> Result<(), FlowError> {
    Name::parse(name).map_err(|source| FlowError::Name { field: "name", source })?;
    device_selector("select", &spec.select)?;
    Ok(check(spec)?)
}

fn event(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, what: (&str, &str)) -> Result<(), FlowError> {
    let event = NewEvent { kind: "configuration", target: what.0, change: what.1, rollout: None };
    tx.emit_event(actor.project(), now, &event)?;
    Ok(())
}
