//! Rollouts: one row each, whose body the engine alone understands.

use std::collections::BTreeSet;

use muster_domain::rollout::spec::Spec;
use muster_domain::rollout::{Clearance, Person, Phase, Rollout, Wave};
use muster_vocab::selector::Selector;
use muster_vocab::{ProjectId, ReleaseId, RolloutId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::error::Doing;
use crate::page::cut;
use crate::select::{ROLLOUTS, Sql};
use crate::{Cursor, Paged, StoreError, Tx, View};

const ROLLOUT: &str = "SELECT o.id, o.name, o.release_id, o.body, o.created_at, o.revision FROM rollout o";

/// The part of a row that nothing is searched by.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    spec: Spec,
    phase: Phase,
    waves: Vec<Wave>,
    retry_of: Option<RolloutId>,
    author: Person,
    approved_by: Option<Person>,
    #[serde(default)]
    clearance: Clearance,
    started_at: Option<i64>,
}

impl View<'_> {
    pub fn rollout(&self, project: ProjectId, id: RolloutId) -> Result<Rollout, StoreError> {
        self.conn
            .prepare_cached(&format!("{ROLLOUT} WHERE o.project_id = ?1 AND o.id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id.0), |row| Ok(read(row))).optional())
            .doing("a rollout")?
            .ok_or(StoreError::NoRollout(id))?
    }

    pub fn rollout_named(&self, project: ProjectId, name: &str) -> Result<RolloutId, StoreError> {
        self.conn
            .prepare_cached("SELECT id FROM rollout WHERE project_id = ?1 AND name = ?2")
            .and_then(|mut it| it.query_row((project.0, name), |row| row.get(0)).optional())
            .doing("a rollout")?
            .map(RolloutId)
            .ok_or_else(|| StoreError::Missing { kind: "rollout", name: name.to_owned() })
    }

    /// Newest first.
    pub fn rollouts(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (Option<Cursor>, u32),
        now: Timestamp,
    ) -> Result<Paged<Rollout>, StoreError> {
        let (before, limit) = page;
        let mut sql = Sql::new(&format!("{ROLLOUT} WHERE o.project_id = "));
        sql.bind(project.0);
        sql.and_select(select, &ROLLOUTS, now);
        sql.push(" AND o.id < ").bind(before.map_or(i64::MAX, |cursor| cursor.0));
        sql.push(" ORDER BY o.id DESC LIMIT ").bind(limit + 1);
        Ok(cut(sql.query(self.conn, "rollouts", read)?, limit, |rollout| rollout.id.0))
    }

    /// Rollouts of all projects that time moves now.
    pub fn due_rollouts(&self, now: Timestamp, limit: u32) -> Result<Vec<(ProjectId, RolloutId)>, StoreError> {
        self.ids(
            "SELECT project_id, id FROM rollout WHERE due_at IS NOT NULL AND due_at <= ?1 ORDER BY due_at LIMIT ?2",
            now.0,
            limit,
        )
    }

    /// Running rollouts of all projects that devices may join later.
    pub fn dynamic_rollouts(&self, limit: u32) -> Result<Vec<(ProjectId, RolloutId)>, StoreError> {
        self.ids("SELECT project_id, id FROM rollout WHERE is_dynamic AND state = 'running' AND id > ?1 ORDER BY id DESC LIMIT ?2", 0, limit)
    }

    fn ids(&self, sql: &str, first: i64, limit: u32) -> Result<Vec<(ProjectId, RolloutId)>, StoreError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut it| {
                it.query_map((first, limit), |row| Ok((ProjectId(row.get(0)?), RolloutId(row.get(1)?))))?.collect()
            })
            .doing("rollouts")
    }

    /// How many rollouts are in each state, for the server's own metrics.
    pub fn rollouts_by_state(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.conn
            .prepare_cached("SELECT state, count(*) FROM rollout GROUP BY state ORDER BY state")
            .and_then(|mut it| {
                it.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?.collect()
            })
            .doing("rollouts by state")
    }
}

impl Tx<'_> {
    /// As earlier flows of the same commit left it.
    pub fn rollout(&self, project: ProjectId, id: RolloutId) -> Result<Rollout, StoreError> {
        let earlier = if self.own.deleted.contains(&id) { None } else { self.rollouts.rollouts.get(&id) };
        let held = self.own.rollouts.get(&id).or(earlier);
        match held {
            Some((owner, rollout)) if *owner == project => Ok(rollout.clone()),
            Some(_) => Err(StoreError::NoRollout(id)),
            None => View::rollout(self, project, id),
        }
    }

    /// The rollout gets its number here; its own `id` is not looked at.
    pub fn insert_rollout(&mut self, project: ProjectId, rollout: &Rollout) -> Result<RolloutId, StoreError> {
        let added = self
            .conn
            .execute(
                "INSERT INTO rollout (project_id, name, release_id, state, due_at, is_dynamic, body, created_at,
                 created_by, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
                (
                    project.0,
                    &rollout.name,
                    rollout.release.0,
                    rollout.phase.name(),
                    rollout.due_at().map(|at| at.0),
                    rollout.spec.dynamic,
                    body(rollout)?,
                    rollout.created_at.0,
                    &rollout.author.name,
                    rollout.revision.cast_signed(),
                ),
            )
            .doing("a rollout")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "rollout", name: rollout.name.clone() });
        }
        self.own.routes = true;
        Ok(RolloutId(self.conn.last_insert_rowid()))
    }

    /// Kept until the commit, then written once.
    pub fn save_rollout(&mut self, project: ProjectId, rollout: Rollout) {
        self.own.rollouts.insert(rollout.id, (project, rollout));
    }

    pub fn delete_rollout(&mut self, project: ProjectId, id: RolloutId) -> Result<(), StoreError> {
        let devices: BTreeSet<_> = self.devices_of_rollout(project, id)?.into_iter().collect();
        self.conn
            .execute("DELETE FROM action WHERE project_id = ?1 AND rollout_id = ?2", (project.0, id.0))
            .doing("deleting a rollout's actions")?;
        self.conn
            .execute("DELETE FROM rollout WHERE project_id = ?1 AND id = ?2", (project.0, id.0))
            .doing("deleting a rollout")?;
        self.own.rollouts.remove(&id);
        self.own.deleted.insert(id);
        self.own.devices.extend(devices);
        Ok(())
    }
}

pub(crate) fn write_row(
    conn: &Connection,
    project: ProjectId,
    id: RolloutId,
    rollout: &Rollout,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE rollout SET state = ?3, due_at = ?4, body = ?5, revision = ?6 WHERE project_id = ?1 AND id = ?2",
    )
    .and_then(|mut it| {
        let due_at = rollout.due_at().map(|at| at.0);
        let body = body(rollout).map_err(|bad| rusqlite::Error::ToSqlConversionFailure(Box::new(bad)))?;
        it.execute((project.0, id.0, rollout.phase.name(), due_at, body, rollout.revision.cast_signed()))
    })
    .doing("a rollout")?;
    Ok(())
}

fn body(rollout: &Rollout) -> Result<String, StoreError> {
    serde_json::to_string(&Body {
        spec: rollout.spec.clone(),
        phase: rollout.phase.clone(),
        waves: rollout.waves.clone(),
        retry_of: rollout.retry_of,
        author: rollout.author.clone(),
        approved_by: rollout.approved_by.clone(),
        clearance: rollout.clearance.clone(),
        started_at: rollout.started_at.map(|at| at.0),
    })
    .doing("a rollout's body")
}

fn read(row: &Row<'_>) -> Result<Rollout, StoreError> {
    let what = "a rollout";
    let text: String = row.get(3).doing(what)?;
    let body: Body = serde_json::from_str(&text).doing("rollout's body")?;
    let rollout = Rollout {
        id: RolloutId(row.get(0).doing(what)?),
        name: row.get(1).doing(what)?,
        release: ReleaseId(row.get(2).doing(what)?),
        spec: body.spec,
        phase: body.phase,
        waves: body.waves,
        retry_of: body.retry_of,
        author: body.author,
        approved_by: body.approved_by,
        clearance: body.clearance,
        created_at: Timestamp(row.get(4).doing(what)?),
        started_at: body.started_at.map(Timestamp),
        revision: row.get::<_, i64>(5).doing(what)?.cast_unsigned(),
    };
    assert_eq!(rollout.waves.len(), rollout.spec.waves.len(), "each wave of rollout {} has its spec", rollout.id);
    Ok(rollout)
}
