//! Who calls, and under which address?

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use muster_domain::device::DeviceState;
use muster_trust::secret;
use muster_vocab::{ActionId, ModuleId, ProjectId};
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;
use crate::App;
use crate::edge::peer::{Peer, Shown};
use crate::flow::devices;
use crate::noticed::{Refused, notice};
use crate::table::{Polled, Tenant};

/// A device that has proven who it is.
#[derive(Debug)]
pub(super) struct Caller {
    pub tenant: Arc<Tenant>,
    pub name: String,
    pub polled: Polled,
    pub address: Address,
}

/// Where the device reaches us, for the links it is given.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// `https://host:port`
    pub origin: String,
    /// `/tenant/controller/v1/id`, as the device wrote it.
    pub path: String,
    pub is_https: bool,
}

impl Caller {
    pub(super) fn project(&self) -> ProjectId {
        self.tenant.id
    }
}

impl Address {
    /// The absolute address of one of the device's resources.
    pub(super) fn link(&self, rest: std::fmt::Arguments<'_>) -> String {
        format!("{}{}/{rest}", self.origin, self.path)
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        identify_counted(parts, app).await
    }
}

pub(super) async fn identify_counted(parts: &mut Parts, app: &Arc<App>) -> Result<Caller, Refusal> {
    let found = identify(parts, app).await;
    if found.is_err() {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    found
}

/// A device that is known was asked for with the wrong credentials.
fn refused(app: &Arc<App>, tenant: &Tenant, name: &str) -> Refusal {
    let (target, why) = (format!("device:{name}"), "wrong or missing token or certificate");
    notice(app, &Refused { project: tenant.id, action: "device.refused", target, why });
    Refusal::Unauthenticated
}

async fn identify(parts: &Parts, app: &Arc<App>) -> Result<Caller, Refusal> {
    check_accept(&parts.headers)?;
    let (tenant, name) = named(parts.uri.path())?;
    let (tenant, name) = (tenant.as_ref(), name.as_ref());
    // An unknown project is refused like a wrong token, so that nobody learns which projects exist.
    let tenant = app.table.tenant(tenant).ok_or(Refusal::Unauthenticated)?;
    let peer = Peer::of(parts);
    let trusted = peer.is_some_and(|peer| app.config.trusted_proxies.contains(&peer.address.ip()));
    let address = address(parts, (trusted, peer.is_some_and(|peer| peer.is_tls)))?;
    let now = app.now();
    let known = tenant.look(name, now);
    let right = match authenticate(&parts.headers, (&tenant, name, known.as_ref()), trusted) {
        Err(Refusal::Unauthenticated) => {
            let shown = by_certificate(app, peer, (&tenant, name, known.as_ref())).await;
            shown.map_err(|bad| if known.is_some() { refused(app, &tenant, name) } else { bad })?
        }
        other => other?,
    };
    let polled = match known {
        Some(polled) => polled,
        None => register(app, &tenant, (name, right, is_root(parts))).await?,
    };
    app.device_rates.take(polled.device, app.uptime()).map_err(|_| Refusal::TooMany)?;
    tenant.saw(name, now);
    let polled = if polled.stale {
        app.refresh(polled.device).await?;
        tenant.look(name, now).ok_or(Refusal::NotFound)?
    } else {
        polled
    };
    if matches!(polled.state, DeviceState::Rejected | DeviceState::Quarantined) || polled.state.has_left() {
        return Err(Refusal::Rejected);
    }
    let name = name.to_owned();
    Ok(Caller { tenant, name, polled, address })
}

/// Project and device as the path `/{tenant}/controller/v1/{controllerId}/…` names them.
fn named(path: &str) -> Result<(Cow<'_, str>, Cow<'_, str>), Refusal> {
    let mut parts = path.split('/').skip(1);
    let (Some(tenant), Some(name)) = (parts.next(), parts.nth(2)) else { return Err(Refusal::NotFound) };
    let decoded = (percent_decode_str(tenant).decode_utf8(), percent_decode_str(name).decode_utf8());
    match decoded {
        (Ok(tenant), Ok(name)) => Ok((tenant, name)),
        _ => Err(Refusal::NotFound),
    }
}

/// How it has proven itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// By its own token.
    Device,
    /// By something that speaks for all devices of the project.
    Project,
}

fn authenticate(headers: &HeaderMap, who: (&Tenant, &str, Option<&Polled>), trusted: bool) -> Result<Right, Refusal> {
    let (tenant, name, known) = who;
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((kind, token)) = shown.and_then(|shown| shown.split_once(' ')) {
        let fits = |digest: &Option<[u8; 32]>| {
            digest.as_ref().is_some_and(|digest| secret::same(digest, &secret::digest(token.trim())))
        };
        if kind.eq_ignore_ascii_case("GatewayToken") && fits(&tenant.gateway_token) {
            return Ok(Right::Project);
        }
        let own = known.map(|polled| polled.token).unwrap_or_default();
        if kind.eq_ignore_ascii_case("TargetToken") && tenant.settings.target_token && fits(&own) {
            return Ok(Right::Device);
        }
    }
    if trusted && has_certificate(headers, tenant, name) {
        return Ok(Right::Project);
    }
    Err(Refusal::Unauthenticated)
}

/// The device has shown a certificate on this very connection.
async fn by_certificate(
    app: &App,
    peer: Option<&Peer>,
    who: (&Tenant, &str, Option<&Polled>),
) -> Result<Right, Refusal> {
    let (tenant, name, known) = who;
    let Some(peer) = peer.filter(|peer| peer.certificate.is_some()) else { return Err(Refusal::Unauthenticated) };
    match known {
        Some(polled) => match peer.shows(app, tenant, name, polled).await {
            Shown::Device => Ok(Right::Device),
            Shown::Over | Shown::Copied | Shown::Nothing => Err(Refusal::Unauthenticated),
        },
        None if peer.foreign(app).is_some_and(|(project, named)| project == tenant.id && named == name) => {
            Ok(Right::Project)
        }
        None => Err(Refusal::Unauthenticated),
    }
}

/// The proxy checked the certificate and tells its subject and issuers.
fn has_certificate(headers: &HeaderMap, tenant: &Tenant, name: &str) -> bool {
    let same_name = headers.get("x-controller-id").is_some_and(|value| value.as_bytes() == name.as_bytes());
    let believed = |authority: &str| {
        let known = &tenant.settings.certificate_authorities;
        !authority.is_empty() && known.iter().any(|known| known.eq_ignore_ascii_case(authority))
    };
    let is_authority = |header: &str| {
        let numbered = header.strip_prefix("x-authority-").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        header == "x-authority" || numbered
    };
    let mut told = headers.iter().filter(|(header, _)| is_authority(header.as_str()));
    same_name
        && told
            .any(|(_, value)| value.to_str().is_ok_and(|list| list.split([';', ',']).any(|one| believed(one.trim()))))
}

/// Only the first poll makes a device known.
async fn register(app: &Arc<App>, tenant: &Tenant, who: (&str, Right, bool)) -> Result<Polled, Refusal> {
    let (name, right, is_root) = who;
    if right != Right::Project {
        return Err(Refusal::Unauthenticated);
    }
    if !is_root {
        return Err(Refusal::NotFound);
    }
    let (project, now, new) = (tenant.id, app.now(), name.to_owned());
    app.write(move |tx| devices::register(tx, now, project, &new)).await?.ok_or(Refusal::Unauthenticated)?;
    tenant.look(name, now).ok_or(Refusal::Internal)
}

fn is_root(parts: &Parts) -> bool {
    parts.uri.path().trim_end_matches('/').split('/').count() == 5
}

/// Links are built from the request: a fixed external address breaks devices behind a proxy.
fn address(parts: &Parts, (trusted, is_tls): (bool, bool)) -> Result<Address, Refusal> {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded =
        |name: &str| header(name).filter(|_| trusted).and_then(|list| list.split(',').next()).map(str::trim);
    let own = if is_tls { "https" } else { "http" };
    let scheme = forwarded("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or(own);
    let host =
        forwarded("x-forwarded-host").or_else(|| header("host")).or_else(|| parts.uri.authority().map(|a| a.as_str()));
    let host = host.filter(|host| !host.is_empty()).ok_or_else(|| Refusal::Bad("the Host header is missing".into()))?;
    let port = forwarded("x-forwarded-port").filter(|port| port.parse::<u16>().is_ok());
    let origin = match port {
        Some("443") if scheme == "https" => format!("{scheme}://{host}"),
        Some(port) if !host.rsplit(']').next().unwrap_or(host).contains(':') => format!("{scheme}://{host}:{port}"),
        Some(_) | None => format!("{scheme}://{host}"),
    };
    let path: Vec<&str> = parts.uri.path().split('/').take(5).collect();
    Ok(Address { origin, path: path.join("/"), is_https: scheme == "https" })
}

fn check_accept(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    const WANTED: [&str; 6] =
        ["*/*", "application/*", "application/json", "application/hal+json", "application/octet-stream", "text/plain"];
    let acceptable = accept.split(',').any(|range| {
        let kind = range.split(';').next().unwrap_or_default().trim();
        kind.is_empty() || WANTED.iter().any(|wanted| kind.eq_ignore_ascii_case(wanted))
    });
    if acceptable { Ok(()) } else { Err(Refusal::NotAcceptable) }
}

/// The number in the path after `resource`; anything else is no action of anybody.
pub(super) fn action_id(text: &str) -> Result<ActionId, Refusal> {
    number(text).map(ActionId)
}

pub(super) fn module_id(text: &str) -> Result<ModuleId, Refusal> {
    number(text).map(ModuleId)
}

fn number(text: &str) -> Result<i64, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0).ok_or(Refusal::NotFound)
}
