//! What does a poll need to know of a device?

use muster_domain::identity::Keys;
use muster_domain::standing::{OnOffer, Standing};
use muster_vocab::{ActionId, DeviceId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, View};

impl View<'_> {
    /// By number, because commits and the device table know devices by it; it carries its project.
    pub(crate) fn standing(&self, device: DeviceId) -> Result<Option<Standing>, StoreError> {
        let mut found = self
            .conn
            .prepare_cached(&format!("{STANDING} WHERE id = ?1 AND state <> 'deleted'"))
            .and_then(|mut it| it.query_row([device.0], read_standing).optional())
            .doing("a device's standing")?;
        if let Some(standing) = &mut found {
            standing.open = self.on_offer(device)?;
        }
        Ok(found)
    }

    pub fn standing_of(&self, project: ProjectId, name: &str) -> Result<Option<Standing>, StoreError> {
        let mut found = self
            .conn
            .prepare_cached(&format!("{STANDING} WHERE device.project_id = ?1 AND name = ?2"))
            .and_then(|mut it| it.query_row((project.0, name), read_standing).optional())
            .doing("a device's standing")?;
        if let Some(standing) = &mut found {
            standing.open = self.on_offer(standing.device)?;
        }
        Ok(found)
    }

    /// The next devices of all projects after one, for filling the device table at start.
    pub fn standings_after(&self, after: DeviceId, limit: u32) -> Result<Vec<Standing>, StoreError> {
        let mut standings = self
            .conn
            .prepare_cached(&format!("{STANDING} WHERE id > ?1 AND state <> 'deleted' ORDER BY id LIMIT ?2"))
            .and_then(|mut it| it.query_map((after.0, limit), read_standing)?.collect::<Result<Vec<_>, _>>())
            .doing("devices' standings")?;
        for standing in &mut standings {
            standing.open = self.on_offer(standing.device)?;
        }
        Ok(standings)
    }

    fn on_offer(&self, device: DeviceId) -> Result<Vec<OnOffer>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT id, state, push, window, changed_at FROM action
                 WHERE device_id = ?1 AND state IN (2, 3, 4, 5) ORDER BY id",
            )
            .doing("a device's open actions")?;
        let mut rows = statement.query([device.0]).doing("a device's open actions")?;
        let mut open = Vec::new();
        while let Some(row) = rows.next().doing("a device's open actions")? {
            open.push(read_on_offer(row)?);
        }
        Ok(open)
    }
}

const STANDING: &str = "SELECT id, device.project_id, name, state, token, attributes_requested, installed_action_id,
     poll_interval_s, last_seen,
     EXISTS (SELECT 1 FROM twin WHERE twin.device_id = device.id AND twin.wanted)
     OR EXISTS (SELECT 1 FROM command WHERE command.device_id = device.id AND command.state IN ('pending', 'sent'))
,
     device_key.key, device_key.next, device_key.past, device_key.changed_at
     FROM device LEFT JOIN device_key ON device_key.device_id = device.id";

fn read_standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    let keys = match row.get::<_, Option<[u8; 32]>>(10)? {
        Some(key) => {
            let (next, past) = (row.get(11)?, row.get(12)?);
            Some(Keys { key, next, past, changed_at: Timestamp(row.get(13)?) })
        }
        None => None,
    };
    Ok(Standing {
        device: DeviceId(row.get(0)?),
        project: ProjectId(row.get(1)?),
        name: row.get(2)?,
        state: crate::devices::read_state(row, 3)?,
        token: row.get(4)?,
        keys,
        attributes_requested: row.get(5)?,
        installed: row.get::<_, Option<i64>>(6)?.map(ActionId),
        poll_interval_s: row.get(7)?,
        last_seen: row.get::<_, Option<i64>>(8)?.map(Timestamp),
        twin: row.get(9)?,
        open: Vec::new(),
    })
}

fn read_on_offer(row: &Row<'_>) -> Result<OnOffer, StoreError> {
    let what = "a device's open actions";
    let push: String = row.get(2).doing(what)?;
    let window: Option<String> = row.get(3).doing(what)?;
    Ok(OnOffer {
        action: ActionId(row.get(0).doing(what)?),
        state: crate::actions::read_state(row.get(1).doing(what)?)?,
        push: serde_json::from_str(&push).doing("push")?,
        window: window.map(|text| crate::actions::read_window(&text)).transpose()?,
        changed_at: Timestamp(row.get(4).doing(what)?),
    })
}
