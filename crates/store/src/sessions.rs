//! Remote sessions: open ones and past ones.

use muster_domain::session::Session;
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

const SESSION: &str = "SELECT sequence, id, device_id, command_id, kind, seconds_max, opened_by, created_at, state,
     project_id FROM remote_session";

impl View<'_> {
    pub fn session(&self, project: ProjectId, id: &str) -> Result<Session, StoreError> {
        self.conn
            .prepare_cached(&format!("{SESSION} WHERE project_id = ?1 AND id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id), |row| Ok(read(row))).optional())
            .doing("a session")?
            .map(|found| found.map(|(_, session)| session))
            .ok_or_else(|| StoreError::Missing { kind: "session", name: id.to_owned() })?
    }

    /// By its name alone, which is random: for the server's own use.
    pub fn session_anywhere(&self, id: &str) -> Result<Option<(ProjectId, Session)>, StoreError> {
        let what = "a session";
        let mut statement = self.conn.prepare_cached(&format!("{SESSION} WHERE id = ?1")).doing(what)?;
        let mut rows = statement.query([id]).doing(what)?;
        let Some(row) = rows.next().doing(what)? else { return Ok(None) };
        Ok(Some((ProjectId(row.get(9).doing(what)?), read(row)?.1)))
    }

    /// Newest first.
    pub fn sessions(&self, project: ProjectId, page: (Option<Cursor>, u32)) -> Result<Paged<Session>, StoreError> {
        let ((before, limit), what) = (page, "sessions");
        let sql = format!("{SESSION} WHERE project_id = ?1 AND sequence < ?2 ORDER BY sequence DESC LIMIT ?3");
        let mut statement = self.conn.prepare_cached(&sql).doing(what)?;
        let before = before.map_or(i64::MAX, |cursor| cursor.0);
        let rows = statement.query_map((project.0, before, limit + 1), |row| Ok(read(row))).doing(what)?;
        let rows = rows.map(|row| row.doing(what)?).collect::<Result<Vec<_>, _>>()?;
        let paged = cut(rows, limit, |(sequence, _)| *sequence);
        Ok(Paged { rows: paged.rows.into_iter().map(|(_, one)| one).collect(), next: paged.next })
    }

    /// Sessions of all projects that are not over and began before.
    pub fn open_sessions(&self, before: Timestamp, limit: u32) -> Result<Vec<(ProjectId, Session)>, StoreError> {
        let what = "open sessions";
        let sql = format!("{SESSION} WHERE is_over = 0 AND created_at < ?1 ORDER BY created_at LIMIT ?2");
        let mut statement = self.conn.prepare_cached(&sql).doing(what)?;
        let mut rows = statement.query((before.0, limit)).doing(what)?;
        let mut open = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            open.push((ProjectId(row.get(9).doing(what)?), read(row)?.1));
        }
        Ok(open)
    }
}

impl Tx<'_> {
    pub fn insert_session(&mut self, project: ProjectId, new: &Session) -> Result<(), StoreError> {
        let what = "a session";
        let kind = serde_json::to_string(&new.kind).doing(what)?;
        let state = serde_json::to_string(&new.state).doing(what)?;
        self.conn
            .execute(
                "INSERT INTO remote_session (id, sequence, project_id, device_id, command_id, kind, seconds_max,
                 opened_by, created_at, state, is_over)
                 VALUES (?1, 1 + coalesce((SELECT max(sequence) FROM remote_session), 0), ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                 ?9, 0)",
                (
                    &new.id,
                    project.0,
                    new.device.0,
                    new.command,
                    kind,
                    new.seconds_max,
                    &new.opened_by,
                    new.created_at.0,
                    state,
                ),
            )
            .doing(what)?;
        Ok(())
    }

    pub fn save_session(&mut self, project: ProjectId, session: &Session) -> Result<(), StoreError> {
        let state = serde_json::to_string(&session.state).doing("a session")?;
        self.conn
            .execute(
                "UPDATE remote_session SET state = ?3, is_over = ?4 WHERE project_id = ?1 AND id = ?2",
                (project.0, &session.id, state, session.is_over()),
            )
            .doing("a session")?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<(i64, Session), StoreError> {
    let what = "a session";
    let kind: String = row.get(4).doing(what)?;
    let state: String = row.get(8).doing(what)?;
    let session = Session {
        id: row.get(1).doing(what)?,
        device: DeviceId(row.get(2).doing(what)?),
        command: row.get(3).doing(what)?,
        kind: serde_json::from_str(&kind).doing(what)?,
        seconds_max: row.get(5).doing(what)?,
        opened_by: row.get(6).doing(what)?,
        created_at: Timestamp(row.get(7).doing(what)?),
        state: serde_json::from_str(&state).doing(what)?,
    };
    Ok((row.get(0).doing(what)?, session))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::command::SessionKind;
    use muster_domain::device::DeviceState;
    use muster_domain::session::{End, Ended, Recording, SessionState};
    use muster_vocab::Sha256;

    use super::*;
    use crate::devices::NewDevice;
    use crate::sample::{NOW, store};

    fn session(id: &str, device: DeviceId) -> Session {
        Session {
            id: id.into(),
            device,
            command: 1,
            kind: SessionKind::Forward { host: "::1".into(), port: 80 },
            seconds_max: 60,
            opened_by: "account:ann".into(),
            created_at: NOW,
            state: SessionState::Waiting,
        }
    }

    #[test]
    fn a_session_reads_back_in_every_state_and_only_in_its_project() {
        let (store, _folder) = store();
        store
            .writer()
            .write::<_, StoreError>(|tx| {
                let (project, other) = (tx.insert_project("one", NOW)?, tx.insert_project("two", NOW)?);
                let new =
                    NewDevice { name: "sn-1".into(), state: DeviceState::Accepted, token: None, poll_interval_s: 0 };
                let device = tx.insert_device(project, &new, NOW)?;
                for id in ["a", "b"] {
                    tx.insert_session(project, &session(id, device))?;
                }
                assert_eq!(tx.session(project, "a")?, session("a", device));
                assert!(matches!(tx.session(other, "a"), Err(StoreError::Missing { .. })));
                let open = session("a", device).connected(NOW).unwrap();
                tx.save_session(project, &open)?;
                let recording = Recording { digest: Sha256([7; 32]), bytes: 9, complete: false };
                let how = Ended { end: End::Idle, to_device: 1, to_operator: 2, recording: Some(recording) };
                let ended = open.ended(NOW, how).unwrap();
                tx.save_session(project, &ended)?;
                assert_eq!(tx.session_anywhere("a")?, Some((project, ended)));
                assert_eq!(tx.session_anywhere("ghost")?, None);
                let later = NOW.plus(Duration::from_secs(1));
                assert_eq!(tx.open_sessions(later, 10)?, [(project, session("b", device))]);
                assert_eq!(tx.open_sessions(NOW, 10)?, []);
                let newest = tx.sessions(project, (None, 1))?;
                let rest = tx.sessions(project, (newest.next, 1))?;
                assert_eq!((newest.rows[0].id.as_str(), rest.rows[0].id.as_str(), rest.next), ("b", "a", None));
                assert_eq!(tx.sessions(other, (None, 10))?.rows, []);
                Ok(())
            })
            .unwrap();
    }
}
