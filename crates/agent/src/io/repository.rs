//! How is a repository read that is not a Muster server? The three commands of TUF's public conformance suite.

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use lexopt::prelude::{Long, Value, ValueExt};
use muster_trust::tuf::document::{self, Spelling};
use muster_trust::tuf::session;
use muster_vocab::{Timestamp, limit};
use ureq::Agent;

use super::disk::RealDisk;
use crate::disk::{self, Disk, Kind};
use crate::metadata::Metadata;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A document or target that takes longer is broken off: nobody keeps a device waiting for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct Arguments {
    command: String,
    root: Option<PathBuf>,
    metadata_dir: Option<PathBuf>,
    metadata_url: Option<String>,
    target_name: Option<String>,
    target_base_url: Option<String>,
    target_dir: Option<PathBuf>,
}

/// `muster-agent tuf …`, from the word after `tuf` on.
///
/// # Errors
/// Whatever keeps the command from being done in full.
pub fn run(mut parser: lexopt::Parser) -> anyhow::Result<()> {
    let arguments = read(&mut parser)?;
    match arguments.command.as_str() {
        "init" => init(&arguments),
        "refresh" => refresh(&arguments).map(|_| ()),
        "download" => download(&arguments),
        other => bail!("there is no command {other:?} of tuf: init, refresh or download"),
    }
}

fn read(parser: &mut lexopt::Parser) -> anyhow::Result<Arguments> {
    let mut found = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("metadata-dir") => found.metadata_dir = Some(parser.value()?.into()),
            Long("metadata-url") => found.metadata_url = Some(parser.value()?.string()?),
            Long("target-name") => found.target_name = Some(parser.value()?.string()?),
            Long("target-base-url") => found.target_base_url = Some(parser.value()?.string()?),
            Long("target-dir") => found.target_dir = Some(parser.value()?.into()),
            Value(word) if found.command.is_empty() => found.command = word.string()?,
            Value(word) if found.command == "init" && found.root.is_none() => found.root = Some(word.into()),
            other => return Err(other.unexpected()).context("see muster-agent --help"),
        }
    }
    Ok(found)
}

fn init(arguments: &Arguments) -> anyhow::Result<()> {
    let file = arguments.root.as_deref().context("say which root: init ROOT")?;
    let bytes_max = usize::try_from(limit::TUF_ROOT_BYTES_MAX)?;
    let root = disk::read(&RealDisk, file, bytes_max).with_context(|| format!("reading {}", file.display()))?;
    Ok(metadata(arguments)?.begin(&root)?)
}

fn metadata(arguments: &Arguments) -> anyhow::Result<Metadata<'_>> {
    let folder = arguments.metadata_dir.as_deref().context("say where metadata is kept: --metadata-dir")?;
    Ok(Metadata::new(&RealDisk, folder, Spelling::Any))
}

fn refresh(arguments: &Arguments) -> anyhow::Result<session::Session> {
    let url = arguments.metadata_url.as_deref().context("say where metadata comes from: --metadata-url")?;
    let agent = agent();
    Ok(metadata(arguments)?.refresh(now()?, &mut |file, max| get(&agent, url, file, max))?)
}

fn download(arguments: &Arguments) -> anyhow::Result<()> {
    let url = arguments.metadata_url.as_deref().context("say where metadata comes from: --metadata-url")?;
    let name = arguments.target_name.as_deref().context("say what to download: --target-name")?;
    let base = arguments.target_base_url.as_deref().context("say where it comes from: --target-base-url")?;
    let folder = arguments.target_dir.as_deref().context("say where it goes to: --target-dir")?;
    let agent = agent();
    let mut found = refresh(arguments)?;
    found.find(name);
    metadata(arguments)?.go_on(&mut found, &mut |file, max| get(&agent, url, file, max))?;
    let (target, _) = found.found().with_context(|| format!("no role that is believed knows {name}"))?;

    let path = folder.join(inside(name)?);
    let matches = |bytes: &[u8]| document::matches(bytes, Some(target.length), &target.hashes);
    let bytes_max = usize::try_from(target.length)?;
    let there = RealDisk.kind(&path)? == Some(Kind::File);
    if there && disk::read(&RealDisk, &path, bytes_max).is_ok_and(|bytes| matches(&bytes)) {
        return Ok(());
    }
    let place = session::place_of(name, target, found.trusted().root().consistent_snapshot);
    let bytes = get(&agent, base, &place, target.length)?.with_context(|| format!("there is no {place}"))?;
    if !matches(&bytes) {
        bail!("{place} is not what was signed: its length or hash is another");
    }
    RealDisk.make_folder(disk::folder_of(&path))?;
    Ok(disk::replace(&RealDisk, &path, &bytes)?)
}

/// The name as a path below a folder, and never out of it.
fn inside(name: &str) -> anyhow::Result<&Path> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !name.is_empty() && !name.ends_with('/') {
        return Ok(path);
    }
    bail!("{name:?} is no name for a file")
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(ANSWER_TIMEOUT))
        .user_agent(concat!("muster-agent/", env!("CARGO_PKG_VERSION")));
    config.build().new_agent()
}

/// Never reads more than `bytes_max`; more is an error and no document.
fn get(agent: &Agent, base: &str, name: &str, bytes_max: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let url = format!("{}/{name}", base.trim_end_matches('/'));
    let mut response = agent.get(&url).call().with_context(|| format!("asking for {url}"))?;
    match response.status().as_u16() {
        200 => {}
        // 5.3.2 ends at an answer that there is none; object stores say so by 403.
        403 | 404 => return Ok(None),
        status => bail!("{url} answered {status}"),
    }
    // One byte more shows that it is too long.
    let body = response.body_mut().with_config().limit(bytes_max.saturating_add(1)).read_to_vec();
    let body = body.with_context(|| format!("reading {url}"))?;
    if body.len() as u64 > bytes_max {
        bail!("{url} is longer than {bytes_max} bytes");
    }
    Ok(Some(body))
}

fn now() -> anyhow::Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Timestamp(i64::try_from(since.as_millis())?))
}
