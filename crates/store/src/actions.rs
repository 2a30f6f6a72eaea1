//! Actions: one row per device, rollout and direction.

use std::time::Duration;

use muster_domain::action::{Action, ActionState, EndReason, Progress};
use muster_domain::rollout::Counts;
use muster_domain::window::Window;
use muster_vocab::selector::Selector;
use muster_vocab::{ActionId, DeviceId, ProjectId, ReleaseId, RolloutId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::select::{ACTIONS, Sql};
use crate::{Cursor, Paged, StoreError, Tx, View};

const ACTION: &str =
    "SELECT a.id, a.device_id, a.rollout_id, a.wave, a.is_rollback, a.release_id, a.previous_release_id,
     a.priority, a.push, a.confirmation, a.silence_s, a.state, a.installed, a.told_skip, a.silent_at, a.reason,
     a.progress_done, a.progress_of, a.created_at, a.changed_at, a.revision FROM action a";

/// One state of one direction of one rollout, or of one wave of it.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub rollout: RolloutId,
    pub rollback: bool,
    pub wave: Option<u16>,
}

impl View<'_> {
    pub fn action(&self, project: ProjectId, id: ActionId) -> Result<Action, StoreError> {
        self.conn
            .prepare_cached(&format!("{ACTION} WHERE a.project_id = ?1 AND a.id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id.0), |row| Ok(read(row))).optional())
            .doing("an action")?
            .ok_or(StoreError::NoAction(id))?
    }

    pub fn action_window(&self, project: ProjectId, id: ActionId) -> Result<Option<Window>, StoreError> {
        self.conn
            .prepare_cached("SELECT window FROM action WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.query_row((project.0, id.0), |row| row.get::<_, Option<String>>(0)).optional())
            .doing("an action's window")?
            .ok_or(StoreError::NoAction(id))?
            .map(|text| read_window(&text))
            .transpose()
    }

    /// Open actions of a device, oldest first.
    pub fn open_actions(&self, project: ProjectId, device: DeviceId) -> Result<Vec<Action>, StoreError> {
        self.listed("WHERE a.project_id = ?1 AND a.device_id = ?2 AND a.state < 6 ORDER BY a.id", project, device.0)
    }

    /// The newest ended actions of a device.
    pub fn ended_actions(&self, project: ProjectId, device: DeviceId, limit: u32) -> Result<Vec<Action>, StoreError> {
        let order =
            format!("WHERE a.project_id = ?1 AND a.device_id = ?2 AND a.state >= 6 ORDER BY a.id DESC LIMIT {limit}");
        self.listed(&order, project, device.0)
    }

    /// What was made for a device by one rollout, there and back.
    pub fn actions_of(
        &self,
        project: ProjectId,
        rollout: RolloutId,
        device: DeviceId,
    ) -> Result<Vec<Action>, StoreError> {
        let both =
            format!("WHERE a.project_id = ?1 AND a.rollout_id = ?2 AND a.device_id = {} ORDER BY a.id", device.0);
        self.listed(&both, project, rollout.0)
    }

    /// Some actions of a part that are in a state.
    pub fn actions_in_state(
        &self,
        project: ProjectId,
        part: Part,
        state: ActionState,
        limit: u32,
    ) -> Result<Vec<Action>, StoreError> {
        let wave = part.wave.map_or_else(String::new, |wave| format!("AND a.wave = {wave}"));
        let order = format!(
            "WHERE a.project_id = ?1 AND a.rollout_id = ?2 AND a.is_rollback = {} {wave} AND a.state = {} LIMIT {limit}",
            i64::from(part.rollback),
            number(state)
        );
        self.listed(&order, project, part.rollout.0)
    }

    /// Ended actions by which a device took the rollout's release and has no way back yet.
    pub fn without_way_back(
        &self,
        project: ProjectId,
        rollout: RolloutId,
        limit: u32,
    ) -> Result<Vec<Action>, StoreError> {
        let order = format!(
            "JOIN device d ON d.id = a.device_id
             WHERE a.project_id = ?1 AND a.rollout_id = ?2 AND a.is_rollback = 0 AND a.installed = 1
             AND a.previous_release_id IS NOT NULL AND d.installed_release_id = a.release_id
             AND NOT EXISTS (SELECT 1 FROM action b WHERE b.rollout_id = a.rollout_id AND b.device_id = a.device_id
                             AND b.is_rollback = 1) LIMIT {limit}"
        );
        self.listed(&order, project, rollout.0)
    }

    fn listed(&self, rest: &str, project: ProjectId, of: i64) -> Result<Vec<Action>, StoreError> {
        let mut statement = self.conn.prepare_cached(&format!("{ACTION} {rest}")).doing("actions")?;
        let mut rows = statement.query((project.0, of)).doing("actions")?;
        let mut actions = Vec::new();
        while let Some(row) = rows.next().doing("actions")? {
            actions.push(read(row)?);
        }
        Ok(actions)
    }

    /// Newest first, with the device's name.
    pub fn actions(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (Option<Cursor>, u32),
        now: Timestamp,
    ) -> Result<Paged<Action>, StoreError> {
        let (before, limit) = page;
        let mut sql = Sql::new(&format!("{ACTION} JOIN device d ON d.id = a.device_id WHERE a.project_id = "));
        sql.bind(project.0);
        sql.and_select(select, &ACTIONS, now);
        sql.push(" AND a.id < ").bind(before.map_or(i64::MAX, |cursor| cursor.0));
        sql.push(" ORDER BY a.id DESC LIMIT ").bind(limit + 1);
        Ok(cut(sql.query(self.conn, "actions", read)?, limit, |action| action.id.0))
    }

    /// Actions of all projects whose silence has lasted too long.
    pub fn silent_actions(&self, now: Timestamp, limit: u32) -> Result<Vec<(ProjectId, ActionId)>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT project_id, id FROM action WHERE silent_at IS NOT NULL AND silent_at <= ?1
                 ORDER BY silent_at LIMIT ?2",
            )
            .and_then(|mut it| {
                it.query_map((now.0, limit), |row| Ok((ProjectId(row.get(0)?), ActionId(row.get(1)?))))?.collect()
            })
            .doing("silent actions")
    }

    /// Counted afresh from the actions themselves.
    pub fn recount(&self, project: ProjectId, part: Part) -> Result<Counts, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT state, count(*) FROM action WHERE project_id = ?1 AND rollout_id = ?2 AND is_rollback = ?3
                 AND (?4 IS NULL OR wave = ?4) GROUP BY state",
            )
            .doing("a recount")?;
        let mut rows = statement.query((project.0, part.rollout.0, part.rollback, part.wave)).doing("a recount")?;
        let mut counts = Counts::default();
        while let Some(row) = rows.next().doing("a recount")? {
            counts.add(read_state(row.get(0).doing("a recount")?)?, row.get(1).doing("a recount")?);
        }
        Ok(counts)
    }

    pub fn devices_of_rollout(&self, project: ProjectId, rollout: RolloutId) -> Result<Vec<DeviceId>, StoreError> {
        self.conn
            .prepare_cached("SELECT DISTINCT device_id FROM action WHERE project_id = ?1 AND rollout_id = ?2")
            .and_then(|mut it| {
                it.query_map((project.0, rollout.0), |row| row.get(0).map(DeviceId))?.collect::<Result<Vec<_>, _>>()
            })
            .doing("a rollout's devices")
    }

    /// Devices whose action in a rollout failed or was lost.
    pub fn failed_devices(&self, project: ProjectId, rollout: RolloutId) -> Result<Vec<DeviceId>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT device_id FROM action WHERE project_id = ?1 AND rollout_id = ?2 AND is_rollback = 0
                 AND state IN (8, 9) ORDER BY device_id",
            )
            .and_then(|mut it| {
                it.query_map((project.0, rollout.0), |row| row.get(0).map(DeviceId))?.collect::<Result<Vec<_>, _>>()
            })
            .doing("failed devices")
    }

    /// Has a rollout at least as new as this one an action for the device?
    pub fn newest_rollout_of(&self, project: ProjectId, device: DeviceId) -> Result<Option<RolloutId>, StoreError> {
        self.conn
            .prepare_cached("SELECT max(rollout_id) FROM action WHERE project_id = ?1 AND device_id = ?2")
            .and_then(|mut it| it.query_row((project.0, device.0), |row| row.get::<_, Option<i64>>(0)))
            .map(|found| found.map(RolloutId))
            .doing("a device's newest rollout")
    }

    pub fn report_count(&self, project: ProjectId, id: ActionId) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT reports FROM action WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.query_row((project.0, id.0), |row| row.get(0)).optional())
            .doing("a count of reports")?
            .ok_or(StoreError::NoAction(id))
    }
}

impl Tx<'_> {
    /// The action gets its number here. `None`: the rollout has one for this device and direction already.
    pub fn insert_action(
        &mut self,
        project: ProjectId,
        action: &Action,
        window: Option<&Window>,
    ) -> Result<Option<ActionId>, StoreError> {
        let what = "a new action";
        let push = serde_json::to_string(&action.push).doing("push")?;
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO action (project_id, device_id, rollout_id, wave, is_rollback, release_id,
                 previous_release_id, priority, push, window, confirmation, silence_s, state, installed, told_skip,
                 reports, created_at, changed_at, revision)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, 0, 0, ?14, ?14, 1)
                 ON CONFLICT DO NOTHING",
            )
            .and_then(|mut it| {
                it.execute((
                    project.0,
                    action.device.0,
                    action.rollout.0,
                    action.wave,
                    action.rollback,
                    action.release.0,
                    action.previous.map(|release| release.0),
                    action.priority,
                    push,
                    window.map(ToString::to_string),
                    action.confirmation,
                    i64::try_from(action.silence.as_secs()).unwrap_or(i64::MAX),
                    number(action.state),
                    action.created_at.0,
                ))
            })
            .doing(what)?;
        if added == 0 {
            return Ok(None);
        }
        let id = self.conn.last_insert_rowid();
        // DDI clients read it as a signed 32-bit integer.
        assert!(i32::try_from(id).is_ok(), "action numbers have run out");
        Ok(Some(ActionId(id)))
    }

    /// Flows run one after the other, so nobody stepped it in between.
    pub fn save_action(&mut self, project: ProjectId, action: &Action) -> Result<(), StoreError> {
        let push = serde_json::to_string(&action.push).doing("push")?;
        let reason = action.reason.as_ref().map(serde_json::to_string).transpose().doing("a reason")?;
        let progress = action.progress;
        let changed = self
            .conn
            .prepare_cached(
                "UPDATE action SET push = ?3, confirmation = ?4, state = ?5, installed = ?6, told_skip = ?7,
                 silent_at = ?8, reason = ?9, progress_done = ?10, progress_of = ?11, changed_at = ?12,
                 revision = revision + 1 WHERE project_id = ?1 AND id = ?2",
            )
            .and_then(|mut it| {
                it.execute((
                    project.0,
                    action.id.0,
                    push,
                    action.confirmation,
                    number(action.state),
                    action.installed,
                    action.told_skip,
                    action.silent_at.map(|at| at.0),
                    reason,
                    progress.map(|progress| stored(progress.done)),
                    progress.map(|progress| stored(progress.of)),
                    action.changed_at.0,
                ))
            })
            .doing("an action")?;
        assert_eq!(changed, 1, "action {} exists while it is stepped", action.id);
        self.touch_device(action.device);
        Ok(())
    }

    /// What the device would go back to.
    pub fn save_previous(&mut self, project: ProjectId, action: &Action) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE action SET previous_release_id = ?3 WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.execute((project.0, action.id.0, action.previous.map(|release| release.0))))
            .doing("what an action replaces")?;
        Ok(())
    }

    /// Appends to an action's history.
    pub fn insert_report(&mut self, project: ProjectId, id: ActionId, report: &NewReport) -> Result<(), StoreError> {
        let messages = serde_json::to_string(&report.messages).doing("messages")?;
        let sequence: u32 = self
            .conn
            .prepare_cached(
                "UPDATE action SET reports = reports + 1 WHERE project_id = ?1 AND id = ?2 RETURNING reports",
            )
            .and_then(|mut it| it.query_row((project.0, id.0), |row| row.get(0)))
            .doing("a count of reports")?;
        self.conn
            .prepare_cached(
                "INSERT INTO report (action_id, sequence, at, text, code, messages) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut it| it.execute((id.0, sequence, report.at.0, &report.text, report.code, messages)))
            .doing("a report")?;
        Ok(())
    }
}

/// One entry of an action's history.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReport {
    pub at: Timestamp,
    pub text: String,
    pub code: Option<i32>,
    pub messages: Vec<String>,
}

/// The state's number in the store: its place in [`ActionState::ALL`].
pub(crate) fn number(state: ActionState) -> i64 {
    state as i64
}

pub(crate) fn read_state(number: i64) -> Result<ActionState, StoreError> {
    usize::try_from(number)
        .ok()
        .and_then(|at| ActionState::ALL.get(at).copied())
        .ok_or_else(|| StoreError::broken("action state", format!("{number} is none")))
}

/// What no device can have done is kept as the most that can be written.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn read_window(text: &str) -> Result<Window, StoreError> {
    Window::parse(text).map_err(|bad| StoreError::broken("window", bad))
}

/// The state's word in selectors and events.
#[must_use]
pub fn state_name(state: ActionState) -> &'static str {
    match state {
        ActionState::Scheduled => "scheduled",
        ActionState::Queued => "queued",
        ActionState::AwaitingConfirmation => "awaiting_confirmation",
        ActionState::Offered => "offered",
        ActionState::Running => "running",
        ActionState::Canceling => "canceling",
        ActionState::Finished => "finished",
        ActionState::Downloaded => "downloaded",
        ActionState::Failed => "failed",
        ActionState::Lost => "lost",
        ActionState::Canceled => "canceled",
    }
}

fn read(row: &Row<'_>) -> Result<Action, StoreError> {
    let what = "an action";
    let push: String = row.get(8).doing(what)?;
    let reason: Option<String> = row.get(15).doing(what)?;
    let progress = row.get::<_, Option<i64>>(16).doing(what)?.zip(row.get::<_, Option<i64>>(17).doing(what)?);
    Ok(Action {
        id: ActionId(row.get(0).doing(what)?),
        device: DeviceId(row.get(1).doing(what)?),
        rollout: RolloutId(row.get(2).doing(what)?),
        wave: row.get(3).doing(what)?,
        rollback: row.get(4).doing(what)?,
        release: ReleaseId(row.get(5).doing(what)?),
        previous: row.get::<_, Option<i64>>(6).doing(what)?.map(ReleaseId),
        priority: row.get(7).doing(what)?,
        push: serde_json::from_str(&push).doing("push")?,
        confirmation: row.get(9).doing(what)?,
        silence: Duration::from_secs(row.get::<_, u32>(10).doing(what)?.into()),
        state: read_state(row.get(11).doing(what)?)?,
        installed: row.get(12).doing(what)?,
        told_skip: row.get(13).doing(what)?,
        silent_at: row.get::<_, Option<i64>>(14).doing(what)?.map(Timestamp),
        reason: reason.map(|text| serde_json::from_str::<EndReason>(&text)).transpose().doing("a reason")?,
        progress: progress.map(|(done, of)| Progress { done: done.cast_unsigned(), of: of.cast_unsigned() }),
        created_at: Timestamp(row.get(18).doing(what)?),
        changed_at: Timestamp(row.get(19).doing(what)?),
        revision: row.get::<_, i64>(20).doing(what)?.cast_unsigned(),
    })
}
