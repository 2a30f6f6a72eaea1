//! The device's end of a session: a shell on a terminal of its own, or a connection to something that it can reach.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::line;

/// What a terminal takes for the end of input: Ctrl-D.
const END_OF_INPUT: u8 = 4;
/// A shell that was hung up has this long to end.
const HANG_UP_GRACE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub enum End {
    Shell { terminal: File, shell: Child },
    Forward(TcpStream),
}

impl End {
    /// `setsid -c`, which util-linux and BusyBox have, gives the shell the terminal, for Ctrl-C and jobs.
    pub fn shell(words: &[String]) -> io::Result<Self> {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let name = ptsname(&terminal, Vec::new())?;
        let inner = File::from(open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?);
        let mut command = Command::new("setsid");
        command.arg("-c").args(words).env("TERM", "xterm-256color");
        command.stdin(inner.try_clone()?).stdout(inner.try_clone()?).stderr(inner);
        let shell = command.spawn().map_err(|failed| io::Error::new(failed.kind(), format!("setsid: {failed}")))?;
        fcntl_setfl(&terminal, OFlags::RDWR | OFlags::NONBLOCK)?;
        Ok(Self::Shell { terminal: File::from(terminal), shell })
    }

    pub fn forward(host: &str, port: u16) -> io::Result<Self> {
        let socket = line::connect((host, port))?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self::Forward(socket))
    }

    pub fn is_shell(&self) -> bool {
        matches!(self, Self::Shell { .. })
    }

    /// Never waits. 0: it has ended.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            // The terminal of a shell that is gone fails with EIO.
            Self::Shell { terminal, .. } => match terminal.read(buffer) {
                Err(failed) if failed.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
                outcome => outcome,
            },
            Self::Forward(socket) => socket.read(buffer),
        }
    }

    /// Never waits.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Shell { terminal, .. } => terminal.write(bytes),
            Self::Forward(socket) => socket.write(bytes),
        }
    }

    /// What to write to say that no more will come; none: [`End::finish`] says it.
    pub fn end_of_input(&self) -> Option<u8> {
        self.is_shell().then_some(END_OF_INPUT)
    }

    pub fn finish(&self) {
        if let Self::Forward(socket) = self {
            // Whoever is gone needs no goodbye.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        if let Self::Shell { terminal, .. } = self {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A shell that has just ended has no window.
            let _ = tcsetwinsize(terminal, size);
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shell { terminal, .. } => terminal.as_fd(),
            Self::Forward(socket) => socket.as_fd(),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let Self::Shell { shell, .. } = self else { return };
        let group = Pid::from_child(shell);
        // It may be gone already.
        let _ = kill_process_group(group, Signal::HUP);
        let until = Instant::now() + HANG_UP_GRACE;
        while matches!(shell.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = shell.kill();
        let _ = shell.wait();
    }
}

/// Nothing now, as against an end or a failure.
pub fn is_nothing(failed: &io::Error) -> bool {
    matches!(failed.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
