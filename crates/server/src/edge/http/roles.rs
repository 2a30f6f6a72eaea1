//! Roles, and who has them over what.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_domain::Permission;
use muster_domain::access::BuiltinRole;
use muster_store::{StoreError, roles as store};
use muster_wire::Page;
use muster_wire::role::{Role, RoleBinding, RoleBindingCreate, RoleCreate};

use super::auth::Operator;
use super::body::{Json, Named};
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::flow::access;

/// The roles there are: those that every project has, then its own.
#[utoipa::path(get, path = "/roles", operation_id = "list_roles", tag = "roles",
    responses((status = 200, body = Page<Role>), Refusals))]
pub(super) async fn list(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<Page<Role>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let own = app.read::<_, StoreError>(move |view| view.roles(project)).await?;
    let builtin = BuiltinRole::ALL.map(|role| shown(role.name().to_owned(), role.permissions(), true));
    let own = own.into_iter().map(|role| shown(role.name, &role.permissions, false));
    Ok(JsonBody(Page { items: builtin.into_iter().chain(own).collect(), next: None }))
}

/// Make a role of scopes.
#[utoipa::path(post, path = "/roles", operation_id = "create_role", tag = "roles", request_body = RoleCreate,
    responses((status = 201, body = Role), Refusals))]
pub(super) async fn post(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<RoleCreate>,
) -> Result<(StatusCode, JsonBody<Role>), Refusal> {
    let now = app.now();
    let RoleCreate { name, scopes } = body.value;
    let permissions = scopes.into_iter().map(show::permission).collect();
    let made = app.write(move |tx| access::create_role(tx, now, &operator.actor, &name, permissions)).await?;
    Ok((StatusCode::CREATED, JsonBody(shown(made.name, &made.permissions, false))))
}

/// Delete a role; whoever had it has it no more.
#[utoipa::path(delete, path = "/roles/{name}", operation_id = "delete_role", tag = "roles",
    params(("name" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| access::delete_role(tx, now, &operator.actor, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who has which role, over what.
#[utoipa::path(get, path = "/role-bindings", operation_id = "list_role_bindings", tag = "roles",
    responses((status = 200, body = Page<RoleBinding>), Refusals))]
pub(super) async fn list_bindings(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<Page<RoleBinding>>, Refusal> {
    operator.actor.may(Permission::Admin).map_err(crate::flow::error::FlowError::from)?;
    let project = operator.project();
    let found = app.read::<_, StoreError>(move |view| view.bindings(project)).await?;
    Ok(JsonBody(Page { items: found.into_iter().map(binding).collect(), next: None }))
}

/// Give somebody a role, over the project or over the devices that a selector matches.
#[utoipa::path(post, path = "/role-bindings", operation_id = "create_role_binding", tag = "roles",
    request_body = RoleBindingCreate, responses((status = 201, body = RoleBinding), Refusals))]
pub(super) async fn post_binding(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<RoleBindingCreate>,
) -> Result<(StatusCode, JsonBody<RoleBinding>), Refusal> {
    let now = app.now();
    let RoleBindingCreate { account, role, select } = body.value;
    let made = app.write(move |tx| access::bind(tx, now, &operator.actor, (&account, &role), &select)).await?;
    Ok((StatusCode::CREATED, JsonBody(binding(made))))
}

/// Take it away again; it counts from the next request on.
#[utoipa::path(delete, path = "/role-bindings/{id}", operation_id = "delete_role_binding", tag = "roles",
    params(("id" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete_binding(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
) -> Result<StatusCode, Refusal> {
    operator.actor.may(Permission::Admin).map_err(crate::flow::error::FlowError::from)?;
    let number = id.strip_prefix("b-").and_then(|number| number.parse().ok());
    let number: i64 = number.ok_or_else(|| Refusal::not_found(format!("no role binding {id:?}")))?;
    let now = app.now();
    app.write(move |tx| access::unbind(tx, now, &operator.actor, number)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(name: String, permissions: &[Permission], builtin: bool) -> Role {
    Role { name, scopes: show::scopes(permissions), builtin }
}

fn binding(found: store::Binding) -> RoleBinding {
    RoleBinding {
        id: format!("b-{}", found.id),
        account: found.account_name,
        role: found.role,
        select: found.select,
        created_at: found.created_at,
        created_by: found.created_by,
    }
}
