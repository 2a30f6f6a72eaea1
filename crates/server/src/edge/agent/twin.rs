//! `GET /device/v1/configuration`, and the words of configurations and commands.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use muster_domain::command::{self, Input, What};
use muster_domain::configuration::File;
use muster_domain::configuration::twin::{Reported, ReportedState};
use muster_store::StoreError;
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use muster_wire::agent as wire;

use super::caller::Caller;
use crate::App;
use crate::edge::http::problem::Refusal;
use crate::flow::error::FlowError;
use crate::flow::twin;

pub(super) async fn configuration(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<wire::Configuration>, Refusal> {
    let (project, device) = (caller.project(), caller.polled.device);
    let found = app.read::<_, StoreError>(move |view| twin::configuration_for(view, project, device)).await?;
    let Some((version, files)) = found else {
        return Err(Refusal::not_found("there is no configuration for this device now: ask for orders again"));
    };
    Ok(Json(wire::Configuration { version, files: files.into_iter().map(file).collect() }))
}

/// Read from the store only for devices whose flag says that there is something. Remembers what is told.
pub(super) async fn orders(
    app: &Arc<App>,
    project: ProjectId,
    device: DeviceId,
) -> Result<(Option<u64>, Vec<wire::Command>), FlowError> {
    let (version, commands) = app.read::<_, StoreError>(move |view| twin::orders_for(view, project, device)).await?;
    if commands.iter().any(|command| command.state == command::CommandState::Pending) {
        let now = app.now();
        app.write(move |tx| twin::commands_sent(tx, now, project, device)).await?;
    }
    Ok((version, commands.into_iter().map(shown).collect()))
}

fn file(file: File) -> wire::ConfigurationFile {
    let File { path, content, mode, owner, validate, reload } = file;
    wire::ConfigurationFile { path, content, mode, owner, validate, reload }
}

fn shown(command: command::Command) -> wire::Command {
    let what = match command.what {
        What::Reboot => wire::CommandKind::Reboot,
        What::CollectLogs { unit, lines } => wire::CommandKind::CollectLogs { unit, lines },
        What::RunScript { script, arguments } => wire::CommandKind::RunScript { script, arguments },
        What::OpenSession { session, kind, seconds_max } => {
            let kind = match kind {
                command::SessionKind::Shell => wire::SessionKind::Shell,
                command::SessionKind::Forward { host, port } => wire::SessionKind::Forward { host, port },
            };
            wire::CommandKind::OpenSession { session, kind, seconds_max }
        }
    };
    wire::Command { id: command.id, deadline: command.deadline, what }
}

/// The time is the server's: the flow fills it in.
pub(super) fn configuration_said(said: wire::ConfigurationSaid) -> Reported {
    let state = match said.state {
        wire::ConfigurationState::Applied => ReportedState::Applied,
        wire::ConfigurationState::Reverted => ReportedState::Reverted,
        wire::ConfigurationState::Drifted => ReportedState::Drifted,
    };
    Reported { version: said.version, state, messages: said.messages, at: Timestamp(0) }
}

pub(super) fn command_said(said: wire::CommandSaid) -> (i64, Input) {
    let state = match said.state {
        wire::CommandState::Started => command::Said::Started,
        wire::CommandState::Succeeded => command::Said::Succeeded,
        wire::CommandState::Failed => command::Said::Failed,
        wire::CommandState::Refused => command::Said::Refused,
        wire::CommandState::Late => command::Said::Late,
    };
    (said.command, Input::Said { state, exit_code: said.exit_code, output: said.output })
}
