//! `role …`: who may do what, over what?

use clap::Subcommand;
use muster_wire::Page;
use muster_wire::role::{Role, RoleBinding, RoleBindingCreate, RoleCreate};
use muster_wire::token::Scope;

use super::Here;
use super::access::scope;
use super::kind::confirm;
use crate::client::part;
use crate::exit::Outcome;
use crate::output;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster role bind otto operator --select 'label.site == berlin'
  muster role create night-shift --scope read --scope commands:write
  muster role bindings")]
pub enum RoleCommand {
    /// The roles there are.
    List,
    /// Make a role of scopes.
    Create {
        name: String,
        #[arg(long, required = true, value_parser = scope)]
        scope: Vec<Scope>,
    },
    /// Delete a role; whoever had it has it no more.
    Delete {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// Give an account a role.
    Bind {
        account: String,
        /// viewer, operator, release-manager, security-officer, admin, or one of the project's own.
        role: String,
        /// Over the devices that match, by name, state and labels, and nothing else; the whole project if left out.
        #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "")]
        select: String,
    },
    /// Take a role away again.
    Unbind {
        /// As `muster role bindings` shows it.
        id: String,
    },
    /// Who has which role, over what.
    Bindings,
}

pub fn run(here: &Here, command: RoleCommand) -> Outcome<()> {
    match command {
        RoleCommand::List => output::rows(here.format, &here.client.get::<Page<Role>>("/roles")?.items),
        RoleCommand::Create { name, scope } => {
            let made: Role = here.client.create("/roles", &RoleCreate { name, scopes: scope })?;
            output::one(here.format, &made)
        }
        RoleCommand::Delete { name, yes } => {
            if !yes {
                confirm(&format!("Delete role {name} and take it from everybody who has it?"))?;
            }
            here.client.delete(&format!("/roles/{}", part(&name)))?;
            eprintln!("Deleted {name}.");
            Ok(())
        }
        RoleCommand::Bind { account, role, select } => {
            let made: RoleBinding = here.client.post("/role-bindings", &RoleBindingCreate { account, role, select })?;
            output::one(here.format, &made)
        }
        RoleCommand::Unbind { id } => {
            here.client.delete(&format!("/role-bindings/{}", part(&id)))?;
            eprintln!("Taken away; it counts from the next request on.");
            Ok(())
        }
        RoleCommand::Bindings => {
            output::rows(here.format, &here.client.get::<Page<RoleBinding>>("/role-bindings")?.items)
        }
    }
}
