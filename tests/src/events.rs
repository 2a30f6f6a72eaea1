//! The stream of changes as a browser reads it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::server::Server;
use crate::wait::DEADLINE;

/// One open stream.
#[derive(Debug)]
pub struct Events {
    reader: BufReader<TcpStream>,
}

/// One event: its id, its name, and its data as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: Option<u64>,
    pub name: String,
    pub data: Value,
}

impl Events {
    /// `query` such as `?kind=rollout`, or nothing. HTTP 1.0, so that the body comes without chunks.
    pub fn open(server: &Server, query: &str, after: Option<&str>) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(server.address()).context("connecting")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let token = server.admin().token().unwrap_or_default();
        let after = after.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let request = format!("GET /api/v1/events{query} HTTP/1.0\r\nauthorization: Bearer {token}\r\n{after}\r\n");
        stream.write_all(request.as_bytes()).context("asking for events")?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).context("waiting for the stream")?;
        ensure!(line.contains(" 200 "), "no stream of events: {line}");
        while line.trim_end() != "" {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "the stream ended in its headers");
        }
        Ok(Self { reader })
    }

    /// Waits for the next one; comments that keep the line alive are passed over.
    pub fn read(&mut self) -> anyhow::Result<Event> {
        let mut event = Event { id: None, name: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).context("waiting for an event")? == 0 {
                bail!("the stream ended");
            }
            match line.trim_end().split_once(':') {
                Some(("id", id)) => event.id = Some(id.trim().parse().context("reading an event's id")?),
                Some(("event", name)) => name.trim().clone_into(&mut event.name),
                Some(("data", data)) => event.data = serde_json::from_str(data.trim()).context("reading an event")?,
                None if !event.name.is_empty() => return Ok(event),
                Some(_) | None => {}
            }
        }
    }

    /// Reads up to the first event that is it, and that one too.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn read_until(&mut self, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.read() {
                Ok(event) => events.push(event),
                Err(failed) => panic!("{failed:#} after {events:#?}"),
            }
            if events.last().is_some_and(&is_it) {
                return events;
            }
        }
    }
}
