//! How do bytes pass between the server and what is at the device's end, and when does that end?

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::frames::{self, Frame};
use super::local::Local;
use super::wire::{Wire, is_later};

/// An end that takes nothing makes the other wait, once this much is on its way.
const AHEAD_BYTES_MAX: usize = 256 * 1024;
const PIECE_BYTES: usize = 16 * 1024;
/// For what was said last.
const FAREWELL: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// One end closed, and the other was told.
    Closed,
    TimeOut,
    Idle,
}

#[derive(Debug)]
struct Passing {
    wire: Wire,
    local: Local,
    /// From the server, not taken apart yet.
    came: Vec<u8>,
    /// For the local end.
    unsaid: Vec<u8>,
    wire_is_open: bool,
    local_is_open: bool,
    is_input_closed: bool,
}

/// Until one end of a shell, or both of a connection, have closed, or the time is over. Both are closed then.
pub(super) fn pump(wire: Wire, local: Local, time_max: Duration, idle_max: Duration) -> io::Result<End> {
    let mut passing = Passing {
        wire,
        local,
        came: Vec::new(),
        unsaid: Vec::new(),
        wire_is_open: true,
        local_is_open: true,
        is_input_closed: false,
    };
    let began = Instant::now();
    let mut last = began;
    // What came together with the server's answer is here already, and nothing would wake for it.
    passing.pass()?;
    while !passing.is_over() {
        let left = time_max.saturating_sub(began.elapsed());
        let idle_left = idle_max.saturating_sub(last.elapsed());
        if left.is_zero() || idle_left.is_zero() {
            passing.say_farewell()?;
            return Ok(if left.is_zero() { End::TimeOut } else { End::Idle });
        }
        if passing.wait(left.min(idle_left))? && passing.pass()? {
            last = Instant::now();
        }
    }
    passing.say_farewell()?;
    Ok(End::Closed)
}

impl Passing {
    fn is_over(&self) -> bool {
        let is_said = self.unsaid.is_empty();
        match self.local.is_shell() {
            true => !self.local_is_open || !self.wire_is_open,
            false => !self.local_is_open && !self.wire_is_open && is_said,
        }
    }

    /// True: something can be done.
    fn wait(&self, time: Duration) -> io::Result<bool> {
        let mut wire = PollFlags::empty();
        let mut local = PollFlags::empty();
        wire.set(PollFlags::IN, self.wire_is_open && self.unsaid.len() < AHEAD_BYTES_MAX);
        wire.set(PollFlags::OUT, self.wire.wants_write());
        local.set(PollFlags::IN, self.local_is_open && !self.wire.wants_write());
        local.set(PollFlags::OUT, !self.unsaid.is_empty());
        let mut polled = Vec::new();
        // A closed end is always ready, and nothing is asked of it: it would be a busy loop.
        if !wire.is_empty() {
            polled.push(PollFd::from_borrowed_fd(self.wire.fd(), wire));
        }
        if !local.is_empty() {
            polled.push(PollFd::from_borrowed_fd(self.local.fd(), local));
        }
        let timeout =
            Timespec { tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() };
        match poll(&mut polled, Some(&timeout)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// True: bytes have passed.
    fn pass(&mut self) -> io::Result<bool> {
        let mut has_passed = false;
        if self.wire_is_open && self.unsaid.len() < AHEAD_BYTES_MAX {
            let before = self.came.len();
            self.wire_is_open = self.wire.read(&mut self.came)?;
            has_passed |= self.came.len() > before;
            self.take_apart()?;
        }
        if self.local_is_open && !self.wire.wants_write() {
            let mut piece = [0; PIECE_BYTES];
            match self.local.read(&mut piece) {
                Ok(0) => {
                    self.local_is_open = false;
                    self.wire.close_output()?;
                }
                Ok(count) => {
                    self.wire.queue(&piece[..count])?;
                    has_passed = true;
                }
                Err(error) if is_later(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.say()?;
        self.wire.flush()?;
        Ok(has_passed)
    }

    fn take_apart(&mut self) -> io::Result<()> {
        if !self.local.is_shell() {
            self.unsaid.append(&mut self.came);
            return Ok(());
        }
        for frame in frames::take(&mut self.came) {
            match frame {
                Frame::Input(bytes) => self.unsaid.extend(bytes),
                Frame::Window { columns, rows } => self.local.set_window(columns, rows)?,
                Frame::End => self.unsaid.extend_from_slice(self.local.end_mark()),
            }
        }
        Ok(())
    }

    fn say(&mut self) -> io::Result<()> {
        while !self.unsaid.is_empty() {
            match self.local.write(&self.unsaid) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.unsaid.drain(..count)),
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.wire_is_open && !self.is_input_closed {
            self.is_input_closed = true;
            self.local.close_input();
        }
        Ok(())
    }

    /// What was said last still goes out, if anybody takes it.
    fn say_farewell(&mut self) -> io::Result<()> {
        self.unsaid.clear();
        self.wire_is_open = false;
        let was_open = std::mem::replace(&mut self.local_is_open, false);
        let until = Instant::now() + FAREWELL;
        self.flush_until(until)?;
        if was_open {
            self.wire.close_output()?;
            self.flush_until(until)?;
        }
        Ok(())
    }

    fn flush_until(&mut self, until: Instant) -> io::Result<()> {
        while self.wire.wants_write() && Instant::now() < until {
            self.wait(until.saturating_duration_since(Instant::now()))?;
            self.wire.flush()?;
        }
        Ok(())
    }
}
