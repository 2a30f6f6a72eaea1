//! How does the CLI talk to the operator API? Blocking: a command does one thing at a time.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use muster_wire::event::Event;
use muster_wire::{Page, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::context::Context;
use crate::exit::{Failed, Outcome};

/// Rows asked for at a time when all are wanted.
const PAGE_ROWS: u32 = 500;

#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    pub fn new(context: &Context) -> Self {
        Self::at(&context.server, Some(context.token.clone()))
    }

    pub fn at(server: &str, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            .build();
        let base = format!("{}/api/v1", server.trim_end_matches('/'));
        Self { agent: config.into(), base, token }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let request = self.agent.get(self.url(path));
        read(self.authorized(request).call())
    }

    pub fn delete(&self, path: &str) -> Outcome<()> {
        let request = self.agent.delete(self.url(path));
        checked(self.authorized(request).call()).map(drop)
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let request = self.agent.post(self.url(path));
        read(self.authorized(request).send_json(body))
    }

    /// For answers without a body.
    pub fn post_nothing(&self, path: &str, body: &impl Serialize) -> Outcome<()> {
        let request = self.agent.post(self.url(path));
        checked(self.authorized(request).send_json(body)).map(drop)
    }

    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let request = self.agent.put(self.url(path));
        read(self.authorized(request).send_json(body))
    }

    pub fn put_nothing(&self, path: &str, body: &impl Serialize) -> Outcome<()> {
        let request = self.agent.put(self.url(path));
        checked(self.authorized(request).send_json(body)).map(drop)
    }

    pub fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let request = self.agent.patch(self.url(path));
        read(self.authorized(request).send_json(body))
    }

    /// Appends raw bytes to an upload.
    pub fn append<T: DeserializeOwned>(&self, path: &str, offset: u64, bytes: impl Read) -> Outcome<T> {
        let request = self.agent.patch(self.url(path)).header("Upload-Offset", offset.to_string());
        let request = request.header("Content-Type", "application/octet-stream");
        let mut bytes = bytes;
        read(self.authorized(request).send(ureq::SendBody::from_reader(&mut bytes)))
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
            let mut request = self.agent.get(self.url(path)).query("limit", wanted.to_string());
            if let Some(select) = select {
                request = request.query("select", select);
            }
            if let Some(cursor) = &cursor {
                request = request.query("cursor", cursor);
            }
            let page: Page<T> = read(self.authorized(request).call())?;
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

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
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

fn read<T: DeserializeOwned>(answer: Result<Response<Body>, ureq::Error>) -> Outcome<T> {
    let mut response = checked(answer)?;
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
    let detail = problem.map_or_else(|| format!("the server answered {status}"), |problem| problem.detail);
    Err(match status {
        400 | 422 => Failed::Usage(detail),
        401 | 403 => Failed::NotAllowed(detail),
        404 | 410 => Failed::NotFound(detail),
        409 | 412 => Failed::Conflict(detail),
        408 | 504 => Failed::TimedOut(detail),
        _ => Failed::Other(anyhow!(detail)),
    })
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
}
