//! How fast can this disk make records durable at all?

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::folder::Folder;

const RECORD_BYTES: usize = 100;
const RECORDS_PER_FLUSH: usize = 1000;
const MEASURED: Duration = Duration::from_secs(5);

/// Records a second, appended to one file and flushed a thousand at a time.
pub fn appends_per_s() -> anyhow::Result<f64> {
    let folder = Folder::make("append")?;
    let mut file = File::create(folder.path().join("records")).context("making a file to append to")?;
    let records = vec![b'r'; RECORD_BYTES * RECORDS_PER_FLUSH];
    let started = Instant::now();
    let mut appended = 0;
    while started.elapsed() < MEASURED {
        file.write_all(&records).context("appending records")?;
        file.sync_data().context("flushing records")?;
        appended += RECORDS_PER_FLUSH;
    }
    Ok(appended as f64 / started.elapsed().as_secs_f64())
}
