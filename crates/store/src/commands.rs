//! Commands and what came of them.

use muster_domain::command::{Command, CommandState};
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

const COMMAND: &str =
    "SELECT id, device_id, what, state, deadline, exit_code, output, created_at, created_by, changed_at
     FROM command WHERE project_id = ?1";

impl View<'_> {
    pub fn command(&self, project: ProjectId, id: i64) -> Result<Command, StoreError> {
        self.conn
            .prepare_cached(&format!("{COMMAND} AND id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id), |row| Ok(read(row))).optional())
            .doing("a command")?
            .ok_or_else(|| StoreError::Missing { kind: "command", name: id.to_string() })?
    }

    /// Newest first.
    pub fn commands_of(
        &self,
        project: ProjectId,
        device: DeviceId,
        page: (Option<Cursor>, u32),
    ) -> Result<Paged<Command>, StoreError> {
        let (before, limit) = page;
        let before = before.map_or(i64::MAX, |cursor| cursor.0);
        let sql = format!("{COMMAND} AND device_id = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4");
        let rows = self.commands_by(&sql, (project.0, device.0, before, limit + 1))?;
        Ok(cut(rows, limit, |command| command.id))
    }

    /// What the device is still told, oldest first.
    pub fn commands_to_tell(&self, project: ProjectId, device: DeviceId) -> Result<Vec<Command>, StoreError> {
        let sql = format!("{COMMAND} AND device_id = ?2 AND state IN ('pending', 'sent') ORDER BY id");
        self.commands_by(&sql, (project.0, device.0))
    }

    /// What has not ended, oldest first.
    pub fn open_commands(&self, project: ProjectId, device: DeviceId) -> Result<Vec<Command>, StoreError> {
        let sql = format!("{COMMAND} AND device_id = ?2 AND due_at IS NOT NULL ORDER BY id");
        self.commands_by(&sql, (project.0, device.0))
    }

    /// Commands of all projects that time has moved.
    pub fn due_commands(&self, now: Timestamp, limit: u32) -> Result<Vec<(ProjectId, i64)>, StoreError> {
        self.conn
            .prepare_cached("SELECT project_id, id FROM command WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2")
            .and_then(|mut it| it.query_map((now.0, limit), |row| Ok((ProjectId(row.get(0)?), row.get(1)?)))?.collect())
            .doing("commands whose time is over")
    }

    fn commands_by(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Command>, StoreError> {
        let what = "commands";
        let mut statement = self.conn.prepare_cached(sql).doing(what)?;
        let rows = statement.query_map(values, |row| Ok(read(row))).doing(what)?;
        rows.map(|row| row.doing(what)?).collect()
    }
}

impl Tx<'_> {
    /// Answers its number; the one in `new` is not looked at.
    pub fn insert_command(&mut self, project: ProjectId, new: &Command) -> Result<i64, StoreError> {
        let what = serde_json::to_string(&new.what).doing("a command")?;
        self.conn
            .prepare_cached(
                "INSERT INTO command (project_id, device_id, what, state, deadline, due_at, output, created_at,
                 created_by, changed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', ?7, ?8, ?7)",
            )
            .and_then(|mut it| {
                let due_at = new.due_at().map(|at| at.0);
                it.execute((
                    project.0,
                    new.device.0,
                    what,
                    state_name(new.state),
                    new.deadline.0,
                    due_at,
                    new.created_at.0,
                    &new.created_by,
                ))
            })
            .doing("a command")?;
        let id = self.conn.last_insert_rowid();
        self.touch_device(new.device);
        Ok(id)
    }

    pub fn save_command(&mut self, project: ProjectId, command: &Command) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "UPDATE command SET state = ?3, due_at = ?4, exit_code = ?5, output = ?6, changed_at = ?7
                 WHERE project_id = ?1 AND id = ?2",
            )
            .and_then(|mut it| {
                it.execute((
                    project.0,
                    command.id,
                    state_name(command.state),
                    command.due_at().map(|at| at.0),
                    command.exit_code,
                    &command.output,
                    command.changed_at.0,
                ))
            })
            .doing("a command")?;
        self.touch_device(command.device);
        Ok(())
    }

    /// Those that ended before.
    pub fn delete_old_commands(&mut self, before: Timestamp, limit: u32) -> Result<(), StoreError> {
        self.conn
            .execute(
                "DELETE FROM command WHERE id IN
                 (SELECT id FROM command WHERE due_at IS NULL AND changed_at < ?1 LIMIT ?2)",
                (before.0, limit),
            )
            .doing("deleting old commands")?;
        Ok(())
    }
}

fn state_name(state: CommandState) -> &'static str {
    match state {
        CommandState::Pending => "pending",
        CommandState::Sent => "sent",
        CommandState::Started => "started",
        CommandState::Succeeded => "succeeded",
        CommandState::Failed => "failed",
        CommandState::Refused => "refused",
        CommandState::Late => "late",
        CommandState::Expired => "expired",
    }
}

fn read_state(name: &str) -> Result<CommandState, StoreError> {
    use CommandState as S;
    [S::Pending, S::Sent, S::Started, S::Succeeded, S::Failed, S::Refused, S::Late, S::Expired]
        .into_iter()
        .find(|state| state_name(*state) == name)
        .ok_or_else(|| StoreError::broken("command state", name.to_owned()))
}

fn read(row: &Row<'_>) -> Result<Command, StoreError> {
    let of = "a command";
    let what: String = row.get(2).doing(of)?;
    let state: String = row.get(3).doing(of)?;
    Ok(Command {
        id: row.get(0).doing(of)?,
        device: DeviceId(row.get(1).doing(of)?),
        what: serde_json::from_str(&what).doing(of)?,
        state: read_state(&state)?,
        deadline: Timestamp(row.get(4).doing(of)?),
        exit_code: row.get(5).doing(of)?,
        output: row.get(6).doing(of)?,
        created_at: Timestamp(row.get(7).doing(of)?),
        created_by: row.get(8).doing(of)?,
        changed_at: Timestamp(row.get(9).doing(of)?),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::command::{Input, Said, What, step};
    use muster_domain::device::DeviceState;

    use super::*;
    use crate::devices::NewDevice;
    use crate::sample::{NOW, store};

    fn command(device: DeviceId) -> Command {
        Command {
            id: 0,
            device,
            what: What::CollectLogs { unit: Some("app".into()), lines: 10 },
            state: CommandState::Pending,
            deadline: NOW.plus(Duration::from_secs(60)),
            exit_code: None,
            output: String::new(),
            created_at: NOW,
            created_by: "account:ann".into(),
            changed_at: NOW,
        }
    }

    #[test]
    fn a_command_is_told_until_the_device_speaks_and_ends_once() {
        let (store, _folder) = store();
        store
            .writer()
            .write::<_, StoreError>(|tx| {
                let (project, other) = (tx.insert_project("one", NOW)?, tx.insert_project("two", NOW)?);
                let new =
                    NewDevice { name: "sn-1".into(), state: DeviceState::Accepted, token: None, poll_interval_s: 0 };
                let device = tx.insert_device(project, &new, NOW)?;
                let id = tx.insert_command(project, &command(device))?;
                assert_eq!(tx.command(project, id)?, Command { id, ..command(device) });
                assert!(tx.standing(device)?.unwrap().twin);
                assert!(matches!(tx.command(other, id), Err(StoreError::Missing { .. })));
                assert_eq!(tx.commands_to_tell(other, device)?, []);
                assert_eq!(tx.commands_to_tell(project, device)?.len(), 1);
                assert_eq!(tx.due_commands(NOW, 10)?, []);
                assert_eq!(tx.due_commands(NOW.plus(Duration::from_secs(120)), 10)?, [(project, id)]);
                let said = Input::Said { state: Said::Failed, exit_code: Some(-1), output: "no such unit".into() };
                let ended = step(&tx.command(project, id)?, NOW, said).unwrap();
                tx.save_command(project, &ended)?;
                assert_eq!(tx.command(project, id)?, ended);
                assert!(!tx.standing(device)?.unwrap().twin);
                assert_eq!(
                    (tx.commands_to_tell(project, device)?, tx.open_commands(project, device)?),
                    (vec![], vec![])
                );
                tx.delete_old_commands(NOW, 10)?;
                assert_eq!(tx.commands_of(project, device, (None, 10))?.rows.len(), 1);
                tx.delete_old_commands(NOW.plus(Duration::from_secs(1)), 10)?;
                assert_eq!(tx.commands_of(project, device, (None, 10))?.rows, []);
                Ok(())
            })
            .unwrap();
    }
}
