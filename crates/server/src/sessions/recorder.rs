//! What passed in a session, and when? An asciicast v2 file: a header, then `[seconds, "o" | "i" | "r", text]` a line.
//!
//! `o` comes from the device, `i` from the operator, `r` is the size of the operator's window. Of a shell the text is
//! text; of a forwarded connection it is base64, because anything may pass there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_domain::session::Recording;
use muster_vocab::{Timestamp, limit};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

/// Chunks waiting for the disk; a slow disk slows the session down.
const WAITING: usize = 64;
/// A terminal nobody told the size of.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToDevice,
    ToOperator,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("writing a recording")]
    File(#[from] std::io::Error),
    #[error("the recording's writer has stopped")]
    Stopped,
}

#[derive(Debug)]
struct Passed {
    at: Duration,
    direction: Direction,
    bytes: Vec<u8>,
}

/// Writes on a thread of its own.
#[derive(Debug)]
pub struct Recorder {
    passed: mpsc::Sender<Passed>,
    written: oneshot::Receiver<Result<Recording, RecordError>>,
}

impl Recorder {
    /// Makes the file.
    pub async fn begin(path: PathBuf, now: Timestamp, is_shell: bool) -> Result<Self, RecordError> {
        let made = tokio::task::spawn_blocking(move || Cast::begin(path, now, is_shell));
        let mut cast = made.await.map_err(|_| RecordError::Stopped)??;
        let (passed, mut waiting) = mpsc::channel::<Passed>(WAITING);
        let (tell, written) = oneshot::channel();
        let write = move || {
            while let Some(one) = waiting.blocking_recv() {
                cast.take(&one)?;
            }
            cast.finish()
        };
        // Nobody may be waiting any more; the file stands all the same.
        let write_and_tell = move || drop(tell.send(write()));
        std::thread::Builder::new().name("recorder".into()).spawn(write_and_tell)?;
        Ok(Self { passed, written })
    }

    pub async fn record(&self, at: Duration, direction: Direction, bytes: &[u8]) -> Result<(), RecordError> {
        let one = Passed { at, direction, bytes: bytes.to_vec() };
        self.passed.send(one).await.map_err(|_| RecordError::Stopped)
    }

    /// All is on the disk.
    pub async fn finish(self) -> Result<Recording, RecordError> {
        drop(self.passed);
        self.written.await.map_err(|_| RecordError::Stopped)?
    }
}

/// The file in the making.
#[derive(Debug)]
struct Cast {
    file: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
    complete: bool,
    is_shell: bool,
    /// The beginning of a character whose rest is still to come.
    part: Vec<u8>,
    /// The beginning of a frame whose rest is still to come.
    frame: Vec<u8>,
}

impl Cast {
    fn begin(path: PathBuf, now: Timestamp, is_shell: bool) -> Result<Self, RecordError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = BufWriter::new(File::options().write(true).create_new(true).open(path)?);
        let mut cast = Self {
            file,
            hasher: Sha256::new(),
            bytes: 0,
            complete: true,
            is_shell,
            part: Vec::new(),
            frame: Vec::new(),
        };
        let mut header = json!({ "version": 2, "width": COLUMNS, "height": ROWS, "timestamp": now.0 / 1000 });
        if !is_shell {
            header["encoding"] = json!("base64");
        }
        cast.line(&header.to_string())?;
        Ok(cast)
    }

    fn take(&mut self, passed: &Passed) -> Result<(), RecordError> {
        match passed.direction {
            _ if !self.is_shell => {
                let code = if passed.direction == Direction::ToOperator { "o" } else { "i" };
                self.event(passed.at, code, &STANDARD.encode(&passed.bytes))
            }
            Direction::ToOperator => {
                let text = self.text(&passed.bytes);
                self.event(passed.at, "o", &text)
            }
            Direction::ToDevice => {
                self.frame.extend_from_slice(&passed.bytes);
                while let Some((kind, data)) = next_frame(&mut self.frame) {
                    self.framed(passed.at, kind, &data)?;
                }
                Ok(())
            }
        }
    }

    fn framed(&mut self, at: Duration, kind: u8, data: &[u8]) -> Result<(), RecordError> {
        match (kind, data) {
            (0, keys) => self.event(at, "i", &String::from_utf8_lossy(keys)),
            (1, [c1, c0, r1, r0]) => {
                let (columns, rows) = (u16::from_be_bytes([*c1, *c0]), u16::from_be_bytes([*r1, *r0]));
                self.event(at, "r", &format!("{columns}x{rows}"))
            }
            (2, _) => self.event(at, "i", "\u{4}"),
            // Whatever a newer agent understands.
            (other, data) => self.event(at, "m", &format!("frame {other}: {}", STANDARD.encode(data))),
        }
    }

    /// Characters that are cut between two chunks are kept together.
    fn text(&mut self, bytes: &[u8]) -> String {
        self.part.extend_from_slice(bytes);
        let keep = match std::str::from_utf8(&self.part) {
            // Only an unfinished end is kept back; what is wrong in the middle stays visible as such.
            Err(bad) if bad.error_len().is_none() => self.part.len() - bad.valid_up_to(),
            Err(_) | Ok(_) => 0,
        };
        let rest = self.part.split_off(self.part.len() - keep);
        let whole = std::mem::replace(&mut self.part, rest);
        String::from_utf8_lossy(&whole).into_owned()
    }

    fn event(&mut self, at: Duration, code: &str, text: &str) -> Result<(), RecordError> {
        if text.is_empty() {
            return Ok(());
        }
        let seconds = (at.as_secs_f64() * 1e6).round() / 1e6;
        let line = json!([seconds, code, text]).to_string();
        if !self.complete || self.bytes + line.len() as u64 >= limit::RECORDING_BYTES_MAX {
            self.complete = false;
            return Ok(());
        }
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> Result<(), RecordError> {
        for bytes in [line.as_bytes(), b"\n"] {
            self.file.write_all(bytes)?;
            self.hasher.update(bytes);
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Recording, RecordError> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        let digest = muster_vocab::Sha256(self.hasher.finalize().into());
        Ok(Recording { digest, bytes: self.bytes, complete: self.complete })
    }
}

/// `[u8 kind][u16 len][data]`, taken off the front once it is whole.
fn next_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let [kind, high, low, ..] = bytes[..] else { return None };
    let end = 3 + usize::from(u16::from_be_bytes([high, low]));
    if bytes.len() < end {
        return None;
    }
    let data = bytes[3..end].to_vec();
    bytes.drain(..end);
    Some((kind, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn recorded(is_shell: bool, passed: &[(u64, Direction, &[u8])]) -> (Recording, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/x.cast");
        let recorder = Recorder::begin(path.clone(), Timestamp(1_795_000_000_000), is_shell).await.unwrap();
        for (at_ms, direction, bytes) in passed {
            recorder.record(Duration::from_millis(*at_ms), *direction, bytes).await.unwrap();
        }
        let recording = recorder.finish().await.unwrap();
        (recording, std::fs::read_to_string(path).unwrap())
    }

    #[tokio::test]
    async fn a_shell_is_recorded_as_asciicast_with_its_digest() {
        let passed: [(u64, Direction, &[u8]); 5] = [
            (0, Direction::ToDevice, b"\x01\0\x04\0\x78\0\x28\0\0"),
            (100, Direction::ToDevice, b"\x02ls\x02\0\0"),
            (250, Direction::ToOperator, b"caf\xc3"),
            (251, Direction::ToOperator, b"\xa9\x1b[0m"),
            (260, Direction::ToOperator, b"\xff!"),
        ];
        let (recording, text) = recorded(true, &passed).await;
        let expected = "{\"height\":24,\"timestamp\":1795000000,\"version\":2,\"width\":80}\n\
             [0.0,\"r\",\"120x40\"]\n[0.1,\"i\",\"ls\"]\n[0.1,\"i\",\"\\u0004\"]\n[0.25,\"o\",\"caf\"]\n\
             [0.251,\"o\",\"é\\u001b[0m\"]\n[0.26,\"o\",\"\u{fffd}!\"]\n";
        assert_eq!(text, expected);
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        assert_eq!((recording.digest.0, recording.bytes, recording.complete), (digest, text.len() as u64, true));
    }

    #[tokio::test]
    async fn a_forwarded_connection_is_recorded_in_base64() {
        let (_, text) =
            recorded(false, &[(1, Direction::ToDevice, b"\0\xff"), (2, Direction::ToOperator, b"ok")]).await;
        assert!(
            text.contains("\"encoding\":\"base64\"")
                && text.ends_with("[0.001,\"i\",\"AP8=\"]\n[0.002,\"o\",\"b2s=\"]\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_recording_is_bounded_and_says_that_something_is_missing() {
        let chunk = vec![b'x'; 1 << 20];
        let passed: Vec<(u64, Direction, &[u8])> = (0..40).map(|at| (at, Direction::ToOperator, &chunk[..])).collect();
        let (recording, text) = recorded(true, &passed).await;
        assert!(!recording.complete && recording.bytes <= limit::RECORDING_BYTES_MAX);
        assert_eq!(recording.bytes, text.len() as u64);
    }

    #[tokio::test]
    async fn a_recording_never_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.cast");
        let first = Recorder::begin(path.clone(), Timestamp(0), true).await.unwrap();
        assert!(Recorder::begin(path, Timestamp(0), true).await.is_err());
        first.finish().await.unwrap();
    }
}
