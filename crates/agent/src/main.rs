//! `muster-agent`: the program on the device.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use muster_agent::config::{self, Config};
use muster_agent::io::departure::{self, Leaver};
use muster_agent::io::identity::{self, Identity, NewKey};
use muster_agent::io::net::{Reach, RealNet};
use muster_agent::io::tpm::Prover;
use muster_agent::io::{disk::RealDisk, host::RealHost, repository, watchdog::Watchdog};
use muster_agent::join::{self, Prepared};
use muster_agent::keep::{Found, Keeper};
use muster_agent::wipe::{self, Leaving, WipeSettings};
use muster_agent::world::{Call, Host, Net};
use muster_agent::{Agent, Disk, Wait, World};
use muster_trust::tuf::document::Spelling;
use muster_trust::tuf::trusted::Trusted;
use muster_wire::agent::{Join, Joined, Root, Waiting};

const HELP: &str = "\
muster-agent: brings this device from one release to the next, and back by itself when it goes wrong

  muster-agent join [URL] [--token T] [--project P] [--device NAME]
                    [--ca FILE | --pin sha256:DIGEST] [--key FILE --certificate FILE] [--tpm]
                             introduces this device to a server and writes its file. Over https it gets a certificate.
                             With --tpm [--tcti T] its key is made in the TPM, stays there, and the TPM's maker vouches for it.
                             Without a token it waits until an operator accepts it, or shows the key and certificate
                             that it was given at the factory
  muster-agent run           does what the server orders, for ever
  muster-agent status        what is installed, what is under way, what is not told yet [--json]
  muster-agent check         is the file in order?
  muster-agent tuf           reads signed metadata of any repository, as TUF's conformance suite asks:
                             --metadata-dir D init ROOT | --metadata-url U refresh | --target-name T … download

  --config FILE   the agent's file [/etc/muster/agent.toml]
  --help, --version

examples:
  muster-agent join https://muster.example.com --token mj_… --ca /etc/muster/ca.pem
  muster-agent join http://127.0.0.1:8080 --token T --project default --device gateway-7 --config agent.toml
  muster-agent join --token mj_…              # the server is in a file that was prepared
  muster-agent join https://muster.example.com --pin sha256:9f2c…    # an operator compares fingerprints and accepts
  muster-agent run --config agent.toml";

/// The machine that the agent runs on.
struct RealWorld {
    disk: RealDisk,
    net: RealNet,
    host: RealHost,
}

impl World for RealWorld {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn net(&self) -> &dyn Net {
        &self.net
    }

    fn host(&self) -> &dyn Host {
        &self.host
    }
}

#[derive(Default)]
struct Arguments {
    command: String,
    url: Option<String>,
    token: Option<String>,
    project: Option<String>,
    device: Option<String>,
    ca: Option<PathBuf>,
    pin: Option<String>,
    key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    config: Option<PathBuf>,
    json: bool,
    tpm: bool,
    tcti: Option<String>,
}

fn main() -> ExitCode {
    let mut parser = lexopt::Parser::from_env();
    let done = match parser.raw_args().is_ok_and(|mut words| words.next_if(|word| word == "tuf").is_some()) {
        true => repository::run(parser),
        false => arguments(parser).and_then(|arguments| act(&arguments)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("muster-agent: {failed:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut parser: lexopt::Parser) -> anyhow::Result<Arguments> {
    let mut found = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => found.command = "help".into(),
            Long("version") | Short('V') => found.command = "version".into(),
            Long("token") => found.token = Some(parser.value()?.string()?),
            Long("project") => found.project = Some(parser.value()?.string()?),
            Long("device") => found.device = Some(parser.value()?.string()?),
            Long("ca") => found.ca = Some(parser.value()?.into()),
            Long("pin") => found.pin = Some(parser.value()?.string()?),
            Long("key") => found.key = Some(parser.value()?.into()),
            Long("certificate") => found.certificate = Some(parser.value()?.into()),
            Long("config") => found.config = Some(parser.value()?.into()),
            Long("json") => found.json = true,
            Long("tpm") => found.tpm = true,
            Long("tcti") => found.tcti = Some(parser.value()?.string()?),
            Value(word) if found.command.is_empty() => found.command = word.string()?,
            Value(word) if found.command == "join" && found.url.is_none() => found.url = Some(word.string()?),
            other => return Err(other.unexpected()).context("see muster-agent --help"),
        }
    }
    Ok(found)
}

fn act(arguments: &Arguments) -> anyhow::Result<()> {
    let path = arguments.config.clone().unwrap_or_else(|| PathBuf::from(config::PATH));
    match arguments.command.as_str() {
        "join" => join(arguments, &path),
        "run" => run(&path),
        "status" => status(&path, arguments.json),
        "check" => {
            let config = Config::read(&path)?;
            reach(&config)?;
            check_root(&config)?;
            let names: Vec<&str> = config.components.keys().map(String::as_str).collect();
            let names = if names.is_empty() { "no components yet".to_owned() } else { names.join(", ") };
            say(&format!("{} is in order: {names}", path.display()));
            Ok(())
        }
        "version" => {
            say(concat!("muster-agent ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        "help" => {
            say(HELP);
            Ok(())
        }
        "" => bail!("say what to do: join, run, status or check; see muster-agent --help"),
        other => bail!("there is no command {other:?}: join, run, status or check; see muster-agent --help"),
    }
}

/// A root that doesn't hold would have every order refused.
fn check_root(config: &Config) -> anyhow::Result<()> {
    let Some(trust) = &config.trust else { return Ok(()) };
    let reading = || format!("reading the root {}", trust.root.display());
    let root = std::fs::read(&trust.root).with_context(reading)?;
    Trusted::start(&root, Spelling::Exact).with_context(reading)?;
    Ok(())
}

fn say(text: &str) {
    // A reader that went away needs no answer.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn join(arguments: &Arguments, path: &Path) -> anyhow::Result<()> {
    let text = if path.exists() { config::read_text(path)? } else { String::new() };
    let prepared = Prepared::parse(&text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
    let folder = prepared.folder.clone().unwrap_or_else(|| muster_agent::Settings::default().folder);
    if Identity::read(&folder)?.is_some() {
        let file = folder.join(identity::FILE);
        bail!("{} has a certificate already: this device has joined. Remove the file to join anew", file.display());
    }
    let token_file = prepared.token_file.as_deref().filter(|file| file.exists());
    if let Some(file) = prepared.token.is_some().then_some(path).or(token_file) {
        bail!("{} has a token already: this device has joined. Remove the token to join anew", file.display());
    }
    let agree = |name, asked: &Option<String>, prepared: &Option<String>| {
        Prepared::agree(name, asked.as_deref(), prepared.as_deref()).map_err(|why| anyhow!("{}: {why}", path.display()))
    };
    let url = arguments.url.as_ref().map(|url| url.trim_end_matches('/').to_owned());
    let url = agree("server", &url, &prepared.server)?
        .context("say which server: muster-agent join https://host --token T")?;
    let device = agree("device", &arguments.device, &prepared.device)?
        .or_else(own_name)
        .context("say what this device is called: --device NAME")?;
    let project = agree("project", &arguments.project, &prepared.project)?.unwrap_or_else(|| "default".into());
    let pinned = arguments.pin.as_deref().map(|pin| pinned_root(&url, pin, &folder)).transpose()?;
    let ca = arguments.ca.as_deref().or(prepared.ca.as_deref()).or(pinned.as_deref());
    let joined = introduce(arguments, (&url, ca, &folder), (project, device))?;

    let (project, device, token) = (&joined.project, &joined.device, &joined.token);
    let file = prepared.complete(&text, join::Identity { server: &url, project, device, token, ca });
    config::write_secret(path, &file)?;
    wipe::forget(&RealDisk, &folder)?;
    // Last: until it is there the device can join again.
    if let Some(file) = prepared.token_file.as_ref().filter(|_| !joined.token.is_empty()) {
        config::write_secret(file, &format!("{}\n", joined.token))?;
    }
    let file = path.display();
    let next = match Config::read(path) {
        Err(failed) => format!("put {file} in order: {:#}", anyhow::Error::new(failed)),
        Ok(config) if config.components.is_empty() => {
            format!("name its components in {file}, then start `muster-agent run`")
        }
        Ok(_) => "start `muster-agent run`".to_owned(),
    };
    say(&format!("{device} has joined project {project}. Next: {next}"));
    Ok(())
}

/// Asks the server to let this device in; waits for a person if it has nothing to show.
fn introduce(
    arguments: &Arguments,
    (url, ca, folder): (&str, Option<&Path>, &Path),
    (project, device): (String, String),
) -> anyhow::Result<Joined> {
    let token = arguments.token.clone().unwrap_or_default();
    let is_https = url.starts_with("https://");
    if token.is_empty() && !is_https {
        bail!("say with which token: --token T (muster join-token create makes one)");
    }
    let shown = match (&arguments.key, &arguments.certificate) {
        (Some(key), Some(certificate)) => Some(Identity::given(&read(key)?, &read(certificate)?)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => bail!("--key and --certificate go together: name both files"),
    };
    let net = RealNet::new(Reach { server: url, token: "", ca, identity: shown })?;
    if arguments.tpm && !is_https {
        bail!("a TPM proves a key for a certificate: join over https");
    }
    let prover = arguments.tpm.then(|| Prover::start(folder, arguments.tcti.as_deref())).transpose()?;
    let key = match &prover {
        Some(prover) => Some(NewKey::in_tpm(prover.key())),
        None if is_https => Some(NewKey::waiting(folder)?),
        None => None,
    };
    let request = key.as_ref().map(NewKey::request).transpose()?;
    let tpm = prover.as_ref().map(Prover::evidence);
    let mut join = Join { token, project, device, attributes: Default::default(), request, tpm };
    let mut is_told = false;
    loop {
        let body = serde_json::to_vec(&join)?;
        let call =
            Call { method: "POST", path: "/device/v1/join", body: Some(&body), timeout: Duration::from_secs(30) };
        let reply = net.call(&call).with_context(|| format!("asking {url}"))?;
        match (reply.status, &prover) {
            (200, Some(prover)) => {
                let task = serde_json::from_slice(&reply.body).context("reading the server's task")?;
                join.tpm = Some(prover.answer(task)?);
            }
            (202, _) => {
                // Each task is good for one answer.
                join.tpm = prover.as_ref().map(Prover::evidence);
                let waiting: Waiting = serde_json::from_slice(&reply.body).context("reading the server's answer")?;
                if !is_told {
                    let fingerprint = &waiting.fingerprint;
                    say(&format!("waiting to be accepted; the operator has to see the fingerprint {fingerprint}"));
                    is_told = true;
                }
                std::thread::sleep(Duration::from_secs(u64::from(waiting.retry_s)));
            }
            (200..300, _) => {
                let joined: Joined = serde_json::from_slice(&reply.body).context("reading the server's answer")?;
                if let (Some(key), Some(certificate)) = (key, joined.certificate.clone()) {
                    key.with(certificate).write(folder)?;
                    NewKey::forget_waiting(folder)?;
                }
                return Ok(joined);
            }
            (status, _) => bail!("the server said no ({status}): {}", detail(&reply.body)),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// The server's root certificate, if it is the one that somebody has told this device of. It is kept in the folder.
fn pinned_root(url: &str, pin: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let wanted: muster_vocab::Sha256 =
        pin.parse().map_err(|_| anyhow!("--pin is sha256: and 64 hexadecimal digits"))?;
    let answer = RealNet::unproven_root(url).with_context(|| format!("asking {url} for its root certificate"))?;
    let root: Root = serde_json::from_slice(&answer).context("reading the server's root certificate")?;
    let found = identity::certificates(root.certificate.as_bytes());
    let found = found.first().map(|found| identity::digest(found.der()));
    if found != Some(wanted) {
        bail!("the server's root certificate is not the one of --pin: it is another server, or somebody is in between");
    }
    let path = folder.join("root.pem");
    config::write_secret(&path, &root.certificate)?;
    Ok(path)
}

/// The sentence of a problem document.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail").or_else(|| problem.get("title")));
    detail.and_then(|detail| detail.as_str()).map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// Serial number, or host name.
fn own_name() -> Option<String> {
    let files = ["/proc/device-tree/serial-number", "/sys/class/dmi/id/product_serial", "/etc/hostname"];
    let found = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let mut names = found.map(|text| text.trim_matches(['\0', '\n', ' ']).to_owned());
    names.find(|name| !name.is_empty() && name != "None" && !name.starts_with("To be filled"))
}

/// By its certificate or by its token.
fn reach(config: &Config) -> anyhow::Result<RealNet> {
    let identity = Identity::read(&config.folder)?;
    if config.token.is_empty() && identity.is_none() {
        bail!("this device has neither token nor certificate: let it join (muster-agent join)");
    }
    let (server, token, ca) = (config.server.as_str(), config.token.as_str(), config.ca.as_deref());
    Ok(RealNet::new(Reach { server, token, ca, identity })?)
}

/// Gets a new certificate when it is time. One that fails is tried again a while later.
fn renew(world: &RealWorld, folder: &Path, next_try: &mut Instant) {
    const TRY_EVERY: Duration = Duration::from_secs(60);
    if Instant::now() < *next_try {
        return;
    }
    *next_try = Instant::now() + TRY_EVERY;
    match world.net.renew_if_due(folder, world.host.now()) {
        Ok(None) => {}
        Ok(Some(not_after)) => world.host.log(&format!("has a new certificate, good until {not_after}")),
        Err(failed) => world.host.log(&format!("no new certificate yet: {:#}", anyhow::Error::new(failed))),
    }
}

/// For ever, or until the device is decommissioned.
fn run(path: &Path) -> anyhow::Result<()> {
    if let Some(leaver) = Leaver::find(path, &muster_agent::Settings::default().folder)? {
        let world = RealWorld { disk: RealDisk, net: leaver.net()?, host: RealHost::default() };
        return leave(&world, &leaver.settings, leaver.leaving);
    }
    let (world, config) = serve(path)?;
    let settings = config.wipe_settings(path);
    departure::keep_root(&world.net, &config.folder)?;
    let mut pause = Duration::from_secs(1);
    let leaving = loop {
        match wipe::begin(&world, &settings) {
            Ok(leaving) => break leaving,
            Err(failed) => world.host.log(&format!("the order to leave: {:#}", anyhow::Error::new(failed))),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(300));
    };
    leave(&world, &settings, leaving)
}

/// Destroys what was ordered, tells so, and has nothing more to do.
fn leave(world: &RealWorld, settings: &WipeSettings, mut leaving: Leaving) -> anyhow::Result<()> {
    world.host.log("decommissioned: destroys its data, its key and its state");
    let mut pause = Duration::from_secs(1);
    while leaving.step != wipe::Step::Gone {
        match wipe::go_on(world, settings, &leaving) {
            Ok(next) => leaving = next,
            Err(failed) => {
                world.host.log(&format!("tried again: {:#}", anyhow::Error::new(failed)));
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(300));
            }
        }
    }
    world.host.log("decommissioned: this device has left; `muster-agent join` brings it back");
    Ok(())
}

/// Does what the server orders until it orders the device to leave.
fn serve(path: &Path) -> anyhow::Result<(RealWorld, Config)> {
    loop {
        if let Some(left) = serve_project(path)? {
            return Ok(left);
        }
    }
}

/// None: the device belongs to another project now, and its file says so.
fn serve_project(path: &Path) -> anyhow::Result<Option<(RealWorld, Config)>> {
    let config = Config::read(path)?;
    let net = reach(&config)?;
    let world = RealWorld { disk: RealDisk, net, host: RealHost { restart: config.restart.clone() } };
    let (device, patience) = match &config.watchdog {
        Some(watchdog) => (Some(watchdog.device.as_path()), Duration::from_secs(watchdog.stuck_after_s)),
        None => (None, Duration::ZERO),
    };
    let watchdog = Watchdog::open(device, patience).context("opening the watchdog")?;
    let mut agent = Agent::open(&world, config.settings(), config.installers(), Box::new(config.rules()))?;
    world.host.log(&format!("{} runs {}", config.device, agent.state().release.as_deref().unwrap_or("no release yet")));
    watchdog.ready();
    let mut next_renewal = Instant::now();
    loop {
        watchdog.feed();
        renew(&world, &config.folder, &mut next_renewal);
        let wait = match agent.tick(&world) {
            Ok(Wait::No) => continue,
            Ok(Wait::For(time)) => time,
            // The machine goes down and takes this program with it.
            Ok(Wait::Restart) => Duration::from_secs(3600),
            Ok(Wait::Leave) => return Ok(Some((world, config))),
            Ok(Wait::Move) => match move_over(&world, &mut agent, &config, path) {
                Ok(()) => return Ok(None),
                Err(failed) => {
                    world.host.log(&format!("the way to the new project: {failed:#}"));
                    Duration::from_secs(10)
                }
            },
            Err(failed) => {
                world.host.log(&format!("{:#}", anyhow::Error::new(failed)));
                Duration::from_secs(10)
            }
        };
        watchdog.status(agent.state().update.as_ref().map_or("idle", |update| update.phase.name()));
        sleep(wait, &watchdog);
    }
}

fn move_over(world: &RealWorld, agent: &mut Agent, config: &Config, path: &Path) -> anyhow::Result<()> {
    agent.move_over(world)?;
    let joined = departure::follow(&world.net, config, path)?;
    world.host.log(&format!("belongs to project {} now", joined.project));
    Ok(())
}

/// Longer waits are no silence.
fn sleep(mut time: Duration, watchdog: &Watchdog) {
    const SIGN_EVERY: Duration = Duration::from_secs(60);
    while !time.is_zero() {
        let part = time.min(SIGN_EVERY);
        std::thread::sleep(part);
        watchdog.feed();
        time -= part;
    }
}

fn status(path: &Path, json: bool) -> anyhow::Result<()> {
    if let Some(leaver) = Leaver::find(path, &muster_agent::Settings::default().folder)? {
        let text = match leaver.leaving.step {
            wipe::Step::Gone => "decommissioned; `muster-agent join` brings it back",
            wipe::Step::Wiping | wipe::Step::Telling => "decommissioned; not through with it: start `muster-agent run`",
        };
        say(&format!("this device was {text}"));
        return Ok(());
    }
    let config = Config::read(path)?;
    let (_, found) = Keeper::open(&RealDisk, &config.folder)?;
    let (Found::Newest(state) | Found::Older(state)) = found else {
        say(&format!("{} has not run yet: start `muster-agent run`", config.device));
        return Ok(());
    };
    if json {
        say(&serde_json::to_string_pretty(&state)?);
        return Ok(());
    }
    say(&format!("device    {} of project {} at {}", config.device, config.project, config.server));
    say(&format!("release   {}", state.release.as_deref().unwrap_or("none yet")));
    for (name, installed) in &state.installed {
        say(&format!("  {name} {}", installed.version));
    }
    match &state.update {
        Some(update) => say(&format!("update    {} is {}", update.release(), update.phase.name())),
        None => say("update    none"),
    }
    say(&format!("untold    {} reports", state.queue.waiting().len()));
    Ok(())
}
