//! How is a program run so that it ends in bounded time and takes bounded memory?

use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::world::{Ran, Run};

/// How often it is asked whether the program has ended: at first often, because most end at once.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_millis(50);
/// What it left running in the background may hold its output open; that is waited for no longer than this.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 4096;

/// Runs it in a process group of its own, which is killed as a whole when the time is over.
pub fn run(run: &Run<'_>) -> io::Result<Ran> {
    let Some((program, arguments)) = run.words.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program is named"));
    };
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(if run.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the pipe's other end: as long as it lives, the output has no end.
    drop(command);
    let output = Output::collect(reader, run.output_bytes_max);
    feed(&mut child, run.stdin);
    let status = wait(&mut child, run.timeout)?;
    Ok(Ran { exit_code: status.and_then(code), output: output.take() })
}

/// None for a program that a signal ended.
fn code(status: ExitStatus) -> Option<i32> {
    if status.signal().is_some() { None } else { status.code() }
}

fn feed(child: &mut Child, bytes: &[u8]) {
    if let Some(mut stdin) = child.stdin.take() {
        let bytes = bytes.to_vec();
        // A program may end without having read all of it; its exit code tells whether that was right.
        thread::spawn(move || stdin.write_all(&bytes));
    }
}

/// None: its time was over.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let ends_at = Instant::now() + timeout;
    let mut pause = LOOK_FIRST;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = ends_at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let group = Pid::from_child(child);
            // It may have ended just now; then nobody is left to kill.
            let _ = kill_process_group(group, Signal::KILL);
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LOOK_LAST);
    }
}

struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

impl Output {
    fn collect(mut reader: PipeReader, bytes_max: usize) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = mpsc::channel();
        let collected = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut buffer = [0; READ_BYTES];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut bytes = collected.lock().unwrap_or_else(PoisonError::into_inner);
                let room = bytes_max.saturating_sub(bytes.len());
                bytes.extend_from_slice(&buffer[..count.min(room)]);
            }
            // Nobody listens any more once the grace is over.
            let _ = end.send(());
        });
        Self { bytes, ended }
    }

    fn take(self) -> Vec<u8> {
        // Either it has ended, or what is there has to do.
        let _ = self.ended.recv_timeout(OUTPUT_GRACE);
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, stdin: &[u8], timeout: Duration) -> Ran {
        let words = ["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        run(&Run { words: &words, stdin, timeout, output_bytes_max: 1000 }).unwrap()
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn both_streams_and_the_exit_code_are_told() {
        let ran = shell("echo one; echo two >&2; cat; exit 3", b"three\n", LONG);
        assert_eq!(ran, Ran { exit_code: Some(3), output: b"one\ntwo\nthree\n".to_vec() });
    }

    #[test]
    fn output_beyond_the_bound_is_dropped_and_the_program_still_ends() {
        let ran = shell("yes | head -c 500000", b"", LONG);
        assert_eq!((ran.exit_code, ran.output.len()), (Some(0), 1000));
    }

    #[test]
    fn a_program_and_its_children_are_killed_when_the_time_is_over() {
        let began = Instant::now();
        let ran = shell("echo begun; sleep 1000 & echo $!; wait", b"", Duration::from_millis(300));
        assert_eq!(ran.exit_code, None);
        assert!(began.elapsed() < LONG);
        let text = String::from_utf8(ran.output).unwrap();
        let grandchild = text.lines().nth(1).unwrap();
        let gone = || match std::fs::read_to_string(format!("/proc/{grandchild}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        while !gone() {
            assert!(began.elapsed() < LONG, "process {grandchild} still runs");
            thread::yield_now();
        }
    }

    #[test]
    fn what_stays_in_the_background_is_not_waited_for() {
        let began = Instant::now();
        let ran = shell("sleep 60 & echo $!", b"", LONG);
        assert!(ran.succeeded() && began.elapsed() < LONG);
        let pid = String::from_utf8(ran.output).unwrap();
        shell(&format!("kill {pid}"), b"", LONG);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_no_exit_code() {
        let words = ["/no/such/program".to_owned()];
        let missing = run(&Run { words: &words, stdin: b"", timeout: LONG, output_bytes_max: 10 });
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
