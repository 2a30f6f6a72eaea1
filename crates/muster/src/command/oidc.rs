//! `oidc …` and `workload …`: who vouches for people and programs?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_wire::Page;
use muster_wire::oidc::{OidcProvider, OidcProviderPut};
use muster_wire::token::Scope;
use muster_wire::workload::{Exchange, Exchanged, Workload, WorkloadPut};

use super::Here;
use super::access::scope;
use super::kind::confirm;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};
use crate::read;

#[derive(Debug, Subcommand)]
pub enum OidcCommand {
    /// OpenID providers, whose people may log in.
    #[command(subcommand)]
    Provider(ProviderCommand),
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster oidc provider set corp --issuer https://id.example/realms/corp --client-id muster --client-secret-file secret \\
    --server-url https://muster.example --map fleet-admins=admin --map fitters=operator
  muster oidc provider list
  muster login https://muster.example --oidc corp

The provider must know muster as a client: with the device grant for logins by a code, and with the callback that `list -o
wide` shows for logins in a browser.")]
pub enum ProviderCommand {
    /// Add a provider, or say everything about one again.
    Set(Box<SetArgs>),
    List,
    /// Delete a provider: what its groups gave ends now.
    Delete {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub struct SetArgs {
    name: String,
    /// As the provider writes it.
    #[arg(long, value_name = "URL")]
    issuer: String,
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// A file with the client's secret; none for a public client.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// Where browsers reach the Muster server; for logins in a browser.
    #[arg(long, value_name = "URL")]
    server_url: Option<String>,
    /// Believe only this certificate (PEM) about the provider's address, and what it has signed.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What the provider is asked for, with blanks between.
    #[arg(long, default_value = "openid profile")]
    scopes: String,
    /// What people are called.
    #[arg(long, default_value = "preferred_username", value_name = "CLAIM")]
    name_claim: String,
    /// Where their groups are.
    #[arg(long, default_value = "groups", value_name = "CLAIM")]
    groups_claim: String,
    /// A group and the role it gives over the project; whoever is in none can't log in.
    #[arg(long, value_name = "GROUP=ROLE", value_parser = mapping)]
    map: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster account create ci --scope artifacts:write --scope releases:write
  muster workload set fw-builds --issuer https://token.actions.githubusercontent.com --audience muster \\
    --subject 'repo:acme/fw:ref:refs/heads/*' --account ci --scope artifacts:write --scope releases:write
  MUSTER_TOKEN=$(muster workload token https://muster.example fw-builds < id-token)")]
pub enum WorkloadCommand {
    /// Say which program is which service account here.
    Set(WorkloadArgs),
    List,
    /// Delete a workload: its program gets no tokens any more.
    Delete {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// Exchange what an issuer says of this program, on standard input, for a token; prints it. Needs no login.
    Token {
        /// The server's address.
        #[arg(value_parser = crate::context::server_url)]
        url: String,
        name: String,
        #[arg(long)]
        project: Option<String>,
        /// Trust only this certificate (PEM) and what it has signed.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct WorkloadArgs {
    name: String,
    /// As its tokens write it.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// Whom its tokens must be for.
    #[arg(long)]
    audience: String,
    /// Whose they must be; * stands for anything, but not at the beginning.
    #[arg(long, value_name = "PATTERN")]
    subject: String,
    /// A service account that you have made.
    #[arg(long)]
    account: String,
    #[arg(long, required = true, value_parser = scope)]
    scope: Vec<Scope>,
    /// How long its tokens work; an hour at most.
    #[arg(long, default_value = "15m", value_parser = read::duration)]
    life: Duration,
    /// Believe only this certificate (PEM) about the issuer's address, and what it has signed.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

pub fn run(here: &Here, command: OidcCommand) -> Outcome<()> {
    let OidcCommand::Provider(command) = command;
    match command {
        ProviderCommand::Set(args) => {
            let secret = args.client_secret_file.as_deref().map(text).transpose()?;
            let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (group, role) in args.map {
                groups.entry(group).or_default().push(role);
            }
            let new = OidcProviderPut {
                issuer: args.issuer,
                client_id: args.client_id,
                client_secret: secret.map(|secret| secret.trim_end_matches(['\r', '\n']).to_owned()),
                server_url: args.server_url,
                certificates: args.ca.as_deref().map(text).transpose()?,
                scopes: Some(args.scopes),
                name_claim: Some(args.name_claim),
                groups_claim: Some(args.groups_claim),
                groups,
            };
            let saved: OidcProvider = here.client.put(&format!("/oidc-providers/{}", part(&args.name)), &new)?;
            if let Some(callback) = &saved.callback {
                eprintln!("The provider must send browsers back to {callback}");
            }
            output::one(here.format, &saved)
        }
        ProviderCommand::List => {
            output::rows(here.format, &here.client.get::<Page<OidcProvider>>("/oidc-providers")?.items)
        }
        ProviderCommand::Delete { name, yes } => {
            if !yes {
                confirm(&format!("Delete {name}? Nobody logs in by it any more, and what its groups gave ends now."))?;
            }
            here.client.delete(&format!("/oidc-providers/{}", part(&name)))?;
            eprintln!("Deleted {name}.");
            Ok(())
        }
    }
}

pub fn workload(here: impl Fn() -> Outcome<Here>, format: Format, command: WorkloadCommand) -> Outcome<()> {
    match command {
        WorkloadCommand::Set(args) => {
            let here = here()?;
            let new = WorkloadPut {
                issuer: args.issuer,
                audience: args.audience,
                subject: args.subject,
                account: args.account,
                scopes: args.scope,
                life_s: Some(args.life.as_secs()),
                certificates: args.ca.as_deref().map(text).transpose()?,
            };
            let saved: Workload = here.client.put(&format!("/workloads/{}", part(&args.name)), &new)?;
            output::one(here.format, &saved)
        }
        WorkloadCommand::List => {
            let here = here()?;
            output::rows(here.format, &here.client.get::<Page<Workload>>("/workloads")?.items)
        }
        WorkloadCommand::Delete { name, yes } => {
            let here = here()?;
            if !yes {
                confirm(&format!("Delete workload {name}? Its program gets no tokens any more."))?;
            }
            here.client.delete(&format!("/workloads/{}", part(&name)))?;
            eprintln!("Deleted {name}; tokens that it has end within the hour.");
            Ok(())
        }
        WorkloadCommand::Token { url, name, project, ca } => {
            let mut token = String::new();
            std::io::Read::read_to_string(&mut std::io::stdin().lock(), &mut token).context("reading the token")?;
            let asked = Exchange {
                grant_type: "urn:ietf:params:oauth:grant-type:token-exchange".into(),
                subject_token: token.trim().to_owned(),
                subject_token_type: "urn:ietf:params:oauth:token-type:jwt".into(),
                workload: name,
                project,
            };
            let root = ca.as_deref().map(text).transpose()?;
            let client = crate::client::Client::at(&url, None, root.as_deref());
            let got: Exchanged = client.post("/tokens/exchange", &asked)?;
            if format != Format::Table {
                return output::document(format, &got);
            }
            output::print(&format!("{}\n", got.access_token))
        }
    }
}

fn text(file: &Path) -> Outcome<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display())).map_err(Failed::from)
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((group, role)) if !group.is_empty() && !role.is_empty() => Ok((group.to_owned(), role.to_owned())),
        _ => Err(format!("{text:?}: write GROUP=ROLE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_have_any_name_and_a_role_has_none_with_an_equals_sign() {
        assert_eq!(mapping("a=b=viewer"), Ok(("a=b".into(), "viewer".into())));
        for text in ["", "a", "=viewer", "a="] {
            assert!(mapping(text).is_err(), "{text}");
        }
    }
}
