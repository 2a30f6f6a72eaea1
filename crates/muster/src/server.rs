//! `muster server`: how does the server run as a program?

use std::io::{IsTerminal, Write};

use anyhow::Context;
use clap::Args;
use muster_server::config::{Config, Flags, LogFormat};
use muster_server::start::{AdminPassword, prepare};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Run the server: one process, one data folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster server
  muster server --data /var/lib/muster --listen 0.0.0.0:8080
  muster server --tls-listen 0.0.0.0:8443 --server-names muster.example.com
  muster server --config /etc/muster.toml

Flags win over environment variables, those over the file. The first start makes a project `default` and an account `admin`, whose password is taken from
MUSTER_ADMIN_PASSWORD or made up and printed once.")]
pub struct Server {
    #[command(flatten)]
    flags: Flags,
}

impl Server {
    pub fn run(self) -> anyhow::Result<()> {
        keep_memory_to_itself()?;
        let config = Config::resolve(self.flags)?;
        log(&config)?;
        let password = std::env::var("MUSTER_ADMIN_PASSWORD").ok().filter(|password| !password.is_empty());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(config, password))
    }
}

/// Opened secrets are in memory only: a crash writes none of it down.
fn keep_memory_to_itself() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("forbidding core dumps")?;
    // Also where a program takes them instead of a file.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("forbidding core dumps")
}

async fn serve(config: Config, password: Option<String>) -> anyhow::Result<()> {
    let ready = prepare(config, password).await?;
    let address = ready.address()?;
    if let AdminPassword::Made(password) = &ready.admin {
        eprintln!("First start. Log in with the password below; it is shown only now.\n");
        eprintln!("    muster login http://{address} --account admin");
        eprintln!("    {password}\n");
    }
    println!("listening on http://{address}");
    if let Some(address) = ready.tls_address()? {
        println!("listening on https://{address}");
        let pin = ready.pin();
        eprintln!("Devices and people who don't know this server's certificate pin its root: --pin {pin}");
    }
    std::io::stdout().flush().context("telling the address")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    ready
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
        })
        .await?;
    Ok(())
}

fn log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log).with_context(|| format!("{:?} is no log filter", config.log))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
