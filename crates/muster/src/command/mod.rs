//! One file per kind of command.

pub mod access;
pub mod approval;
pub mod artifact;
pub mod attestation;
pub mod audit;
pub mod configuration;
pub mod delta;
pub mod departure;
pub mod device;
pub mod enrollment;
pub mod identity;
pub mod issuer_login;
pub mod join_token;
pub mod keys;
pub mod kind;
pub mod oidc;
pub mod order;
pub mod release;
pub mod remote;
pub mod role;
pub mod rollout;
pub mod root;
pub mod secret;
pub mod session;
pub mod sign;
pub mod terminal;
pub mod totp;
pub mod watch;

use crate::client::Client;
use crate::context::{self, Context};
use crate::exit::Outcome;
use crate::output::Format;

/// What every operator command needs.
#[derive(Debug)]
pub struct Here {
    pub context: Context,
    pub client: Client,
    pub format: Format,
}

impl Here {
    pub fn new(named: Option<&str>, format: Format, reason: Option<&str>) -> Outcome<Self> {
        let context = context::current(named)?;
        Ok(Self { client: Client::new(&context).because(reason), context, format })
    }
}
