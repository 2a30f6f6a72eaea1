//! Which keys do devices prove themselves by, and who is believed about them?

use std::collections::BTreeMap;

use muster_domain::identity::Keys;
use muster_vocab::{DeviceId, ProjectId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::page::cut;
use crate::{Cursor, Paged, StoreError, Tx, View};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    Root,
    Issuing,
    /// Somebody else's, believed for the devices of one project.
    Device,
    /// A maker of TPMs, believed about its chips in one project.
    Tpm,
}

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub id: i64,
    pub kind: AuthorityKind,
    pub project: Option<ProjectId>,
    pub name: String,
    /// PEM.
    pub certificate: String,
    /// Sealed PKCS #8, if the server has it.
    pub key: Option<Vec<u8>>,
    pub is_retired: bool,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// A key that was told before its device came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: i64,
    pub name: String,
    pub key: [u8; 32],
    pub labels: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub created_by: String,
    pub claimed_at: Option<Timestamp>,
}

/// An issuing authority that the root has yet to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuingRequest {
    pub name: String,
    /// PKCS #10, PEM.
    pub request: String,
    /// PKCS #8, PEM.
    pub key: Vec<u8>,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// Why a device is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub reason: String,
    pub since: Timestamp,
}

const AUTHORITY: &str =
    "SELECT id, kind, project_id, name, certificate, key, state, created_at, created_by FROM authority";
const CLAIM: &str = "SELECT id, name, key, labels, created_at, created_by, claimed_at FROM claim";

impl View<'_> {
    /// All authorities of the server and of every project, retired ones too: read at start and after a change.
    pub fn authorities(&self) -> Result<Vec<Authority>, StoreError> {
        self.conn
            .prepare_cached(&format!("{AUTHORITY} ORDER BY id"))
            .and_then(|mut it| it.query_map([], |row| Ok(read_authority(row)))?.collect::<Result<Vec<_>, _>>())
            .doing("authorities")?
            .into_iter()
            .collect()
    }

    pub fn issuing_request(&self) -> Result<Option<IssuingRequest>, StoreError> {
        self.conn
            .prepare_cached("SELECT name, request, key, created_at, created_by FROM issuing_request")
            .and_then(|mut it| {
                let read = |row: &Row<'_>| {
                    Ok(IssuingRequest {
                        name: row.get(0)?,
                        request: row.get(1)?,
                        key: row.get(2)?,
                        created_at: Timestamp(row.get(3)?),
                        created_by: row.get(4)?,
                    })
                };
                it.query_row([], read).optional()
            })
            .doing("a request for an issuing authority")
    }

    /// The ones that a project has registered.
    pub fn project_authorities(&self, project: ProjectId) -> Result<Vec<Authority>, StoreError> {
        self.conn
            .prepare_cached(&format!("{AUTHORITY} WHERE project_id = ?1 ORDER BY id"))
            .and_then(|mut it| it.query_map([project.0], |row| Ok(read_authority(row)))?.collect::<Result<Vec<_>, _>>())
            .doing("authorities")?
            .into_iter()
            .collect()
    }

    pub fn device_keys(&self, project: ProjectId, device: DeviceId) -> Result<Option<(Keys, Timestamp)>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT key, next, past, changed_at, not_after FROM device_key
                 WHERE device_id = ?1 AND project_id = ?2",
            )
            .and_then(|mut it| {
                let read = |row: &Row<'_>| {
                    let keys = Keys {
                        key: row.get(0)?,
                        next: row.get(1)?,
                        past: row.get(2)?,
                        changed_at: Timestamp(row.get(3)?),
                    };
                    Ok((keys, Timestamp(row.get(4)?)))
                };
                it.query_row((device.0, project.0), read).optional()
            })
            .doing("a device's keys")
    }

    pub fn claim_by_key(&self, project: ProjectId, key: &[u8; 32]) -> Result<Option<Claim>, StoreError> {
        self.conn
            .prepare_cached(&format!("{CLAIM} WHERE project_id = ?1 AND key = ?2"))
            .and_then(|mut it| it.query_row((project.0, key), |row| Ok(read_claim(row))).optional())
            .doing("a claim")?
            .transpose()
    }

    pub fn claims(&self, project: ProjectId, after: Cursor, limit: u32) -> Result<Paged<Claim>, StoreError> {
        let rows = self
            .conn
            .prepare_cached(&format!("{CLAIM} WHERE project_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))
            .and_then(|mut it| {
                it.query_map((project.0, after.0, limit + 1), |row| Ok(read_claim(row)))?.collect::<Result<Vec<_>, _>>()
            })
            .doing("claims")?
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        Ok(cut(rows, limit, |claim| claim.id))
    }

    /// The TPM that the device is in, if it has shown one.
    pub fn device_tpm(&self, project: ProjectId, device: DeviceId) -> Result<Option<[u8; 32]>, StoreError> {
        self.conn
            .prepare_cached("SELECT tpm FROM device_tpm WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| it.query_row((device.0, project.0), |row| row.get(0)).optional())
            .doing("a device's TPM")
    }

    pub fn device_hold(&self, project: ProjectId, device: DeviceId) -> Result<Option<Hold>, StoreError> {
        self.conn
            .prepare_cached("SELECT reason, since FROM device_hold WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| {
                let read = |row: &Row<'_>| Ok(Hold { reason: row.get(0)?, since: Timestamp(row.get(1)?) });
                it.query_row((device.0, project.0), read).optional()
            })
            .doing("why a device is kept out")
    }

    /// The device named this queue before its present one.
    pub fn queue_is_past(&self, device: DeviceId, queue: &str) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM device_queue_past WHERE device_id = ?1 AND queue = ?2)")
            .and_then(|mut it| it.query_row((device.0, queue), |row| row.get(0)))
            .doing("a device's queues")
    }

    /// Devices that a rule of the enrolment policy has let in since then.
    pub fn count_enrolled(&self, project: ProjectId, rule: &str, since: Timestamp) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM enrollment_hour WHERE project_id = ?1 AND rule = ?2 AND at > ?3")
            .and_then(|mut it| it.query_row((project.0, rule, since.0), |row| row.get(0)))
            .doing("a count of devices")
    }

    /// Devices that wait for a person to let them in.
    pub fn count_pending(&self, project: ProjectId) -> Result<u32, StoreError> {
        self.conn
            .prepare_cached("SELECT count(*) FROM device WHERE project_id = ?1 AND state = 'pending'")
            .and_then(|mut it| it.query_row([project.0], |row| row.get(0)))
            .doing("a count of devices")
    }
}

impl Tx<'_> {
    pub fn insert_authority(&mut self, new: &Authority) -> Result<i64, StoreError> {
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO authority (kind, project_id, name, certificate, key, state, created_at, created_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'active', ?6, ?7) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut it| {
                let project = new.project.map(|project| project.0);
                it.execute((
                    kind_name(new.kind),
                    project,
                    &new.name,
                    &new.certificate,
                    &new.key,
                    new.created_at.0,
                    &new.created_by,
                ))
            })
            .doing("an authority")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "authority", name: new.name.clone() });
        }
        Ok(self.conn.last_insert_rowid())
    }

    /// A TPM is in one device.
    pub fn save_device_tpm(&mut self, project: ProjectId, device: DeviceId, tpm: [u8; 32]) -> Result<(), StoreError> {
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO device_tpm (device_id, project_id, tpm) VALUES (?1, ?2, ?3)
                 ON CONFLICT (project_id, tpm) DO UPDATE SET tpm = tpm WHERE device_id = ?1",
            )
            .and_then(|mut it| it.execute((device.0, project.0, tpm)))
            .doing("a device's TPM")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "device with this TPM", name: "another one".into() });
        }
        Ok(())
    }

    /// Replaces the one before: only the newest is signed. None: it was signed.
    pub fn save_issuing_request(&mut self, new: Option<&IssuingRequest>) -> Result<(), StoreError> {
        let what = "a request for an issuing authority";
        self.conn.execute("DELETE FROM issuing_request", []).doing(what)?;
        let Some(new) = new else { return Ok(()) };
        self.conn
            .execute(
                "INSERT INTO issuing_request (id, name, request, key, created_at, created_by)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                (&new.name, &new.request, &new.key, new.created_at.0, &new.created_by),
            )
            .doing(what)?;
        Ok(())
    }

    /// Its certificates are believed no more.
    pub fn retire_authority(&mut self, id: i64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE authority SET state = 'retired' WHERE id = ?1")
            .and_then(|mut it| it.execute([id]))
            .doing("retiring an authority")?;
        Ok(())
    }

    pub fn delete_project_authority(&mut self, project: ProjectId, name: &str) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached("DELETE FROM authority WHERE project_id = ?1 AND name = ?2 AND kind IN ('device', 'tpm')")
            .and_then(|mut it| it.execute((project.0, name)))
            .doing("deleting an authority")
            .map(|gone| gone > 0)
    }

    /// The device's keys, and when its newest certificate ends.
    pub fn save_device_keys(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        keys: &Keys,
        not_after: Timestamp,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO device_key (device_id, project_id, key, next, past, changed_at, not_after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (device_id) DO UPDATE SET project_id = ?2, key = ?3,
                 next = ?4, past = ?5, changed_at = ?6, not_after = ?7",
            )
            .and_then(|mut it| {
                it.execute((device.0, project.0, keys.key, keys.next, keys.past, keys.changed_at.0, not_after.0))
            })
            .doing("a device's keys")?;
        self.touch_device(device);
        Ok(())
    }

    /// Nothing that the device holds lets it in any more: neither key nor token.
    pub fn delete_device_credentials(&mut self, project: ProjectId, device: DeviceId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM device_key WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| it.execute((device.0, project.0)))
            .doing("a device's keys")?;
        self.conn
            .prepare_cached("UPDATE device SET token = NULL, revision = revision + 1 WHERE id = ?1 AND project_id = ?2")
            .and_then(|mut it| it.execute((device.0, project.0)))
            .doing("a device's token")?;
        self.touch_device(device);
        Ok(())
    }

    pub fn insert_claim(&mut self, project: ProjectId, new: &Claim) -> Result<(), StoreError> {
        let labels = serde_json::to_string(&new.labels).doing("labels")?;
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO claim (project_id, name, key, labels, created_at, created_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut it| it.execute((project.0, &new.name, new.key, labels, new.created_at.0, &new.created_by)))
            .doing("a claim")?;
        if added == 0 {
            return Err(StoreError::Exists { kind: "claim", name: new.name.clone() });
        }
        Ok(())
    }

    pub fn save_claimed(&mut self, project: ProjectId, claim: i64, now: Timestamp) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("UPDATE claim SET claimed_at = ?3 WHERE project_id = ?1 AND id = ?2")
            .and_then(|mut it| it.execute((project.0, claim, now.0)))
            .doing("a claim")?;
        Ok(())
    }

    pub fn delete_claim(&mut self, project: ProjectId, name: &str) -> Result<bool, StoreError> {
        self.conn
            .prepare_cached("DELETE FROM claim WHERE project_id = ?1 AND name = ?2")
            .and_then(|mut it| it.execute((project.0, name)))
            .doing("a claim")
            .map(|gone| gone > 0)
    }

    pub fn save_device_hold(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        hold: Option<&Hold>,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM device_hold WHERE device_id = ?1 AND project_id = ?2")
            .and_then(|mut it| it.execute((device.0, project.0)))
            .doing("why a device is kept out")?;
        if let Some(hold) = hold {
            self.conn
                .prepare_cached(
                    "INSERT INTO device_hold (device_id, project_id, reason, since) VALUES (?1, ?2, ?3, ?4)",
                )
                .and_then(|mut it| it.execute((device.0, project.0, &hold.reason, hold.since.0)))
                .doing("why a device is kept out")?;
        }
        self.touch_device(device);
        Ok(())
    }

    /// The device has left this queue for another; only the newest few are kept.
    pub fn save_queue_past(&mut self, device: DeviceId, queue: &str, now: Timestamp) -> Result<(), StoreError> {
        const QUEUES_KEPT: u32 = 8;
        let what = "a device's queues";
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO device_queue_past (device_id, queue, at) VALUES (?1, ?2, ?3)")
            .and_then(|mut it| it.execute((device.0, queue, now.0)))
            .doing(what)?;
        self.conn
            .prepare_cached(
                "DELETE FROM device_queue_past WHERE device_id = ?1 AND queue NOT IN
                 (SELECT queue FROM device_queue_past WHERE device_id = ?1 ORDER BY at DESC LIMIT ?2)",
            )
            .and_then(|mut it| it.execute((device.0, QUEUES_KEPT)))
            .doing(what)?;
        Ok(())
    }

    /// Counts a device that a rule has let in, and forgets those before `since`.
    pub fn save_enrolled(
        &mut self,
        project: ProjectId,
        (rule, device): (&str, DeviceId),
        now: Timestamp,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let what = "a count of devices";
        self.conn
            .prepare_cached("DELETE FROM enrollment_hour WHERE project_id = ?1 AND rule = ?2 AND at <= ?3")
            .and_then(|mut it| it.execute((project.0, rule, since.0)))
            .doing(what)?;
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO enrollment_hour (project_id, rule, device_id, at) VALUES (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut it| it.execute((project.0, rule, device.0, now.0)))
            .doing(what)?;
        Ok(())
    }

    pub fn forget_queues(&mut self, device: DeviceId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM device_queue_past WHERE device_id = ?1")
            .and_then(|mut it| it.execute([device.0]))
            .doing("a device's queues")?;
        self.conn
            .prepare_cached("DELETE FROM device_counter WHERE device_id = ?1")
            .and_then(|mut it| it.execute([device.0]))
            .doing("a device's counters")?;
        Ok(())
    }
}

fn kind_name(kind: AuthorityKind) -> &'static str {
    match kind {
        AuthorityKind::Root => "root",
        AuthorityKind::Issuing => "issuing",
        AuthorityKind::Device => "device",
        AuthorityKind::Tpm => "tpm",
    }
}

fn read_authority(row: &Row<'_>) -> Result<Authority, StoreError> {
    let what = "an authority";
    let kind: String = row.get(1).doing(what)?;
    let kinds = [AuthorityKind::Root, AuthorityKind::Issuing, AuthorityKind::Device, AuthorityKind::Tpm];
    let kind = kinds.into_iter().find(|known| kind_name(*known) == kind);
    let state: String = row.get(6).doing(what)?;
    Ok(Authority {
        id: row.get(0).doing(what)?,
        kind: kind.ok_or_else(|| StoreError::broken(what, "an unknown kind"))?,
        project: row.get::<_, Option<i64>>(2).doing(what)?.map(ProjectId),
        name: row.get(3).doing(what)?,
        certificate: row.get(4).doing(what)?,
        key: row.get(5).doing(what)?,
        is_retired: state == "retired",
        created_at: Timestamp(row.get(7).doing(what)?),
        created_by: row.get(8).doing(what)?,
    })
}

fn read_claim(row: &Row<'_>) -> Result<Claim, StoreError> {
    let what = "a claim";
    let labels: String = row.get(3).doing(what)?;
    Ok(Claim {
        id: row.get(0).doing(what)?,
        name: row.get(1).doing(what)?,
        key: row.get(2).doing(what)?,
        labels: serde_json::from_str(&labels).doing("labels")?,
        created_at: Timestamp(row.get(4).doing(what)?),
        created_by: row.get(5).doing(what)?,
        claimed_at: row.get::<_, Option<i64>>(6).doing(what)?.map(Timestamp),
    })
}
