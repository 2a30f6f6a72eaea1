//! `login`, `logout`, `whoami`, `password`, `context`.

use std::io::{BufRead, IsTerminal};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_vocab::Sha256;
use muster_wire::account::{LoggedIn, Login, PasswordChange, Whoami};
use muster_wire::oidc::{OidcLink, OidcRedeem};
use serde::Serialize;

use super::Here;
use super::issuer_login::{Asked, Proof, prove};
use crate::client::{Client, pinned_root};
use crate::context::{self, Context};
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format, Row};

/// Log in to a server and remember it as a context.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster login http://127.0.0.1:8080
  muster login https://muster.lan:8443 --pin sha256:9f2c…
  muster login https://muster.lan:8443 --oidc corp            a code to type in any browser
  muster login https://muster.lan:8443 --oidc corp --browser  in a browser on this machine
  echo \"$PASSWORD\" | muster login http://muster.lan:8080 --account ann --password-stdin --context prod")]
pub struct LoginArgs {
    /// The server's address.
    #[arg(value_parser = context::server_url)]
    url: String,
    #[arg(long, default_value = "admin")]
    account: String,
    /// The project to work in; the server's only one if left out.
    #[arg(long)]
    project: Option<String>,
    /// What to call this context; the server's host if left out.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Read the password from standard input instead of asking.
    #[arg(long)]
    password_stdin: bool,
    /// The present code of the second factor, or a recovery code; asked for if the account has one.
    #[arg(long, value_name = "CODE", env = "MUSTER_CODE", hide_env_values = true)]
    code: Option<String>,
    /// Log in by an OpenID provider of the project instead of a password.
    #[arg(long, value_name = "PROVIDER", conflicts_with_all = ["account", "password_stdin", "code"])]
    oidc: Option<String>,
    /// In a browser on this machine, and not by typing a code in any.
    #[arg(long, requires = "oidc")]
    browser: bool,
    /// The digest of the server's own root certificate, as the server tells it when it starts.
    #[arg(long, value_name = "sha256:DIGEST")]
    pin: Option<Sha256>,
    /// Trust only this certificate (PEM) and what it has signed.
    #[arg(long, value_name = "FILE", conflicts_with = "pin")]
    ca: Option<std::path::PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List contexts; the current one is marked.
    List,
    /// Make a context the current one.
    Use { name: String },
    /// The current context, without its token.
    Show,
    /// Forget a context. Its token stays valid: log out first.
    Delete { name: String },
}

pub fn login(args: LoginArgs) -> Outcome<()> {
    let root = match (args.pin, &args.ca) {
        (Some(pin), _) => Some(pinned_root(&args.url, pin)?),
        (None, Some(file)) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?)
        }
        (None, None) => None,
    };
    let client = Client::at(&args.url, None, root.as_deref());
    let done = match &args.oidc {
        Some(provider) => {
            let asked = Asked { provider, project: args.project.as_deref(), in_browser: args.browser };
            let Proof { ticket, verifier } = prove(&client, &args.url, asked)?;
            client.post("/login/oidc/redeem", &OidcRedeem { ticket, verifier })?
        }
        None => {
            let password = password(args.password_stdin, "Password: ")?;
            let login = Login { account: args.account, password, project: args.project, code: args.code };
            logged_in(&client, login)?
        }
    };
    let host = args.url.split("//").nth(1).unwrap_or(&args.url).to_owned();
    let name = args.name.unwrap_or(host);
    let path = context::path()?;
    let mut contexts = context::load(&path)?;
    let (account, project) = (done.account.clone(), done.project.clone());
    let context = Context { server: args.url, token: done.token, account, project, root };
    contexts.contexts.insert(name.clone(), context);
    contexts.current = Some(name.clone());
    context::save(&path, &contexts)?;
    eprintln!("Logged in as {} to project {} (context {name}).", done.account, done.project);
    Ok(())
}

/// Asks for a code if the server does and somebody is there to type it.
fn logged_in(client: &Client, login: Login) -> Outcome<LoggedIn> {
    match client.post("/login", &login) {
        Err(Failed::CodeRequired(_)) if login.code.is_none() && std::io::stderr().is_terminal() => {
            let code = rpassword::prompt_password("Code: ").context("reading the code")?;
            client.post("/login", &Login { code: Some(code), ..login })
        }
        answer => answer,
    }
}

/// From the environment, standard input, or a person who types it unseen.
pub fn password(from_stdin: bool, prompt: &str) -> Outcome<String> {
    if !from_stdin
        && let Ok(password) = std::env::var("MUSTER_PASSWORD")
        && !password.is_empty()
    {
        return Ok(password);
    }
    if !from_stdin && std::io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password(prompt).context("reading the password")?);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the password")?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failed::Usage("no password on standard input".into()));
    }
    Ok(password)
}

/// From now on a login by the provider opens one's own account.
pub fn link(here: &Here, provider: &str, in_browser: bool) -> Outcome<()> {
    let password = password(false, "Password: ")?;
    let whoami: Whoami = here.client.get("/whoami")?;
    let asked = Asked { provider, project: Some(&whoami.project), in_browser };
    let Proof { ticket, verifier } = prove(&here.client, &here.context.server, asked)?;
    let code = std::env::var("MUSTER_CODE").ok().filter(|code| !code.is_empty());
    let link = OidcLink { ticket, verifier, password, code };
    match here.client.post_nothing("/login/oidc/link", &link) {
        Err(Failed::CodeRequired(_)) if link.code.is_none() && std::io::stderr().is_terminal() => {
            let code = rpassword::prompt_password("Code: ").context("reading the code")?;
            here.client.post_nothing("/login/oidc/link", &OidcLink { code: Some(code), ..link })?;
        }
        answer => answer?,
    }
    eprintln!("Linked: a login by {provider} opens {} from now on.", whoami.account);
    Ok(())
}

pub fn logout(here: &Here) -> Outcome<()> {
    here.client.post_nothing("/logout", &serde_json::json!({}))?;
    let path = context::path()?;
    let mut contexts = context::load(&path)?;
    contexts.contexts.retain(|_, context| context.token != here.context.token);
    contexts.current = contexts.current.filter(|name| contexts.contexts.contains_key(name));
    context::save(&path, &contexts)?;
    eprintln!("Logged out of {}.", here.context.server);
    Ok(())
}

pub fn whoami(here: &Here) -> Outcome<()> {
    let whoami: Whoami = here.client.get("/whoami")?;
    if here.format == Format::Table {
        let scopes: Vec<String> = whoami.scopes.iter().map(crate::show::word).collect();
        let text = format!(
            "{} in project {} on {}, may {}\n",
            whoami.account,
            whoami.project,
            here.context.server,
            scopes.join(", ")
        );
        return output::print(&text);
    }
    output::document(here.format, &whoami)
}

pub fn change_password(here: &Here) -> Outcome<()> {
    let old = password(false, "Old password: ")?;
    let new = match std::env::var("MUSTER_NEW_PASSWORD") {
        Ok(new) if !new.is_empty() => new,
        _ => typed_twice()?,
    };
    here.client.post_nothing("/password", &PasswordChange { old, new })?;
    eprintln!("Password changed. Tokens made before stay valid.");
    Ok(())
}

/// A slip of the finger in a new password would lock its owner out.
fn typed_twice() -> Outcome<String> {
    let ask = |prompt| rpassword::prompt_password(prompt).context("reading the password");
    let new = ask("New password: ")?;
    if ask("The same again: ")? != new {
        return Err(Failed::Usage("the two differ; nothing was changed".into()));
    }
    Ok(new)
}

pub fn context(command: ContextCommand, format: Format) -> Outcome<()> {
    let path = context::path()?;
    let mut contexts = context::load(&path)?;
    match command {
        ContextCommand::List => {
            let rows: Vec<Shown> = contexts.contexts.keys().map(|name| shown(&contexts, name)).collect();
            output::rows(format, &rows)
        }
        ContextCommand::Show => match &contexts.current {
            Some(name) => {
                known(&contexts, name)?;
                output::one(format, &shown(&contexts, name))
            }
            None => Err(Failed::NotFound("there is no current context: muster login URL".into())),
        },
        ContextCommand::Use { name } => {
            known(&contexts, &name)?;
            contexts.current = Some(name);
            Ok(context::save(&path, &contexts)?)
        }
        ContextCommand::Delete { name } => {
            known(&contexts, &name)?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            Ok(context::save(&path, &contexts)?)
        }
    }
}

fn known(contexts: &context::Contexts, name: &str) -> Outcome<()> {
    match contexts.contexts.contains_key(name) {
        true => Ok(()),
        false => Err(Failed::NotFound(format!("no context {name:?}; `muster context list` shows them"))),
    }
}

/// A context without its token.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    current: bool,
    server: String,
    account: String,
    project: String,
}

fn shown(contexts: &context::Contexts, name: &str) -> Shown {
    let context = &contexts.contexts[name];
    Shown {
        name: name.to_owned(),
        current: contexts.current.as_deref() == Some(name),
        server: context.server.clone(),
        account: context.account.clone(),
        project: context.project.clone(),
    }
}

impl Row for Shown {
    const HEADERS: &'static [&'static str] = &["", "NAME", "SERVER", "ACCOUNT", "PROJECT"];
    const EMPTY: &'static str = "No contexts. Log in: muster login URL";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        let mark = if self.current { "*" } else { " " };
        [mark, &self.name, &self.server, &self.account, &self.project].map(str::to_owned).to_vec()
    }
}
