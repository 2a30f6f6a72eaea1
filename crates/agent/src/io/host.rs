//! The machine that the agent runs on: Linux.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_vocab::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::{probe, program};
use crate::world::{Host, Ran, Run, Stream};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const COMMAND_LINE: &str = "/proc/cmdline";
const POWER: &str = "/sys/class/power_supply";
/// Exists while systemd is the first process.
const SYSTEMD: &str = "/run/systemd/system";
/// A restart command only asks for the restart, and returns.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);
const RESTART_OUTPUT_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, Default)]
pub struct RealHost {
    /// What restarts the machine; empty: `systemctl reboot` where systemd runs, and `reboot` elsewhere.
    pub restart: Vec<String>,
}

impl RealHost {
    fn restart_words(&self) -> Vec<String> {
        let words: &[&str] = if Path::new(SYSTEMD).exists() { &["systemctl", "reboot"] } else { &["reboot"] };
        if self.restart.is_empty() { words.iter().map(|&word| word.into()).collect() } else { self.restart.clone() }
    }
}

impl Host for RealHost {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// With the time that the machine was suspended.
    fn uptime(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn boot_id(&self) -> String {
        fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
    }

    fn kernel_command_line(&self) -> String {
        fs::read_to_string(COMMAND_LINE).unwrap_or_default().trim().to_owned()
    }

    fn restart(&self) -> io::Result<()> {
        let words = self.restart_words();
        let output_bytes_max = RESTART_OUTPUT_BYTES_MAX;
        let ran = self.run(&Run { words: &words, stdin: b"", timeout: RESTART_TIMEOUT, output_bytes_max })?;
        if ran.succeeded() {
            return Ok(());
        }
        let said = ran.last_lines(3).join("; ");
        Err(io::Error::other(format!("{} failed: {said}", words.join(" "))))
    }

    fn run(&self, run: &Run<'_>) -> io::Result<Ran> {
        program::run(run)
    }

    fn connect(&self, socket: &Path, timeout: Duration) -> io::Result<Box<dyn Stream>> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Box::new(stream))
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn probe(&self, url: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
        probe::probe(url, timeout)
    }

    fn battery_percent(&self) -> Option<u8> {
        lowest_battery(Path::new(POWER))
    }

    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        // Fails only before the kernel has gathered entropy and where it can't wait; then the clock has to do.
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => self.uptime().as_nanos() as u64,
        }
    }

    /// Standard error, which systemd puts into the journal.
    fn log(&self, line: &str) {
        eprintln!("{}", line.replace('\n', " "));
    }
}

impl Stream for UnixStream {
    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Batteries of mice and headsets (scope "Device") don't count. With several, the emptiest does.
fn lowest_battery(folder: &Path) -> Option<u8> {
    let supplies = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|supply| supply.path());
    let read = |supply: &Path, name: &str| Some(fs::read_to_string(supply.join(name)).ok()?.trim().to_owned());
    supplies
        .filter(|supply| read(supply, "type").as_deref() == Some("Battery"))
        .filter(|supply| read(supply, "scope").as_deref() != Some("Device"))
        .filter_map(|supply| read(&supply, "capacity")?.parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_machine_tells_its_clocks_and_its_boot() {
        let host = RealHost::default();
        assert!(host.now() > Timestamp(1_700_000_000_000) && host.uptime() > Duration::ZERO);
        assert_eq!(host.boot_id().len(), 36, "a UUID");
        assert_eq!(host.boot_id(), host.boot_id());
        assert!(!host.kernel_command_line().ends_with('\n'));
        assert_ne!(host.chance(), host.chance());
    }

    #[test]
    fn the_emptiest_battery_of_the_machine_counts() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            fs::create_dir(folder.path().join(name)).unwrap();
            for (file, content) in files {
                fs::write(folder.path().join(name).join(file), content).unwrap();
            }
        };
        assert_eq!(lowest_battery(folder.path()), None);
        supply("AC", &[("type", "Mains\n"), ("online", "1\n")]);
        supply("mouse", &[("type", "Battery\n"), ("scope", "Device\n"), ("capacity", "3\n")]);
        assert_eq!(lowest_battery(folder.path()), None);
        supply("BAT0", &[("type", "Battery\n"), ("capacity", "81\n")]);
        supply("BAT1", &[("type", "Battery\n"), ("scope", "System\n"), ("capacity", "42\n")]);
        assert_eq!(lowest_battery(folder.path()), Some(42));
        assert_eq!(lowest_battery(Path::new("/no/such/folder")), None);
    }

    #[test]
    fn a_restart_that_fails_says_what_the_command_said() {
        let restart = ["sh", "-c", "echo no bus >&2; exit 1"].map(str::to_owned).to_vec();
        let error = RealHost { restart }.restart().unwrap_err();
        assert_eq!(error.to_string(), "sh -c echo no bus >&2; exit 1 failed: no bus");
        RealHost { restart: vec!["true".to_owned()] }.restart().unwrap();
    }

    #[test]
    fn a_program_that_listens_is_called_and_silence_ends() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut stream = RealHost::default().connect(&socket, Duration::from_millis(50)).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        stream.write_all(b"ping").unwrap();
        let mut bytes = [0; 4];
        other.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ping");
        assert_eq!(stream.read(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
