//! What is said of releases, whose word counts, and what is demanded.

use muster_domain::attestation::{Attestation, ReleasePolicy};
use muster_vocab::{ProjectId, ReleaseId, Sha256, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// A public key whose signatures on documents count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingKey {
    pub name: String,
    /// PEM, or hex of an Ed25519 key.
    pub public: String,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// A package in a bill of materials: name, version, package URL.
pub type PackageRow = (String, String, String);

const ATTESTATION: &str =
    "SELECT id, artifact, document, kind, signed, signer, builder, created_at, created_by FROM attestation";

impl View<'_> {
    pub fn attestations(&self, project: ProjectId, release: ReleaseId) -> Result<Vec<Attestation>, StoreError> {
        let what = "attestations";
        let sql = format!("{ATTESTATION} WHERE project_id = ?1 AND release_id = ?2 ORDER BY id");
        let mut statement = self.conn.prepare_cached(&sql).doing(what)?;
        let rows = statement.query_map((project.0, release.0), |row| Ok(read(row))).doing(what)?;
        rows.map(|row| row.doing(what)?).collect()
    }

    /// Of a release's bills, in the order they were read.
    pub fn packages(
        &self,
        project: ProjectId,
        attestation: i64,
        page: (u32, u32),
    ) -> Result<Vec<PackageRow>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT name, version, purl FROM package WHERE project_id = ?1 AND attestation_id = ?2
                 ORDER BY rowid LIMIT ?3 OFFSET ?4",
            )
            .and_then(|mut it| {
                let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                it.query_map((project.0, attestation, page.1, page.0), read)?.collect()
            })
            .doing("packages")
    }

    pub fn ring(&self, project: ProjectId) -> Result<Vec<RingKey>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(RingKey {
                name: row.get(0)?,
                public: row.get(1)?,
                created_at: Timestamp(row.get(2)?),
                created_by: row.get(3)?,
            })
        };
        self.conn
            .prepare_cached(
                "SELECT name, public, created_at, created_by FROM ring_key WHERE project_id = ?1 ORDER BY id",
            )
            .and_then(|mut it| it.query_map([project.0], read)?.collect())
            .doing("a key ring")
    }

    pub fn release_policy(&self, project: ProjectId) -> Result<ReleasePolicy, StoreError> {
        let what = "a release policy";
        let found: Option<String> = self
            .conn
            .prepare_cached("SELECT body FROM release_policy WHERE project_id = ?1")
            .and_then(|mut it| it.query_row([project.0], |row| row.get(0)).optional())
            .doing(what)?;
        found.map_or_else(|| Ok(ReleasePolicy::default()), |body| serde_json::from_str(&body).doing(what))
    }
}

impl Tx<'_> {
    /// The same document about the same artifact takes the place of what was read from it before.
    pub fn save_attestation(
        &mut self,
        project: ProjectId,
        release: ReleaseId,
        new: &Attestation,
        packages: &[PackageRow],
    ) -> Result<(), StoreError> {
        let what = "an attestation";
        let kind = serde_json::to_string(&new.kind).doing(what)?;
        self.conn
            .execute(
                "DELETE FROM attestation WHERE release_id = ?1 AND artifact = ?2 AND document = ?3",
                (release.0, new.artifact.0, new.document.0),
            )
            .doing(what)?;
        self.conn
            .execute(
                "INSERT INTO attestation (project_id, release_id, artifact, document, kind, signed, signer, builder,
                 created_at, created_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                (
                    project.0,
                    release.0,
                    new.artifact.0,
                    new.document.0,
                    kind.trim_matches('"'),
                    new.is_signed,
                    &new.signer,
                    &new.builder,
                    new.created_at.0,
                    &new.created_by,
                ),
            )
            .doing(what)?;
        let id = self.conn.last_insert_rowid();
        let mut insert = self
            .conn
            .prepare_cached(
                "INSERT INTO package (attestation_id, project_id, name, version, purl) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .doing(what)?;
        for (name, version, purl) in packages {
            insert.execute((id, project.0, name, version, purl)).doing(what)?;
        }
        Ok(())
    }

    /// Whether there was one.
    pub fn delete_attestation(
        &mut self,
        project: ProjectId,
        release: ReleaseId,
        document: Sha256,
    ) -> Result<bool, StoreError> {
        let gone = self
            .conn
            .execute(
                "DELETE FROM attestation WHERE project_id = ?1 AND release_id = ?2 AND document = ?3",
                (project.0, release.0, document.0),
            )
            .doing("deleting an attestation")?;
        Ok(gone > 0)
    }

    pub fn insert_ring_key(&mut self, project: ProjectId, new: &RingKey) -> Result<(), StoreError> {
        let done = self
            .conn
            .execute(
                "INSERT INTO ring_key (project_id, name, public, created_at, created_by) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (project_id, name) DO NOTHING",
                (project.0, &new.name, &new.public, new.created_at.0, &new.created_by),
            )
            .doing("a key of the ring")?;
        if done == 0 { Err(StoreError::Exists { kind: "key", name: new.name.clone() }) } else { Ok(()) }
    }

    /// What it signed has no signer any more.
    pub fn delete_ring_key(&mut self, project: ProjectId, name: &str) -> Result<(), StoreError> {
        let what = "deleting a key of the ring";
        let gone = self
            .conn
            .execute("DELETE FROM ring_key WHERE project_id = ?1 AND name = ?2", (project.0, name))
            .doing(what)?;
        if gone == 0 {
            return Err(StoreError::Missing { kind: "key", name: name.to_owned() });
        }
        self.conn
            .execute("UPDATE attestation SET signer = NULL WHERE project_id = ?1 AND signer = ?2", (project.0, name))
            .doing(what)?;
        Ok(())
    }

    pub fn save_release_policy(&mut self, project: ProjectId, policy: &ReleasePolicy) -> Result<(), StoreError> {
        let body = serde_json::to_string(policy).doing("a release policy")?;
        self.conn
            .execute(
                "INSERT INTO release_policy (project_id, body) VALUES (?1, ?2)
                 ON CONFLICT (project_id) DO UPDATE SET body = excluded.body",
                (project.0, body),
            )
            .doing("a release policy")?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Attestation, StoreError> {
    let what = "an attestation";
    let kind: String = row.get(3).doing(what)?;
    Ok(Attestation {
        id: row.get(0).doing(what)?,
        artifact: Sha256(row.get(1).doing(what)?),
        document: Sha256(row.get(2).doing(what)?),
        kind: serde_json::from_value(kind.into()).doing(what)?,
        is_signed: row.get(4).doing(what)?,
        signer: row.get(5).doing(what)?,
        builder: row.get(6).doing(what)?,
        created_at: Timestamp(row.get(7).doing(what)?),
        created_by: row.get(8).doing(what)?,
    })
}
