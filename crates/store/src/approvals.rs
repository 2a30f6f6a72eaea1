//! Which approvals does a rollout need, who has given his, and who owes a review?

use muster_domain::approval::{Approval, Rule};
use muster_domain::rollout::Person;
use muster_vocab::{AccountId, ProjectId, ReviewId, RolloutId, RuleId, Sha256, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

/// Something that was done without the approvals it needed, for somebody else to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub id: ReviewId,
    pub rollout: RolloutId,
    /// As it was called then; the rollout may be gone.
    pub rollout_name: String,
    pub author: AccountId,
    pub opened_at: Timestamp,
    pub opened_by: Person,
    pub reason: String,
    pub closed: Option<Closed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub at: Timestamp,
    pub by: String,
    pub note: String,
}

const RULE: &str = "SELECT id, needed, role, selector, life_s, created_at, created_by FROM approval_rule";
const REVIEW: &str = "SELECT id, rollout_id, rollout_name, author_id, opened_at, opened_by, opened_by_id, reason,
     closed_at, closed_by, note FROM review";

impl View<'_> {
    /// Few: see `limit::APPROVAL_RULES_MAX`.
    pub fn approval_rules(&self, project: ProjectId) -> Result<Vec<Rule>, StoreError> {
        self.conn
            .prepare_cached(&format!("{RULE} WHERE project_id = ?1 ORDER BY id"))
            .and_then(|mut it| it.query_map([project.0], read_rule)?.collect())
            .doing("rules of approval")
    }

    /// Oldest first.
    pub fn approvals(&self, project: ProjectId, rollout: RolloutId) -> Result<Vec<Approval>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT account_id, account_name, person_id, plan, at FROM approval
                 WHERE project_id = ?1 AND rollout_id = ?2 ORDER BY at, id",
            )
            .and_then(|mut it| {
                it.query_map((project.0, rollout.0), |row| {
                    Ok(Approval {
                        by: Person { id: AccountId(row.get(0)?), name: row.get(1)? },
                        behind: AccountId(row.get(2)?),
                        plan: Sha256(row.get(3)?),
                        at: Timestamp(row.get(4)?),
                    })
                })?
                .collect()
            })
            .doing("approvals")
    }

    /// Newest first.
    pub fn reviews(
        &self,
        project: ProjectId,
        only_open: bool,
        page: (Option<Cursor>, u32),
    ) -> Result<Paged<Review>, StoreError> {
        let (before, limit) = page;
        let before = before.map_or(i64::MAX, |cursor| cursor.0);
        let rows = self
            .conn
            .prepare_cached(&format!(
                "{REVIEW} WHERE project_id = ?1 AND id < ?2 AND (NOT ?3 OR closed_at IS NULL) ORDER BY id DESC LIMIT ?4"
            ))
            .and_then(|mut it| {
                it.query_map((project.0, before, only_open, limit + 1), read_review)?.collect::<Result<Vec<_>, _>>()
            })
            .doing("reviews")?;
        Ok(cut(rows, limit, |review| review.id.0))
    }

    pub fn review(&self, project: ProjectId, id: ReviewId) -> Result<Review, StoreError> {
        self.conn
            .prepare_cached(&format!("{REVIEW} WHERE project_id = ?1 AND id = ?2"))
            .and_then(|mut it| it.query_row((project.0, id.0), read_review).optional())
            .doing("a review")?
            .ok_or_else(|| StoreError::Missing { kind: "review", name: id.to_string() })
    }

    /// Of all projects, for the server's own metrics.
    pub fn open_reviews(&self) -> Result<u64, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM review WHERE closed_at IS NULL")
            .and_then(|mut it| it.query_row([], |row| row.get::<_, i64>(0)))
            .map(i64::cast_unsigned)
            .doing("open reviews")
    }
}

impl Tx<'_> {
    /// A rule of the same role and selector is replaced. The rule's own `id` is not looked at.
    pub fn save_approval_rule(&mut self, project: ProjectId, rule: &Rule) -> Result<RuleId, StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO approval_rule (project_id, role, selector, needed, life_s, created_at, created_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (project_id, role, selector)
                 DO UPDATE SET needed = excluded.needed, life_s = excluded.life_s RETURNING id",
            )
            .and_then(|mut it| {
                let (at, by) = (rule.created_at.0, &rule.created_by);
                it.query_row((project.0, &rule.role, &rule.select, rule.needed, rule.life_s, at, by), |row| row.get(0))
            })
            .map(RuleId)
            .doing("a rule of approval")
    }

    pub fn delete_approval_rule(&mut self, project: ProjectId, id: RuleId) -> Result<bool, StoreError> {
        let gone = self
            .conn
            .execute("DELETE FROM approval_rule WHERE project_id = ?1 AND id = ?2", (project.0, id.0))
            .doing("deleting a rule of approval")?;
        Ok(gone > 0)
    }

    /// The same person's earlier word is replaced.
    pub fn save_approval(
        &mut self,
        project: ProjectId,
        rollout: RolloutId,
        given: &Approval,
    ) -> Result<(), StoreError> {
        self.conn
            .execute(
                "INSERT INTO approval (project_id, rollout_id, account_id, account_name, person_id, plan, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (rollout_id, person_id) DO UPDATE SET account_id = excluded.account_id,
                 account_name = excluded.account_name, plan = excluded.plan, at = excluded.at",
                (project.0, rollout.0, given.by.id.0, &given.by.name, given.behind.0, given.plan.0, given.at.0),
            )
            .doing("an approval")?;
        Ok(())
    }

    /// The review's own `id` is not looked at.
    pub fn insert_review(&mut self, project: ProjectId, new: &Review) -> Result<ReviewId, StoreError> {
        self.conn
            .execute(
                "INSERT INTO review (project_id, rollout_id, rollout_name, author_id, opened_at, opened_by,
                 opened_by_id, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (
                    project.0,
                    new.rollout.0,
                    &new.rollout_name,
                    new.author.0,
                    new.opened_at.0,
                    &new.opened_by.name,
                    new.opened_by.id.0,
                    &new.reason,
                ),
            )
            .doing("a review")?;
        Ok(ReviewId(self.conn.last_insert_rowid()))
    }

    pub fn close_review(&mut self, project: ProjectId, id: ReviewId, with: &Closed) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE review SET closed_at = ?3, closed_by = ?4, note = ?5
                 WHERE project_id = ?1 AND id = ?2 AND closed_at IS NULL",
                (project.0, id.0, with.at.0, &with.by, &with.note),
            )
            .doing("closing a review")?;
        Ok(())
    }
}

fn read_rule(row: &Row<'_>) -> rusqlite::Result<Rule> {
    Ok(Rule {
        id: RuleId(row.get(0)?),
        needed: row.get(1)?,
        role: row.get(2)?,
        select: row.get(3)?,
        life_s: row.get(4)?,
        created_at: Timestamp(row.get(5)?),
        created_by: row.get(6)?,
    })
}

fn read_review(row: &Row<'_>) -> rusqlite::Result<Review> {
    let closed_at: Option<i64> = row.get(8)?;
    let closed = match closed_at {
        Some(at) => Some(Closed { at: Timestamp(at), by: row.get(9)?, note: row.get(10)? }),
        None => None,
    };
    Ok(Review {
        id: ReviewId(row.get(0)?),
        rollout: RolloutId(row.get(1)?),
        rollout_name: row.get(2)?,
        author: AccountId(row.get(3)?),
        opened_at: Timestamp(row.get(4)?),
        opened_by: Person { name: row.get(5)?, id: AccountId(row.get(6)?) },
        reason: row.get(7)?,
        closed,
    })
}
