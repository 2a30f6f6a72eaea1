//! The enrolment policy.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use muster_domain::enrollment;
use muster_domain::project::Settings;
use muster_store::StoreError;
use muster_wire::identity::{
    EnrollmentPolicy, EnrollmentRule, EnrollmentTest, EnrollmentTested, EnrollmentVerdict, Shows,
};

use super::auth::Operator;
use super::body::Json;
use super::problem::{Refusal, Refusals};
use super::{etag, show};
use crate::App;
use crate::flow::error::FlowError;
use crate::flow::{enrollment as flow, projects};

/// Who comes in by itself, who waits, and who is refused?
#[utoipa::path(get, path = "/enrollment-policy", operation_id = "get_enrollment_policy", tag = "identity",
    responses((status = 200, body = EnrollmentPolicy), (status = 304), Refusals))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    operator.may_read()?;
    let id = operator.project();
    let project = app.read::<_, StoreError>(move |view| view.project(id)).await?;
    let rules = project.settings.enrollment.into_iter().map(show::rule).collect();
    Ok(etag::tagged(&headers, project.revision, &EnrollmentPolicy { rules }))
}

/// Replace the policy as a whole.
#[utoipa::path(put, path = "/enrollment-policy", operation_id = "put_enrollment_policy", tag = "identity",
    request_body = EnrollmentPolicy, responses((status = 200, body = EnrollmentPolicy), Refusals))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    body: Json<EnrollmentPolicy>,
) -> Result<Response, Refusal> {
    let (now, revision) = (app.now(), etag::expected(&headers)?);
    let rules: Vec<_> = body.value.rules.into_iter().map(rule).collect();
    let change = move |settings| Settings { enrollment: rules, ..settings };
    let project = app.write(move |tx| projects::save_settings(tx, now, &operator.actor, revision, change)).await?;
    let rules = project.settings.enrollment.into_iter().map(show::rule).collect();
    Ok(etag::tagged(&HeaderMap::new(), project.revision, &EnrollmentPolicy { rules }))
}

/// What would the policy say of such a device? Changes nothing.
#[utoipa::path(post, path = "/enrollment-policy/test", operation_id = "test_enrollment_policy", tag = "identity",
    request_body = EnrollmentTest, responses((status = 200, body = EnrollmentTested), Refusals))]
pub(super) async fn test(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<EnrollmentTest>,
) -> Result<JsonBody<EnrollmentTested>, Refusal> {
    let EnrollmentTest { name, shows, est, address, labels, attributes, at, rules } = body.value;
    let at = at.unwrap_or_else(|| app.now());
    if matches!(shows, Shows::Any | Shows::Est) {
        return Err(Refusal::bad("shows", "a device shows one of token, claim, authority, nothing and tpm"));
    }
    let rules: Option<Vec<_>> = rules.map(|rules| rules.into_iter().map(rule).collect());
    enrollment::check(rules.as_deref().unwrap_or_default()).map_err(|bad| Refusal::bad("rules", bad.to_string()))?;
    let imagined = flow::Imagined { name, shows: shown(shows), by_est: est, address, labels, attributes, at };
    let (decision, name) =
        app.read::<_, FlowError>(move |view| flow::test(view, &operator.actor, imagined, rules)).await?;
    Ok(JsonBody(EnrollmentTested {
        verdict: show::verdict(decision.verdict),
        rule: decision.rule.and_then(|at| u32::try_from(at + 1).ok()),
        name,
        hour_is_full: decision.is_full,
        labels: decision.labels,
    }))
}

fn shown(shows: Shows) -> enrollment::Shows {
    match shows {
        Shows::Token => enrollment::Shows::Token,
        Shows::Claim => enrollment::Shows::Claim,
        Shows::Authority => enrollment::Shows::Authority,
        Shows::Nothing => enrollment::Shows::Nothing,
        Shows::Tpm => enrollment::Shows::Tpm,
        Shows::Est => enrollment::Shows::Est,
        Shows::Any => enrollment::Shows::Any,
    }
}

pub(super) fn rule(rule: EnrollmentRule) -> enrollment::Rule {
    enrollment::Rule {
        name: rule.name,
        shows: shown(rule.shows),
        select: rule.select,
        serial: rule.serial,
        addresses: rule.addresses,
        from: rule.from,
        until: rule.until,
        per_hour_max: rule.per_hour_max,
        then: match rule.then {
            EnrollmentVerdict::Accept => enrollment::Verdict::Accept,
            EnrollmentVerdict::Wait => enrollment::Verdict::Wait,
            EnrollmentVerdict::Refuse => enrollment::Verdict::Refuse,
        },
        labels: rule.labels,
        site: rule.site,
    }
}
