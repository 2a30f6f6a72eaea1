//! How many single-row commits a second does PostgreSQL make durable on this disk?
//!
//! Debian's PostgreSQL with its own defaults, in a folder of its own, over a socket in that folder; its own pgbench
//! asks. It refuses to run as root, so a root that measures hands it to the account that Debian made for it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::folder::Folder;
use super::server::{end, until};
use crate::{parts, process};

const ACCOUNT: &str = "postgres";
const START_TIMEOUT: Duration = Duration::from_secs(30);
const CLIENTS: &str = "32";
const MEASURED_S: &str = "8";
/// As many rows as devices change in the other half of the comparison.
const ROWS: u32 = 20_000;
const SCRIPT: &str =
    "\\set id random(1, :rows)\nUPDATE action SET state = state + 1, changed_at = now() WHERE id = :id;\n";

/// Runs until it is dropped.
#[derive(Debug)]
struct Cluster {
    child: Child,
    programs: PathBuf,
    folder: Folder,
}

pub fn commits_per_s() -> anyhow::Result<f64> {
    let cluster = Cluster::start()?;
    cluster.ask(&format!(
        "CREATE TABLE action (id int PRIMARY KEY, state int NOT NULL, changed_at timestamptz NOT NULL);
         INSERT INTO action SELECT id, 0, now() FROM generate_series(1, {ROWS}) id;"
    ))?;
    cluster.ask("VACUUM ANALYZE action; CHECKPOINT;")?;
    let script = cluster.folder.path().join("update.sql");
    std::fs::write(&script, SCRIPT).context("writing the script of pgbench")?;
    let mut bench = cluster.command("pgbench");
    bench.args(["--no-vacuum", "--protocol", "prepared", "--client", CLIENTS, "--jobs", "2", "--time", MEASURED_S]);
    bench.args(["--define", &format!("rows={ROWS}"), "--file"]).arg(&script).arg(ACCOUNT);
    let said = process::output(&mut bench)?;
    tps(&said).with_context(|| format!("pgbench said {said:?}"))
}

impl Cluster {
    fn start() -> anyhow::Result<Self> {
        let programs = parts::postgresql()?;
        let folder = Folder::make("postgresql")?;
        if is_root() {
            process::run(Command::new("chown").arg(ACCOUNT).arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        let init = as_account(&programs.join("initdb"));
        process::output({ init }.args(["--username", ACCOUNT, "--auth", "trust", "--pgdata"]).arg(&data))?;
        let mut server = as_account(&programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        server.args(["-c", "listen_addresses=", "-c", "fsync=on", "-c", "synchronous_commit=on"]);
        let child = server.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("starting PostgreSQL")?;
        let cluster = Self { child, programs, folder };
        until(START_TIMEOUT, "PostgreSQL to be ready", || Ok(cluster.ask("SELECT 1").ok()))?;
        Ok(cluster)
    }

    fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let mut psql = self.command("psql");
        // Statements come one by one, because some refuse to run together with others.
        for statement in sql.split_inclusive(';') {
            psql.args(["--command", statement.trim()]);
        }
        process::output(&mut psql)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGHOST", self.folder.path()).env("PGUSER", ACCOUNT);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The newest version that Debian installed.
fn as_account(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn tps(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_in_what_pgbench_says() {
        let said = "number of clients: 32\ntps = 1234.500000 (without initial connection time)\n";
        assert_eq!(tps(said), Some(1234.5));
        assert_eq!(tps("pgbench: error"), None);
    }
}
