//! Who has approved a rollout, of what exactly, and is that enough?
//!
//! Pure. An approval is of one plan: whatever changes in it voids the approval. People count, not accounts or tokens.

use std::fmt::Write;
use std::time::Duration;

use muster_vocab::{AccountId, RuleId, Sha256, Timestamp};

use crate::action::Push;
use crate::release::Release;
use crate::rollout::spec::{Advance, OnError, Spec, Take, Threshold};
use crate::rollout::{Person, Rollout};

/// Rollouts that reach certain devices need the approval of several people who have a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: RuleId,
    pub needed: u32,
    pub role: String,
    /// Of devices; empty for every rollout.
    pub select: String,
    /// How long an approval counts, in seconds.
    pub life_s: u32,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// What one rollout needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// None: the rollout's author asked for approval.
    pub rule: Option<RuleId>,
    pub needed: u32,
    /// None: anybody who may approve.
    pub role: Option<String>,
    /// None: it doesn't expire.
    pub life: Option<Duration>,
}

/// Somebody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub by: Person,
    /// Whose decision it is: of a service account, its maker's.
    pub behind: AccountId,
    /// Digest of [`plan`].
    pub plan: Sha256,
    pub at: Timestamp,
}

/// What an account has today, over the whole project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    pub may_approve: bool,
    pub roles: Vec<String>,
}

/// Why an approval doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    #[error("the plan has changed since")]
    OtherPlan,
    #[error("it is the author's own")]
    Author,
    #[error("it expired at {0}")]
    Expired(Timestamp),
    #[error("its giver may not approve any more")]
    NotAllowed,
    #[error("its giver does not have the role {0}")]
    NoRole(String),
    #[error("the same person has approved already")]
    SamePerson,
}

/// How far one need is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    pub need: Need,
    pub by: Vec<Person>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub needs: Vec<Met>,
    /// Each approval, and why it counts nowhere.
    pub given: Vec<(Approval, Option<Void>)>,
}

impl Met {
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.need.needed.saturating_sub(u32::try_from(self.by.len()).unwrap_or(u32::MAX))
    }
}

impl Standing {
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.needs.iter().all(|met| met.missing() == 0)
    }

    /// Of the need that misses the most.
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.needs.iter().map(Met::missing).max().unwrap_or(0)
    }

    /// Who spoke last among those who count.
    #[must_use]
    pub fn last(&self) -> Option<&Person> {
        self.given.iter().filter(|(_, void)| void.is_none()).max_by_key(|(it, _)| it.at).map(|(it, _)| &it.by)
    }
}

/// `author`: whose decision the rollout is. `given`: oldest first.
#[must_use]
pub fn judge(
    needs: Vec<Need>,
    given: Vec<(Approval, Holds)>,
    (plan, author): (Sha256, AccountId),
    now: Timestamp,
) -> Standing {
    let mut voids: Vec<Option<Option<Void>>> = vec![None; given.len()];
    let mut met = Vec::new();
    for need in needs {
        let mut people: Vec<AccountId> = Vec::new();
        let mut by = Vec::new();
        for (at, (approval, holds)) in given.iter().enumerate() {
            let same = people.contains(&approval.behind).then_some(Void::SamePerson);
            let void = counts(&need, (approval, holds), (plan, author), now).err().or(same);
            if void.is_none() {
                people.push(approval.behind);
                by.push(approval.by.clone());
            }
            // Counting once is counting; else the first reason is told.
            if void.is_none() || voids[at].is_none() {
                voids[at] = Some(void);
            }
        }
        met.push(Met { need, by });
    }
    let given = given.into_iter().zip(voids).map(|((approval, _), void)| (approval, void.flatten())).collect();
    Standing { needs: met, given }
}

fn counts(
    need: &Need,
    (approval, holds): (&Approval, &Holds),
    (plan, author): (Sha256, AccountId),
    now: Timestamp,
) -> Result<(), Void> {
    if approval.behind == author {
        return Err(Void::Author);
    }
    if approval.plan != plan {
        return Err(Void::OtherPlan);
    }
    if let Some(end) = need.life.map(|life| approval.at.plus(life))
        && end <= now
    {
        return Err(Void::Expired(end));
    }
    if !holds.may_approve {
        return Err(Void::NotAllowed);
    }
    match &need.role {
        Some(role) if !holds.roles.contains(role) => Err(Void::NoRole(role.clone())),
        Some(_) | None => Ok(()),
    }
}

/// The plan as people read it and as its digest is made of: lines, free text with its length in bytes before it, so
/// that no text can pass for another line.
#[must_use]
pub fn plan(rollout: &Rollout, release: &Release) -> String {
    let mut text = String::from("muster plan 1\n");
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("rollout {}", rollout.id));
    line(format!("release {} {}", release.name.as_str(), release.version.as_str()));
    for component in &release.components {
        line(format!("component {} {}", free(&component.name), component.version.as_str()));
        for (key, value) in &component.metadata {
            line(format!("metadata {} {}", free(key), free(value)));
        }
        for artifact in &component.artifacts {
            line(format!("artifact {} {}", artifact.digest, free(&artifact.file_name)));
        }
    }
    line(format!("author {}", rollout.author.id));
    if let Some(old) = rollout.retry_of {
        line(format!("retry-of {old}"));
    }
    text + &order(&rollout.spec)
}

fn order(spec: &Spec) -> String {
    // Every field by its name: the compiler asks whether a new one belongs to what is approved.
    let Spec {
        select,
        waves,
        push,
        start,
        start_at,
        window,
        approval: _,
        confirmation,
        priority,
        dynamic,
        allow_downgrade,
        silence_s,
    } = spec;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "select {}", free(select));
    for (at, wave) in waves.iter().enumerate() {
        let take = match &wave.take {
            Take::Percent(percent) => format!("{percent}%"),
            Take::Count(count) => count.to_string(),
            Take::Select(select) => format!("select {}", free(select)),
            Take::Rest => "rest".to_owned(),
        };
        let on_error = match wave.on_error {
            OnError::Pause => "pause",
            OnError::RollBack => "roll-back",
        };
        let advance = match wave.advance {
            Advance::Auto => "auto",
            Advance::Manual => "manual",
        };
        let (success, errors) = (threshold(wave.success), threshold(wave.errors));
        let _ = writeln!(
            text,
            "wave {} take {take} success {success} errors {errors} on-error {on_error} soak {}s advance {advance}",
            at + 1,
            wave.soak_s
        );
    }
    let push = match *push {
        Push::Forced => "forced".to_owned(),
        Push::Soft => "soft".to_owned(),
        Push::DownloadOnly => "download-only".to_owned(),
        Push::ForcedFrom { at } => format!("forced-from {at}"),
    };
    let start = match (*start, *start_at) {
        (_, Some(at)) => format!("at {at}"),
        (true, None) => "at-once".to_owned(),
        (false, None) => "by-hand".to_owned(),
    };
    let window = window.as_ref().map_or_else(|| "none".to_owned(), |window| free(&window.to_string()));
    let _ = writeln!(text, "push {push}\nstart {start}\nwindow {window}");
    let _ = writeln!(text, "confirmation {confirmation}\npriority {priority}");
    let _ = writeln!(text, "dynamic {dynamic}\nallow-downgrade {allow_downgrade}");
    let _ = writeln!(text, "silence {silence_s}s");
    text
}

fn threshold(of: Threshold) -> String {
    match of {
        Threshold::Percent(percent) => format!("{percent}%"),
        Threshold::Count(count) => count.to_string(),
    }
}

fn free(text: &str) -> String {
    format!("{}:{text}", text.len())
}

#[cfg(test)]
mod tests;
