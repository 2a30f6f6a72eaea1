//! `login --oidc` and `account link`: how does somebody show the server that a provider knows him?
//!
//! By a code that he types in any browser, or in a browser on this machine. Either way ends in a ticket that only this
//! process can redeem, because only it knows the secret that it began with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use muster_vocab::Sha256;
use muster_wire::oidc::{OidcDevice, OidcDeviceStarted, OidcPoll, OidcPolled};
use sha2::Digest;

use crate::client::{Client, part};
use crate::exit::{Failed, Outcome};

/// A browser that connects and says nothing is not waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A request's first line is never longer.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// Which provider, in which project, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub provider: &'a str,
    pub project: Option<&'a str>,
    pub in_browser: bool,
}

/// What proves that a provider knows somebody, once.
#[derive(Debug)]
pub struct Proof {
    pub ticket: String,
    pub verifier: String,
}

/// Waits until the person has logged in at the provider.
pub fn prove(client: &Client, server: &str, asked: Asked<'_>) -> Outcome<Proof> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gave no random numbers: {error}"))?;
    let verifier = muster_vocab::digest::hex(&bytes);
    let challenge = Sha256(sha2::Sha256::digest(verifier.as_bytes()).into());
    let ticket = match asked.in_browser {
        true => by_browser(server, asked, challenge)?,
        false => by_code(client, asked, challenge)?,
    };
    Ok(Proof { ticket, verifier })
}

fn by_code(client: &Client, asked: Asked<'_>, challenge: Sha256) -> Outcome<String> {
    let begin = OidcDevice { project: asked.project.map(str::to_owned), challenge };
    let path = format!("/login/oidc/{}/device", part(asked.provider));
    let begun: OidcDeviceStarted = client.post(&path, &begin)?;
    let (address, code) = (clean(&begun.verification_uri), clean(&begun.user_code));
    eprintln!("Open {address} in a browser and type the code {code}");
    if let Some(complete) = &begun.verification_uri_complete {
        eprintln!("or open {}", clean(complete));
    }
    let end = Instant::now() + Duration::from_secs(begun.expires_in_s);
    let mut pause_s = begun.interval_s;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_secs(pause_s.clamp(1, 120)));
        let polled: OidcPolled = client.post("/login/oidc/poll", &OidcPoll { login: begun.login.clone() })?;
        if let Some(ticket) = polled.ticket {
            return Ok(ticket);
        }
        pause_s = polled.interval_s;
    }
    Err(Failed::TimedOut("nobody typed the code in time".into()))
}

fn by_browser(server: &str, asked: Asked<'_>, challenge: Sha256) -> Outcome<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening for the browser")?;
    let port = listener.local_addr().context("listening for the browser")?.port();
    let project = asked.project.map(|name| format!("&project={}", part(name))).unwrap_or_default();
    eprintln!("Open this in a browser on this machine:");
    eprintln!(
        "  {server}/api/v1/login/oidc/{}/start?return_to=http%3A%2F%2F127.0.0.1:{port}%2F&challenge={challenge}{project}",
        part(asked.provider)
    );
    loop {
        let (line, _) = listener.accept().context("waiting for the browser")?;
        // Something else may knock, too.
        if let Ok(Some(ticket)) = answer(line) {
            return Ok(ticket);
        }
    }
}

/// The ticket, if this is the browser that brings it.
fn answer(mut line: TcpStream) -> std::io::Result<Option<String>> {
    line.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let mut first = String::new();
    BufReader::new((&line).take(LINE_BYTES_MAX)).read_line(&mut first)?;
    let ticket = ticket_in(&first).map(str::to_owned);
    let (status, text) = match ticket {
        Some(_) => ("200 OK", "Done. You can close this page and go back to the terminal."),
        None => ("404 Not Found", "Nothing here."),
    };
    let length = text.len();
    write!(
        line,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )?;
    Ok(ticket)
}

fn ticket_in(request: &str) -> Option<&str> {
    let target = request.strip_prefix("GET /?")?.split(' ').next()?;
    let ticket = target.split('&').find_map(|pair| pair.strip_prefix("ticket="))?;
    let is_ticket = !ticket.is_empty() && ticket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    is_ticket.then_some(ticket)
}

/// What a server says is shown to a terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_with_a_ticket_ends_the_wait() {
        assert_eq!(ticket_in("GET /?ticket=abc-_1 HTTP/1.1\r\n"), Some("abc-_1"));
        assert_eq!(ticket_in("GET /?x=y&ticket=abc HTTP/1.1\r\n"), Some("abc"));
        for other in ["GET /favicon.ico HTTP/1.1", "POST /?ticket=abc HTTP/1.1", "GET /?ticket= HTTP/1.1", ""] {
            assert_eq!(ticket_in(other), None, "{other}");
        }
    }
}
