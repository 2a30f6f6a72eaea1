//! Logging in and out.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use muster_store::{StoreError, accounts::Account};
use muster_trust::password;
use muster_vocab::{Timestamp, limit};
use muster_wire::account::{LoggedIn, Login, PasswordChange, Whoami};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::auth::Operator;
use super::body::Json;
use super::problem::{Refusal, Refusals};
use super::show;
use crate::App;
use crate::edge::address::{Client, too_fast};
use crate::flow::error::FlowError;
use crate::flow::totp::{self, Shown};
use crate::flow::{accounts, tokens};
use crate::noticed::{Refused, notice};

/// Hashes worked out at once: each takes 19 MiB and 20 ms of a core.
const HASHES_AT_ONCE: usize = 2;
/// Wrong passwords per account and minute; then the right one has to wait too.
const WRONG_PER_MINUTE: u32 = 10;
const MINUTE_MS: i64 = 60_000;
/// Accounts whose wrong passwords are remembered; the oldest minute is forgotten first.
const REMEMBERED_MAX: usize = 10_000;

static HASHING: Semaphore = Semaphore::const_new(HASHES_AT_ONCE);
static WRONG: Mutex<Option<Wrong>> = Mutex::new(None);

/// Wrong passwords of the present minute.
#[derive(Debug)]
struct Wrong {
    minute: i64,
    by_account: HashMap<String, u32>,
}

/// Log in with account and password, and a code if the account has a second factor (`code_required`); the answer holds
/// a token.
#[utoipa::path(post, path = "/login", operation_id = "login", tag = "session", request_body = Login, security(()),
    responses((status = 200, body = LoggedIn), Refusals))]
pub(super) async fn login(
    State(app): State<Arc<App>>,
    client: Client,
    body: Json<Login>,
) -> Result<JsonBody<LoggedIn>, Refusal> {
    let Login { account: name, password, project, code } = body.value;
    let now = app.now();
    check_guesses(&name, now)?;
    client.may_guess(&app).map_err(|wait| too_fast(wait, "too many wrong passwords from this address"))?;
    let tenant = app.table.tenant(project.as_deref().unwrap_or(crate::start::PROJECT));
    let found = match &tenant {
        Some(tenant) => {
            let (id, wanted) = (tenant.id, name.clone());
            app.read::<_, StoreError>(move |view| match view.account(id, &wanted) {
                Ok(account) => Ok(Some(account)),
                Err(StoreError::Missing { .. }) => Ok(None),
                Err(other) => Err(other),
            })
            .await?
        }
        None => None,
    };
    let Some((account, tenant)) = check(found, password).await?.zip(tenant.clone()) else {
        note_wrong(&name, now);
        client.guessed_wrong(&app);
        if let Some(tenant) = tenant {
            let target = format!("account:{}", shortened(&name));
            notice(
                &app,
                &Refused { project: tenant.id, action: "account.login-refused", target, why: "wrong password" },
            );
        }
        return Err(FlowError::WrongPassword.into());
    };
    let vault = app.vault.clone();
    let logged_in = app.write(move |tx| match totp::show(tx, now, &vault, &account, code.as_deref())? {
        Shown::Passed => tokens::log_in(tx, now, &account).map(Ok),
        other => Ok::<_, FlowError>(Err(other)),
    });
    let (token, secret) = logged_in.await?.map_err(|shown| unfactored(&shown, now))?;
    Ok(JsonBody(LoggedIn {
        token: secret,
        account: name,
        project: tenant.name.clone(),
        scopes: show::scopes(&token.permissions),
        expires_at: token.expires_at,
    }))
}

/// As much of a name that was made up as belongs into a record.
fn shortened(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(limit::NAME_CHARS_MAX).collect()
}

/// The password was right, and it wasn't enough.
pub(super) fn unfactored(shown: &Shown, now: Timestamp) -> Refusal {
    match shown {
        Shown::Locked(until) => {
            let wait_s = until.since(now).as_secs() + 1;
            let detail = format!("too many wrong codes: wait {} minutes", wait_s.div_ceil(60));
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many", detail)
                .with(header::RETRY_AFTER, HeaderValue::from(wait_s))
        }
        Shown::Wrong => Refusal::unauthenticated("wrong_code", "wrong code, or one that was used: wait for the next"),
        Shown::Missing | Shown::Passed => {
            Refusal::unauthenticated("code_required", "the account has a second factor: send its present code")
        }
    }
}

/// An account that doesn't exist takes as long as one that does.
async fn check(found: Option<Account>, password: String) -> Result<Option<Account>, Refusal> {
    let fits = hashing(move || match found {
        Some(account) => {
            let fits = account.password.as_deref().is_some_and(|hash| password::verify(&password, hash));
            fits.then_some(account)
        }
        None => {
            password::verify_nothing(&password);
            None
        }
    });
    fits.await
}

/// Runs off the event loop, few at a time.
pub(super) async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let _permit = HASHING.acquire().await.map_err(|closed| Refusal::internal(&closed))?;
    tokio::task::spawn_blocking(work).await.map_err(|failed| Refusal::internal(&failed))
}

fn check_guesses(account: &str, now: Timestamp) -> Result<(), Refusal> {
    if wrong_so_far(account, now) < WRONG_PER_MINUTE {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "too many wrong passwords: wait a minute")
        .with(header::RETRY_AFTER, HeaderValue::from_static("60")))
}

fn wrong_so_far(account: &str, now: Timestamp) -> u32 {
    let wrong = WRONG.lock();
    let this_minute = wrong.as_ref().filter(|wrong| wrong.minute == now.0 / MINUTE_MS);
    this_minute.and_then(|wrong| wrong.by_account.get(account).copied()).unwrap_or(0)
}

fn note_wrong(account: &str, now: Timestamp) {
    let minute = now.0 / MINUTE_MS;
    let mut wrong = WRONG.lock();
    let kept = wrong.take().filter(|wrong| wrong.minute == minute);
    let mut kept = kept.unwrap_or_else(|| Wrong { minute, by_account: HashMap::new() });
    if kept.by_account.len() < REMEMBERED_MAX {
        *kept.by_account.entry(account.to_owned()).or_default() += 1;
    }
    *wrong = Some(kept);
}

/// Give the token back: it stops working.
#[utoipa::path(post, path = "/logout", operation_id = "logout", tag = "session",
    responses((status = 204), Refusals))]
pub(super) async fn logout(State(app): State<Arc<App>>, operator: Operator) -> Result<StatusCode, Refusal> {
    let now = app.now();
    app.write(move |tx| tokens::delete(tx, now, &operator.actor, operator.token)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who am I, and what may I do?
#[utoipa::path(get, path = "/whoami", operation_id = "whoami", tag = "session",
    responses((status = 200, body = Whoami), Refusals))]
pub(super) async fn whoami(State(app): State<Arc<App>>, operator: Operator) -> Result<JsonBody<Whoami>, Refusal> {
    let muster_domain::Actor::Account { name, project, .. } = &operator.actor else {
        return Err(Refusal::not_found("a token belongs to an account"));
    };
    let tenant = app.table.tenant_by_id(*project).ok_or_else(|| Refusal::not_found("the project is gone"))?;
    Ok(JsonBody(Whoami {
        account: name.clone(),
        project: tenant.name.clone(),
        scopes: show::scopes(&operator.scopes),
        expires_at: operator.expires_at,
    }))
}

/// Change one's own password.
#[utoipa::path(post, path = "/password", operation_id = "change_password", tag = "session",
    request_body = PasswordChange, responses((status = 204), Refusals))]
pub(super) async fn change_password(
    State(app): State<Arc<App>>,
    operator: Operator,
    body: Json<PasswordChange>,
) -> Result<StatusCode, Refusal> {
    let PasswordChange { old, new } = body.value;
    let now = app.now();
    let old_hash = own_password(&app, &operator, old).await?;
    let new_hash = hashing(move || password::hash(&new)).await?.map_err(FlowError::from)?;
    app.write(move |tx| accounts::change_password(tx, now, &operator.actor, &old_hash, &new_hash)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The hash of the caller's password, if he knows it. Whoever has found a token must not find the password by it.
pub(super) async fn own_password(app: &Arc<App>, operator: &Operator, shown: String) -> Result<String, Refusal> {
    let (project, id) = (operator.project(), operator.account);
    let account = app.read::<_, StoreError>(move |view| view.account_by_id(project, id)).await?;
    let (name, now) = (account.name, app.now());
    check_guesses(&name, now)?;
    let fits = hashing(move || account.password.filter(|hash| password::verify(&shown, hash))).await?;
    fits.ok_or_else(|| {
        note_wrong(&name, now);
        FlowError::WrongPassword.into()
    })
}
