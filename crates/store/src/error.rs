//! What can go wrong with what lasts?

use muster_vocab::{ActionId, RolloutId};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no device {0:?}")]
    NoDevice(String),
    #[error("no action {0}")]
    NoAction(ActionId),
    #[error("no rollout {0}")]
    NoRollout(RolloutId),
    #[error("no {kind} {name:?}")]
    Missing { kind: &'static str, name: String },
    #[error("{kind} {name:?} exists already")]
    Exists { kind: &'static str, name: String },
    #[error("{kind} {name:?} is used by {by}")]
    InUse { kind: &'static str, name: String, by: String },
    #[error("the cursor is not one that this list gave out")]
    BadCursor,
    #[error("reading or writing {what}")]
    Sql {
        what: &'static str,
        #[source]
        source: rusqlite::Error,
    },
    #[error("a stored {what} can't be read")]
    Broken {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{what}")]
    File {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{what}")]
    Blob {
        what: &'static str,
        #[source]
        source: object_store::Error,
    },
    #[error("the data folder {0} is used by another server")]
    Locked(String),
    #[error("the database was made by a newer Muster (schema {found}, this one knows {known})")]
    Newer { found: u32, known: u32 },
    #[error("the disk is full")]
    DiskFull,
    #[error("too much is waiting to be written")]
    Busy,
    #[error("the writer has stopped")]
    Stopped,
    #[error("an invariant broke while writing; nothing of that step was kept")]
    Invariant,
}

impl StoreError {
    pub(crate) fn broken(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken { what, source: source.into() }
    }
}

/// Says what was being done, next to the database's own error.
pub(crate) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, rusqlite::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::DiskFull,
            _ => StoreError::Sql { what, source },
        })
    }
}

impl<T> Doing<T> for Result<T, serde_json::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::broken(what, source))
    }
}

impl<T> Doing<T> for Result<T, std::io::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull => StoreError::DiskFull,
            _ => StoreError::File { what, source },
        })
    }
}
