//! How does an audit record look in syslog?
//!
//! RFC 5424 messages over TLS (RFC 5425), each with its length before it. The protocol has no receipts: what was sent
//! counts as arrived once the connection has outlived it for a while, and is sent again otherwise.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_trust::audit::export::Exported;
use muster_vocab::{ProjectId, Timestamp};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::StreamError;

/// RFC 5425, 4.1.
pub const PORT: u16 = 6514;
/// `log audit` and `notice` (RFC 5424, 6.2.1).
const PRIORITY: u8 = 13 * 8 + 5;
/// RFC 5424, 6: the longest of each of these.
const HOST_CHARS_MAX: usize = 255;
const MESSAGE_ID_CHARS_MAX: usize = 32;
/// An enterprise number makes the name of structured data ours (RFC 5424, 7.2.2). Muster has none; this one is for
/// examples (RFC 5612), and can't clash with anybody's.
const DATA_ID: &str = "muster@32473";
/// Connecting, and each write: a collector that takes longer is gone.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that lives this long after a write has taken it.
const ARRIVED_AFTER: Duration = Duration::from_secs(3);

pub struct Syslog {
    host: String,
    port: u16,
    tls: TlsConnector,
    /// In the header of each message.
    here: String,
    line: Option<TlsStream<TcpStream>>,
    /// Written and not known to have arrived: the last record of each write.
    sent: VecDeque<(Instant, ProjectId, u64)>,
}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Syslog({}:{})", self.host, self.port)
    }
}

impl Syslog {
    #[must_use]
    pub fn new((host, port): (String, u16), tls: ClientConfig) -> Self {
        let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let here = printable(&here, HOST_CHARS_MAX);
        Self { host, port, tls: TlsConnector::from(Arc::new(tls)), here, line: None, sent: VecDeque::new() }
    }

    pub(super) async fn deliver(
        &mut self,
        (project, log): (ProjectId, &str),
        records: &[Exported],
    ) -> Result<(), StreamError> {
        let Some(last) = records.last() else { return Ok(()) };
        let mut frames = String::new();
        for record in records {
            let message = message(&self.here, log, record);
            let _ = write!(frames, "{} {message}", message.len());
        }
        if self.line.is_none() {
            self.line = Some(self.connect().await?);
        }
        let name = self.name();
        let line = self.line.as_mut().ok_or_else(|| StreamError::HungUp(name.clone()))?;
        let write = async {
            line.write_all(frames.as_bytes()).await?;
            line.flush().await
        };
        let written = tokio::time::timeout(TIMEOUT, write).await;
        written
            .map_err(|_| StreamError::Slow(name.clone()))?
            .map_err(|source| StreamError::Unreachable(name, source))?;
        self.sent.push_back((Instant::now(), project, last.sequence));
        Ok(())
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, StreamError> {
        let unreachable = |source| StreamError::Unreachable(self.name(), source);
        let server = ServerName::try_from(self.host.clone())
            .map_err(|bad| unreachable(std::io::Error::new(std::io::ErrorKind::InvalidInput, bad)))?;
        let connect = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            self.tls.connect(server, stream).await
        };
        let connected = tokio::time::timeout(TIMEOUT, connect).await;
        connected.map_err(|_| StreamError::Slow(self.name()))?.map_err(unreachable)
    }

    /// What the connection has outlived. A collector says nothing, so that anything to read is its end.
    pub(super) async fn confirmed(&mut self) -> Result<Vec<(ProjectId, u64)>, StreamError> {
        if let Some(line) = &mut self.line {
            let mut byte = [0];
            if tokio::time::timeout(Duration::from_millis(1), line.read(&mut byte)).await.is_ok() {
                return Err(StreamError::HungUp(self.name()));
            }
        }
        let mut arrived = Vec::new();
        while let Some((at, project, sequence)) = self.sent.front().copied()
            && at.elapsed() >= ARRIVED_AFTER
        {
            self.sent.pop_front();
            arrived.push((project, sequence));
        }
        Ok(arrived)
    }

    pub(super) fn hang_up(&mut self) {
        self.line = None;
        self.sent.clear();
    }

    fn name(&self) -> String {
        format!("the syslog collector {}:{}", self.host, self.port)
    }
}

/// RFC 5424, 6. The message itself is the record as an export has it.
fn message(here: &str, log: &str, record: &Exported) -> String {
    let at = Timestamp(record.at);
    let id = printable(&record.action, MESSAGE_ID_CHARS_MAX);
    let mut data = String::new();
    let sequence = record.sequence.to_string();
    let digest = record.digest.to_string();
    for (name, value) in [
        ("project", log),
        ("sequence", &sequence),
        ("actor", &record.actor),
        ("target", &record.target),
        ("digest", &digest),
    ] {
        let _ = write!(data, " {name}=\"{}\"", escaped(value));
    }
    // An export's line can't fail to be written: it holds texts and numbers.
    let text = serde_json::to_string(record).unwrap_or_default();
    format!("<{PRIORITY}>1 {at} {here} muster - {id} [{DATA_ID}{data}] \u{feff}{text}")
}

/// RFC 5424, 6.3.3.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for char in value.chars() {
        if matches!(char, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

/// PRINTUSASCII of RFC 5424, 6; `-` for nothing.
fn printable(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use muster_trust::audit::START;

    use super::*;

    /// Golden: never edit; collectors' filters read it.
    #[test]
    fn a_record_becomes_a_message_of_the_rfc() {
        let record = Exported {
            sequence: 17,
            at: 1_795_000_000_000,
            actor: "account:ann".into(),
            action: "rollout.start".into(),
            target: "device:a\"b]c\\".into(),
            detail: "{}".into(),
            context: String::new(),
            previous: START,
            digest: START,
        };
        let zero = START.to_string();
        assert_eq!(
            message("edge-1", "plant", &record),
            format!(
                "<109>1 2026-11-18T11:06:40.000Z edge-1 muster - rollout.start [muster@32473 project=\"plant\" \
                 sequence=\"17\" actor=\"account:ann\" target=\"device:a\\\"b\\]c\\\\\" digest=\"{zero}\"] \
                 \u{feff}{{\"sequence\":17,\"at\":1795000000000,\"actor\":\"account:ann\",\"action\":\"rollout.start\",\
                 \"target\":\"device:a\\\"b]c\\\\\",\"detail\":\"{{}}\",\"previous\":\"{zero}\",\"digest\":\"{zero}\"}}"
            )
        );
    }

    #[test]
    fn names_that_the_rfc_does_not_allow_are_shortened() {
        assert_eq!(printable("grün e", 10), "grne");
        assert_eq!(printable("ü", 10), "-");
        assert_eq!(printable("abcdef", 3), "abc");
    }
}
