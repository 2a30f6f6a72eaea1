//! Up to which report has a device's queue been taken?

use muster_vocab::{DeviceId, ProjectId};
use rusqlite::OptionalExtension;

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// A device's queue of reports, as far as it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    /// The last report taken; 0 before the first.
    pub through: u64,
}

impl View<'_> {
    pub fn device_queue(&self, project: ProjectId, device: DeviceId) -> Result<Option<Queue>, StoreError> {
        self.conn
            .prepare_cached("SELECT queue, sequence FROM device_queue WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| {
                it.query_row((device.0, project.0), |row| {
                    Ok(Queue { name: row.get(0)?, through: row.get::<_, i64>(1)?.cast_unsigned() })
                })
                .optional()
            })
            .doing("a device's queue")
    }
}

impl Tx<'_> {
    pub fn save_device_queue(&mut self, project: ProjectId, device: DeviceId, queue: &Queue) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO device_queue (device_id, project_id, queue, sequence) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (device_id) DO UPDATE SET queue = excluded.queue, sequence = excluded.sequence",
            )
            .and_then(|mut it| it.execute((device.0, project.0, &queue.name, queue.through.cast_signed())))
            .doing("a device's queue")?;
        Ok(())
    }
}
