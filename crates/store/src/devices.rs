//! Devices, their labels and attributes.

use std::collections::BTreeMap;

use muster_domain::device::{AutoConfirm, Device, DeviceState, Installed};
use muster_vocab::selector::Selector;
use muster_vocab::{ActionId, DeviceId, ProjectId, ReleaseId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::select::{DEVICES, Sql};
use crate::{Cursor, Paged, StoreError, Tx, View};

const DEVICE: &str = "SELECT d.id, d.name, d.state, d.installed_release_id, d.installed_action_id,
     d.attributes_requested, d.auto_confirm, d.poll_interval_s, d.last_seen, d.created_at, d.revision FROM device d";

/// A device that is about to be known.
#[derive(Debug, Clone)]
pub struct NewDevice {
    pub name: String,
    pub state: DeviceState,
    pub token: Option<[u8; 32]>,
    pub poll_interval_s: u32,
}

impl View<'_> {
    pub fn device(&self, project: ProjectId, name: &str) -> Result<Device, StoreError> {
        let device = self
            .conn
            .prepare_cached(&format!("{DEVICE} WHERE d.project_id = ?1 AND d.name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), |row| Ok(read(row))).optional())
            .doing("a device")?
            .ok_or_else(|| StoreError::NoDevice(name.to_owned()))??;
        self.with_texts(device)
    }

    pub fn device_by_id(&self, project: ProjectId, id: DeviceId) -> Result<Device, StoreError> {
        let device = self
            .conn
            .prepare_cached(&format!("{DEVICE} WHERE d.project_id = ?1 AND d.id = ?2 AND d.state <> 'deleted'"))
            .and_then(|mut it| it.query_row((project.0, id.0), |row| Ok(read(row))).optional())
            .doing("a device")?
            .ok_or_else(|| StoreError::NoDevice(id.to_string()))??;
        self.with_texts(device)
    }

    pub fn device_name(&self, project: ProjectId, id: DeviceId) -> Result<String, StoreError> {
        self.conn
            .prepare_cached("SELECT name FROM device WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.query_row((project.0, id.0), |row| row.get(0)).optional())
            .doing("a device's name")?
            .map(|name: String| if name.starts_with('\u{1}') { format!("{id} (deleted)") } else { name })
            .ok_or_else(|| StoreError::NoDevice(id.to_string()))
    }

    /// What a device runs; the little that a turn needs.
    pub fn installed_release(&self, project: ProjectId, id: DeviceId) -> Result<Option<ReleaseId>, StoreError> {
        self.conn
            .prepare_cached("SELECT installed_release_id FROM device WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.query_row((project.0, id.0), |row| row.get::<_, Option<i64>>(0)).optional())
            .doing("what a device runs")?
            .map(|found| found.map(ReleaseId))
            .ok_or_else(|| StoreError::NoDevice(id.to_string()))
    }

    pub fn devices(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (Cursor, u32),
        now: Timestamp,
    ) -> Result<Paged<Device>, StoreError> {
        let (after, limit) = page;
        let mut sql = Sql::new(&format!("{DEVICE} WHERE d.state <> 'deleted' AND d.project_id = "));
        sql.bind(project.0);
        sql.and_select(select, &DEVICES, now);
        sql.push(" AND d.id > ").bind(after.0).push(" ORDER BY d.id LIMIT ").bind(limit + 1);
        let paged = cut(sql.query(self.conn, "devices", read)?, limit, |device| device.id.0);
        let rows = paged.rows.into_iter().map(|device| self.with_texts(device)).collect::<Result<_, _>>()?;
        Ok(Paged { rows, next: paged.next })
    }

    pub fn count_devices(&self, project: ProjectId, select: &Selector, now: Timestamp) -> Result<u64, StoreError> {
        let mut sql = Sql::new("SELECT count(*) FROM device d WHERE d.state <> 'deleted' AND d.project_id = ");
        sql.bind(project.0);
        sql.and_select(select, &DEVICES, now);
        let counts = sql.query(self.conn, "a count of devices", |row| row.get::<_, i64>(0).doing("a count"))?;
        Ok(counts.first().copied().unwrap_or(0).cast_unsigned())
    }

    /// Does a selector match this device?
    pub fn device_matches(
        &self,
        project: ProjectId,
        device: DeviceId,
        select: &Selector,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut sql = Sql::new("SELECT 1 FROM device d WHERE d.state <> 'deleted' AND d.project_id = ");
        sql.bind(project.0).push(" AND d.id = ").bind(device.0);
        sql.and_select(select, &DEVICES, now);
        Ok(!sql.query(self.conn, "a device", |_| Ok(()))?.is_empty())
    }

    /// Accepted devices a selector matches, by number: for filling waves, so without their texts.
    pub fn candidates(
        &self,
        project: ProjectId,
        select: &Selector,
        page: (DeviceId, u32),
        now: Timestamp,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let (after, limit) = page;
        let mut sql = Sql::new("SELECT d.id FROM device d WHERE d.state = 'accepted' AND d.project_id = ");
        sql.bind(project.0);
        sql.and_select(select, &DEVICES, now);
        sql.push(" AND d.id > ").bind(after.0).push(" ORDER BY d.id LIMIT ").bind(limit);
        sql.query(self.conn, "candidates", |row| Ok(DeviceId(row.get(0).doing("candidates")?)))
    }

    /// Devices in a state that a selector matches, for changing many at once.
    pub fn devices_in_state(
        &self,
        project: ProjectId,
        of: (DeviceState, &Selector),
        page: (DeviceId, u32),
        now: Timestamp,
    ) -> Result<Vec<(DeviceId, String)>, StoreError> {
        let ((state, select), (after, limit)) = (of, page);
        let mut sql = Sql::new("SELECT d.id, d.name FROM device d WHERE d.project_id = ");
        sql.bind(project.0).push(" AND d.state = ").bind(state_name(state).to_owned());
        sql.and_select(select, &DEVICES, now);
        sql.push(" AND d.id > ").bind(after.0).push(" ORDER BY d.id LIMIT ").bind(limit);
        sql.query(self.conn, "devices", |row| {
            Ok((DeviceId(row.get(0).doing("devices")?), row.get(1).doing("devices")?))
        })
    }

    /// Devices that a selector matches and whose own polling interval is another one.
    pub fn devices_of_other_interval(
        &self,
        project: ProjectId,
        wanted: (&Selector, u32),
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let (select, interval_s) = wanted;
        let mut sql = Sql::new("SELECT d.id FROM device d WHERE d.state <> 'deleted' AND d.project_id = ");
        sql.bind(project.0).push(" AND d.poll_interval_s <> ").bind(interval_s);
        sql.and_select(select, &DEVICES, now);
        sql.push(" LIMIT ").bind(limit);
        sql.query(self.conn, "devices of another interval", |row| Ok(DeviceId(row.get(0).doing("a device")?)))
    }

    fn with_texts(&self, device: Device) -> Result<Device, StoreError> {
        let labels = self.texts("SELECT key, value FROM device_label WHERE device_id = ?1", device.id)?;
        let attributes = self.texts("SELECT key, value FROM device_attribute WHERE device_id = ?1", device.id)?;
        Ok(Device { labels, attributes, ..device })
    }

    fn texts(&self, sql: &str, device: DeviceId) -> Result<BTreeMap<String, String>, StoreError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut it| it.query_map([device.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .doing("labels and attributes")
    }
}

impl Tx<'_> {
    pub fn insert_device(
        &mut self,
        project: ProjectId,
        new: &NewDevice,
        now: Timestamp,
    ) -> Result<DeviceId, StoreError> {
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO device (project_id, name, state, token, attributes_requested, poll_interval_s, created_at,
                 revision) VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, 1) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut it| {
                it.execute((project.0, &new.name, state_name(new.state), new.token, new.poll_interval_s, now.0))
            })
            .doing("a device")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "device", name: new.name.clone() });
        }
        let id = DeviceId(self.conn.last_insert_rowid());
        self.touch_device(id);
        self.render_again(project, id)?;
        Ok(id)
    }

    pub fn save_device_state(
        &mut self,
        project: ProjectId,
        id: DeviceId,
        state: DeviceState,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE device SET state = ?3, revision = revision + 1 WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.execute((project.0, id.0, state_name(state))))
            .doing("a device's state")?;
        self.touch_device(id);
        self.render_again(project, id)
    }

    pub fn save_device_token(&mut self, project: ProjectId, id: DeviceId, digest: [u8; 32]) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE device SET token = ?3, revision = revision + 1 WHERE project_id = ?1 AND id = ?2",
                (project.0, id.0, digest),
            )
            .doing("a device's token")?;
        self.touch_device(id);
        Ok(())
    }

    /// The device runs this release now; asks for its attributes afresh.
    pub fn save_installed(&mut self, project: ProjectId, id: DeviceId, installed: Installed) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "UPDATE device SET installed_release_id = ?3, installed_action_id = ?4, attributes_requested = 1,
                 revision = revision + 1 WHERE project_id = ?1 AND id = ?2",
            )
            .and_then(|mut it| it.execute((project.0, id.0, installed.release.0, installed.action.0)))
            .doing("what a device runs")?;
        self.touch_device(id);
        self.render_again(project, id)
    }

    pub fn save_attributes_requested(
        &mut self,
        project: ProjectId,
        id: DeviceId,
        wanted: bool,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE device SET attributes_requested = ?3 WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.execute((project.0, id.0, wanted)))
            .doing("a request for attributes")?;
        self.touch_device(id);
        Ok(())
    }

    pub fn save_auto_confirm(
        &mut self,
        project: ProjectId,
        id: DeviceId,
        consent: Option<&AutoConfirm>,
    ) -> Result<(), StoreError> {
        let text = consent.map(serde_json::to_string).transpose().doing("auto-confirm")?;
        self.conn
            .execute(
                "UPDATE device SET auto_confirm = ?3, revision = revision + 1 WHERE project_id = ?1 AND id = ?2",
                (project.0, id.0, text),
            )
            .doing("auto-confirm")?;
        self.touch_device(id);
        Ok(())
    }

    pub fn save_poll_interval(&mut self, project: ProjectId, id: DeviceId, interval_s: u32) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE device SET poll_interval_s = ?3 WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.execute((project.0, id.0, interval_s)))
            .doing("a polling interval")?;
        self.touch_device(id);
        Ok(())
    }

    pub fn save_labels(&mut self, project: ProjectId, device: &Device) -> Result<(), StoreError> {
        self.replace_texts("device_label", project, device.id, &device.labels)
    }

    pub fn save_attributes(&mut self, project: ProjectId, device: &Device) -> Result<(), StoreError> {
        self.replace_texts("device_attribute", project, device.id, &device.attributes)
    }

    fn replace_texts(
        &mut self,
        table: &str,
        project: ProjectId,
        device: DeviceId,
        texts: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let what = "labels and attributes";
        self.conn
            // By the device alone: with the project, too, an index over all devices of the project looks as good.
            .prepare_cached(&format!("DELETE FROM {table} WHERE device_id = ?1"))
            .and_then(|mut it| it.execute([device.0]))
            .doing(what)?;
        let insert = format!("INSERT INTO {table} (project_id, device_id, key, value) VALUES (?1, ?2, ?3, ?4)");
        let mut insert = self.conn.prepare_cached(&insert).doing(what)?;
        for (key, value) in texts {
            insert.execute((project.0, device.0, key, value)).doing(what)?;
        }
        drop(insert);
        self.conn
            .prepare_cached("UPDATE device SET revision = revision + 1 WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.execute((project.0, device.0)))
            .doing(what)?;
        self.touch_device(device);
        self.render_again(project, device)
    }

    /// Written in batches; the device table has the newest.
    pub fn save_last_seen(&mut self, seen: &[(DeviceId, Timestamp)]) -> Result<(), StoreError> {
        let mut update =
            self.conn.prepare_cached("UPDATE device SET last_seen = ?2 WHERE id = ?1").doing("last seen")?;
        for (device, at) in seen {
            update.execute((device.0, at.0)).doing("last seen")?;
        }
        Ok(())
    }

    /// Forgets it, but keeps the row for the history of its rollouts. Its name is free again.
    pub fn delete_device(&mut self, project: ProjectId, id: DeviceId) -> Result<(), StoreError> {
        let name = self.device_name(project, id)?;
        for table in [
            "device_label",
            "device_attribute",
            "device_join",
            "device_queue",
            "device_key",
            "device_hold",
            "device_queue_past",
            "device_tpm",
            "device_departure",
            "device_transfer",
            "device_counter",
        ] {
            self.conn
                .execute(&format!("DELETE FROM {table} WHERE device_id = ?1"), [id.0])
                .doing("deleting a device")?;
        }
        self.conn
            .execute(
                "UPDATE device SET state = 'deleted', name = ?3, token = NULL, auto_confirm = NULL,
                 installed_release_id = NULL, installed_action_id = NULL WHERE project_id = ?1 AND id = ?2",
                (project.0, id.0, format!("\u{1}deleted {id}")),
            )
            .doing("deleting a device")?;
        self.delete_twin(id)?;
        self.own.gone.push((project, name));
        Ok(())
    }
}

pub(crate) fn state_name(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Pending => "pending",
        DeviceState::Accepted => "accepted",
        DeviceState::Rejected => "rejected",
        DeviceState::Quarantined => "quarantined",
        DeviceState::Retiring => "retiring",
        DeviceState::Retired => "retired",
        DeviceState::Transferred => "transferred",
    }
}

pub(crate) fn read_state(row: &Row<'_>, at: usize) -> rusqlite::Result<DeviceState> {
    let name: String = row.get(at)?;
    DeviceState::ALL
        .into_iter()
        .find(|state| state_name(*state) == name)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(at, name, rusqlite::types::Type::Text))
}

fn read(row: &Row<'_>) -> Result<Device, StoreError> {
    let what = "a device";
    let release = row.get::<_, Option<i64>>(3).doing(what)?.map(ReleaseId);
    let action = row.get::<_, Option<i64>>(4).doing(what)?.map(ActionId);
    let consent: Option<String> = row.get(6).doing(what)?;
    Ok(Device {
        id: DeviceId(row.get(0).doing(what)?),
        name: row.get(1).doing(what)?,
        state: read_state(row, 2).doing(what)?,
        labels: BTreeMap::new(),
        attributes: BTreeMap::new(),
        installed: release.zip(action).map(|(release, action)| Installed { release, action }),
        attributes_requested: row.get(5).doing(what)?,
        auto_confirm: consent.as_deref().map(serde_json::from_str).transpose().doing("auto-confirm")?,
        poll_interval_s: row.get(7).doing(what)?,
        last_seen: row.get::<_, Option<i64>>(8).doing(what)?.map(Timestamp),
        created_at: Timestamp(row.get(9).doing(what)?),
        revision: row.get::<_, i64>(10).doing(what)?.cast_unsigned(),
    })
}
