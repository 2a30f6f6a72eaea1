//! What is at the device's end of a session: a shell on a terminal of its own, or a connection?

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the operator's end says its size.
const WINDOW: (u16, u16) = (80, 24);
/// What a terminal takes as the end of input at the beginning of a line.
const END_OF_INPUT: u8 = 4;

#[derive(Debug)]
pub(super) enum Local {
    Shell { terminal: File, shell: Child },
    Connection(TcpStream),
}

impl Local {
    /// A login shell. `setsid -c` (util-linux, busybox) gives it the terminal as its own, which takes a system call
    /// between fork and exec that safe Rust can't make.
    pub(super) fn shell() -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = std::ffi::OsStr::from_bytes(name.as_bytes()).to_owned();
        let no_terminal = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or(0);
        let slave = OpenOptions::new().read(true).write(true).custom_flags(no_terminal).open(path)?;
        let mut command = Command::new("setsid");
        command.args(["-c", "/bin/sh", "-l"]).env("TERM", "xterm-256color").current_dir("/");
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(Stdio::from(slave));
        let shell = command.spawn()?;
        let local = Self::Shell { terminal: File::from(master), shell };
        local.set_window(WINDOW.0, WINDOW.1)?;
        local.set_nonblocking()?;
        Ok(local)
    }

    pub(super) fn forward(host: &str, port: u16) -> io::Result<Self> {
        let stream = connect((host, port), CONNECT_TIMEOUT)?;
        let local = Self::Connection(stream);
        local.set_nonblocking()?;
        Ok(local)
    }

    pub(super) fn is_shell(&self) -> bool {
        matches!(self, Self::Shell { .. })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shell { terminal, .. } => terminal.as_fd(),
            Self::Connection(stream) => stream.as_fd(),
        }
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self.fd(), true)?)
    }

    /// 0: it has ended. A terminal whose shell is gone says so by an error.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Shell { terminal, .. } => match terminal.read(buffer) {
                Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(0),
                read => read,
            },
            Self::Connection(stream) => stream.read(buffer),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Shell { terminal, .. } => terminal.write(bytes),
            Self::Connection(stream) => stream.write(bytes),
        }
    }

    pub(super) fn set_window(&self, columns: u16, rows: u16) -> io::Result<()> {
        if let Self::Shell { terminal, .. } = self {
            tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        }
        Ok(())
    }

    /// Bytes that stand for the end of what the operator says.
    pub(super) fn end_mark(&self) -> &'static [u8] {
        if self.is_shell() { &[END_OF_INPUT] } else { &[] }
    }

    /// Nothing more is written to it.
    pub(super) fn close_input(&self) {
        if let Self::Connection(stream) = self {
            // It may have hung up already.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for Local {
    /// What a shell has started hangs up with its terminal; the shell itself is waited for.
    fn drop(&mut self) {
        if let Self::Shell { shell, .. } = self {
            let group = Pid::from_child(shell);
            // Gone already is fine.
            let _ = kill_process_group(group, Signal::HUP);
            let _ = kill_process_group(group, Signal::KILL);
            let _ = shell.kill();
            let _ = shell.wait();
        }
    }
}

/// Tries each address of a name.
pub(super) fn connect(target: (&str, u16), timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in target.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
