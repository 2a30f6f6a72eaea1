//! Which devices leave a project, and where do they go?

use muster_domain::departure::Departure;
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use rusqlite::OptionalExtension;

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// A device that another project has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    pub to_device: DeviceId,
    pub to_project: ProjectId,
    pub at: Timestamp,
}

/// Counters of a device that never go back, under one name of its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    pub queue: String,
    pub boots: u64,
    pub taken: u64,
    /// When it told them first.
    pub at: Timestamp,
}

impl View<'_> {
    pub fn departure(&self, project: ProjectId, device: DeviceId) -> Result<Option<Departure>, StoreError> {
        let what = "a decommission";
        self.conn
            .prepare_cached("SELECT body FROM device_departure WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| it.query_row((device.0, project.0), |row| row.get::<_, String>(0)).optional())
            .doing(what)?
            .map(|body| serde_json::from_str(&body).doing(what))
            .transpose()
    }

    /// Of whichever project: the receipt is all that the device has left.
    pub fn departure_by_receipt(
        &self,
        receipt: &[u8; 32],
    ) -> Result<Option<(ProjectId, DeviceId, Departure)>, StoreError> {
        let what = "a decommission";
        let found = self
            .conn
            .prepare_cached("SELECT project_id, device_id, body FROM device_departure WHERE receipt = ?1")
            .and_then(|mut it| {
                let read = |row: &rusqlite::Row<'_>| {
                    Ok((ProjectId(row.get(0)?), DeviceId(row.get(1)?), row.get::<_, String>(2)?))
                };
                it.query_row([receipt], read).optional()
            })
            .doing(what)?;
        let Some((project, device, body)) = found else { return Ok(None) };
        Ok(Some((project, device, serde_json::from_str(&body).doing(what)?)))
    }

    pub fn transfer(&self, project: ProjectId, device: DeviceId) -> Result<Option<Transfer>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT to_device_id, to_project_id, at FROM device_transfer WHERE device_id = ?1 AND project_id = ?2",
            )
            .and_then(|mut it| {
                let read = |row: &rusqlite::Row<'_>| {
                    Ok(Transfer {
                        to_device: DeviceId(row.get(0)?),
                        to_project: ProjectId(row.get(1)?),
                        at: Timestamp(row.get(2)?),
                    })
                };
                it.query_row((device.0, project.0), read).optional()
            })
            .doing("a transfer")
    }

    pub fn counters(&self, project: ProjectId, device: DeviceId) -> Result<Option<Counters>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT queue, boots, taken, at FROM device_counter WHERE device_id = ?1 AND project_id = ?2",
            )
            .and_then(|mut it| {
                let read = |row: &rusqlite::Row<'_>| {
                    let (boots, taken): (i64, i64) = (row.get(1)?, row.get(2)?);
                    let at = Timestamp(row.get(3)?);
                    Ok(Counters { queue: row.get(0)?, boots: boots.cast_unsigned(), taken: taken.cast_unsigned(), at })
                };
                it.query_row((device.0, project.0), read).optional()
            })
            .doing("a device's counters")
    }
}

impl Tx<'_> {
    pub fn save_departure(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        departure: &Departure,
    ) -> Result<(), StoreError> {
        let body = serde_json::to_string(departure).doing("a decommission")?;
        self.conn
            .prepare_cached(
                "INSERT INTO device_departure (device_id, project_id, body) VALUES (?1, ?2, ?3)
                 ON CONFLICT (device_id) DO UPDATE SET body = ?3",
            )
            .and_then(|mut it| it.execute((device.0, project.0, body)))
            .doing("a decommission")?;
        Ok(())
    }

    /// What the device tells its end with; one that it was given before counts no more.
    pub fn save_departure_receipt(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        receipt: [u8; 32],
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE device_departure SET receipt = ?3 WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| it.execute((device.0, project.0, receipt)))
            .doing("a decommission")?;
        Ok(())
    }

    pub fn save_transfer(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        transfer: Transfer,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO device_transfer (device_id, project_id, to_device_id, to_project_id, at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .and_then(|mut it| {
                it.execute((device.0, project.0, transfer.to_device.0, transfer.to_project.0, transfer.at.0))
            })
            .doing("a transfer")?;
        Ok(())
    }

    /// The device has shown itself in its new project: what it had in the former one opens nothing any more.
    pub fn finish_transfers_to(&mut self, project: ProjectId, device: DeviceId) -> Result<bool, StoreError> {
        let what = "a transfer";
        let from: Option<(i64, i64)> = self
            .conn
            .prepare_cached(
                "SELECT device_id, project_id FROM device_transfer WHERE to_device_id = ?1 AND to_project_id = ?2",
            )
            .and_then(|mut it| it.query_row((device.0, project.0), |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .doing(what)?;
        match from {
            Some((device, project)) => {
                self.delete_device_credentials(ProjectId(project), DeviceId(device))?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    pub fn save_counters(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        counters: &Counters,
    ) -> Result<(), StoreError> {
        let (boots, taken) = (counters.boots.cast_signed(), counters.taken.cast_signed());
        self.conn
            .prepare_cached(
                "INSERT INTO device_counter (device_id, project_id, queue, boots, taken, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (device_id) DO UPDATE SET queue = ?3, boots = ?4, taken = ?5, at = ?6",
            )
            .and_then(|mut it| it.execute((device.0, project.0, &counters.queue, boots, taken, counters.at.0)))
            .doing("a device's counters")?;
        Ok(())
    }
}
