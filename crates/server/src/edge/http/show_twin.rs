//! Configurations, commands and sessions as they are asked for, and as they stand.

use std::time::Duration;

use muster_domain::command::{self, Command, CommandState, What};
use muster_domain::configuration::twin::{Twin, TwinState};
use muster_domain::configuration::{Configuration, File, Spec};
use muster_domain::session::{Session, SessionState};
use muster_store::{StoreError, View};
use muster_vocab::{ProjectId, Timestamp, limit};
use muster_wire::command as wire;
use muster_wire::configuration as files;

use crate::flow::twin::commands::open_session;

/// What was asked for, with the defaults filled in.
pub(super) fn spec(asked: files::ConfigurationPut) -> Spec {
    Spec {
        select: asked.select,
        priority: asked.priority.unwrap_or(limit::PRIORITY_DEFAULT),
        files: asked.files.into_iter().map(asked_file).collect(),
    }
}

fn asked_file(asked: files::ConfigurationFile) -> File {
    let files::ConfigurationFile { path, content, mode, owner, validate, reload } = asked;
    File { path, content, mode, owner, validate, reload }
}

pub(super) fn file(file: File) -> files::ConfigurationFile {
    let File { path, content, mode, owner, validate, reload } = file;
    files::ConfigurationFile { path, content, mode, owner, validate, reload }
}

pub(super) fn configuration(one: Configuration) -> files::Configuration {
    files::Configuration {
        name: one.name,
        select: one.spec.select,
        priority: one.spec.priority,
        files: one.spec.files.into_iter().map(file).collect(),
        created_at: one.created_at,
        updated_at: one.updated_at,
        updated_by: one.updated_by,
        revision: one.revision,
    }
}

pub(super) fn configuration_of(twin: &Twin) -> files::TwinConfiguration {
    let state = twin_state(twin.state());
    files::TwinConfiguration {
        state,
        desired: twin.version,
        reported: twin.reported.as_ref().map(|reported| reported.version),
        drift: state == files::DeviceConfigurationState::Drifted,
    }
}

pub(super) fn device_configuration(device: String, twin: Twin, had: Vec<File>) -> files::DeviceConfiguration {
    let short = configuration_of(&twin);
    files::DeviceConfiguration {
        device,
        state: short.state,
        desired: short.desired,
        reported: short.reported,
        reported_at: twin.reported.as_ref().map(|reported| reported.at),
        error: twin.error,
        messages: twin.reported.map(|reported| reported.messages).unwrap_or_default(),
        drift: short.drift,
        files: had.into_iter().map(file).collect(),
    }
}

fn twin_state(state: TwinState) -> files::DeviceConfigurationState {
    use files::DeviceConfigurationState as W;
    match state {
        TwinState::Nothing => W::Nothing,
        TwinState::Failed => W::Failed,
        TwinState::Pending => W::Pending,
        TwinState::Applied => W::Applied,
        TwinState::Reverted => W::Reverted,
        TwinState::Drifted => W::Drifted,
    }
}

/// What was asked for, with the defaults filled in.
pub(super) fn order(asked: wire::CommandCreate) -> (What, Duration) {
    let what = match asked.what {
        wire::CommandKind::Reboot => What::Reboot,
        wire::CommandKind::CollectLogs { unit, lines } => {
            What::CollectLogs { unit, lines: lines.unwrap_or(limit::LOG_LINES_DEFAULT) }
        }
        wire::CommandKind::RunScript { script, arguments } => What::RunScript { script, arguments },
        wire::CommandKind::OpenSession { session, seconds_max } => {
            let kind = match session {
                wire::SessionKind::Shell => command::SessionKind::Shell,
                wire::SessionKind::Forward { host, port } => command::SessionKind::Forward { host, port },
            };
            open_session(kind, seconds_max.unwrap_or(limit::SESSION_SECONDS_DEFAULT))
        }
    };
    (what, asked.deadline_s.map_or(limit::COMMAND_DEADLINE_DEFAULT, Duration::from_secs))
}

pub(super) fn command(view: &View<'_>, project: ProjectId, one: Command) -> Result<wire::Command, StoreError> {
    let device = view.device_name(project, one.device)?;
    let session = match &one.what {
        What::OpenSession { session, .. } => Some(session.clone()),
        What::Reboot | What::CollectLogs { .. } | What::RunScript { .. } => None,
    };
    Ok(wire::Command {
        id: one.id,
        device,
        what: kind(one.what),
        state: state(one.state),
        deadline: one.deadline,
        exit_code: one.exit_code,
        output: one.output,
        session,
        created_at: one.created_at,
        created_by: one.created_by,
        changed_at: one.changed_at,
    })
}

fn kind(what: What) -> wire::CommandKind {
    match what {
        What::Reboot => wire::CommandKind::Reboot,
        What::CollectLogs { unit, lines } => wire::CommandKind::CollectLogs { unit, lines: Some(lines) },
        What::RunScript { script, arguments } => wire::CommandKind::RunScript { script, arguments },
        What::OpenSession { kind, seconds_max, .. } => {
            wire::CommandKind::OpenSession { session: session_kind(kind), seconds_max: Some(seconds_max) }
        }
    }
}

fn session_kind(kind: command::SessionKind) -> wire::SessionKind {
    match kind {
        command::SessionKind::Shell => wire::SessionKind::Shell,
        command::SessionKind::Forward { host, port } => wire::SessionKind::Forward { host, port },
    }
}

fn state(state: CommandState) -> wire::CommandState {
    use wire::CommandState as W;
    match state {
        CommandState::Pending => W::Pending,
        CommandState::Sent => W::Sent,
        CommandState::Started => W::Started,
        CommandState::Succeeded => W::Succeeded,
        CommandState::Failed => W::Failed,
        CommandState::Refused => W::Refused,
        CommandState::Late => W::Late,
        CommandState::Expired => W::Expired,
    }
}

pub(super) fn session(view: &View<'_>, project: ProjectId, one: Session) -> Result<wire::Session, StoreError> {
    let mut shown = wire::Session {
        id: one.id,
        device: view.device_name(project, one.device)?,
        kind: session_kind(one.kind),
        state: wire::SessionState::Waiting,
        seconds_max: one.seconds_max,
        opened_by: one.opened_by,
        created_at: one.created_at,
        connected_at: None,
        ended_at: None,
        end: None,
        to_device: 0,
        to_operator: 0,
        recording: None,
    };
    match one.state {
        SessionState::Waiting => {}
        SessionState::Open { connected_at } => {
            shown.state = wire::SessionState::Open;
            shown.connected_at = Some(Timestamp(connected_at));
        }
        SessionState::Ended { connected_at, ended_at, end, to_device, to_operator, recording } => {
            shown.state = wire::SessionState::Ended;
            shown.connected_at = connected_at.map(Timestamp);
            shown.ended_at = Some(Timestamp(ended_at));
            shown.end = Some(end.to_string());
            (shown.to_device, shown.to_operator) = (to_device, to_operator);
            shown.recording =
                recording.map(|one| wire::Recording { digest: one.digest, bytes: one.bytes, complete: one.complete });
        }
    }
    Ok(shown)
}
