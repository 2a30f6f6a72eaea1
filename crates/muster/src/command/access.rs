//! `token`, `account`, `project`.

use std::time::Duration;

use clap::Subcommand;
use muster_wire::account::{Account, AccountCreate};
use muster_wire::project::{GatewayToken, Project, ProjectCreate, ProjectPatch};
use muster_wire::token::{Scope, TokenCreate, TokenCreated};
use serde_json::json;

use super::Here;
use super::kind::confirm;
use super::session::{self, password};
use super::totp::{self, TotpCommand};
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};
use crate::read;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; prints its secret, which is shown only once.
    #[command(after_help = "Examples:
  muster token create ci --scope artifacts:write --scope releases:write --life 90d")]
    Create {
        name: String,
        /// read, devices:write, artifacts:write, releases:write, rollouts:write, rollouts:approve,
        /// rollouts:break-glass, commands:write, sessions:write, secrets:write, admin.
        #[arg(long, required = true, value_parser = scope)]
        scope: Vec<Scope>,
        /// How long it works.
        #[arg(long, default_value = "90d", value_parser = read::duration)]
        life: Duration,
        /// A service account that you have made; your own if left out.
        #[arg(long)]
        account: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add a person (with a password) or a service (without).
    Create {
        name: String,
        /// Over the whole project; none if `muster role bind` says all that it may.
        #[arg(long, value_parser = scope)]
        scope: Vec<Scope>,
        /// Give it a password, read from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Make a login by an OpenID provider one's own: it opens the account that you are logged in to.
    #[command(after_help = "Examples:
  muster account link corp

Needs the account's password. What was approved by that login before counts as approved by you.")]
    Link {
        provider: String,
        /// In a browser on this machine, and not by typing a code in any.
        #[arg(long)]
        browser: bool,
    },
    /// A second factor at logins: codes of an authenticator app.
    #[command(subcommand)]
    Totp(TotpCommand),
}

#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// The project's settings.
    Show,
    /// All projects of the server. For admins of its first one.
    List,
    /// Make a project with its first account. For admins of the server's first one.
    #[command(after_help = "Examples:
  muster project create plant-3 --account ann < password-file")]
    Create {
        name: String,
        /// Its first account, which may do everything in it; its password is asked for, or read from standard input.
        #[arg(long, default_value = "admin")]
        account: String,
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change settings.
    #[command(after_help = "Examples:
  muster project set registration=accept poll_interval_s=60
  muster project set 'poll_overrides=[{\"select\":\"label.ring == lab\",\"interval_s\":10}]'

Keys: registration (accept, wait, refuse), target_token, certificate_authorities, confirmation, poll_interval_s,
poll_overrides, sessions, enrollment. Lists are JSON.")]
    Set {
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Make a new gateway token (the old one stops working), or turn it off. Asks first if there is one.
    GatewayToken {
        #[arg(long)]
        delete: bool,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

pub fn scope(text: &str) -> Result<Scope, String> {
    serde_json::from_value(json!(text)).map_err(|_| {
        "a scope is read, devices:write, artifacts:write, releases:write, rollouts:write, rollouts:approve, \
         rollouts:break-glass, commands:write, sessions:write, secrets:write or admin"
            .to_owned()
    })
}

pub fn token(here: &Here, command: TokenCommand) -> Outcome<()> {
    let TokenCommand::Create { name, scope, life, account } = command;
    let new = TokenCreate { name, scopes: scope, life_s: life.as_secs(), account };
    let made: TokenCreated = here.client.post("/tokens", &new)?;
    if here.format != Format::Table {
        return output::document(here.format, &made);
    }
    eprintln!("Made {}. Its secret is shown only now:", made.token.id);
    output::print(&format!("{}\n", made.secret))
}

pub fn account(here: &Here, command: AccountCommand) -> Outcome<()> {
    match command {
        AccountCommand::Create { name, scope, password_stdin } => {
            let password = if password_stdin { Some(password(true, "")?) } else { None };
            let made: Account = here.client.create("/accounts", &AccountCreate { name, scopes: scope, password })?;
            output::one(here.format, &made)
        }
        AccountCommand::Link { provider, browser } => session::link(here, &provider, browser),
        AccountCommand::Totp(command) => totp::run(here, command),
    }
}

pub fn project(here: &Here, command: ProjectCommand) -> Outcome<()> {
    let format = if here.format == Format::Table { Format::Yaml } else { here.format };
    match command {
        ProjectCommand::Show => output::document(format, &here.client.get::<Project>("/project")?),
        ProjectCommand::List => {
            output::rows(here.format, &here.client.get::<muster_wire::Page<Project>>("/projects")?.items)
        }
        ProjectCommand::Create { name, account, password_stdin } => {
            let password = password(password_stdin, &format!("Password of {account}: "))?;
            let new = ProjectCreate { name, account, password };
            let made: Project = here.client.post("/projects", &new)?;
            let server = &here.context.server;
            eprintln!("Made. Log in to it: muster login {server} --account {} --project {}", new.account, made.name);
            Ok(())
        }
        ProjectCommand::Set { settings } => {
            let patch = patch(&settings)?;
            output::document(format, &here.client.patch::<Project>("/project", &patch)?)
        }
        ProjectCommand::GatewayToken { delete, yes } => gateway_token(here, delete, yes),
    }
}

/// Devices that come in with the old token are turned away, so a person is asked.
fn gateway_token(here: &Here, delete: bool, yes: bool) -> Outcome<()> {
    if !yes && here.client.get::<Project>("/project")?.gateway_token {
        confirm("There is a gateway token. Devices that use it will be turned away. Go on?")?;
    }
    if delete {
        return here.client.delete("/project/gateway-token");
    }
    let made: GatewayToken = here.client.post("/project/gateway-token", &json!({}))?;
    if here.format != Format::Table {
        return output::document(here.format, &made);
    }
    eprintln!("The gateway token is shown only now; devices send it as Authorization: GatewayToken …");
    output::print(&format!("{}\n", made.token))
}

/// Values are JSON where they parse as such, and text otherwise.
fn patch(settings: &[String]) -> Outcome<ProjectPatch> {
    let mut object = serde_json::Map::new();
    for setting in settings {
        let (key, value) =
            setting.split_once('=').ok_or_else(|| Failed::Usage(format!("{setting:?}: write KEY=VALUE")))?;
        object.insert(key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
    }
    serde_json::from_value(object.into()).map_err(|bad| Failed::Usage(bad.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_typed_and_wrong_keys_refused() {
        let read =
            patch(&["registration=accept".into(), "poll_interval_s=60".into(), "confirmation=true".into()]).unwrap();
        assert_eq!((read.poll_interval_s, read.confirmation), (Some(60), Some(true)));
        assert_eq!(patch(&["nonsense=1".into()]).unwrap_err().code(), 2);
        assert_eq!(patch(&["confirmation".into()]).unwrap_err().code(), 2);
    }
}
