//! Which device may somebody see and change, and which roles are there?
//!
//! Every flow on one device begins with [`device`]; every list and bulk action asks [`within`]. Who may not read a
//! device hears the same as if it weren't there.

use muster_domain::access::{BuiltinRole, Grant, OWN_SCOPES, Over, Reach, Rights, check_scope};
use muster_domain::actor::NotAllowed;
use muster_domain::device::Device;
use muster_domain::{Actor, Permission};
use muster_store::roles::{Binding, Role};
use muster_store::{StoreError, Tx, View};
use muster_vocab::selector::Selector;
use muster_vocab::{AccountId, Name, ProjectId, Timestamp, limit};
use serde_json::json;

use super::audit;
use super::error::FlowError;
use super::rollouts::device_selector;

/// The device, if the actor may do this to it.
pub fn device(
    view: &View<'_>,
    now: Timestamp,
    actor: &Actor,
    wanted: Permission,
    name: &str,
) -> Result<Device, FlowError> {
    let Some(rights) = actor.rights() else {
        actor.may(wanted)?;
        return Ok(view.device(actor.project(), name)?);
    };
    if !rights.may_somewhere(wanted) {
        return Err(NotAllowed(wanted).into());
    }
    let found = view.device(actor.project(), name)?;
    if selects(view, now, actor.project(), &found, &rights.reach(wanted))? {
        return Ok(found);
    }
    if selects(view, now, actor.project(), &found, &rights.reach(Permission::Read))? {
        return Err(NotAllowed(wanted).into());
    }
    Err(StoreError::NoDevice(name.to_owned()).into())
}

/// The devices of a list or a bulk action: those that are asked for and that the actor may do this to.
pub fn within(actor: &Actor, wanted: Permission, asked: &Selector) -> Result<Selector, FlowError> {
    let Some(rights) = actor.rights() else {
        actor.may(wanted)?;
        return Ok(asked.clone());
    };
    match rights.reach(wanted) {
        Reach::All => Ok(asked.clone()),
        Reach::Some(selectors) => Ok(asked.and_any_of(&selectors)),
        Reach::Nothing => Err(NotAllowed(wanted).into()),
    }
}

/// Over anything at all.
pub fn check_somewhere(actor: &Actor, wanted: Permission) -> Result<(), FlowError> {
    match actor.rights() {
        Some(rights) if rights.may_somewhere(wanted) => Ok(()),
        Some(_) => Err(NotAllowed(wanted).into()),
        None => Ok(actor.may(wanted)?),
    }
}

fn selects(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    device: &Device,
    reach: &Reach,
) -> Result<bool, StoreError> {
    let selectors = match reach {
        Reach::All => return Ok(true),
        Reach::Nothing => return Ok(false),
        Reach::Some(selectors) => selectors,
    };
    for select in selectors {
        if view.device_matches(project, device.id, select, now)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an account may: its own scopes over the project, its roles, and those that its groups gave at its last login.
pub fn rights(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    account: AccountId,
    own: &[Permission],
) -> Result<Rights, StoreError> {
    let mut grants = Vec::new();
    if !own.is_empty() {
        grants.push(Grant { permissions: own.to_vec(), over: Over::Project, by: OWN_SCOPES.to_owned() });
    }
    for role in view.group_roles(project, account, now)? {
        let (permissions, by) = (permissions(view, project, &role)?, format!("role:{role} of a group"));
        grants.push(Grant { permissions, over: Over::Project, by });
    }
    for binding in view.bindings_of(project, account)? {
        let permissions = permissions(view, project, &binding.role)?;
        let over = match binding.select.as_str() {
            "" => Over::Project,
            // It was checked when it was bound; one that a newer server can't read any more grants nothing.
            text => match device_selector("select", text) {
                Ok(select) => Over::Devices(select),
                Err(_) => continue,
            },
        };
        grants.push(Grant { permissions, over, by: format!("role:{}", binding.role) });
    }
    Ok(Rights::new(grants))
}

/// Of a role that has been deleted: none.
pub(super) fn permissions(view: &View<'_>, project: ProjectId, role: &str) -> Result<Vec<Permission>, StoreError> {
    if let Some(builtin) = BuiltinRole::named(role) {
        return Ok(builtin.permissions().to_vec());
    }
    Ok(view.role(project, role)?.map(|role| role.permissions).unwrap_or_default())
}

/// A role of the project's own.
pub fn create_role(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    name: &str,
    permissions: Vec<Permission>,
) -> Result<Role, FlowError> {
    actor.may(Permission::Admin)?;
    Name::parse(name).map_err(|source| FlowError::Name { field: "name", source })?;
    if BuiltinRole::named(name).is_some() {
        return Err(FlowError::Conflict(format!("{name} is a role that every project has: choose another name")));
    }
    if permissions.is_empty() {
        return Err(FlowError::invalid("scopes", "give the role at least one scope, such as read"));
    }
    if tx.roles(actor.project())?.len() >= limit::ROLES_PER_PROJECT_MAX {
        return Err(FlowError::Conflict("the project has too many roles: delete some".into()));
    }
    let role = Role { name: name.to_owned(), permissions, created_at: now, created_by: actor.to_string() };
    tx.insert_role(actor.project(), &role)?;
    let detail = json!({ "permissions": role.permissions });
    audit::record(tx, now, actor, ("role.create", format!("role:{name}")), &detail)?;
    Ok(role)
}

/// Nobody has it any more.
pub fn delete_role(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, name: &str) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    if !tx.delete_role(actor.project(), name)? {
        return Err(StoreError::Missing { kind: "role", name: name.to_owned() }.into());
    }
    audit::record(tx, now, actor, ("role.delete", format!("role:{name}")), &json!({}))
}

/// Gives a role to an account, over the project (`select` is empty) or over some devices.
pub fn bind(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (account, role): (&str, &str),
    select: &str,
) -> Result<Binding, FlowError> {
    actor.may(Permission::Admin)?;
    let project = actor.project();
    let found = tx.account(project, account)?;
    if BuiltinRole::named(role).is_none() && tx.role(project, role)?.is_none() {
        return Err(StoreError::Missing { kind: "role", name: role.to_owned() }.into());
    }
    if !select.is_empty() {
        let select = device_selector("select", select)?;
        check_scope(&select).map_err(|bad| FlowError::invalid("select", bad.to_string()))?;
    }
    if tx.bindings_of(project, found.id)?.len() >= limit::ROLES_PER_ACCOUNT_MAX {
        return Err(FlowError::Conflict(format!("{account} has too many roles: take some away")));
    }
    let new = Binding {
        id: 0,
        account: found.id,
        account_name: account.to_owned(),
        role: role.to_owned(),
        select: select.to_owned(),
        created_at: now,
        created_by: actor.to_string(),
    };
    let id = tx.insert_binding(project, &new)?;
    let detail = json!({ "role": role, "select": select });
    audit::record(tx, now, actor, ("role.bind", format!("account:{account}")), &detail)?;
    Ok(Binding { id, ..new })
}

/// Takes it away again.
pub fn unbind(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: i64) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    let Some(gone) = tx.delete_binding(actor.project(), id)? else {
        return Err(StoreError::Missing { kind: "role binding", name: id.to_string() }.into());
    };
    let detail = json!({ "role": gone.role, "select": gone.select });
    audit::record(tx, now, actor, ("role.unbind", format!("account:{}", gone.account_name)), &detail)
}
