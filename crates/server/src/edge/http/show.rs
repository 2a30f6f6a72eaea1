//! How do stored things look on the wire?

use muster_domain::action::{self, Action};
use muster_domain::device::{AutoConfirm, Device};
use muster_domain::enrollment;
use muster_domain::project::Registration;
use muster_domain::release::{Release, ReleaseState};
use muster_domain::{ActionState, DeviceState, Permission};
use muster_store::artifacts::Artifact;
use muster_store::audit::AuditRow;
use muster_store::projects::Project;
use muster_store::routes::{Outcome, Route};
use muster_store::timeline::Entry;
use muster_store::{StoreError, View, accounts, channels};
use muster_trust::audit::Context;
use muster_trust::authority::short_fingerprint;
use muster_vocab::{ProjectId, Sha256};
use muster_wire as wire;
use muster_wire::artifact::{ArtifactRoute, RouteState};

use crate::table::Tenant;

pub(super) fn permission(scope: wire::token::Scope) -> Permission {
    use wire::token::Scope;
    match scope {
        Scope::Read => Permission::Read,
        Scope::DevicesWrite => Permission::DevicesWrite,
        Scope::ArtifactsWrite => Permission::ArtifactsWrite,
        Scope::ReleasesWrite => Permission::ReleasesWrite,
        Scope::RolloutsWrite => Permission::RolloutsWrite,
        Scope::RolloutsApprove => Permission::RolloutsApprove,
        Scope::RolloutsBreakGlass => Permission::RolloutsBreakGlass,
        Scope::CommandsWrite => Permission::CommandsWrite,
        Scope::SessionsWrite => Permission::SessionsWrite,
        Scope::SecretsWrite => Permission::SecretsWrite,
        Scope::Admin => Permission::Admin,
    }
}

pub(super) fn scope(permission: Permission) -> wire::token::Scope {
    use wire::token::Scope;
    match permission {
        Permission::Read => Scope::Read,
        Permission::DevicesWrite => Scope::DevicesWrite,
        Permission::ArtifactsWrite => Scope::ArtifactsWrite,
        Permission::ReleasesWrite => Scope::ReleasesWrite,
        Permission::RolloutsWrite => Scope::RolloutsWrite,
        Permission::RolloutsApprove => Scope::RolloutsApprove,
        Permission::RolloutsBreakGlass => Scope::RolloutsBreakGlass,
        Permission::CommandsWrite => Scope::CommandsWrite,
        Permission::SessionsWrite => Scope::SessionsWrite,
        Permission::SecretsWrite => Scope::SecretsWrite,
        Permission::Admin => Scope::Admin,
    }
}

pub(super) fn scopes(permissions: &[Permission]) -> Vec<wire::token::Scope> {
    permissions.iter().map(|permission| scope(*permission)).collect()
}

pub(super) fn account(account: accounts::Account) -> wire::account::Account {
    wire::account::Account { scopes: scopes(&account.permissions), name: account.name, created_at: account.created_at }
}

pub(super) fn token(token: accounts::Token) -> wire::token::Token {
    wire::token::Token {
        id: token.id.to_string(),
        name: token.name,
        account: token.account_name,
        scopes: scopes(&token.permissions),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
    }
}

pub(super) fn project(project: Project) -> wire::project::Project {
    let settings = project.settings;
    wire::project::Project {
        name: project.name,
        registration: match settings.registration {
            Registration::Accept => wire::project::Registration::Accept,
            Registration::Wait => wire::project::Registration::Wait,
            Registration::Refuse => wire::project::Registration::Refuse,
        },
        gateway_token: project.gateway_token.is_some(),
        target_token: settings.target_token,
        certificate_authorities: settings.certificate_authorities,
        confirmation: settings.confirmation,
        poll_interval_s: settings.poll_interval_s,
        poll_overrides: settings
            .poll_overrides
            .into_iter()
            .map(|over| wire::project::PollOverride { select: over.select, interval_s: over.interval_s })
            .collect(),
        sessions: settings.sessions,
        enrollment: settings.enrollment.into_iter().map(rule).collect(),
        revision: project.revision,
    }
}

pub(super) fn verdict(verdict: enrollment::Verdict) -> wire::identity::EnrollmentVerdict {
    match verdict {
        enrollment::Verdict::Accept => wire::identity::EnrollmentVerdict::Accept,
        enrollment::Verdict::Wait => wire::identity::EnrollmentVerdict::Wait,
        enrollment::Verdict::Refuse => wire::identity::EnrollmentVerdict::Refuse,
    }
}

pub(super) fn rule(rule: enrollment::Rule) -> wire::identity::EnrollmentRule {
    wire::identity::EnrollmentRule {
        name: rule.name,
        shows: match rule.shows {
            enrollment::Shows::Token => wire::identity::Shows::Token,
            enrollment::Shows::Claim => wire::identity::Shows::Claim,
            enrollment::Shows::Authority => wire::identity::Shows::Authority,
            enrollment::Shows::Nothing => wire::identity::Shows::Nothing,
            enrollment::Shows::Tpm => wire::identity::Shows::Tpm,
            enrollment::Shows::Est => wire::identity::Shows::Est,
            enrollment::Shows::Any => wire::identity::Shows::Any,
        },
        select: rule.select,
        serial: rule.serial,
        addresses: rule.addresses,
        from: rule.from,
        until: rule.until,
        per_hour_max: rule.per_hour_max,
        then: verdict(rule.then),
        labels: rule.labels,
        site: rule.site,
    }
}

/// `tenant` knows when the device was seen better than the store does.
pub(super) fn device(view: &View<'_>, tenant: &Tenant, device: Device) -> Result<wire::device::Device, StoreError> {
    let release = device.installed.map(|installed| view.release_label(tenant.id, installed.release)).transpose()?;
    let certificate =
        view.device_keys(tenant.id, device.id)?.map(|(keys, not_after)| wire::identity::DeviceCertificate {
            fingerprint: short_fingerprint(&keys.key),
            key: Sha256(keys.key),
            not_after,
            renewing: keys.next.is_some(),
        });
    let hold = view.device_hold(tenant.id, device.id)?;
    Ok(wire::device::Device {
        certificate,
        hold: hold.map(|hold| wire::identity::Hold { reason: hold.reason, since: hold.since }),
        state: match device.state {
            DeviceState::Pending => wire::device::DeviceState::Pending,
            DeviceState::Accepted => wire::device::DeviceState::Accepted,
            DeviceState::Rejected => wire::device::DeviceState::Rejected,
            DeviceState::Quarantined => wire::device::DeviceState::Quarantined,
            DeviceState::Retiring => wire::device::DeviceState::Retiring,
            DeviceState::Retired => wire::device::DeviceState::Retired,
            DeviceState::Transferred => wire::device::DeviceState::Transferred,
        },
        release,
        last_seen: tenant.last_seen(&device.name).max(device.last_seen),
        poll_interval_s: tenant.interval_s(device.poll_interval_s),
        auto_confirm: device.auto_confirm.map(auto_confirm),
        name: device.name,
        labels: device.labels,
        attributes: device.attributes,
        created_at: device.created_at,
        revision: device.revision,
    })
}

fn auto_confirm(consent: AutoConfirm) -> wire::device::AutoConfirm {
    wire::device::AutoConfirm {
        initiator: consent.initiator,
        remark: consent.remark,
        activated_at: consent.activated_at,
    }
}

pub(super) fn artifact(artifact: Artifact) -> wire::artifact::Artifact {
    wire::artifact::Artifact {
        digest: artifact.digest,
        name: artifact.name,
        size: artifact.size,
        sha1: artifact.sha1,
        md5: artifact.md5,
        created_at: artifact.created_at,
        created_by: artifact.created_by,
        routes: Vec::new(),
    }
}

pub(super) fn artifact_route(route: Route) -> ArtifactRoute {
    let (state, size, reason) = match route.outcome {
        Outcome::Made(_, size) => (RouteState::Made, Some(size), None),
        Outcome::NotSmaller => (RouteState::NotSmaller, None, None),
        Outcome::Failed(why) => (RouteState::Failed, None, Some(why)),
    };
    ArtifactRoute { from: route.from, state, size, reason, made_at: route.made_at }
}

pub(super) fn release(release: Release) -> wire::release::Release {
    let components = release.components.into_iter().map(|component| wire::release::Component {
        name: component.name,
        version: component.version.to_string(),
        metadata: component.metadata,
        artifacts: component
            .artifacts
            .into_iter()
            .map(|one| wire::release::ComponentArtifact { digest: one.digest, name: Some(one.file_name) })
            .collect(),
    });
    wire::release::Release {
        name: release.name.to_string(),
        version: release.version.to_string(),
        state: match release.state {
            ReleaseState::Draft => wire::release::ReleaseState::Draft,
            ReleaseState::Published => wire::release::ReleaseState::Published,
            ReleaseState::Yanked => wire::release::ReleaseState::Yanked,
        },
        components: components.collect(),
        notes: release.notes,
        created_at: release.created_at,
        created_by: release.created_by,
        published_at: release.published_at,
        revision: release.revision,
    }
}

pub(super) fn channel(
    view: &View<'_>,
    project: ProjectId,
    channel: channels::Channel,
) -> Result<wire::channel::Channel, StoreError> {
    Ok(wire::channel::Channel {
        name: channel.name,
        release: view.release_label(project, channel.release)?,
        updated_at: channel.updated_at,
        updated_by: channel.updated_by,
        revision: channel.revision,
    })
}

pub(super) fn action_state(state: ActionState) -> wire::action::ActionState {
    use wire::action::ActionState as W;
    match state {
        ActionState::Scheduled => W::Scheduled,
        ActionState::Queued => W::Queued,
        ActionState::AwaitingConfirmation => W::AwaitingConfirmation,
        ActionState::Offered => W::Offered,
        ActionState::Running => W::Running,
        ActionState::Canceling => W::Canceling,
        ActionState::Finished => W::Finished,
        ActionState::Downloaded => W::Downloaded,
        ActionState::Failed => W::Failed,
        ActionState::Lost => W::Lost,
        ActionState::Canceled => W::Canceled,
    }
}

pub(super) fn action(view: &View<'_>, project: ProjectId, action: Action) -> Result<wire::action::Action, StoreError> {
    Ok(wire::action::Action {
        id: action.id.0,
        device: view.device_name(project, action.device)?,
        rollout: action.rollout.to_string(),
        wave: u32::from(action.wave) + 1,
        rollback: action.rollback,
        state: action_state(action.state),
        release: view.release_label(project, action.release)?,
        previous_release: action.previous.map(|release| view.release_label(project, release)).transpose()?,
        reason: action.reason.as_ref().map(ToString::to_string),
        progress: action.progress.map(|action::Progress { done, of }| wire::action::Progress { done, of }),
        created_at: action.created_at,
        changed_at: action.changed_at,
        revision: action.revision,
    })
}

pub(super) fn report(entry: Entry) -> wire::action::Report {
    wire::action::Report { at: entry.at, text: entry.text, code: entry.code, messages: entry.messages }
}

pub(super) fn timeline(entry: Entry) -> wire::device::TimelineEntry {
    wire::device::TimelineEntry {
        at: entry.at,
        text: entry.text,
        messages: entry.messages,
        action: entry.action.map(|id| id.0),
        rollout: entry.rollout.map(|id| id.to_string()),
    }
}

pub(super) fn audit(row: AuditRow) -> wire::audit::AuditRecord {
    let context: Option<Context> = serde_json::from_str(&row.context).ok();
    let Context { authority, request, reason, before, after } = context.clone().unwrap_or_default();
    wire::audit::AuditRecord {
        sequence: row.sequence,
        at: row.at,
        actor: row.actor,
        action: row.action,
        target: row.target,
        detail: serde_json::from_str(&row.detail).unwrap_or(serde_json::Value::String(row.detail)),
        authority: context.map(|_| authority),
        request,
        reason,
        before,
        after,
        previous: row.previous,
        digest: row.digest,
    }
}
