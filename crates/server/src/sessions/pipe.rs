//! How do bytes pass between a device and an operator, and when does that end?

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_domain::session::End;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::recorder::{Direction, Recorder};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// An end that takes nothing for so long is as good as gone.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What bounds a session.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub time_max: Duration,
    pub idle_max: Duration,
    /// A shell is over when one end closes; a forwarded connection may be closed one way.
    pub is_shell: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub to_device: u64,
    pub to_operator: u64,
}

#[derive(Debug)]
struct Passing<'a> {
    began: Instant,
    recorder: &'a Recorder,
    to_device: AtomicU64,
    to_operator: AtomicU64,
    /// Milliseconds after the beginning at which something passed last.
    last: AtomicU64,
}

/// Passes bytes both ways until something ends it. Both ends are closed then.
pub async fn pipe<D, O>(line: Line, ends: (D, O), recorder: &Recorder, stop: impl Future<Output = End>) -> (End, Counts)
where
    D: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let passing = Passing {
        began: Instant::now(),
        recorder,
        to_device: AtomicU64::new(0),
        to_operator: AtomicU64::new(0),
        last: AtomicU64::new(0),
    };
    let (mut from_device, mut to_device) = tokio::io::split(ends.0);
    let (mut from_operator, mut to_operator) = tokio::io::split(ends.1);
    let end = tokio::select! {
        end = both(&passing, line, (&mut from_device, &mut to_operator), (&mut from_operator, &mut to_device)) => end,
        () = tokio::time::sleep(line.time_max) => End::TimeOut,
        () = idle(&passing, line.idle_max) => End::Idle,
        end = stop => end,
    };
    // What was said last still arrives, if anybody takes it.
    let farewell = async {
        let _ = tokio::join!(to_operator.shutdown(), to_device.shutdown());
    };
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, farewell).await;
    let counts = Counts {
        to_device: passing.to_device.load(Ordering::Relaxed),
        to_operator: passing.to_operator.load(Ordering::Relaxed),
    };
    (end, counts)
}

async fn both<R1, W1, R2, W2>(passing: &Passing<'_>, line: Line, up: (R1, W1), down: (R2, W2)) -> End
where
    R1: AsyncRead + Unpin,
    W1: AsyncWrite + Unpin,
    R2: AsyncRead + Unpin,
    W2: AsyncWrite + Unpin,
{
    let mut up = std::pin::pin!(one_way(passing, Direction::ToOperator, up));
    let mut down = std::pin::pin!(one_way(passing, Direction::ToDevice, down));
    let (first, is_up) = tokio::select! {
        end = &mut up => (end, true),
        end = &mut down => (end, false),
    };
    if line.is_shell || first.is_broken {
        return first.end;
    }
    let rest = if is_up { down.await } else { up.await };
    if rest.is_broken { rest.end } else { first.end }
}

struct Over {
    end: End,
    /// Not a close that the other way may outlive.
    is_broken: bool,
}

/// Ends when its source closes, or its destination or the recorder fails.
async fn one_way<R, W>(passing: &Passing<'_>, direction: Direction, mut ends: (R, W)) -> Over
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (source_left, sink_left, counter) = match direction {
        Direction::ToOperator => (End::DeviceLeft, End::OperatorLeft, &passing.to_operator),
        Direction::ToDevice => (End::OperatorLeft, End::DeviceLeft, &passing.to_device),
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match ends.0.read(&mut chunk).await {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) => return Over { end: source_left, is_broken: true },
        };
        let since = passing.began.elapsed();
        passing.last.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        // Recorded before it is passed on: nothing happens that the record doesn't have.
        if passing.recorder.record(since, direction, &chunk[..count]).await.is_err() {
            return Over { end: End::RecordingFailed, is_broken: true };
        }
        if ends.1.write_all(&chunk[..count]).await.is_err() || ends.1.flush().await.is_err() {
            return Over { end: sink_left, is_broken: true };
        }
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
    let is_broken = ends.1.shutdown().await.is_err();
    Over { end: source_left, is_broken }
}

async fn idle(passing: &Passing<'_>, idle_max: Duration) {
    loop {
        let last = Duration::from_millis(passing.last.load(Ordering::Relaxed));
        let over = passing.began + last + idle_max;
        if over <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(over).await;
    }
}

#[cfg(test)]
mod tests {
    use muster_vocab::Timestamp;
    use tokio::io::duplex;

    use super::*;

    const LINE: Line = Line { time_max: Duration::from_secs(3600), idle_max: Duration::from_secs(600), is_shell: true };

    async fn recorder(folder: &tempfile::TempDir) -> Recorder {
        Recorder::begin(folder.path().join("x.cast"), Timestamp(0), true).await.unwrap()
    }

    async fn never() -> End {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_both_ways_until_the_operator_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(&folder).await;
        let ((device, mut at_device), (operator, mut at_operator)) = (duplex(64), duplex(64));
        let people = async {
            at_operator.write_all(b"\0\0\x02ls").await.unwrap();
            let mut frame = [0; 5];
            at_device.read_exact(&mut frame).await.unwrap();
            assert_eq!(&frame, b"\0\0\x02ls");
            at_device.write_all(b"a b").await.unwrap();
            let mut text = [0; 3];
            at_operator.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"a b");
            drop(at_operator);
            assert_eq!(at_device.read(&mut text).await.unwrap(), 0, "the device is hung up on");
        };
        let ((end, counts), ()) = tokio::join!(pipe(LINE, (device, operator), &recorder, never()), people);
        assert_eq!((end, counts), (End::OperatorLeft, Counts { to_device: 5, to_operator: 3 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_its_time_is_over_however_busy_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(&folder).await;
        let ((device, mut at_device), (operator, _at_operator)) = (duplex(1 << 20), duplex(1 << 20));
        let busy = async {
            while at_device.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        };
        let began = Instant::now();
        let (end, _) = tokio::select! {
            ended = pipe(LINE, (device, operator), &recorder, never()) => ended,
            () = busy => panic!("the device was hung up on"),
        };
        assert_eq!((end, began.elapsed()), (End::TimeOut, Duration::from_secs(3600)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_session_ends_and_a_stopping_server_ends_all() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(&folder).await;
        let ((device, _a), (operator, _b)) = (duplex(64), duplex(64));
        let began = Instant::now();
        let (end, _) = pipe(LINE, (device, operator), &recorder, never()).await;
        assert_eq!((end, began.elapsed()), (End::Idle, Duration::from_secs(600)));
        let ((device, _a), (operator, _b)) = (duplex(64), duplex(64));
        let (end, _) = pipe(LINE, (device, operator), &recorder, async { End::ServerStopped }).await;
        assert_eq!(end, End::ServerStopped);
    }

    #[tokio::test(start_paused = true)]
    async fn a_forwarded_connection_may_be_closed_one_way() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(&folder).await;
        let ((device, mut at_device), (operator, mut at_operator)) = (duplex(64), duplex(64));
        let people = async {
            at_operator.write_all(b"GET").await.unwrap();
            at_operator.shutdown().await.unwrap();
            let mut asked = Vec::new();
            at_device.read_to_end(&mut asked).await.unwrap();
            at_device.write_all(b"answer").await.unwrap();
            drop(at_device);
            let mut answer = Vec::new();
            at_operator.read_to_end(&mut answer).await.unwrap();
            assert_eq!((asked.as_slice(), answer.as_slice()), (&b"GET"[..], &b"answer"[..]));
        };
        let line = Line { is_shell: false, ..LINE };
        let ((end, counts), ()) = tokio::join!(pipe(line, (device, operator), &recorder, never()), people);
        assert_eq!((end, counts), (End::OperatorLeft, Counts { to_device: 3, to_operator: 6 }));
    }
}
