//! `approval …` and `review …`: who has to agree before a rollout starts, and who looks at one that didn't wait?

use std::time::Duration;

use clap::{Args, Subcommand};
use muster_vocab::limit;
use muster_wire::Page;
use muster_wire::approval::{ApprovalRule, ApprovalRulePut, Approve, Plan, Review, ReviewClose};
use muster_wire::rollout::Rollout;

use super::Here;
use super::kind::confirm;
use crate::client::part;
use crate::exit::Outcome;
use crate::output::{self, Format};
use crate::read;

#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// Which rollouts need whose approval.
    #[command(subcommand)]
    Rule(RuleCommand),
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster approval rule set --needed 2 --role security-officer
  muster approval rule set --needed 1 --role plant-lead --select 'label.site == berlin' --expires 8h
  muster approval rule list
  muster approval rule delete ar-1")]
pub enum RuleCommand {
    Set(SetArgs),
    /// The rules there are.
    List,
    /// Delete a rule.
    Delete {
        /// As `muster approval rule list` shows it.
        id: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Make a rule, or change the one of the same role and selector.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// How many people, never the rollout's author.
    #[arg(long)]
    needed: u32,
    /// A role with the scope rollouts:approve, held over the whole project.
    #[arg(long)]
    role: String,
    /// Covers rollouts that reach any of these devices, by name, state and labels; every rollout if left out.
    #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "")]
    select: String,
    /// How long an approval counts [default: 24h]
    #[arg(long, value_parser = read::duration)]
    expires: Option<Duration>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster review list
  muster review close rv-1 --note 'looked at it with ann: the fix was needed, the rule stays'")]
pub enum ReviewCommand {
    /// Rollouts that were started by breaking the glass and that nobody has reviewed.
    List {
        /// Also those that are closed.
        #[arg(long)]
        all: bool,
    },
    /// Close one; neither who broke the glass nor who made the rollout.
    Close {
        id: String,
        /// What was found.
        #[arg(long)]
        note: String,
    },
}

pub fn run(here: &Here, command: ApprovalCommand) -> Outcome<()> {
    let ApprovalCommand::Rule(command) = command;
    match command {
        RuleCommand::Set(args) => {
            let life = args.expires.unwrap_or(limit::APPROVAL_LIFE_DEFAULT);
            let rule = ApprovalRulePut {
                needed: args.needed,
                role: args.role,
                select: args.select,
                expires_s: Some(u32::try_from(life.as_secs()).unwrap_or(u32::MAX)),
            };
            output::one(here.format, &here.client.put::<ApprovalRule>("/approval-rules", &rule)?)
        }
        RuleCommand::List => {
            output::rows(here.format, &here.client.get::<Page<ApprovalRule>>("/approval-rules")?.items)
        }
        RuleCommand::Delete { id, yes } => {
            if !yes {
                confirm(&format!("Delete {id}? Rollouts that wait for nothing else can start then."))?;
            }
            here.client.delete(&format!("/approval-rules/{}", part(&id)))?;
            eprintln!("Deleted {id}.");
            Ok(())
        }
    }
}

pub fn review(here: &Here, command: ReviewCommand) -> Outcome<()> {
    match command {
        ReviewCommand::List { all } => {
            let path = if all { "/reviews:all" } else { "/reviews" };
            output::rows(here.format, &here.client.list::<Review>(path, None, None)?)
        }
        ReviewCommand::Close { id, note } => {
            let path = format!("/reviews/{}/close", part(&id));
            output::one(here.format, &here.client.post::<Review>(&path, &ReviewClose { note })?)
        }
    }
}

/// Shows what is approved, then approves exactly that: if it changes in between, the server refuses.
pub fn approve(here: &Here, rollout: &str, reason: &str) -> Outcome<Rollout> {
    let path = format!("/rollouts/{}", part(rollout));
    let plan: Plan = here.client.get(&format!("{path}/plan"))?;
    if here.format == Format::Table {
        let lines: String = plan.text.lines().map(|line| format!("  {}\n", output::clean(line))).collect();
        eprint!("Approving {}:\n{lines}", plan.digest);
    }
    here.client.post(&format!("{path}/approve"), &Approve { reason: reason.to_owned(), plan: Some(plan.digest) })
}

/// Who has approved a rollout, who is missing, and why one doesn't count.
pub fn lines(rollout: &Rollout) -> String {
    let mut text = String::new();
    for need in &rollout.approvals_needed {
        let whose =
            need.role.as_deref().map_or_else(|| "anybody who may approve".to_owned(), |role| format!("role {role}"));
        text += &match need.missing {
            0 => format!("Approvals: {} of {} by {whose}.\n", need.needed, need.needed),
            missing => {
                format!("Approvals: {} of {} by {whose}; {missing} missing.\n", need.needed - missing, need.needed)
            }
        };
    }
    for given in &rollout.approvals {
        text += &match &given.void {
            None => format!("  {} approved it at {}.\n", given.by, given.at),
            Some(void) => format!("  {} approved it at {}, which doesn't count: {void}.\n", given.by, given.at),
        };
    }
    if let Some(by) = &rollout.broke_glass {
        text += &format!("Started by {by}, who broke the glass: see muster review list.\n");
    }
    text
}
