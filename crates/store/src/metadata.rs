//! Which documents were signed?

use std::collections::BTreeMap;

use muster_vocab::ProjectId;
use rusqlite::OptionalExtension;

use crate::error::Doing;
use crate::{StoreError, Tx, View};

impl View<'_> {
    /// All documents of a project, by name: some per role.
    pub fn metadata(&self, project: ProjectId) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        self.conn
            .prepare_cached("SELECT name, bytes FROM metadata WHERE project_id = ?1")
            .and_then(|mut it| it.query_map([project.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .doing("signed metadata")
    }

    pub fn metadata_file(&self, project: ProjectId, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.conn
            .prepare_cached("SELECT bytes FROM metadata WHERE project_id = ?1 AND name = ?2")
            .and_then(|mut it| it.query_row((project.0, name), |row| row.get(0)).optional())
            .doing("a signed document")
    }
}

impl Tx<'_> {
    /// Makes these the documents of a project. Only what differs is written.
    pub fn save_metadata(
        &mut self,
        project: ProjectId,
        before: &BTreeMap<String, Vec<u8>>,
        after: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), StoreError> {
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.conn
                .execute("DELETE FROM metadata WHERE project_id = ?1 AND name = ?2", (project.0, name))
                .doing("removing an old signed document")?;
        }
        for (name, bytes) in after.iter().filter(|(name, bytes)| before.get(*name) != Some(bytes)) {
            self.conn
                .execute(
                    "INSERT INTO metadata (project_id, name, bytes) VALUES (?1, ?2, ?3)
                     ON CONFLICT (project_id, name) DO UPDATE SET bytes = excluded.bytes",
                    (project.0, name, bytes),
                )
                .doing("writing a signed document")?;
        }
        Ok(())
    }
}
