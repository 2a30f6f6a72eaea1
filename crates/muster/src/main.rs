//! The program people start: the server, the simulator, the demo, and every operator command.

mod client;
mod command;
mod context;
mod demo;
mod exit;
mod expand;
mod output;
mod read;
mod server;
mod show;
mod sim;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use command::Here;
use command::access::{self, AccountCommand, ProjectCommand, TokenCommand};
use command::approval::{self, ApprovalCommand, ReviewCommand};
use command::artifact::{self, ArtifactCommand};
use command::audit::{self, AuditCommand};
use command::configuration::{self, ConfigurationCommand};
use command::delta::{self, DeltaCommand};
use command::device::{self, ActionCommand, DeviceCommand, LabelCommand};
use command::enrollment::{self, EnrollmentCommand};
use command::identity::{self, AuthorityCommand, ClaimCommand, IdentityCommand};
use command::join_token::{self, JoinTokenCommand};
use command::keys::{self, KeysCommand};
use command::kind::{self, DeleteArgs, DescribeArgs, GetArgs};
use command::oidc::{self, OidcCommand, WorkloadCommand};
use command::order::{self, OrderCommand};
use command::release::{self, ChannelCommand, ReleaseCommand};
use command::remote::{self, SessionCommand};
use command::role::{self, RoleCommand};
use command::rollout::{self, RolloutCommand};
use command::secret::{self, MasterKeyCommand, SecretCommand};
use command::session::{self, ContextCommand, LoginArgs};
use command::watch::{self, WatchArgs};
use exit::Outcome;
use output::Format;

/// Requests are many small allocations on several threads: see docs/decisions/2026-11-mimalloc.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// DevOps for fleets of connected devices.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 differences, 4 not allowed, 5 not found, 6 conflict, 7 timed out,
/// 8 rollout stopped or rolled back.
#[derive(Debug, Parser)]
#[command(
    name = "muster",
    version,
    max_term_width = 100,
    after_help = "Examples:
  muster server                                  run a server in ./muster-data
  muster login http://127.0.0.1:8080             log in to it
  muster release create gateway 1.1 --artifact image.swu --publish
  muster rollout create gateway@1.1 --select all --waves 5%,25%,rest --start --watch
  muster rollout why sn-0001                     why is this device where it is?"
)]
struct Arguments {
    /// How results are shown.
    #[arg(long, short, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
    /// Short for -o json.
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
    /// Another context than the current one; see `muster context list`.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Why, for the audit log; up to 500 characters.
    #[arg(long, global = true, value_name = "TEXT")]
    reason: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::Server),
    Demo(demo::Demo),
    Sim(sim::Sim),
    Login(LoginArgs),
    /// Give the current token back.
    Logout,
    /// Who am I, and what may I do?
    Whoami,
    /// Change one's own password; asks, or takes MUSTER_PASSWORD and MUSTER_NEW_PASSWORD.
    Password,
    /// Servers logged in to.
    #[command(subcommand)]
    Context(ContextCommand),
    Get(GetArgs),
    Describe(DescribeArgs),
    Watch(WatchArgs),
    Delete(DeleteArgs),
    /// Set and remove labels.
    #[command(subcommand)]
    Label(LabelCommand),
    /// Upload, download and look at artifacts.
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// Make and apply what devices fetch instead of whole artifacts.
    #[command(subcommand)]
    Delta(DeltaCommand),
    /// Make, publish and yank releases.
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Keys that are on no server, and what is signed with them.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Moving names for releases.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Bring releases to devices, wave by wave.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Whose approval rollouts need.
    #[command(subcommand)]
    Approval(ApprovalCommand),
    /// What was started without approval, and has to be looked at.
    #[command(subcommand)]
    Review(ReviewCommand),
    /// Accept, add and look into devices.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Files on devices, from templates.
    #[command(subcommand)]
    Configuration(ConfigurationCommand),
    /// Values that only devices may read.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// What secrets are sealed with on the server.
    #[command(subcommand)]
    MasterKey(MasterKeyCommand),
    /// What devices were told to do once.
    #[command(subcommand, name = "command")]
    Order(OrderCommand),
    /// Remote sessions: shells and forwarded ports.
    #[command(subcommand)]
    Session(SessionCommand),
    /// One device's part of a rollout.
    #[command(subcommand)]
    Action(ActionCommand),
    /// API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Secrets that let new devices in.
    #[command(subcommand)]
    JoinToken(JoinTokenCommand),
    /// The server's root certificate and issuing authorities.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Who comes in by itself.
    #[command(subcommand)]
    Enrollment(EnrollmentCommand),
    /// Keys of devices that will come.
    #[command(subcommand)]
    Claim(ClaimCommand),
    /// Authorities of others whose devices are believed.
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// People and services.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Who may do what, over what.
    #[command(subcommand)]
    Role(RoleCommand),
    /// OpenID providers, who vouch for people.
    #[command(subcommand)]
    Oidc(OidcCommand),
    /// Programs that issuers vouch for, such as builds.
    #[command(subcommand)]
    Workload(WorkloadCommand),
    /// The project's settings.
    #[command(subcommand)]
    Project(ProjectCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print a completion script for a shell.
    Completion {
        shell: clap_complete::Shell,
    },
    /// Print the operator API's OpenAPI document.
    Openapi,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let format = if arguments.json { Format::Json } else { arguments.output };
    let here = || Here::new(arguments.context.as_deref(), format, arguments.reason.as_deref());
    exit::end(match arguments.command {
        Command::Server(server) => server.run().map_err(Into::into),
        Command::Demo(demo) => demo.run(),
        Command::Sim(sim) => sim.run(format),
        Command::Delta(command) => delta::run(&command),
        Command::Login(args) => session::login(args),
        Command::Logout => here().and_then(|here| session::logout(&here)),
        Command::Whoami => here().and_then(|here| session::whoami(&here)),
        Command::Password => here().and_then(|here| session::change_password(&here)),
        Command::Context(command) => session::context(command, format),
        Command::Get(args) => here().and_then(|here| kind::get(&here, &args)),
        Command::Describe(args) => here().and_then(|here| kind::describe(&here, &args)),
        Command::Watch(args) => here().and_then(|here| watch::watch(&here, &args)),
        Command::Delete(args) => here().and_then(|here| kind::delete(&here, &args)),
        Command::Label(command) => here().and_then(|here| device::label(&here, command)),
        Command::Artifact(command) => here().and_then(|here| artifact::run(&here, command)),
        Command::Release(command) => here().and_then(|here| release::run(&here, command)),
        Command::Keys(command) => keys::run(here, command),
        Command::Channel(command) => here().and_then(|here| release::channel(&here, command)),
        Command::Rollout(command) => here().and_then(|here| rollout::run(&here, command)),
        Command::Approval(command) => here().and_then(|here| approval::run(&here, command)),
        Command::Review(command) => here().and_then(|here| approval::review(&here, command)),
        Command::Device(command) => here().and_then(|here| device::run(&here, command)),
        Command::Configuration(command) => here().and_then(|here| configuration::run(&here, command)),
        Command::Order(command) => here().and_then(|here| order::command(&here, command)),
        Command::Session(command) => here().and_then(|here| remote::session(&here, command)),
        Command::Action(command) => here().and_then(|here| device::action(&here, command)),
        Command::Token(command) => here().and_then(|here| access::token(&here, command)),
        Command::Identity(command) => here().and_then(|here| identity::identity(&here, command)),
        Command::Enrollment(command) => here().and_then(|here| enrollment::run(&here, command)),
        Command::Claim(command) => here().and_then(|here| identity::claim(&here, command)),
        Command::Authority(command) => identity::authority(here, command),
        Command::Role(command) => here().and_then(|here| role::run(&here, command)),
        Command::Secret(command) => here().and_then(|here| secret::run(&here, command)),
        Command::MasterKey(command) => here().and_then(|here| secret::master_key(&here, &command)),
        Command::JoinToken(command) => here().and_then(|here| join_token::run(&here, command)),
        Command::Account(command) => here().and_then(|here| access::account(&here, command)),
        Command::Oidc(command) => here().and_then(|here| oidc::run(&here, command)),
        Command::Workload(command) => oidc::workload(here, format, command),
        Command::Project(command) => here().and_then(|here| access::project(&here, command)),
        Command::Audit(AuditCommand::Export { file }) => here().and_then(|here| audit::export(&here, file.as_deref())),
        Command::Audit(AuditCommand::Verify(args)) => match &args.file {
            Some(file) => audit::verify_file(format, file, &args),
            None => here().and_then(|here| audit::verify_server(&here)),
        },
        Command::Audit(AuditCommand::Prove { sequence, file }) => {
            here().and_then(|here| audit::prove(&here, sequence, file.as_deref()))
        }
        Command::Audit(AuditCommand::State { target }) => here().and_then(|here| audit::state(&here, &target)),
        Command::Audit(AuditCommand::Prune(args)) => here().and_then(|here| audit::prune(&here, &args)),
        Command::Completion { shell } => completion(shell),
        Command::Openapi => output::print(&format!("{}\n", muster_server::edge::http::routes::openapi())),
    })
}

fn completion(shell: clap_complete::Shell) -> Outcome<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "muster", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }
}
