//! What has a process used? Read from the kernel's own books.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// The kernel counts processor time in hundredths of a second, on every architecture.
const TICKS_PER_S: f64 = 100.0;

/// User and system time of a process and of its children that still run.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for process in std::fs::read_dir("/proc").context("reading /proc")? {
        let process = process.context("reading /proc")?;
        let Some(number) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that ended meanwhile is none of ours.
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        let stat = stat_of(&stat).with_context(|| format!("reading /proc/{number}/stat"))?;
        if number == pid || stat.parent == pid {
            ticks += stat.ticks;
        }
    }
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_S))
}

/// Memory that is in RAM now.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let kib = field(&Path::new("/proc").join(pid.to_string()).join("status"), "VmRSS:")?;
    Ok(kib * 1024)
}

/// The most memory that was in RAM since the process began.
pub fn most_resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let kib = field(&Path::new("/proc").join(pid.to_string()).join("status"), "VmHWM:")?;
    Ok(kib * 1024)
}

/// Bytes that the process caused to be sent to a disk.
pub fn written_bytes(pid: u32) -> anyhow::Result<u64> {
    field(&Path::new("/proc").join(pid.to_string()).join("io"), "write_bytes:")
}

/// What the kernel keeps for itself: sockets, descriptors and the like. Of the whole machine.
pub fn slab_bytes() -> anyhow::Result<u64> {
    Ok(field(Path::new("/proc/meminfo"), "Slab:")? * 1024)
}

fn field(file: &Path, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{name} is missing in {}", file.display()))
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// The name of the program stands in parentheses and may hold anything, so fields are counted from the last one.
fn stat_of(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_call_itself_anything() {
        let stat = stat_of("7 (a) b) S 3 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 1").unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 300));
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(cpu(pid).is_ok());
        assert!(written_bytes(pid).is_ok());
    }
}
