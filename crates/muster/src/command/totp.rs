//! `account totp …`: the second factor of one's own login.

use std::io::{BufRead, IsTerminal};

use anyhow::Context as _;
use clap::Subcommand;
use muster_wire::totp::{Totp, TotpBegin, TotpBegun, TotpConfirm, TotpConfirmed, TotpDisable};

use super::Here;
use super::kind::confirm;
use super::session::password;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster account totp enable          shows a secret for an authenticator app, asks for a code of it
  muster account totp disable         asks for the password and a code
  muster account totp reset otto      for admins: otto lost his phone and his recovery codes")]
pub enum TotpCommand {
    /// Give one's own account a second factor. Logins ask for a code from then on.
    Enable,
    /// Take it away again.
    Disable {
        /// The present code, or a recovery code; asked for if left out.
        #[arg(long, env = "MUSTER_CODE", hide_env_values = true)]
        code: Option<String>,
    },
    /// Is it on, and how many recovery codes are left?
    Status,
    /// Take somebody's second factor away. For admins.
    Reset {
        account: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

pub fn run(here: &Here, command: TotpCommand) -> Outcome<()> {
    match command {
        TotpCommand::Enable => enable(here),
        TotpCommand::Disable { code } => {
            let password = password(false, "Password: ")?;
            let code = code.map_or_else(|| asked("Code: "), Ok)?;
            here.client.post_nothing("/totp/disable", &TotpDisable { password, code })?;
            eprintln!("Disabled: the password alone is enough again.");
            Ok(())
        }
        TotpCommand::Status => {
            let totp: Totp = here.client.get("/totp")?;
            if here.format != Format::Table {
                return output::document(here.format, &totp);
            }
            let text = match totp.enabled {
                true => format!("on, {} recovery codes left\n", totp.recovery_codes_left),
                false => "off: muster account totp enable\n".to_owned(),
            };
            output::print(&text)
        }
        TotpCommand::Reset { account, yes } => {
            if !yes {
                confirm(&format!("Take the second factor of {account} away? Its password alone is enough then."))?;
            }
            here.client.delete(&format!("/accounts/{}/totp", part(&account)))?;
            eprintln!("Reset: {account} logs in with the password alone and should enable it again.");
            Ok(())
        }
    }
}

fn enable(here: &Here) -> Outcome<()> {
    let password = password(false, "Password: ")?;
    let begun: TotpBegun = here.client.post("/totp", &TotpBegin { password })?;
    eprintln!("Add this to an authenticator app, by its address or by typing the secret:");
    eprintln!("  {}\n  {}", begun.uri, begun.secret);
    let code = asked("Code that the app shows: ")?;
    let done: TotpConfirmed = here.client.post("/totp/confirm", &TotpConfirm { code })?;
    if here.format != Format::Table {
        return output::document(here.format, &done);
    }
    eprintln!("Enabled. Each of these works once instead of a code; they are shown only now:");
    output::print(&format!("{}\n", done.recovery_codes.join("\n")))
}

/// A line that somebody types, or that a program writes.
fn asked(prompt: &str) -> Outcome<String> {
    if std::io::stdin().is_terminal() {
        eprint!("{prompt}");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the code")?;
    match line.trim() {
        "" => Err(Failed::Usage("no code on standard input".into())),
        code => Ok(code.to_owned()),
    }
}
