//! Which device calls?
//!
//! Its token says so itself: `mdt_PROJECT.DEVICE.SECRET`, the device's name in base64url. Project and device are looked
//! up by name in the device table, and the secret's digest is compared with the device's: no disk, no lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muster_domain::device::DeviceState;
use muster_trust::secret;
use muster_vocab::ProjectId;

use crate::App;
use crate::edge::address::too_fast;
use crate::edge::http::problem::Refusal;
use crate::edge::peer::{Peer, Shown};
use crate::noticed::{Refused, notice};
use crate::table::{Polled, Tenant};

/// So that scanners for leaked secrets can find device tokens.
const TOKEN_PREFIX: &str = "mdt_";

/// A device that has proven who it is.
#[derive(Debug)]
pub(super) struct Caller {
    pub tenant: Arc<Tenant>,
    pub name: String,
    pub polled: Polled,
}

impl Caller {
    pub(super) fn project(&self) -> ProjectId {
        self.tenant.id
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let found = identify(parts, app).await;
        if found.is_err() {
            app.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        let (caller, shown) = found?;
        check_state(caller.polled.state)?;
        match shown {
            Shown::Device => Ok(caller),
            Shown::Over => Err(over()),
            Shown::Copied | Shown::Nothing => Err(unknown()),
        }
    }
}

/// A device whose certificate may be over: it can renew it.
#[derive(Debug)]
pub(super) struct Renewing(pub Caller);

impl FromRequestParts<Arc<App>> for Renewing {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let found = identify(parts, app).await;
        if found.is_err() {
            app.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        match found? {
            (caller, Shown::Device | Shown::Over) => {
                check_state(caller.polled.state)?;
                Ok(Self(caller))
            }
            (_, Shown::Copied | Shown::Nothing) => Err(unknown()),
        }
    }
}

/// The whole token of a device, from the secret that was made for it.
pub(super) fn token(project: &str, device: &str, secret: &str) -> String {
    format!("{TOKEN_PREFIX}{project}.{}.{secret}", URL_SAFE_NO_PAD.encode(device))
}

/// By certificate, or else by token. Whether it may say anything is seen by its state.
pub(super) async fn identify(parts: &Parts, app: &Arc<App>) -> Result<(Caller, Shown), Refusal> {
    let now = app.now();
    let peer = Peer::of(parts).filter(|peer| peer.certificate.is_some());
    let (project, name, token) = match (bearer(&parts.headers), peer.and_then(|peer| peer.named(app))) {
        (Some((project, name, secret)), _) => (project, name, Some(secret)),
        (None, Some((project, name))) => (project, name, None),
        (None, None) => return Err(unknown()),
    };
    let tenant = app.table.tenant(&project).ok_or_else(unknown)?;
    let polled = tenant.look(&name, now).ok_or_else(unknown)?;
    let is_token = token.is_some();
    let shown = match (token, peer) {
        (Some(secret), _) => {
            let proven = polled.token.is_some_and(|own| secret::same(&own, &secret::digest(&secret)));
            if proven { Shown::Device } else { Shown::Nothing }
        }
        (None, Some(peer)) => peer.shows(app, &tenant, &name, &polled).await,
        (None, None) => Shown::Nothing,
    };
    if matches!(shown, Shown::Nothing | Shown::Copied) {
        let why = if is_token { "wrong token" } else { "its certificate is not the device's present one" };
        notice(app, &Refused { project: tenant.id, action: "device.refused", target: format!("device:{name}"), why });
        return Err(unknown());
    }
    let rate = app.device_rates.take(polled.device, app.uptime());
    rate.map_err(|wait| too_fast(wait, "this device asks too often"))?;
    tenant.saw(&name, now);
    // A key that was used for the first time has changed the entry.
    let polled = tenant.look(&name, now).ok_or_else(unknown)?;
    Ok((Caller { tenant, name, polled }, shown))
}

/// Of the token that the caller shows, if he shows one.
pub(super) fn secret_of(headers: &HeaderMap) -> Option<String> {
    bearer(headers).map(|(_, _, secret)| secret)
}

fn bearer(headers: &HeaderMap) -> Option<(String, String, String)> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    let (kind, token) = shown.split_once(' ')?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return None;
    }
    // What is no token names nobody, and is refused as such.
    Some(read(token.trim()).unwrap_or_default())
}

/// May a device in this state say anything?
pub(super) fn check_state(state: DeviceState) -> Result<(), Refusal> {
    match state {
        DeviceState::Rejected => Err(rejected()),
        DeviceState::Quarantined => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "quarantined",
            "this device is in quarantine, because something is wrong with its identity: ask the project's operator",
        )),
        DeviceState::Retiring => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "decommissioned",
            "this device was decommissioned: its order is at /device/v1/wipe, and nothing else is",
        )),
        DeviceState::Transferred => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "transferred",
            "this device belongs to another project: it gets its new credentials at /device/v1/transfer",
        )),
        DeviceState::Retired => Err(unknown()),
        DeviceState::Pending | DeviceState::Accepted => Ok(()),
    }
}

fn over() -> Refusal {
    Refusal::unauthenticated("certificate_over", "the certificate has run out: renew it at /device/v1/certificate")
}

/// Project, device and secret. A project's name may have dots in it, the other two have none.
fn read(token: &str) -> Option<(String, String, String)> {
    let mut parts = token.strip_prefix(TOKEN_PREFIX)?.rsplitn(3, '.');
    let (secret, device, project) = (parts.next()?, parts.next()?, parts.next()?);
    let device = String::from_utf8(URL_SAFE_NO_PAD.decode(device).ok()?).ok()?;
    Some((project.to_owned(), device, secret.to_owned()))
}

/// One answer for an unknown project, an unknown device and a wrong secret: nobody learns which devices exist.
pub(super) fn unknown() -> Refusal {
    Refusal::unauthenticated(
        "unauthenticated",
        "no valid device token or certificate: join again, or ask the project's operator",
    )
}

pub(super) fn rejected() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "rejected", "this device was rejected: ask the project's operator")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_project_and_device_whatever_they_are_called() {
        for (project, device) in [("default", "sn-1"), ("a.b.c", "Gerät 7.1"), ("x", &*"n".repeat(256))] {
            let made = token(project, device, "s3cret");
            assert!(made.is_ascii() && !made.contains(' '), "{made}");
            assert_eq!(read(&made), Some((project.into(), device.into(), "s3cret".into())));
        }
    }

    #[test]
    fn what_is_no_token_names_nobody() {
        for text in ["", "mdt_", "mdt_a", "mdt_a.b", "mdt_a.!!.c", "mdt_a._w.c", "muster_abc"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
