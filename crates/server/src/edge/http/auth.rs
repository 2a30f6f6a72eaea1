//! Which person or service calls?

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use muster_domain::actor::Origin;
use muster_domain::{Actor, Permission};
use muster_store::StoreError;
use muster_trust::secret;
use muster_vocab::{AccountId, ProjectId, Timestamp, TokenId, limit};

use super::problem::Refusal;
use crate::App;
use crate::edge::address::too_fast;
use crate::flow::access;
use crate::flow::error::FlowError;

/// Given by the caller or made by this server; in each answer and in the audit log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Why a request is made, in the caller's words, for the audit log.
const REASON: &str = "muster-reason";
/// A token's last use is written down at most this often.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// A caller whose token was found and has not expired.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub actor: Actor,
    pub account: AccountId,
    pub token: TokenId,
    pub expires_at: Timestamp,
    /// The most that the token may do.
    pub scopes: Vec<Permission>,
}

impl Operator {
    pub(super) fn project(&self) -> ProjectId {
        self.actor.project()
    }

    /// Reading needs a permission too.
    pub(super) fn may_read(&self) -> Result<(), Refusal> {
        self.actor.may(Permission::Read).map_err(|refused| FlowError::from(refused).into())
    }
}

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        app.counters.api_requests.fetch_add(1, Ordering::Relaxed);
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown
            .and_then(|shown| shown.split_once(' '))
            .filter(|(kind, _)| kind.eq_ignore_ascii_case("Bearer"))
            .map(|(_, token)| token.trim().to_owned());
        let Some(token) = token else {
            return Err(Refusal::unauthenticated("unauthenticated", "send a token: Authorization: Bearer muster_…"));
        };
        let request = parts.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let reason = parts.headers.get(REASON).map(reason).transpose()?;
        let mut operator = operator_of(app, &token).await?;
        if let Actor::Account { origin, .. } = &mut operator.actor {
            (origin.request, origin.reason) = (request, reason);
        }
        Ok(operator)
    }
}

fn reason(given: &HeaderValue) -> Result<String, Refusal> {
    let text = std::str::from_utf8(given.as_bytes()).map_err(|_| Refusal::bad(REASON, "write the reason in UTF-8"))?;
    if text.chars().count() > limit::REASON_CHARS_MAX {
        return Err(Refusal::bad(REASON, format!("a reason has at most {} characters", limit::REASON_CHARS_MAX)));
    }
    Ok(text.trim().to_owned())
}

/// Whose token is it?
pub(super) async fn operator_of(app: &Arc<App>, token: &str) -> Result<Operator, Refusal> {
    let digest = secret::digest(token);
    let now = app.now();
    let found = app
        .read::<_, StoreError>(move |view| {
            let Some(token) = view.token_by_digest(&digest)? else { return Ok(None) };
            let account = view.account_by_id(token.project, token.account)?;
            let rights = access::rights(view, now, token.project, token.account, &account.permissions)?;
            Ok(Some((rights.capped(&token.permissions), token)))
        })
        .await?;
    let Some((rights, token)) = found else {
        return Err(Refusal::unauthenticated("unauthenticated", "the token is unknown: log in again"));
    };
    if token.expires_at <= now {
        return Err(Refusal::unauthenticated("token_expired", "the token has expired: log in again"));
    }
    // Before the use is noted: what is refused costs no write.
    let rate = app.token_rates.take((token.project, token.id), app.uptime());
    rate.map_err(|wait| too_fast(wait, "this token asks too often"))?;
    if token.last_used_at.is_none_or(|at| now.since(at) >= USE_NOTED_EVERY) {
        app.write::<_, StoreError>(move |tx| tx.save_token_use(token.project, token.id, now)).await?;
    }
    let (id, name, project) = (token.account, token.account_name, token.project);
    let origin = Origin { shown: format!("token:{}", token.id), ..Origin::default() };
    let actor = Actor::Account { id, name, project, rights, origin };
    let (account, scopes) = (token.account, token.permissions);
    Ok(Operator { actor, account, token: token.id, expires_at: token.expires_at, scopes })
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;
    use crate::rate::Wait;

    #[test]
    fn a_token_that_asks_too_often_is_told_when_to_come_back() {
        let response = too_fast(Wait(Duration::from_millis(1200)), "this token asks too often").into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
