//! How does the CLI talk to the operator API? Blocking: a command does one thing at a time.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use muster_vocab::Sha256;
use muster_wire::agent::Root;
use muster_wire::event::Event;
use muster_wire::{Page, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Digest;
use ureq::http::Response;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::context::Context;
use crate::exit::{Failed, Outcome};

/// Longer than any honest answer takes: a server that hangs is noticed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A transfer or event stream that says nothing for this long is dead; the server keeps streams alive every 15 s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries of a call while the server is busy, or cuts the connection of one that may be repeated.
const TRIES_MAX: u32 = 4;
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// A longer `Retry-After` is cut to this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Rows asked for at a time when all are wanted.
const PAGE_ROWS: u32 = 500;

/// What may happen to a call whose connection was cut before its answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Again,
    Fails,
}

#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
    /// For the audit log.
    reason: Option<String>,
}

/// The root certificate (PEM) of whoever answers, if it is the one that was told.
pub fn pinned_root(server: &str, pin: Sha256) -> Outcome<String> {
    let config = Agent::config_builder()
        .timeout_global(Some(ANSWER_TIMEOUT))
        .tls_config(TlsConfig::builder().disable_verification(true).build())
        .build();
    let mut answer = checked(Agent::from(config).get(format!("{server}/device/v1/root")).call())?;
    let root: Root = answer.body_mut().read_json().context("reading the server's root certificate")?;
    let found = match parse_pem(root.certificate.as_bytes()).next() {
        Some(Ok(PemItem::Certificate(found))) => Sha256(sha2::Sha256::digest(found.der()).into()),
        _ => Sha256([0; 32]),
    };
    if found != pin {
        return Err(Failed::NotAllowed(
            "the server's root certificate is not the one of --pin: it is another server, or somebody is in between"
                .into(),
        ));
    }
    Ok(root.certificate)
}

impl Client {
    pub fn new(context: &Context) -> Self {
        Self::at(&context.server, Some(context.token.clone()), context.root.as_deref())
    }

    /// `root`: PEM; then no other authority is trusted.
    pub fn at(server: &str, token: Option<String>, root: Option<&str>) -> Self {
        let mut tls = TlsConfig::builder();
        if let Some(root) = root {
            let found = parse_pem(root.as_bytes()).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                Ok(_) | Err(_) => None,
            });
            tls = tls.root_certs(RootCerts::Specific(std::sync::Arc::new(found.collect())));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .timeout_per_write(Some(SILENCE_TIMEOUT))
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build();
        let base = format!("{}/api/v1", server.trim_end_matches('/'));
        Self { agent: config.into(), base, token, reason: None }
    }

    /// What it does from now on it does for this reason.
    pub fn because(self, reason: Option<&str>) -> Self {
        Self { reason: reason.map(str::to_owned), ..self }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        read(answered(Cut::Again, || self.authorized(self.agent.get(self.url(path))).call())?)
    }

    /// For answers that are no JSON.
    pub fn get_text(&self, path: &str) -> Outcome<String> {
        let mut answer = answered(Cut::Again, || self.authorized(self.agent.get(self.url(path))).call())?;
        Ok(answer.body_mut().with_config().limit(u64::MAX).read_to_string().context("reading the answer")?)
    }

    /// Not repeated after a cut: the thing may be gone by then, which would look like a mistake.
    pub fn delete(&self, path: &str) -> Outcome<()> {
        answered(Cut::Fails, || self.authorized(self.agent.delete(self.url(path))).call()).map(drop)
    }

    /// Makes a thing, once only however often the call has to be repeated.
    pub fn create<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let key = random_key()?;
        let send = || {
            let request = self.agent.post(self.url(path)).header("Idempotency-Key", &key);
            self.authorized(request).send_json(body)
        };
        read(answered(Cut::Again, send)?)
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        read(self.posted(path, body)?)
    }

    /// For answers without a body.
    pub fn post_nothing(&self, path: &str, body: &impl Serialize) -> Outcome<()> {
        self.posted(path, body).map(drop)
    }

    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        read(self.put_at(path, body)?)
    }

    pub fn put_nothing(&self, path: &str, body: &impl Serialize) -> Outcome<()> {
        self.put_at(path, body).map(drop)
    }

    /// A merge patch says the same the second time.
    pub fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        read(answered(Cut::Again, || self.authorized(self.agent.patch(self.url(path))).send_json(body))?)
    }

    /// Appends raw bytes to an upload.
    pub fn append<T: DeserializeOwned>(&self, path: &str, offset: u64, bytes: impl Read) -> Outcome<T> {
        let request = self.agent.patch(self.url(path)).header("Upload-Offset", offset.to_string());
        let request = request.header("Content-Type", "application/octet-stream");
        let mut bytes = bytes;
        read(checked(self.authorized(request).send(ureq::SendBody::from_reader(&mut bytes)))?)
    }

    /// The bytes of an artifact from an offset on.
    pub fn content(&self, path: &str, offset: u64) -> Outcome<Response<Body>> {
        let request = self.agent.get(self.url(path)).header("Range", format!("bytes={offset}-"));
        checked(self.authorized(request).call())
    }

    /// Every row of a list, or the first `limit`.
    pub fn list<T: DeserializeOwned>(&self, path: &str, select: Option<&str>, limit: Option<u32>) -> Outcome<Vec<T>> {
        let mut rows: Vec<T> = Vec::new();
        let mut cursor = None;
        loop {
            let left = limit.map(|limit| limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
            let wanted = left.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS);
            let send = || {
                let mut request = self.agent.get(self.url(path)).query("limit", wanted.to_string());
                if let Some(select) = select {
                    request = request.query("select", select);
                }
                if let Some(cursor) = &cursor {
                    request = request.query("cursor", cursor);
                }
                self.authorized(request).call()
            };
            let page: Page<T> = read(answered(Cut::Again, send)?)?;
            rows.extend(page.items);
            cursor = page.next;
            if cursor.is_none() || limit.is_some_and(|limit| rows.len() >= limit as usize) {
                return Ok(rows);
            }
        }
    }

    /// Changes as they happen. The stream ends when the server goes; ask again with the last sequence.
    pub fn events(&self, query: &[(&str, &str)], after: Option<u64>) -> Outcome<impl Iterator<Item = Event> + use<>> {
        let mut request = self.agent.get(self.url("/events")).header("Accept", "text/event-stream");
        for (name, value) in query {
            request = request.query(name, value);
        }
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after.to_string());
        }
        let response = checked(self.authorized(request).call())?;
        Ok(events(BufReader::new(response.into_body().into_reader())))
    }

    fn posted(&self, path: &str, body: &impl Serialize) -> Outcome<Response<Body>> {
        answered(Cut::Fails, || self.authorized(self.agent.post(self.url(path))).send_json(body))
    }

    fn put_at(&self, path: &str, body: &impl Serialize) -> Outcome<Response<Body>> {
        answered(Cut::Again, || self.authorized(self.agent.put(self.url(path))).send_json(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        let request = match &self.reason {
            Some(reason) => request.header("Muster-Reason", reason),
            None => request,
        };
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

/// A name as one part of a path.
pub fn part(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Sends a call, again while the server says it is busy, and after a cut if that is safe.
fn answered(cut: Cut, send: impl Fn() -> Result<Response<Body>, ureq::Error>) -> Outcome<Response<Body>> {
    let mut tries = 1;
    loop {
        let pause = match send() {
            Ok(response) if response.status() == 503 && tries < TRIES_MAX => retry_after(&response),
            Err(ureq::Error::Io(error)) if cut == Cut::Again && tries < TRIES_MAX && was_cut(&error) => RETRY_PAUSE,
            answer => return checked(answer),
        };
        std::thread::sleep(pause);
        tries += 1;
    }
}

fn retry_after(response: &Response<Body>) -> Duration {
    let seconds = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(RETRY_PAUSE, Duration::from_secs).min(RETRY_PAUSE_MAX)
}

/// There was a connection and it broke, as opposed to nobody listening.
fn was_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn random_key() -> Outcome<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gave no random numbers: {error}"))?;
    Ok(muster_vocab::digest::hex(&bytes))
}

fn read<T: DeserializeOwned>(mut response: Response<Body>) -> Outcome<T> {
    let text = response.body_mut().with_config().limit(u64::MAX).read_to_string().context("reading the answer")?;
    Ok(serde_json::from_str(&text).context("the server's answer makes no sense: is it a Muster server?")?)
}

fn checked(answer: Result<Response<Body>, ureq::Error>) -> Outcome<Response<Body>> {
    let mut response = answer.map_err(|failed| anyhow!("the server can't be reached: {failed}"))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let problem = serde_json::from_str::<Problem>(&text).ok();
    let wants_code = problem.as_ref().is_some_and(|problem| problem.code == "code_required");
    let detail = problem.map_or_else(|| format!("the server answered {status}"), said);
    Err(match status {
        400 | 422 => Failed::Usage(detail),
        401 if wants_code => Failed::CodeRequired(detail),
        401 | 403 => Failed::NotAllowed(detail),
        404 | 410 => Failed::NotFound(detail),
        409 | 412 => Failed::Conflict(detail),
        408 | 504 => Failed::TimedOut(detail),
        _ => Failed::Other(anyhow!(detail)),
    })
}

/// What went wrong, and where in the request.
fn said(problem: Problem) -> String {
    match problem.field {
        Some(field) if !problem.detail.contains(&field) => format!("{} (in {field})", problem.detail),
        _ => problem.detail,
    }
}

/// Reads server-sent events (WHATWG HTML, section 9.2) until the stream ends. Comments and `reset` are passed over.
fn events(lines: impl BufRead) -> impl Iterator<Item = Event> {
    let data = lines.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("data:").map(str::to_owned));
    data.filter_map(|data| serde_json::from_str(data.trim_start()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_passed_over() {
        let text = ": keep-alive\n\nid: 7\nevent: rollout\ndata: {\"sequence\":7,\"at\":\"1970-01-01T00:00:00Z\",\
                    \"kind\":\"rollout\",\"id\":\"r-1\",\"change\":\"running\"}\n\nevent: reset\ndata: {}\n\n";
        let read: Vec<Event> = events(text.as_bytes()).collect();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].sequence, read[0].change.as_str()), (7, "running"));
    }

    #[test]
    fn names_are_one_part_of_a_path() {
        assert_eq!(part("a/b c?d"), "a%2Fb%20c%3Fd");
        assert_eq!(part("sha256:ab"), "sha256:ab");
    }

    /// Answers one connection per item: bytes to send, or nothing for a cut.
    fn server(answers: &'static [&'static str]) -> (Client, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::at(&format!("http://{}", listener.local_addr().unwrap()), None, None);
        let asked = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let mut stream = listener.accept().unwrap().0;
                let mut bytes = Vec::new();
                // The body is the empty object.
                while !bytes.ends_with(b"{}") {
                    let mut chunk = [0; 1024];
                    let count = stream.read(&mut chunk).unwrap();
                    bytes.extend_from_slice(&chunk[..count]);
                }
                asked.push(String::from_utf8(bytes).unwrap());
                std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
            }
            asked
        });
        (client, asked)
    }

    fn key(request: &str) -> Option<&str> {
        request.lines().find_map(|line| line.strip_prefix("idempotency-key: "))
    }

    #[test]
    fn a_create_is_repeated_with_the_same_key_when_the_server_is_busy() {
        let (client, asked) = server(&[
            "HTTP/1.1 503 Busy\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 1\r\n\r\n7",
        ]);
        assert_eq!(client.create::<u32>("/rollouts", &serde_json::json!({})).unwrap(), 7);
        let asked = asked.join().unwrap();
        assert!(key(&asked[0]).is_some());
        assert_eq!(key(&asked[0]), key(&asked[1]));
    }

    #[test]
    fn a_cut_create_is_repeated_and_a_cut_order_is_not() {
        let (client, asked) = server(&["", "HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 1\r\n\r\n7"]);
        assert_eq!(client.create::<u32>("/rollouts", &serde_json::json!({})).unwrap(), 7);
        assert_eq!(asked.join().unwrap().len(), 2);

        let (client, asked) = server(&[""]);
        assert_eq!(client.post::<u32>("/rollouts/r-1/next-wave", &serde_json::json!({})).unwrap_err().code(), 1);
        asked.join().unwrap();
    }
}
