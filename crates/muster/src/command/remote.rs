//! `device shell|forward` and `session …`: through the server to one device.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use muster_wire::Problem;
use muster_wire::command::{Command, CommandCreate, CommandKind, CommandState, Session, SessionKind};

use super::Here;
use super::terminal::{self, Raw};
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, clean};
use crate::read;

/// An answer's head is never longer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the window's size and the device's refusal are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Ctrl and ]: the one key that does not go to the device, so that a dead session can be left.
const LEAVE: u8 = 0x1d;
/// Kinds of frames towards the device: see docs/sessions.md.
const FRAME_INPUT: u8 = 0;
const FRAME_SIZE: u8 = 1;
const FRAME_END: u8 = 2;

/// Open a shell on the device.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster device shell sn-0001
  muster device shell sn-0001 --time 10m

Needs the scope sessions:write, the project's setting sessions, and the device's own consent. Ctrl-] leaves.
What passes is recorded, also what you type: see muster session recording.")]
pub struct ShellArgs {
    name: String,
    /// It ends after this time.
    #[arg(long, default_value = "1h", value_parser = read::duration)]
    time: Duration,
}

/// Make a port of the device's network reachable here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster device forward sn-0001 8443:127.0.0.1:443
  muster device forward sn-0001 0:[::1]:80       takes a free port and says which

Each connection is a session of its own. Runs until Ctrl-C.")]
pub struct ForwardArgs {
    name: String,
    /// LOCAL:HOST:PORT
    #[arg(value_parser = way)]
    way: Way,
    /// Each connection ends after this time.
    #[arg(long, default_value = "1h", value_parser = read::duration)]
    time: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    local: u16,
    host: String,
    port: u16,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster session list
  muster session recording 5e55… > session.cast      play it with: asciinema play session.cast")]
pub enum SessionCommand {
    /// Open and past sessions, newest first.
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One session.
    Show { id: String },
    /// What passed in an ended session, as asciicast v2.
    Recording { id: String },
}

pub fn session(here: &Here, command: SessionCommand) -> Outcome<()> {
    match command {
        SessionCommand::List { limit } => {
            let sessions: Vec<Session> = here.client.list("/sessions", None, Some(limit))?;
            output::rows(here.format, &sessions)
        }
        SessionCommand::Show { id } => {
            output::one(here.format, &here.client.get::<Session>(&format!("/sessions/{}", part(&id)))?)
        }
        SessionCommand::Recording { id } => {
            output::print(&here.client.get_text(&format!("/sessions/{}/recording", part(&id)))?)
        }
    }
}

/// `LOCAL:HOST:PORT`, the host in brackets if it has colons.
fn way(text: &str) -> Result<Way, String> {
    let wrong = || format!("{text:?}: write LOCAL:HOST:PORT, such as 8080:127.0.0.1:80");
    let (local, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.is_empty() || (bare.is_none() && host.contains(':')) {
        return Err(wrong());
    }
    let (local, port) = (local.parse().map_err(|_| wrong())?, port.parse().map_err(|_| wrong())?);
    Ok(Way { local, host: bare.unwrap_or(host).to_owned(), port })
}

pub fn shell(here: &Here, args: &ShellArgs) -> Outcome<()> {
    let opened = open(here, &args.name, SessionKind::Shell, args.time)?;
    let mut line = connect(here, &opened.id)?;
    send(&mut line, FRAME_SIZE, &terminal::size())?;
    eprintln!("Waiting for {}; Ctrl-C gives up.", args.name);
    let over = AtomicBool::new(false);
    let (told, raw) = std::thread::scope(|scope| -> Outcome<_> {
        scope.spawn(|| look(here, opened.command, &line, &over));
        let outcome = talk(&line, &over);
        over.store(true, Ordering::Relaxed);
        outcome
    })?;
    drop(raw);
    if !told && let Some(refused) = refusal(here, opened.command) {
        return Err(refused);
    }
    end_of(here, &opened.id)
}

/// Passes what the device says until it hangs up. Answers whether it said anything.
fn talk(line: &TcpStream, over: &AtomicBool) -> Outcome<(bool, Option<Raw>)> {
    let mut from = line.try_clone().context("opening the session")?;
    let (mut raw, mut told) = (None, false);
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) | Err(_) => return Ok((told, raw)),
            Ok(count) => count,
        };
        if !told {
            // The device is there: from here on keys are its own.
            raw = terminal::raw();
            let to = line.try_clone().context("opening the session")?;
            // Ends with the program: nothing can interrupt a read of the terminal.
            std::thread::spawn(move || type_into(to));
            told = true;
        }
        let mut out = std::io::stdout().lock();
        if out.write_all(&chunk[..count]).and_then(|()| out.flush()).is_err() {
            over.store(true, Ordering::Relaxed);
            return Ok((told, raw));
        }
    }
}

fn type_into(mut line: TcpStream) {
    let mut keys = [0; 1024];
    loop {
        let count = std::io::stdin().lock().read(&mut keys).unwrap_or(0);
        let typed = &keys[..count];
        let leave = typed.iter().position(|key| *key == LEAVE);
        let sent = match (typed, leave) {
            ([], _) => send(&mut line, FRAME_END, &[]),
            (typed, at) => send(&mut line, FRAME_INPUT, &typed[..at.unwrap_or(count)]),
        };
        if leave.is_some() {
            // The other side may have gone already.
            let _ = line.shutdown(Shutdown::Both);
        }
        if sent.is_err() || count == 0 || leave.is_some() {
            return;
        }
    }
}

/// Tells a changed window size, and hangs up if the device refuses.
fn look(here: &Here, command: i64, line: &TcpStream, over: &AtomicBool) {
    let mut size = terminal::size();
    let mut rounds = 0_u32;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        let now = terminal::size();
        if now != size
            && let Ok(mut line) = line.try_clone()
        {
            size = now;
            // If it can't be sent, the session is over.
            let _ = send(&mut line, FRAME_SIZE, &size);
        }
        rounds += 1;
        if rounds.is_multiple_of(4) && refusal(here, command).is_some() {
            let _ = line.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Frames are written whole: two threads send them.
fn send(line: &mut TcpStream, kind: u8, data: &[u8]) -> Outcome<()> {
    let length = u16::try_from(data.len()).context("frames are short")?.to_be_bytes();
    let frame = [&[kind, length[0], length[1]], data].concat();
    Ok(line.write_all(&frame).context("the session broke")?)
}

pub fn forward(here: &Here, args: &ForwardArgs) -> Outcome<()> {
    let listener = TcpListener::bind(("127.0.0.1", args.way.local)).context("listening")?;
    let address = listener.local_addr().context("listening")?;
    output::print(&format!("listening on {address}\n"))?;
    std::thread::scope(|scope| {
        for taken in listener.incoming() {
            let taken = taken.context("taking a connection")?;
            scope.spawn(move || {
                if let Err(failed) = forward_one(here, args, &taken) {
                    eprintln!("error: {failed}");
                }
                // The program that connected learns that it is over.
                let _ = taken.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    })
}

fn forward_one(here: &Here, args: &ForwardArgs, local: &TcpStream) -> Outcome<()> {
    let kind = SessionKind::Forward { host: args.way.host.clone(), port: args.way.port };
    let opened = open(here, &args.name, kind, args.time)?;
    let line = connect(here, &opened.id)?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome<()> {
        scope.spawn(|| look_for_refusal(here, opened.command, (&line, local), &over));
        scope.spawn(|| pass(local, &line));
        pass(&line, local);
        over.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    refusal(here, opened.command).map_or(Ok(()), Err)
}

fn look_for_refusal(here: &Here, command: i64, ends: (&TcpStream, &TcpStream), over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY * 2);
        if refusal(here, command).is_some() {
            for end in [ends.0, ends.1] {
                // It may be closed already.
                let _ = end.shutdown(Shutdown::Both);
            }
            return;
        }
    }
}

/// One way, and then its close.
fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    // However it ends, the other side learns that nothing more comes.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

struct Opened {
    id: String,
    command: i64,
}

fn open(here: &Here, device: &str, session: SessionKind, time: Duration) -> Outcome<Opened> {
    let seconds_max = Some(u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    let new = CommandCreate { what: CommandKind::OpenSession { session, seconds_max }, deadline_s: None };
    let made: Command = here.client.create(&format!("/devices/{}/commands", part(device)), &new)?;
    let id = made.session.context("the server named no session")?;
    Ok(Opened { id, command: made.id })
}

/// Why the device will not come, if it said so.
fn refusal(here: &Here, command: i64) -> Option<Failed> {
    let found: Command = here.client.get(&format!("/commands/{command}")).ok()?;
    let words = if found.output.is_empty() { String::new() } else { format!(": {}", clean(found.output.trim_end())) };
    match found.state {
        CommandState::Refused => Some(Failed::NotAllowed(format!("{} refused the session{words}", found.device))),
        CommandState::Failed => Some(Failed::Conflict(format!("{} could not open it{words}", found.device))),
        CommandState::Late | CommandState::Expired => {
            Some(Failed::TimedOut(format!("{} did not come in time", found.device)))
        }
        CommandState::Pending | CommandState::Sent | CommandState::Started | CommandState::Succeeded => None,
    }
}

fn end_of(here: &Here, id: &str) -> Outcome<()> {
    let found: Session = here.client.get(&format!("/sessions/{}", part(id)))?;
    match found.end.as_deref() {
        None | Some("operator_left" | "device_left") => Ok(()),
        Some(end) => Err(Failed::Stopped(format!("the session was ended by the server: {end}"))),
    }
}

/// Asks the server to turn the connection into the session's.
fn connect(here: &Here, id: &str) -> Outcome<TcpStream> {
    let Some(host) = here.context.server.strip_prefix("http://") else {
        return Err(Failed::Usage("sessions go over http only yet: log in at the server's plain address".into()));
    };
    let address =
        if host.rsplit(']').next().unwrap_or(host).contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut line = TcpStream::connect(&address).with_context(|| format!("connecting to {address}"))?;
    line.set_nodelay(true).context("connecting")?;
    line.set_read_timeout(Some(ANSWER_TIMEOUT)).context("connecting")?;
    let request = format!(
        "GET /api/v1/sessions/{} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
         Upgrade: muster-session\r\n\r\n",
        part(id),
        here.context.token
    );
    line.write_all(request.as_bytes()).context("asking for the session")?;
    let head = head(&mut line)?;
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    if status == 101 {
        line.set_read_timeout(None).context("connecting")?;
        return Ok(line);
    }
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; usize::min(length.unwrap_or(0), HEAD_BYTES_MAX)];
    let said = line.read_exact(&mut body).ok().and_then(|()| serde_json::from_slice::<Problem>(&body).ok());
    let detail = said.map_or_else(|| format!("the server answered {status}"), |problem| problem.detail);
    Err(match status {
        401 | 403 => Failed::NotAllowed(detail),
        404 => Failed::NotFound(detail),
        409 => Failed::Conflict(detail),
        _ => Failed::Other(anyhow::anyhow!(detail)),
    })
}

/// Up to the empty line and not a byte beyond it: what follows is the session's.
fn head(line: &mut TcpStream) -> Outcome<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        line.read_exact(&mut byte).context("waiting for the server's answer")?;
        head.push(byte[0]);
        if head.len() > HEAD_BYTES_MAX {
            return Err(Failed::Other(anyhow::anyhow!("the server's answer makes no sense")));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_a_local_port_and_a_place_on_the_device() {
        let to = |local, host: &str, port| Ok(Way { local, host: host.into(), port });
        assert_eq!(way("8080:127.0.0.1:80"), to(8080, "127.0.0.1", 80));
        assert_eq!(way("0:[::1]:443"), to(0, "::1", 443));
        assert_eq!(way("1:db.local:5432"), to(1, "db.local", 5432));
        for text in ["", "80", "80:host", "x:host:1", "1:host:x", "1::1", "1:::1:80", "70000:a:1"] {
            assert!(way(text).is_err(), "{text} was taken");
        }
    }
}
