//! Who has to approve a rollout before it starts, and who has?
//!
//! [`settle`] is asked by the one function through which a rollout goes on, so that no order, no schedule and no
//! worker starts one that lacks approvals.

use std::time::Duration;

use muster_domain::access::{BuiltinRole, check_scope, includes};
use muster_domain::actor::Origin;
use muster_domain::approval::{self, Approval, Holds, Need, Rule, Standing};
use muster_domain::rollout::step::{Input, Refused, step};
use muster_domain::rollout::{Person, Phase, Rollout};
use muster_domain::{Actor, Permission};
use muster_store::{StoreError, Tx, View};
use muster_vocab::selector::Selector;
use muster_vocab::{AccountId, DeviceId, ProjectId, RolloutId, RuleId, Sha256, Timestamp, limit};
use serde_json::json;
use sha2::Digest;

use super::error::FlowError;
use super::rollouts::device_selector;
use super::{access, audit};

/// A rule as somebody asks for it.
#[derive(Debug, Clone)]
pub struct NewRule {
    pub needed: u32,
    pub role: String,
    /// Of devices; empty for every rollout.
    pub select: String,
    pub life: Duration,
}

/// Makes a rule, or changes the one of the same role and selector.
pub fn set_rule(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, new: NewRule) -> Result<Rule, FlowError> {
    actor.may(Permission::Admin)?;
    let project = actor.project();
    check_rule(tx, project, &new)?;
    let rules = tx.approval_rules(project)?;
    let is_new = !rules.iter().any(|rule| rule.role == new.role && rule.select == new.select);
    if is_new && rules.len() >= limit::APPROVAL_RULES_MAX {
        return Err(FlowError::Conflict("the project has too many rules of approval: delete some".into()));
    }
    let life_s = u32::try_from(new.life.as_secs()).unwrap_or(u32::MAX);
    let mut rule = Rule {
        id: RuleId(0),
        needed: new.needed,
        role: new.role,
        select: new.select,
        life_s,
        created_at: now,
        created_by: actor.to_string(),
    };
    rule.id = tx.save_approval_rule(project, &rule)?;
    let detail = json!({ "needed": rule.needed, "role": rule.role, "select": rule.select, "life_s": life_s });
    audit::record(tx, now, actor, ("approval_rule.set", format!("approval-rule:{}", rule.id)), &detail)?;
    let saved = tx.approval_rules(project)?.into_iter().find(|saved| saved.id == rule.id);
    Ok(saved.unwrap_or(rule))
}

fn check_rule(tx: &Tx<'_>, project: ProjectId, new: &NewRule) -> Result<(), FlowError> {
    let most = limit::APPROVALS_NEEDED_MAX;
    if new.needed == 0 || new.needed > most {
        return Err(FlowError::invalid("needed", format!("a rule needs 1 to {most} approvals")));
    }
    if new.life < limit::APPROVAL_LIFE_MIN || new.life > limit::APPROVAL_LIFE_MAX {
        let (least, most) = (limit::APPROVAL_LIFE_MIN.as_secs(), limit::APPROVAL_LIFE_MAX.as_secs());
        return Err(FlowError::invalid("expires_s", format!("an approval counts for {least} s to {most} s")));
    }
    if BuiltinRole::named(&new.role).is_none() && tx.role(project, &new.role)?.is_none() {
        return Err(StoreError::Missing { kind: "role", name: new.role.clone() }.into());
    }
    let permissions = access::permissions(tx, project, &new.role)?;
    if !permissions.iter().any(|had| includes(*had, Permission::RolloutsApprove)) {
        let detail = format!(
            "nobody with the role {} could approve: it lacks the scope rollouts:approve. Name another, such as \
             security-officer, or make one that has it",
            new.role
        );
        return Err(FlowError::invalid("role", detail));
    }
    if !new.select.is_empty() {
        let select = device_selector("select", &new.select)?;
        check_scope(&select).map_err(|bad| FlowError::invalid("select", bad.to_string()))?;
    }
    Ok(())
}

/// Rollouts that waited for nothing but this rule are ready from then on.
pub fn delete_rule(tx: &mut Tx<'_>, now: Timestamp, actor: &Actor, id: RuleId) -> Result<(), FlowError> {
    actor.may(Permission::Admin)?;
    let project = actor.project();
    let gone = tx.approval_rules(project)?.into_iter().find(|rule| rule.id == id);
    let (Some(gone), true) = (gone, tx.delete_approval_rule(project, id)?) else {
        return Err(StoreError::Missing { kind: "rule of approval", name: id.to_string() }.into());
    };
    let detail = json!({ "needed": gone.needed, "role": gone.role, "select": gone.select });
    audit::record(tx, now, actor, ("approval_rule.delete", format!("approval-rule:{id}")), &detail)
}

/// What is approved: as text, and its digest.
pub fn plan(view: &View<'_>, project: ProjectId, rollout: &Rollout) -> Result<(String, Sha256), StoreError> {
    let release = view.release(project, rollout.release)?;
    let text = approval::plan(rollout, &release);
    let digest = Sha256(sha2::Sha256::digest(text.as_bytes()).into());
    Ok((text, digest))
}

/// What a rollout that has not started needs, and what it has.
pub fn standing(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    rollout: &Rollout,
) -> Result<Standing, StoreError> {
    let needs = needs(view, now, project, rollout)?;
    let mut given = Vec::new();
    for approval in view.approvals(project, rollout.id)? {
        let holds = holds(view, now, project, approval.by.id)?;
        given.push((approval, holds));
    }
    if needs.is_empty() && given.is_empty() {
        return Ok(Standing { needs: Vec::new(), given: Vec::new() });
    }
    let (_, plan) = plan(view, project, rollout)?;
    let author = view.person_behind(project, rollout.author.id)?;
    Ok(approval::judge(needs, given, (plan, author), now))
}

fn needs(view: &View<'_>, now: Timestamp, project: ProjectId, rollout: &Rollout) -> Result<Vec<Need>, StoreError> {
    let mut needs = Vec::new();
    if rollout.spec.approval {
        needs.push(Need { rule: None, needed: 1, role: None, life: None });
    }
    for rule in view.approval_rules(project)? {
        if covers(view, now, project, (&rule, rollout))? {
            let life = Some(Duration::from_secs(u64::from(rule.life_s)));
            needs.push(Need { rule: Some(rule.id), needed: rule.needed, role: Some(rule.role), life });
        }
    }
    Ok(needs)
}

/// Does the rollout reach a device of the rule's?
///
/// One whose devices aren't settled by its selector, because they join later or failed before, is covered by every rule.
/// For the rest, what changes until devices are put into waves is seen to by [`withheld`].
fn covers(
    view: &View<'_>,
    now: Timestamp,
    project: ProjectId,
    (rule, rollout): (&Rule, &Rollout),
) -> Result<bool, StoreError> {
    if rule.select.is_empty() || rollout.spec.dynamic || rollout.retry_of.is_some() {
        return Ok(true);
    }
    // A rule that can't be read any more is no reason to need no approval.
    let Ok(of_rule) = device_selector("select", &rule.select) else { return Ok(true) };
    let Ok(of_rollout) = device_selector("select", &rollout.spec.select) else { return Ok(true) };
    let both = of_rollout.and_any_of(&[of_rule]);
    Ok(!view.candidates(project, &both, (DeviceId(0), 1), now)?.is_empty())
}

/// What the account of an approver has today. One that is gone has nothing.
fn holds(view: &View<'_>, now: Timestamp, project: ProjectId, account: AccountId) -> Result<Holds, StoreError> {
    let found = match view.account_by_id(project, account) {
        Ok(found) => found,
        Err(StoreError::Missing { .. }) => return Ok(Holds::default()),
        Err(failed) => return Err(failed),
    };
    let rights = access::rights(view, now, project, account, &found.permissions)?;
    let actor = Actor::Account { id: account, name: found.name, project, rights, origin: Origin::default() };
    let roles = view.bindings_of(project, account)?.into_iter().filter(|binding| binding.select.is_empty());
    Ok(Holds {
        may_approve: actor.may(Permission::RolloutsApprove).is_ok(),
        roles: roles.map(|binding| binding.role).chain(view.group_roles(project, account, now)?).collect(),
    })
}

/// The rollout as it is before anything moves it on: one that lacks approvals waits for them, one that has them doesn't.
pub fn settle(tx: &Tx<'_>, now: Timestamp, project: ProjectId, rollout: Rollout) -> Result<Rollout, FlowError> {
    if !matches!(rollout.phase, Phase::Draft | Phase::Ready | Phase::AwaitingApproval) {
        return Ok(rollout);
    }
    let standing = standing(tx, now, project, &rollout)?;
    let waits = rollout.phase == Phase::AwaitingApproval;
    let input = match (waits, standing.is_enough()) {
        (true, true) => Input::Approve { by: standing.last().cloned() },
        (false, false) => Input::Withdraw,
        (true, false) | (false, true) => return Ok(rollout),
    };
    let (next, _) = step(&rollout, now, input)?;
    Ok(next)
}

/// Rules that were met, or set aside, at the moment of the start.
pub fn rules_in_force(
    tx: &Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    rollout: &Rollout,
) -> Result<Vec<RuleId>, FlowError> {
    Ok(needs(tx, now, project, rollout)?.into_iter().filter_map(|need| need.rule).collect())
}

/// Devices that a started rollout must not take: when it started, a rule over them didn't cover it, so nobody was asked.
pub fn withheld(view: &View<'_>, project: ProjectId, rollout: &Rollout) -> Result<Vec<Selector>, FlowError> {
    let mut selectors = Vec::new();
    for rule in view.approval_rules(project)? {
        let was_there = rollout.started_at.is_some_and(|started_at| rule.created_at <= started_at);
        if was_there && !rollout.clearance.rules.contains(&rule.id) && !rule.select.is_empty() {
            selectors.push(device_selector("select", &rule.select)?);
        }
    }
    Ok(selectors)
}

/// Somebody's word for a plan. `seen`: the digest of the plan he has looked at, if he says so.
pub fn approve(
    tx: &mut Tx<'_>,
    now: Timestamp,
    actor: &Actor,
    of: (RolloutId, Person),
    (seen, reason): (Option<Sha256>, &str),
) -> Result<(), FlowError> {
    let ((id, by), project) = (of, actor.project());
    let rollout = settle(tx, now, project, tx.rollout(project, id)?)?;
    if rollout.phase != Phase::AwaitingApproval {
        return Err(Refused::NoApprovalNeeded.into());
    }
    let behind = tx.person_behind(project, by.id)?;
    if behind == tx.person_behind(project, rollout.author.id)? {
        return Err(Refused::OwnRollout.into());
    }
    let (_, plan) = plan(tx, project, &rollout)?;
    if seen.is_some_and(|seen| seen != plan) {
        return Err(FlowError::Conflict(format!(
            "the plan is not the one you saw: it is {plan} now; look at it again"
        )));
    }
    check_counts(tx, now, project, (&rollout, by.id))?;
    let given = Approval { by, behind, plan, at: now };
    tx.save_rollout(project, rollout.clone());
    tx.save_approval(project, id, &given)?;
    let standing = standing(tx, now, project, &rollout)?;
    let detail = json!({ "reason": reason, "plan": plan.to_string(), "missing": standing.missing() });
    audit::record(tx, now, actor, ("rollout.approve", format!("rollout:{id}")), &detail)
}

/// A word that would count nowhere is refused, with what it lacks.
fn check_counts(
    tx: &Tx<'_>,
    now: Timestamp,
    project: ProjectId,
    (rollout, account): (&Rollout, AccountId),
) -> Result<(), FlowError> {
    let holds = holds(tx, now, project, account)?;
    let needs = needs(tx, now, project, rollout)?;
    let has = |need: &Need| need.role.as_ref().is_none_or(|role| holds.roles.contains(role));
    if needs.iter().any(has) {
        return Ok(());
    }
    let mut roles: Vec<String> = needs.into_iter().filter_map(|need| need.role).collect();
    roles.dedup();
    Err(FlowError::RoleNeeded(roles.join(" or ")))
}
