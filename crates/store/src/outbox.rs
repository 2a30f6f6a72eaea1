//! Work that decisions left behind. It is durable with the decision and done at least once.

use muster_domain::rollout::step::Effect;
use muster_vocab::{OutboxId, ProjectId, RolloutId, Timestamp};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub id: OutboxId,
    pub project: ProjectId,
    pub rollout: RolloutId,
    pub effect: Effect,
}

impl View<'_> {
    pub fn pending_effects(&self, limit: u32) -> Result<Vec<Pending>, StoreError> {
        let what = "pending effects";
        let mut statement = self
            .conn
            .prepare_cached("SELECT id, project_id, rollout_id, effect FROM outbox ORDER BY id LIMIT ?1")
            .doing(what)?;
        let mut rows = statement.query([limit]).doing(what)?;
        let mut pending = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            let effect: String = row.get(3).doing(what)?;
            pending.push(Pending {
                id: OutboxId(row.get(0).doing(what)?),
                project: ProjectId(row.get(1).doing(what)?),
                rollout: RolloutId(row.get(2).doing(what)?),
                effect: serde_json::from_str(&effect).doing("effect")?,
            });
        }
        Ok(pending)
    }
}

impl Tx<'_> {
    /// Effects are safe to repeat, so one that waits already is enough.
    pub fn emit(&mut self, of: (ProjectId, RolloutId), effects: &[Effect], now: Timestamp) -> Result<(), StoreError> {
        for effect in effects {
            let effect = serde_json::to_string(effect).doing("effect")?;
            self.conn
                .prepare_cached(
                    "INSERT INTO outbox (project_id, rollout_id, effect, created_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )
                .and_then(|mut it| it.execute((of.0.0, of.1.0, effect, now.0)))
                .doing("an effect")?;
            self.own.outbox = true;
        }
        Ok(())
    }

    pub fn delete_effect(&mut self, id: OutboxId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM outbox WHERE id = ?1")
            .and_then(|mut it| it.execute([id.0]))
            .doing("deleting an effect")?;
        Ok(())
    }
}
