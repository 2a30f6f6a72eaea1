//! Who looks at what was done without the approvals it needed?

use muster_domain::rollout::Person;
use muster_domain::{Actor, Permission};
use muster_store::Tx;
use muster_store::approvals::{Closed, Review};
use muster_store::events::NewEvent;
use muster_vocab::{ReviewId, RolloutId, Timestamp, limit};
use serde_json::json;

use super::audit;
use super::error::FlowError;

/// Somebody breaks the glass: an alarm, and a review that somebody else has to close.
pub fn open(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    (id, by): (RolloutId, Person),
    reason: &str,
) -> Result<(), FlowError> {
    check_text("reason", reason)?;
    let project = actor.project();
    let rollout = tx.rollout(project, id)?;
    tracing::warn!(rollout.id = %id, "{} starts rollout {id} without the approvals it needs", by.name);
    let new = Review {
        id: ReviewId(0),
        rollout: id,
        rollout_name: rollout.name,
        author: rollout.author.id,
        opened_at: now,
        opened_by: by,
        reason: reason.to_owned(),
        closed: None,
    };
    let review = tx.insert_review(project, &new)?;
    let event = NewEvent { kind: "alarm", target: &id.to_string(), change: "break_glass", rollout: Some(id) };
    tx.emit_event(project, now, &event)?;
    let detail = json!({ "rollout": id.to_string(), "reason": reason });
    audit::record(tx, now, actor, ("review.open", format!("review:{review}")), &detail)
}

/// Neither who broke the glass nor who made the rollout closes it, by whatever account.
pub fn close(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: ReviewId, note: &str) -> Result<Review, FlowError> {
    actor.may(Permission::RolloutsApprove)?;
    check_text("note", note)?;
    let project = actor.project();
    let review = tx.review(project, id)?;
    if let Some(closed) = &review.closed {
        return Err(FlowError::Conflict(format!("{id} was closed by {} at {}", closed.by, closed.at)));
    }
    let Actor::Account { id: account, name, .. } = actor else {
        return Err(FlowError::Conflict("only people close reviews".into()));
    };
    let behind = tx.person_behind(project, *account)?;
    for involved in [review.opened_by.id, review.author] {
        if tx.person_behind(project, involved)? == behind {
            return Err(FlowError::OwnReview);
        }
    }
    let with = Closed { at: now, by: name.clone(), note: note.to_owned() };
    tx.close_review(project, id, &with)?;
    let event = NewEvent {
        kind: "alarm",
        target: &review.rollout.to_string(),
        change: "reviewed",
        rollout: Some(review.rollout),
    };
    tx.emit_event(project, now, &event)?;
    audit::record(tx, now, actor, ("review.close", format!("review:{id}")), &json!({ "note": note }))?;
    Ok(Review { closed: Some(with), ..review })
}

fn check_text(field: &'static str, text: &str) -> Result<(), FlowError> {
    let most = limit::REVIEW_CHARS_MAX;
    if text.trim().is_empty() || text.chars().count() > most {
        return Err(FlowError::invalid(field, format!("say why, in 1 to {most} characters")));
    }
    Ok(())
}
