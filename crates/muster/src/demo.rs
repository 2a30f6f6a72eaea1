//! `muster demo`: the main job, end to end, with the commands a person would type.
//!
//! Every command is run as shown, by this same program, against a real server and the real agent on virtual machines.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use muster_sim::Payload;
use muster_wire::action::{Action, ActionState};
use muster_wire::device::{Device, DeviceCount};
use muster_wire::rollout::{Rollout, RolloutState, WaveState};

use crate::client::Client;
use crate::exit::Outcome;

const DEVICES: u32 = 200;
const SITES: [&str; 3] = ["berlin", "lyon", "porto"];
const PASSWORD: &str = "muster-demo-password";
/// Starting up, and devices coming in, take seconds; on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const PAYLOAD_BYTES: usize = 64 * 1024;

/// Show the main job: a fleet, a good release that goes out in waves, a bad one that is stopped and rolled back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster demo            leaves the server up to look around; interrupt to end
  muster demo --exit     ends by itself; exit code 0 only if all of it was observed")]
pub struct Demo {
    /// End when done instead of leaving the server up.
    #[arg(long)]
    exit: bool,
    /// Where the server listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

impl Demo {
    pub fn run(self) -> Outcome<()> {
        Ok(self.show()?)
    }

    fn show(self) -> anyhow::Result<()> {
        let began = Instant::now();
        let folder = tempfile::tempdir().context("making a folder for the demo")?;
        let mut stage = Stage::set(folder.path(), self.listen)?;
        stage.keys_are_made()?;
        stage.fleet_comes_in()?;
        stage.good_release_goes_out()?;
        stage.unsigned_release_is_refused()?;
        stage.bad_release_is_stopped()?;
        println!(
            "\nDone in {} s: 1.1 went out in waves, what nobody had signed was refused, 1.2 was stopped in its first wave and rolled back.",
            began.elapsed().as_secs()
        );
        if self.exit {
            return Ok(());
        }
        stage.look_around()
    }
}

/// A server and a simulator as child processes, ended when dropped.
#[derive(Debug)]
struct Stage {
    muster: PathBuf,
    folder: PathBuf,
    url: String,
    children: Vec<Child>,
    token: String,
    step: u32,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Stage {
    fn set(folder: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let muster = std::env::current_exe().context("finding this program")?;
        let data = folder.join("data");
        println!("\n1. A server on a fresh folder.\n   $ muster server --data {} --listen {listen}", data.display());
        let log = std::fs::File::create(folder.join("server.log")).context("making the server's log")?;
        let mut server = Command::new(&muster)
            .args(["server", "--log", "warn", "--data"])
            .arg(&data)
            .args(["--listen", &listen.to_string()])
            .env("MUSTER_ADMIN_PASSWORD", PASSWORD)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting the server")?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("the server's output")?)
            .read_line(&mut line)
            .context("waiting for the server")?;
        let mut stage = Self {
            muster,
            folder: folder.to_owned(),
            url: String::new(),
            children: vec![server],
            token: String::new(),
            step: 1,
        };
        let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
        stage.url = url.with_context(|| format!("the server did not start: {line}{}", stage.server_log()))?;
        println!("   listening on {}", stage.url);
        Ok(stage)
    }

    fn keys_are_made(&mut self) -> anyhow::Result<()> {
        self.title(
            "Log in. Three people make the keys that devices believe; two of them sign, and none is on the server.",
        );
        let url = self.url.clone();
        self.run(&["login", &url, "--as", "demo"], 0)?;
        for name in ["ann", "bob", "eve", "targets", "release"] {
            let public = self.run(&["keys", "new", &format!("{name}.pem")], 0)?;
            std::fs::write(self.folder.join(format!("{name}.pub")), public).context("writing a public key")?;
        }
        let server = self.run(&["keys", "server"], 0)?;
        let key = |role: &str| {
            let found = server.lines().find_map(|line| line.strip_prefix(role));
            found.map(|key| key.trim().to_owned()).context("the server has two keys")
        };
        let (online, director) = (key("online")?, key("director")?);
        let people = ["--root", "ann.pub", "--root", "bob.pub", "--root", "eve.pub", "--threshold", "2"];
        let roles = ["--targets", "targets.pub", "--channel", "stable=release.pub"];
        let server = ["--online", online.as_str(), "--director", director.as_str()];
        self.run(&[&["keys", "ceremony", "init", "ceremony"], &people[..], &roles[..], &server[..]].concat(), 0)?;
        for name in ["ann", "bob", "targets"] {
            self.run(&["keys", "ceremony", "sign", "ceremony", "--key", &format!("{name}.pem")], 0)?;
        }
        self.run(&["keys", "ceremony", "check", "ceremony"], 0)?;
        self.run(&["keys", "publish", "ceremony/root.json", "ceremony/targets.json"], 0)?;
        println!("   These keys are plain files on this machine; yours belong on sticks, tokens and other machines.");
        Ok(())
    }

    fn fleet_comes_in(&mut self) -> anyhow::Result<()> {
        self.title("Let devices register themselves.");
        let url = self.url.clone();
        self.run(&["project", "set", "registration=accept", "poll_interval_s=1", "-o", "jsonl"], 0)?;
        self.token = self.run(&["project", "gateway-token"], 0)?.trim().to_owned();

        self.title(&format!("{DEVICES} virtual machines with Muster's agent, on {} sites, come in.", SITES.len()));
        let sites = SITES.join(",");
        let devices = DEVICES.to_string();
        let trust = ["--trust-root", "ceremony/root.json", "--channel", "stable"];
        let args = ["sim", "--devices", &devices, "--sites", &sites, "--seed", "7", "--server", &url];
        let args = [&args[..], &trust[..]].concat();
        println!("   $ muster {} --gateway-token … &", args.join(" "));
        let log = std::fs::File::create(self.folder.join("sim.log")).context("making the simulator's log")?;
        let sim = Command::new(&self.muster)
            .args(args)
            .current_dir(&self.folder)
            .env("MUSTER_GATEWAY_TOKEN", &self.token)
            .stdout(log.try_clone().context("the simulator's log")?)
            .stderr(log)
            .spawn()
            .context("starting the simulator")?;
        self.children.push(sim);
        self.wait_for("all devices to report where they are", |client| {
            let path = "/devices:count?select=attribute.site%20exists";
            let count: DeviceCount = client.get(path).map_err(anyhow::Error::new)?;
            Ok(count.count == u64::from(DEVICES))
        })?;
        for site in SITES {
            let (select, label) = (format!("attribute.site == {site}"), format!("site={site}"));
            self.run(&["label", "device", "--select", &select, &label, "-o", "name"], 0).map(drop)?;
        }
        self.run(&["get", "devices", "--limit", "3", "-o", "wide"], 0)?;
        Ok(())
    }

    fn good_release_goes_out(&mut self) -> anyhow::Result<()> {
        self.title("Release 1.1 is published, signed, and goes out in three waves.");
        let payload = Payload { version: Some("1.1".into()), ..Payload::default() };
        let file = format!("os=1.1:{}", self.write("gateway-1.1.img", &payload)?);
        self.run(&["release", "create", "gateway", "1.1", "--component", &file, "--publish"], 0)?;
        self.sign("gateway@1.1")?;
        let waves = ["--select", "all", "--waves", "5%,25%,rest", "--on-error", "roll-back", "--start"];
        self.run(&[&["rollout", "create", "gateway@1.1"], &waves[..]].concat(), 0)?;
        let waiting = self.waiting_device()?;
        self.run(&["rollout", "why", &waiting], 0)?;
        self.run(&["rollout", "watch", "gateway-1.1", "--timeout", "5m"], 0)?;
        self.run(&["rollout", "status", "gateway-1.1"], 0)?;
        let on_it = self.devices_on("gateway@1.1")?;
        ensure!(on_it.len() == DEVICES as usize, "{} of {DEVICES} devices run 1.1", on_it.len());
        println!("   => all {DEVICES} devices run gateway@1.1");
        Ok(())
    }

    fn unsigned_release_is_refused(&mut self) -> anyhow::Result<()> {
        self.title("Somebody with the server's password rolls out what nobody has signed.");
        let payload = Payload { version: Some("6.6".into()), ..Payload::default() };
        let file = format!("os=6.6:{}", self.write("gateway-6.6.img", &payload)?);
        self.run(&["release", "create", "gateway", "6.6", "--component", &file, "--publish"], 0)?;
        let one = ["--select", "name == sim-00003", "--start"];
        self.run(&[&["rollout", "create", "gateway@6.6"], &one[..]].concat(), 0)?;
        self.wait_for("the device to refuse", |client| {
            let select = "rollout == gateway-6.6";
            let actions: Vec<Action> = client.list("/actions", Some(select), Some(1)).map_err(anyhow::Error::new)?;
            Ok(actions.first().is_some_and(|action| action.state == ActionState::Failed))
        })?;
        self.run(&["rollout", "why", "sim-00003"], 0)?;
        let on_it = self.devices_on("gateway@1.1")?;
        ensure!(on_it.len() == DEVICES as usize, "{} of {DEVICES} devices run 1.1", on_it.len());
        println!("   => the device keeps gateway@1.1");
        Ok(())
    }

    fn sign(&self, release: &str) -> anyhow::Result<()> {
        self.run(&["release", "sign", release, "--channel", "stable", "--key", "release.pem"], 0).map(drop)
    }

    fn bad_release_is_stopped(&mut self) -> anyhow::Result<()> {
        self.title("Release 1.2 is bad: it fails on every second device. 1.1 is signed again, as the way back.");
        let payload = Payload { version: Some("1.2".into()), fail_share: 0.5, ..Payload::default() };
        let file = format!("os=1.2:{}", self.write("gateway-1.2.img", &payload)?);
        self.run(&["release", "create", "gateway", "1.2", "--component", &file, "--publish"], 0)?;
        self.sign("gateway@1.2")?;
        self.sign("gateway@1.1")?;
        let waves =
            ["--select", "all", "--waves", "10%,25%,rest", "--errors", "3", "--on-error", "roll-back", "--start"];
        self.run(&[&["rollout", "create", "gateway@1.2"], &waves[..]].concat(), 0)?;
        self.run(&["rollout", "watch", "gateway-1.2", "--timeout", "5m"], 8)?;
        self.run(&["rollout", "status", "gateway-1.2"], 0)?;
        self.check_the_way_back()
    }

    fn check_the_way_back(&mut self) -> anyhow::Result<()> {
        let client = self.client()?;
        let rollout: Rollout = client.get("/rollouts/gateway-1.2").map_err(anyhow::Error::new)?;
        ensure!(rollout.state == RolloutState::RolledBack, "1.2 ended as {:?}", rollout.state);
        ensure!(rollout.waves[1].state == WaveState::Waiting, "the second wave was opened");
        let select = "rollout == gateway-1.2";
        let actions: Vec<Action> = client.list("/actions", Some(select), None).map_err(anyhow::Error::new)?;
        let of = |rollback: bool, state: ActionState| -> BTreeSet<String> {
            let found = actions.iter().filter(|action| action.rollback == rollback && action.state == state);
            found.map(|action| action.device.clone()).collect()
        };
        let (took, back) = (of(false, ActionState::Finished), of(true, ActionState::Finished));
        let failed = of(false, ActionState::Failed);
        ensure!(!took.is_empty() && !failed.is_empty(), "{} took 1.2, {} failed", took.len(), failed.len());
        ensure!(took == back, "{took:?} took 1.2, but {back:?} were brought back");
        let on_it = self.devices_on("gateway@1.1")?;
        ensure!(on_it.len() == DEVICES as usize, "{} of {DEVICES} devices run 1.1 again", on_it.len());
        for device in failed.first().into_iter().chain(back.first()) {
            self.run(&["rollout", "why", device], 0)?;
        }
        let (took, failed) = (took.len(), failed.len());
        println!(
            "   => {took} devices took 1.2 and exactly these {took} were brought back; {failed} failed; the other waves were never opened"
        );
        Ok(())
    }

    fn look_around(&mut self) -> anyhow::Result<()> {
        let config = self.folder.join("config.toml");
        println!("\nThe server stays up at {}. In another terminal:", self.url);
        println!("   export MUSTER_CONFIG={}", config.display());
        println!("   muster get rollouts\n   muster describe device sim-00001\n   muster audit verify");
        println!("Interrupt to end; the demo's folder goes away with it.");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(tokio::signal::ctrl_c())?;
        Ok(())
    }

    fn title(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}. {text}", self.step);
    }

    /// Runs this program as a person would, and insists on its exit code.
    fn run(&self, args: &[&str], expected: i32) -> anyhow::Result<String> {
        let shown: Vec<String> = args
            .iter()
            .map(|arg| if arg.contains([' ', '*']) { format!("'{arg}'") } else { (*arg).to_owned() })
            .collect();
        println!("   $ muster {}", shown.join(" "));
        std::io::stdout().flush()?;
        let output = Command::new(&self.muster)
            .args(args)
            .current_dir(&self.folder)
            .env("MUSTER_CONFIG", self.folder.join("config.toml"))
            .env("MUSTER_PASSWORD", PASSWORD)
            .env_remove("MUSTER_SERVER")
            .env_remove("MUSTER_TOKEN")
            .stdin(Stdio::null())
            .output()
            .context("running muster")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Sixty names in a row show nothing.
        let most = if args.contains(&"name") { 3 } else { 12 };
        for line in out.lines().take(most) {
            println!("   {line}");
        }
        if out.lines().count() > most {
            println!("   … {} lines in all", out.lines().count());
        }
        for line in err.lines() {
            println!("   {line}");
        }
        let code = output.status.code();
        ensure!(
            code == Some(expected),
            "muster {} ended with {code:?}, not {expected}\n{}",
            shown.join(" "),
            self.server_log()
        );
        Ok(out.into_owned())
    }

    fn client(&self) -> anyhow::Result<Client> {
        let contexts = crate::context::load(&self.folder.join("config.toml"))?;
        let context = contexts.contexts.get("demo").context("the demo logged in")?;
        Ok(Client::new(context))
    }

    fn devices_on(&self, release: &str) -> anyhow::Result<Vec<Device>> {
        let select = format!("release == {release}");
        self.client()?.list("/devices", Some(&select), None).map_err(anyhow::Error::new)
    }

    /// A device whose wave is not open yet.
    fn waiting_device(&self) -> anyhow::Result<String> {
        let mut found = None;
        self.wait_for("the waves to be filled", |client| {
            let select = "rollout == gateway-1.1 and wave == 3";
            let actions: Vec<Action> = client.list("/actions", Some(select), Some(1)).map_err(anyhow::Error::new)?;
            found = actions.first().map(|action| action.device.clone());
            Ok(found.is_some())
        })?;
        found.context("the third wave has devices")
    }

    fn wait_for(&self, what: &str, mut is_so: impl FnMut(&Client) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let client = self.client()?;
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&client)? {
            if Instant::now() > deadline {
                bail!("waited {} s for {what}\n{}", PATIENCE.as_secs(), self.server_log());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn write(&self, name: &str, payload: &Payload) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        std::fs::write(&path, payload.artifact(PAYLOAD_BYTES)).context("writing the release's file")?;
        Ok(path.display().to_string())
    }

    fn server_log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }
}
