//! How is a program run to its end, in bounded time and with bounded output?
//!
//! In a process group of its own, which is killed as a whole when its time is over.

use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::world::{Ran, Run};

/// Between two looks at a program that runs: short against any timeout, long against the cost of looking.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Something that the program left running may hold its output open; what it says later is nobody's.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs it.
///
/// # Errors
/// If it can't be started.
pub fn run(run: &Run<'_>) -> io::Result<Ran> {
    let (program, arguments) =
        run.words.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program is named"))?;
    let (output, output_end) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).process_group(0);
    command.stdout(output_end.try_clone()?).stderr(output_end);
    let mut child = command.spawn()?;
    // The command holds our copies of the pipe's end; without dropping it the output would never end.
    drop(command);
    let collected = collect(output, run.output_bytes_max);
    feed(&mut child, run.stdin.to_vec());
    let exit_code = wait(&mut child, run.timeout)?;
    Ok(Ran { exit_code, output: gather(&collected) })
}

/// A program needn't read what it is told.
fn feed(child: &mut Child, bytes: Vec<u8>) {
    if let Some(mut stdin) = child.stdin.take() {
        thread::spawn(move || stdin.write_all(&bytes));
    }
}

fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<i32>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if begun.elapsed() >= timeout {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Reads to the end, so that the program never waits for us, and hands on what is wanted.
fn collect(mut output: PipeReader, bytes_max: usize) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        let mut room = bytes_max;
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            let taken = count.min(room);
            room -= taken;
            if taken > 0 && sender.send(buffer[..taken].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn gather(collected: &Receiver<Vec<u8>>) -> Vec<u8> {
    let until = Instant::now() + LAST_WORDS;
    let mut output = Vec::new();
    while let Ok(more) = collected.recv_timeout(until.saturating_duration_since(Instant::now())) {
        output.extend(more);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, stdin: &[u8], timeout: Duration) -> Ran {
        let words = ["sh", "-c", script].map(str::to_owned);
        run(&Run { words: &words, stdin, timeout, output_bytes_max: 1000 }).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_told_and_heard_on_both_streams() {
        let ran = shell("cat; echo out; echo err >&2; exit 20", b"told\n", LONG);
        assert_eq!((ran.exit_code, String::from_utf8(ran.output).unwrap()), (Some(20), "told\nout\nerr\n".into()));
    }

    #[test]
    fn when_its_time_is_over_it_and_what_it_started_are_killed() {
        let begun = Instant::now();
        let ran = shell("echo begun; sleep 1000 & sleep 1000", b"", Duration::from_millis(300));
        assert_eq!((ran.exit_code, ran.output), (None, b"begun\n".to_vec()));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn it_may_say_much_and_need_not_listen() {
        let ran = shell("yes | head -c 1000000; exit 0", &vec![b'x'; 1_000_000], LONG);
        assert_eq!((ran.exit_code, ran.output.len()), (Some(0), 1000));
    }

    #[test]
    fn something_left_running_does_not_hold_it_up() {
        let ran = shell("echo done; sleep 20 & exit 0", b"", LONG);
        assert_eq!((ran.exit_code, ran.output), (Some(0), b"done\n".to_vec()));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let words = ["/no/such/program".to_owned()];
        let nothing = Run { words: &words, stdin: b"", timeout: LONG, output_bytes_max: 10 };
        assert_eq!(run(&nothing).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(run(&Run { words: &[], ..nothing }).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
