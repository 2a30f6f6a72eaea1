//! How is a server loaded so that the loader itself hardly counts?
//!
//! Plain threads and blocking sockets that stay open. Each thread sends one prepared request on every one of its
//! connections, then reads the answers in the same order: no event loop, no waiting for readiness, no memory taken
//! per request. A connection has one request under way at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// A server that keeps a connection waiting for longer than this is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers of the requests that are measured are far smaller.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Requests as they go over the wire, one behind the other in memory.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What is to be sent, and how.
#[derive(Debug)]
pub struct Load<'r> {
    pub address: SocketAddr,
    pub connections: usize,
    pub threads: usize,
    pub requests: &'r Requests,
    pub length: Length,
}

#[derive(Debug, Clone, Copy)]
pub enum Length {
    /// Every request once.
    Once,
    /// Round and round for this time.
    For(Duration),
}

/// What came back; anything but 2xx ends a load with an error.
#[derive(Debug)]
pub struct Answers {
    pub count: usize,
    pub elapsed: Duration,
    latencies: Vec<Duration>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    sent_at: Instant,
    answer: Vec<u8>,
}

/// One thread's part of a load.
#[derive(Debug)]
struct Share<'l> {
    load: &'l Load<'l>,
    connections: usize,
    /// Shared by all threads: the number of the next request.
    next: &'l AtomicUsize,
    ends_at: Option<Instant>,
}

impl Requests {
    pub fn push(&mut self, request: &str) {
        self.bytes.extend_from_slice(request.as_bytes());
        self.ends.push(self.bytes.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}

impl Load<'_> {
    pub fn run(&self) -> anyhow::Result<Answers> {
        ensure!(self.requests.len() > 0, "a load needs requests");
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let ends_at = match self.length {
            Length::Once => None,
            Length::For(time) => Some(started + time),
        };
        let shares = (0..self.threads).map(|thread| {
            // The first threads take what can't be divided evenly.
            let connections = (self.connections + self.threads - 1 - thread) / self.threads;
            Share { load: self, connections, next: &next, ends_at }
        });
        let latencies = std::thread::scope(|scope| {
            let threads: Vec<_> = shares.map(|share| scope.spawn(move || share.run())).collect();
            let ran = threads.into_iter().map(|thread| thread.join().expect("a loader's thread does not panic"));
            ran.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let elapsed = started.elapsed();
        let mut latencies = latencies.concat();
        latencies.sort_unstable();
        Ok(Answers { count: latencies.len(), elapsed, latencies })
    }
}

impl Share<'_> {
    fn run(&self) -> anyhow::Result<Vec<Duration>> {
        let address = self.load.address;
        let mut connections =
            (0..self.connections).map(|_| Connection::open(address)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut latencies = Vec::new();
        loop {
            let mut sent = 0;
            for connection in &mut connections {
                let Some(request) = self.take() else { break };
                connection.send(self.load.requests.get(request))?;
                sent += 1;
            }
            if sent == 0 {
                return Ok(latencies);
            }
            for connection in &mut connections[..sent] {
                connection.receive()?;
                latencies.push(connection.sent_at.elapsed());
            }
        }
    }

    fn take(&self) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let requests = self.load.requests.len();
        match self.ends_at {
            None => (number < requests).then_some(number),
            Some(ends_at) => (Instant::now() < ends_at).then_some(number % requests),
        }
    }
}

impl Connection {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true).context("setting up a connection")?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).context("setting up a connection")?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).context("setting up a connection")?;
        Ok(Self { stream, sent_at: Instant::now(), answer: vec![0; ANSWER_BYTES_MAX.min(4096)] })
    }

    fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.sent_at = Instant::now();
        self.stream.write_all(request).context("sending a request")
    }

    /// Reads one whole answer and throws it away.
    fn receive(&mut self) -> anyhow::Result<()> {
        let mut filled = 0;
        loop {
            if filled == self.answer.len() {
                ensure!(filled < ANSWER_BYTES_MAX, "an answer is longer than {ANSWER_BYTES_MAX} bytes");
                self.answer.resize(filled * 2, 0);
            }
            let read = match self.stream.read(&mut self.answer[filled..]) {
                Ok(0) => bail!("the server closed a connection in the middle"),
                Ok(read) => read,
                Err(again) if again.kind() == ErrorKind::Interrupted => continue,
                Err(failed) => return Err(failed).context("waiting for an answer"),
            };
            filled += read;
            if let Some(length) = whole(&self.answer[..filled])? {
                ensure!(length == filled, "the server sent more than one answer");
                return Ok(());
            }
        }
    }
}

/// The length of the answer once its head is there and the body is too.
fn whole(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(head) = answer.windows(END.len()).position(|four| four == END) else { return Ok(None) };
    ensure!(answer.starts_with(b"HTTP/1.1 2"), "the server answered {:?}", String::from_utf8_lossy(answer));
    let length = head + END.len() + content_length(&answer[..head])?;
    Ok((answer.len() >= length).then_some(length))
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    const NAME: &[u8] = b"content-length:";
    for line in head.split(|byte| *byte == b'\n') {
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            let value = std::str::from_utf8(value).context("reading a content-length")?;
            return value.trim().parse().context("reading a content-length");
        }
    }
    bail!("an answer has no content-length: {:?}", String::from_utf8_lossy(head))
}

impl Answers {
    pub fn per_s(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the answers stayed below, in ms.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let index = (self.latencies.len() as f64 * share) as usize;
        let latency = self.latencies.get(index.min(self.latencies.len().saturating_sub(1)));
        latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}
