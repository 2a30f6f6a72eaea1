//! Rules of approval, plans, and reviews.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use muster_domain::Permission;
use muster_domain::approval::{Rule, Standing};
use muster_domain::rollout::{Phase, Rollout};
use muster_store::{StoreError, View, approvals as store};
use muster_vocab::{ProjectId, ReviewId, RuleId, Timestamp, limit};
use muster_wire::Page;
use muster_wire::approval::{ApprovalNeed, ApprovalRule, ApprovalRulePut, Plan, Review, ReviewClose, RolloutApproval};
use muster_wire::page::PageQuery;

use super::auth::Operator;
use super::body::{Asked, Json, Named};
use super::page;
use super::problem::{Refusal, Refusals};
use super::rollouts;
use crate::App;
use crate::flow::approvals::{self, NewRule};
use crate::flow::error::FlowError;
use crate::flow::reviews;

/// The rules there are.
#[utoipa::path(get, path = "/approval-rules", operation_id = "list_approval_rules", tag = "approvals",
    responses((status = 200, body = Page<ApprovalRule>), Refusals))]
pub(super) async fn list_rules(
    State(app): State<Arc<App>>,
    operator: Operator,
) -> Result<JsonBody<Page<ApprovalRule>>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let rules = app.read::<_, StoreError>(move |view| view.approval_rules(project)).await?;
    Ok(JsonBody(Page { items: rules.into_iter().map(rule).collect(), next: None }))
}

/// Make a rule, or change the one of the same role and selector. Rollouts under way are not stopped by it.
#[utoipa::path(put, path = "/approval-rules", operation_id = "put_approval_rule", tag = "approvals",
    request_body = ApprovalRulePut, responses((status = 200, body = ApprovalRule), Refusals))]
pub(super) async fn put_rule(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<ApprovalRulePut>,
) -> Result<JsonBody<ApprovalRule>, Refusal> {
    let now = app.now();
    let ApprovalRulePut { needed, role, select, expires_s } = body.value;
    let life = expires_s.map_or(limit::APPROVAL_LIFE_DEFAULT, |life| Duration::from_secs(u64::from(life)));
    let new = NewRule { needed, role, select, life };
    let made = app.write(move |tx| approvals::set_rule(tx, now, &operator.actor, new)).await?;
    Ok(JsonBody(rule(made)))
}

/// Delete a rule. A rollout that waited for nothing else is ready when it is next looked at.
#[utoipa::path(delete, path = "/approval-rules/{id}", operation_id = "delete_approval_rule", tag = "approvals",
    params(("id" = String, Path)), responses((status = 204), Refusals))]
pub(super) async fn delete_rule(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
) -> Result<StatusCode, Refusal> {
    operator.actor.may(Permission::Admin).map_err(FlowError::from)?;
    let number: RuleId = id.parse().map_err(|_| Refusal::not_found(format!("no rule of approval {id:?}")))?;
    let now = app.now();
    app.write(move |tx| approvals::delete_rule(tx, now, &operator.actor, number)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What exactly is approved.
#[utoipa::path(get, path = "/rollouts/{id}/plan", operation_id = "get_rollout_plan", tag = "approvals",
    params(("id" = String, Path)), responses((status = 200, body = Plan), Refusals))]
pub(super) async fn plan(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(text): Named<String>,
) -> Result<JsonBody<Plan>, Refusal> {
    operator.may_read()?;
    let project = operator.project();
    let (text, digest) = app
        .read::<_, StoreError>(move |view| {
            let rollout = view.rollout(project, rollouts::id(view, project, &text)?)?;
            approvals::plan(view, project, &rollout)
        })
        .await?;
    Ok(JsonBody(Plan { digest, text }))
}

/// Reviews that are open, newest first.
#[utoipa::path(get, path = "/reviews", operation_id = "list_open_reviews", tag = "approvals", params(PageQuery),
    responses((status = 200, body = Page<Review>), Refusals))]
pub(super) async fn list_open(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Review>>, Refusal> {
    list(&app, &operator, &query, true).await
}

/// All reviews, also closed ones, newest first.
#[utoipa::path(get, path = "/reviews:all", operation_id = "list_reviews", tag = "approvals", params(PageQuery),
    responses((status = 200, body = Page<Review>), Refusals))]
pub(super) async fn list_all(
    State(app): State<Arc<App>>,
    operator: Operator,
    Asked(query): Asked<PageQuery>,
) -> Result<JsonBody<Page<Review>>, Refusal> {
    list(&app, &operator, &query, false).await
}

async fn list(
    app: &Arc<App>,
    operator: &Operator,
    query: &PageQuery,
    only_open: bool,
) -> Result<JsonBody<Page<Review>>, Refusal> {
    operator.may_read()?;
    let (rows, project) = (page::plain(query)?, operator.project());
    let paged = app.read::<_, StoreError>(move |view| view.reviews(project, only_open, rows)).await?;
    Ok(JsonBody(page::page(paged, review)))
}

/// Close a review with what was found: neither who broke the glass nor who made the rollout.
#[utoipa::path(post, path = "/reviews/{id}/close", operation_id = "close_review", tag = "approvals",
    params(("id" = String, Path)), request_body = ReviewClose, responses((status = 200, body = Review), Refusals))]
pub(super) async fn close(
    State(app): State<Arc<App>>,
    operator: Operator,
    Named(id): Named<String>,
    body: Json<ReviewClose>,
) -> Result<JsonBody<Review>, Refusal> {
    operator.actor.may(Permission::RolloutsApprove).map_err(FlowError::from)?;
    let number: ReviewId = id.parse().map_err(|_| Refusal::not_found(format!("no review {id:?}")))?;
    let now = app.now();
    let closed = app.write(move |tx| reviews::close(tx, now, &operator.actor, number, &body.value.note)).await?;
    Ok(JsonBody(review(closed)))
}

/// What a rollout needs and has. Once it has started, who had approved it.
pub(super) fn of_rollout(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    rollout: &Rollout,
) -> Result<(Vec<ApprovalNeed>, Vec<RolloutApproval>), StoreError> {
    let waits = matches!(rollout.phase, Phase::Draft | Phase::Ready | Phase::AwaitingApproval);
    let standing = if waits {
        approvals::standing(view, now, project, rollout)?
    } else {
        let given = view.approvals(project, rollout.id)?.into_iter().map(|approval| (approval, None));
        Standing { needs: Vec::new(), given: given.collect() }
    };
    let needs = standing.needs.iter().map(|met| ApprovalNeed {
        rule: met.need.rule.map(|id| id.to_string()),
        role: met.need.role.clone(),
        needed: met.need.needed,
        missing: met.missing(),
    });
    let given = standing.given.iter().map(|(approval, void)| RolloutApproval {
        by: approval.by.name.clone(),
        at: approval.at,
        plan: approval.plan,
        void: void.as_ref().map(ToString::to_string),
    });
    Ok((needs.collect(), given.collect()))
}

fn rule(rule: Rule) -> ApprovalRule {
    ApprovalRule {
        id: rule.id.to_string(),
        needed: rule.needed,
        role: rule.role,
        select: rule.select,
        expires_s: rule.life_s,
        created_at: rule.created_at,
        created_by: rule.created_by,
    }
}

fn review(review: store::Review) -> Review {
    let (closed_at, closed_by, note) = match review.closed {
        Some(closed) => (Some(closed.at), Some(closed.by), Some(closed.note)),
        None => (None, None, None),
    };
    Review {
        id: review.id.to_string(),
        rollout: review.rollout.to_string(),
        rollout_name: review.rollout_name,
        opened_at: review.opened_at,
        opened_by: review.opened_by.name,
        reason: review.reason,
        closed_at,
        closed_by,
        note,
    }
}
