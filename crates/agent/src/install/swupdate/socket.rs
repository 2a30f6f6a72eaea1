//! How is an image handed to SWUpdate's own service, and how does that tell how it went?
//!
//! Through its control socket alone: a request, the image's bytes, and questions about its status. The layout is that
//! of `network_ipc.h` (API version 1), in the byte order and with the `size_t` of the machine; 2022.12 is what it was
//! tried with. A service of another layout hangs up at the first message, and nothing is installed.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use super::Mode;
use crate::world::{Host, Stream, World};

const MAGIC: u32 = 0x1405_2001;
const INSTALL: u32 = 0;
const ACKNOWLEDGED: u32 = 1;
const STATUS: u32 = 3;
const API_VERSION: u32 = 1;
/// A program of this device, as opposed to a web server or hawkBit.
const SOURCE_LOCAL: u32 = 4;

const IDLE: u32 = 0;
const SUCCESS: u32 = 3;

/// Magic and kind.
const HEAD_BYTES: usize = 8;
const WORD_BYTES: usize = size_of::<usize>();
/// Four numbers of four bytes before `size_t len`, which begins at a multiple of its size.
const LENGTH_AT: usize = 12_usize.next_multiple_of(WORD_BYTES);
const INFO_BYTES: usize = 512;
const NAME_BYTES: usize = 256;
const SET_AT: usize = LENGTH_AT + WORD_BYTES + INFO_BYTES;
const MODE_AT: usize = SET_AT + NAME_BYTES;
/// With a flag at its end.
const REQUEST_BYTES: usize = (MODE_AT + NAME_BYTES + 1).next_multiple_of(WORD_BYTES);
/// The request, a length, and 2048 bytes that only other senders use.
const MESSAGE_BYTES: usize = HEAD_BYTES + (REQUEST_BYTES + 4 + 2048).next_multiple_of(WORD_BYTES);

const CHUNK_BYTES: usize = 64 * 1024;
/// One answer; while SWUpdate extracts, it reads from us and answers others at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often its status is asked for while it installs.
const PAUSE: Duration = Duration::from_millis(200);
/// Lines of its log that are kept for a report; it keeps 100 itself.
const LINES_MAX: usize = 100;

/// How it went.
#[derive(Debug)]
pub enum Outcome {
    Installed,
    Failed(Vec<String>),
}

/// What SWUpdate says about itself.
struct Status {
    now: u32,
    last_result: u32,
    line: String,
}

/// # Errors
/// If it can't be said how it went.
pub fn install(
    world: &dyn World,
    socket: &Path,
    image: &Path,
    mode: Option<&Mode>,
    timeout: Duration,
) -> io::Result<Outcome> {
    let ends_at = world.host().uptime() + timeout;
    wait_until_idle(world.host(), socket, ends_at)?;
    let mut stream = world.host().connect(socket, ANSWER_TIMEOUT)?;
    let answer = exchange(stream.as_mut(), &request(mode)?)?;
    if number(&answer, 4) != ACKNOWLEDGED {
        let why = format!("SWUpdate refuses: {}", text(&answer[HEAD_BYTES..HEAD_BYTES + 128]));
        return Err(io::Error::other(why));
    }
    send(world, stream.as_mut(), image, ends_at)?;
    // It closes the connection once it has read the image, or refused it, and has been busy since before. Without
    // waiting for that, a status asked for too early would be the one of the installation before.
    wait_for_end(world.host(), stream.as_mut(), ends_at)?;
    let (last_result, lines) = wait_until_idle(world.host(), socket, ends_at)?;
    Ok(if last_result == SUCCESS { Outcome::Installed } else { Outcome::Failed(lines) })
}

fn request(mode: Option<&Mode>) -> io::Result<Vec<u8>> {
    let mut message = vec![0; MESSAGE_BYTES];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC.to_ne_bytes());
    put(4, &INSTALL.to_ne_bytes());
    put(HEAD_BYTES, &API_VERSION.to_ne_bytes());
    put(HEAD_BYTES + 4, &SOURCE_LOCAL.to_ne_bytes());
    if let Some(mode) = mode {
        for (at, name) in [(SET_AT, &mode.set), (MODE_AT, &mode.mode)] {
            if name.len() >= NAME_BYTES {
                return Err(io::Error::new(ErrorKind::InvalidInput, format!("{name:?} is too long")));
            }
            put(HEAD_BYTES + at, name.as_bytes());
        }
    }
    Ok(message)
}

fn send(world: &dyn World, stream: &mut dyn Stream, image: &Path, ends_at: Duration) -> io::Result<()> {
    let size = world.disk().size(image)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    while offset < size {
        let count = world.disk().read_at(image, offset, &mut buffer)?;
        if count == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the image is shorter than it was"));
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                // It has seen enough: what it thinks of it is in its status.
                Err(error) if is_hung_up(&error) => return Ok(()),
                Err(error) if is_quiet(&error) => in_time(world.host(), ends_at)?,
                Err(error) => return Err(error),
            }
        }
        offset += count as u64;
    }
    match stream.finish() {
        Err(error) if !is_hung_up(&error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn wait_for_end(host: &dyn Host, stream: &mut dyn Stream, ends_at: Duration) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if is_hung_up(&error) => return Ok(()),
            Err(error) if is_quiet(&error) => in_time(host, ends_at)?,
            Err(error) => return Err(error),
        }
    }
}

/// Its last result, and what it logged; each question takes one line off its list.
fn wait_until_idle(host: &dyn Host, socket: &Path, ends_at: Duration) -> io::Result<(u32, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let status = status(host, socket)?;
        if !status.line.is_empty() {
            if lines.len() == LINES_MAX {
                lines.remove(0);
            }
            lines.push(status.line);
        } else if status.now == IDLE {
            return Ok((status.last_result, lines));
        } else {
            host.pause(PAUSE);
        }
        in_time(host, ends_at)?;
    }
}

fn status(host: &dyn Host, socket: &Path) -> io::Result<Status> {
    let mut message = vec![0; MESSAGE_BYTES];
    message[..4].copy_from_slice(&MAGIC.to_ne_bytes());
    message[4..8].copy_from_slice(&STATUS.to_ne_bytes());
    let mut stream = host.connect(socket, ANSWER_TIMEOUT)?;
    let answer = exchange(stream.as_mut(), &message)?;
    Ok(Status { now: number(&answer, 8), last_result: number(&answer, 12), line: text(&answer[20..20 + 2048]) })
}

/// SWUpdate reads a message in one go, so it is written in one go.
fn exchange(stream: &mut dyn Stream, message: &[u8]) -> io::Result<Vec<u8>> {
    let other = || io::Error::other("SWUpdate hangs up at a message: its version speaks another protocol");
    if stream.write(message)? != message.len() {
        return Err(other());
    }
    let mut answer = vec![0; MESSAGE_BYTES];
    match stream.read_exact(&mut answer) {
        Ok(()) if number(&answer, 0) == MAGIC => Ok(answer),
        Ok(()) => Err(other()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof || is_hung_up(&error) => Err(other()),
        Err(error) => Err(error),
    }
}

fn in_time(host: &dyn Host, ends_at: Duration) -> io::Result<()> {
    let late = host.uptime() >= ends_at;
    if late { Err(io::Error::new(ErrorKind::TimedOut, "SWUpdate did not end in time")) } else { Ok(()) }
}

fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

fn number(message: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(message[at..at + 4].try_into().expect("four bytes were cut out"))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a C compiler lays `network_ipc.h` of 2022.12 out on a machine of 64 bits.
    #[test]
    fn the_request_is_laid_out_as_in_the_header() {
        let mode = Mode { set: "stable".into(), mode: "copy-2".into() };
        let message = request(Some(&mode)).unwrap();
        if WORD_BYTES == 8 {
            assert_eq!((MESSAGE_BYTES, REQUEST_BYTES, SET_AT, MODE_AT), (3120, 1056, 536, 792));
        }
        assert_eq!((number(&message, 0), number(&message, 8), number(&message, 12)), (MAGIC, 1, 4));
        assert_eq!(text(&message[HEAD_BYTES + SET_AT..]), "stable");
        assert_eq!(text(&message[HEAD_BYTES + MODE_AT..]), "copy-2");
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let mode = Mode { set: "s".repeat(256), mode: "m".into() };
        assert_eq!(request(Some(&mode)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
