//! `artifact push|pull|inspect`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use muster_vocab::Sha256;
use muster_wire::artifact::{Artifact, Upload, UploadCreate};
use sha2::Digest;

use super::Here;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::expand::{Compression, expand};
use crate::output::{self, Format};

/// Bytes sent in one request: what a cut connection has to send again at the most.
const PIECE_BYTES: u64 = 64 * 1024 * 1024;
const CHUNK_BYTES: usize = 256 * 1024;
/// A server that restarts in the middle of an upload is waited for this long.
const ABSENCE_MAX: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Cuts without a byte getting through before giving up.
const STUCK_MAX: u32 = 3;
const CUT_SHORT: &str = "the upload was cut; run the same command to go on";

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster artifact push image-1.1.swu
  muster artifact push site-2.tar.zst --expand
  muster artifact pull sha256:9f86… -f image.swu
  muster artifact inspect image-1.1.swu")]
pub enum ArtifactCommand {
    /// Upload a file; goes on where an earlier attempt was cut, and sends nothing that is there already.
    Push {
        file: PathBuf,
        /// What devices see it as; the file's own name if left out.
        #[arg(long)]
        name: Option<String>,
        /// Push what is in a compressed file (.tar.zst, .tar.gz), so that devices fetch only what changes from one
        /// version to the next.
        #[arg(long)]
        expand: bool,
    },
    /// Download an artifact and check its digest.
    Pull {
        digest: String,
        /// Where to; the artifact's own name if left out.
        #[arg(long, short)]
        file: Option<PathBuf>,
    },
    /// Tell about an artifact on the server, or about a file and whether the server has it.
    Inspect { digest_or_file: String },
}

pub fn run(here: &Here, command: ArtifactCommand) -> Outcome<()> {
    match command {
        ArtifactCommand::Push { file, name, expand } => {
            let artifact = if expand { push_expanded(here, &file, name)? } else { push(here, &file, name)? };
            match here.format {
                Format::Table => output::print(&format!("{}\n", artifact.digest)),
                other => output::one(other, &artifact),
            }
        }
        ArtifactCommand::Pull { digest, file } => pull(here, &digest, file),
        ArtifactCommand::Inspect { digest_or_file } => inspect(here, &digest_or_file),
    }
}

/// Uploads a file unless its bytes are there.
pub fn push(here: &Here, path: &Path, name: Option<String>) -> Outcome<Artifact> {
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.or(file_name).ok_or_else(|| Failed::Usage(format!("{} has no name", path.display())))?;
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let compression = Compression::of(&mut file).with_context(|| format!("reading {}", path.display()))?;
    if let Some(compression) = compression {
        eprintln!("{}", compression.hint(path));
    }
    push_file(here, path, file, name)
}

/// Uploads what is in a compressed file.
fn push_expanded(here: &Here, path: &Path, name: Option<String>) -> Outcome<Artifact> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (file, own_name) = expand(path, file)?;
    push_file(here, path, file, name.unwrap_or(own_name))
}

fn push_file(here: &Here, path: &Path, mut file: File, name: String) -> Outcome<Artifact> {
    let size = file.metadata().with_context(|| format!("looking at {}", path.display()))?.len();
    let bar = bar(size, "hashing");
    let digest = digest(&mut file, &bar)?;
    bar.finish_and_clear();
    let upload: Upload = here.client.post("/uploads", &UploadCreate { name, size, digest })?;
    if let Some(artifact) = upload.artifact {
        eprintln!("{} is there already.", path.display());
        return Ok(artifact);
    }
    send(here, &mut file, upload)
}

fn send(here: &Here, file: &mut File, upload: Upload) -> Outcome<Artifact> {
    let path = format!("/uploads/{}", upload.id);
    let bar = bar(upload.size, "uploading");
    let mut offset = upload.offset;
    let mut stuck = 0;
    loop {
        file.seek(SeekFrom::Start(offset)).context("reading the file")?;
        bar.set_position(offset);
        let piece = file.take(PIECE_BYTES.min(upload.size - offset));
        let sent: Outcome<Upload> = here.client.append(&path, offset, bar.wrap_read(piece));
        match sent {
            Ok(Upload { artifact: Some(artifact), .. }) => {
                bar.finish_and_clear();
                return Ok(artifact);
            }
            Ok(upload) => offset = upload.offset,
            // Cut: go on at the byte the server has, if it has more than before.
            Err(Failed::Other(cut)) => {
                let now = resumed(here, &path).map_err(|_| cut.context(CUT_SHORT))?;
                if now.offset <= offset {
                    stuck += 1;
                }
                if stuck > STUCK_MAX {
                    return Err(Failed::Other(anyhow::anyhow!(CUT_SHORT)));
                }
                offset = now.offset;
            }
            Err(refused) => return Err(refused),
        }
    }
}

/// How far the upload is, once the server is back.
fn resumed(here: &Here, path: &str) -> Outcome<Upload> {
    let asked = Instant::now();
    loop {
        match here.client.get(path) {
            Err(Failed::Other(_)) if asked.elapsed() < ABSENCE_MAX => std::thread::sleep(RETRY_PAUSE),
            answer => return answer,
        }
    }
}

fn pull(here: &Here, digest: &str, to: Option<PathBuf>) -> Outcome<()> {
    let artifact: Artifact = here.client.get(&format!("/artifacts/{}", part(digest)))?;
    // The name came from whoever pushed it: only its last part counts, so that it stays in this folder.
    let own_name = || Path::new(&artifact.name).file_name().map_or_else(|| artifact.digest.hex().into(), PathBuf::from);
    let to = to.unwrap_or_else(own_name);
    let partial = partial_path(&to, &artifact);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&partial);
    let mut file = file.with_context(|| format!("opening {}", partial.display()))?;
    let bar = bar(artifact.size, "downloading");
    receive(here, &artifact, &mut file, &bar)?;
    bar.finish_and_clear();
    file.seek(SeekFrom::Start(0)).context("checking")?;
    let found = self::digest(&mut file, &ProgressBar::hidden())?;
    if found != artifact.digest {
        std::fs::remove_file(&partial).context("removing what is wrong")?;
        let detail = format!("what came is {found}, not {}; nothing was kept", artifact.digest);
        return Err(Failed::Other(anyhow::anyhow!(detail)));
    }
    file.sync_all().context("writing")?;
    std::fs::rename(&partial, &to).with_context(|| format!("writing {}", to.display()))?;
    output::print(&format!("{}\n", to.display()))
}

/// Beside the target and named after the digest too, so that two pulls never continue each other's bytes.
fn partial_path(to: &Path, artifact: &Artifact) -> PathBuf {
    let mut path = to.as_os_str().to_owned();
    path.push(format!(".{}.part", &artifact.digest.hex()[..12]));
    path.into()
}

/// Appends what is missing, over as many connections as it takes while each brings something.
fn receive(here: &Here, artifact: &Artifact, file: &mut File, bar: &ProgressBar) -> Outcome<()> {
    let path = format!("/artifacts/{}/content", artifact.digest);
    let mut have = file.seek(SeekFrom::End(0)).context("looking at what is there")?;
    while have < artifact.size {
        bar.set_position(have);
        let response = here.client.content(&path, have)?;
        let mut body = bar.wrap_read(response.into_body().into_reader().take(artifact.size - have));
        let copied = std::io::copy(&mut body, file);
        let now = file.seek(SeekFrom::End(0)).context("looking at what came")?;
        if now == have {
            copied.context("downloading; run the same command to go on")?;
            return Err(Failed::Other(anyhow::anyhow!("the server sent nothing; run the same command to go on")));
        }
        have = now;
    }
    Ok(())
}

fn inspect(here: &Here, what: &str) -> Outcome<()> {
    let digest = match what.parse::<Sha256>() {
        Ok(digest) => digest,
        Err(_) => {
            let mut file = File::open(what).with_context(|| format!("opening {what}"))?;
            digest(&mut file, &ProgressBar::hidden())?
        }
    };
    match here.client.get::<Artifact>(&format!("/artifacts/{digest}")) {
        Ok(artifact) => output::one(if here.format == Format::Table { Format::Yaml } else { here.format }, &artifact),
        Err(Failed::NotFound(_)) => {
            Err(Failed::NotFound(format!("{digest} is not on the server: muster artifact push")))
        }
        Err(other) => Err(other),
    }
}

fn digest(file: &mut File, bar: &ProgressBar) -> anyhow::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).context("reading the file")? {
            0 => break,
            read => {
                hasher.update(&chunk[..read]);
                bar.inc(read as u64);
            }
        }
    }
    let Ok(digest) = <[u8; 32]>::try_from(hasher.finalize().as_slice()) else { bail!("a SHA-256 has 32 bytes") };
    Ok(Sha256(digest))
}

/// Only for people at a terminal.
fn bar(size: u64, doing: &'static str) -> ProgressBar {
    if !output::is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:>12} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(size).with_message(doing);
    let _ = std::io::stderr().flush();
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
