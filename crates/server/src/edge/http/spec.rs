//! A rollout as it was asked for, and as it stands.

use muster_domain::ActionState;
use muster_domain::action::Push;
use muster_domain::rollout::spec::{Advance, OnError, Spec, Take, Threshold, WaveSpec};
use muster_domain::rollout::spec::{ERRORS_DEFAULT, SUCCESS_DEFAULT};
use muster_domain::rollout::{Counts, Phase, Rollout, Wave, WaveState, text};
use muster_domain::window::Window;
use muster_store::{StoreError, View};
use muster_vocab::{ProjectId, Timestamp, limit};
use muster_wire::rollout as wire;

use super::approvals;
use super::problem::Refusal;

/// What was asked for, with the defaults filled in.
pub(super) fn spec(asked: &wire::RolloutCreate) -> Result<Spec, Refusal> {
    let on_error = asked.on_error.unwrap_or(wire::OnError::Pause);
    let waves: Vec<WaveSpec> = match asked.waves.as_slice() {
        [] => vec![wave(&rest(), on_error)],
        waves => waves.iter().map(|asked| wave(asked, on_error)).collect(),
    };
    let window = asked.window.as_deref().map(Window::parse).transpose();
    let silence_default = u32::try_from(limit::ACTION_SILENCE_DEFAULT.as_secs()).unwrap_or(u32::MAX);
    Ok(Spec {
        select: asked.select.clone(),
        waves,
        push: push(asked.push.unwrap_or(wire::Push::Forced)),
        start: asked.start || asked.start_at.is_some(),
        start_at: asked.start_at,
        window: window.map_err(|bad| Refusal::bad("window", bad.to_string()))?,
        approval: asked.approval,
        confirmation: asked.confirmation,
        priority: asked.priority.unwrap_or(limit::PRIORITY_DEFAULT),
        dynamic: asked.dynamic,
        allow_downgrade: asked.allow_downgrade,
        silence_s: asked.silence_s.unwrap_or(silence_default),
    })
}

fn rest() -> wire::WaveCreate {
    wire::WaveCreate { take: wire::Take::Rest, success: None, errors: None, on_error: None, soak_s: 0, advance: None }
}

fn wave(asked: &wire::WaveCreate, on_error: wire::OnError) -> WaveSpec {
    WaveSpec {
        take: match &asked.take {
            wire::Take::Percent(percent) => Take::Percent(*percent),
            wire::Take::Count(count) => Take::Count(*count),
            wire::Take::Select(select) => Take::Select(select.clone()),
            wire::Take::Rest => Take::Rest,
        },
        success: asked.success.map_or(SUCCESS_DEFAULT, threshold),
        errors: asked.errors.map_or(ERRORS_DEFAULT, threshold),
        on_error: match asked.on_error.unwrap_or(on_error) {
            wire::OnError::Pause => OnError::Pause,
            wire::OnError::RollBack => OnError::RollBack,
        },
        soak_s: asked.soak_s,
        advance: match asked.advance {
            None | Some(wire::Advance::Auto) => Advance::Auto,
            Some(wire::Advance::Manual) => Advance::Manual,
        },
    }
}

fn threshold(asked: wire::Threshold) -> Threshold {
    match asked {
        wire::Threshold::Percent(percent) => Threshold::Percent(percent),
        wire::Threshold::Count(count) => Threshold::Count(count),
    }
}

fn push(asked: wire::Push) -> Push {
    match asked {
        wire::Push::Forced => Push::Forced,
        wire::Push::Soft => Push::Soft,
        wire::Push::DownloadOnly => Push::DownloadOnly,
        wire::Push::ForcedFrom { at } => Push::ForcedFrom { at },
    }
}

pub(super) fn show(
    view: &View<'_>,
    project: ProjectId,
    rollout: Rollout,
    now: Timestamp,
) -> Result<wire::Rollout, StoreError> {
    let (approvals_needed, approvals) = approvals::of_rollout(view, now, project, &rollout)?;
    let waves = rollout.spec.waves.iter().zip(&rollout.waves).enumerate();
    Ok(wire::Rollout {
        id: rollout.id.to_string(),
        release: view.release_label(project, rollout.release)?,
        select: rollout.spec.select.clone(),
        state: state(&rollout.phase),
        text: text::describe(&rollout, now),
        waves: waves.map(|(at, (spec, wave))| show_wave(at, spec, wave)).collect(),
        push: match rollout.spec.push {
            Push::Forced => wire::Push::Forced,
            Push::Soft => wire::Push::Soft,
            Push::DownloadOnly => wire::Push::DownloadOnly,
            Push::ForcedFrom { at } => wire::Push::ForcedFrom { at },
        },
        start_at: rollout.spec.start_at,
        window: rollout.spec.window.as_ref().map(ToString::to_string),
        approval: rollout.spec.approval,
        approved_by: rollout.approved_by.as_ref().map(|person| person.name.clone()),
        approvals_needed,
        approvals,
        broke_glass: rollout.clearance.broke_glass.as_ref().map(|person| person.name.clone()),
        confirmation: rollout.spec.confirmation,
        priority: rollout.spec.priority,
        dynamic: rollout.spec.dynamic,
        allow_downgrade: rollout.spec.allow_downgrade,
        silence_s: rollout.spec.silence_s,
        retry_of: rollout.retry_of.map(|id| id.to_string()),
        created_at: rollout.created_at,
        created_by: rollout.author.name.clone(),
        started_at: rollout.started_at,
        ended_at: rollout.ended_at(),
        revision: rollout.revision,
        name: rollout.name,
    })
}

fn state(phase: &Phase) -> wire::RolloutState {
    use wire::RolloutState as W;
    match phase {
        Phase::Draft => W::Draft,
        Phase::AwaitingApproval => W::AwaitingApproval,
        Phase::Denied { .. } => W::Denied,
        Phase::Ready => W::Ready,
        Phase::Filling => W::Filling,
        Phase::Running { .. } => W::Running,
        Phase::Paused { .. } => W::Paused,
        Phase::RollingBack { .. } => W::RollingBack,
        Phase::RolledBack { .. } => W::RolledBack,
        Phase::Aborting { .. } => W::Aborting,
        Phase::Aborted { .. } => W::Aborted,
        Phase::Finished { .. } => W::Finished,
    }
}

fn show_wave(at: usize, spec: &WaveSpec, wave: &Wave) -> wire::Wave {
    wire::Wave {
        number: u32::try_from(at + 1).unwrap_or(u32::MAX),
        take: match &spec.take {
            Take::Percent(percent) => wire::Take::Percent(*percent),
            Take::Count(count) => wire::Take::Count(*count),
            Take::Select(select) => wire::Take::Select(select.clone()),
            Take::Rest => wire::Take::Rest,
        },
        success: show_threshold(spec.success),
        errors: show_threshold(spec.errors),
        on_error: match spec.on_error {
            OnError::Pause => wire::OnError::Pause,
            OnError::RollBack => wire::OnError::RollBack,
        },
        soak_s: spec.soak_s,
        advance: match spec.advance {
            Advance::Auto => wire::Advance::Auto,
            Advance::Manual => wire::Advance::Manual,
        },
        state: match wave.state {
            WaveState::Waiting => wire::WaveState::Waiting,
            WaveState::Open => wire::WaveState::Open,
            WaveState::Passed => wire::WaveState::Passed,
            WaveState::Stopped => wire::WaveState::Stopped,
        },
        counts: show_counts(wave.counts),
        rollback: (wave.back.total() > 0).then(|| show_counts(wave.back)),
        opened_at: wave.opened_at,
    }
}

fn show_threshold(threshold: Threshold) -> wire::Threshold {
    match threshold {
        Threshold::Percent(percent) => wire::Threshold::Percent(percent),
        Threshold::Count(count) => wire::Threshold::Count(count),
    }
}

fn show_counts(counts: Counts) -> wire::Counts {
    wire::Counts {
        total: counts.total(),
        scheduled: counts.of(ActionState::Scheduled),
        queued: counts.of(ActionState::Queued),
        awaiting_confirmation: counts.of(ActionState::AwaitingConfirmation),
        offered: counts.of(ActionState::Offered),
        running: counts.of(ActionState::Running),
        canceling: counts.of(ActionState::Canceling),
        finished: counts.of(ActionState::Finished),
        downloaded: counts.of(ActionState::Downloaded),
        failed: counts.of(ActionState::Failed),
        lost: counts.of(ActionState::Lost),
        canceled: counts.of(ActionState::Canceled),
    }
}
