//! Where does SQLite differ from other databases? Only here: opening, pragmas, migrations, locking.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_vocab::limit;
use muster_vocab::selector::{literal, pattern};
use parking_lot::{Condvar, Mutex};
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};

use crate::error::Doing;
use crate::writer::{OnCommit, Writer};
use crate::{StoreError, View};

/// Migrations in order. Each only expands what the one before left, so that the server of the release before
/// still runs on it; what it replaces is dropped a release later.
const MIGRATIONS: [&str; 14] = [
    include_str!("schema/0001_first.sql"),
    include_str!("schema/0002_agent.sql"),
    include_str!("schema/0003_twin.sql"),
    include_str!("schema/0004_route.sql"),
    include_str!("schema/0005_identity.sql"),
    include_str!("schema/0006_roles.sql"),
    include_str!("schema/0007_metadata.sql"),
    include_str!("schema/0008_audit.sql"),
    include_str!("schema/0009_secrets.sql"),
    include_str!("schema/0010_attestations.sql"),
    include_str!("schema/0011_lifecycle.sql"),
    include_str!("schema/0012_login.sql"),
    include_str!("schema/0013_approvals.sql"),
    include_str!("schema/0014_audit.sql"),
];

/// Statements kept compiled per connection: about twice as many as there are questions.
const STATEMENTS_CACHED: usize = 256;
/// Pages kept in memory per connection, in KiB: the hot part of a million devices.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
const READER_CACHE_KIB: i64 = 16 * 1024;

/// The open data folder.
#[derive(Debug)]
pub struct Store {
    writer: Writer,
    readers: Readers,
    /// Held as long as the store is open: a second server on the same folder is refused.
    _lock: File,
}

#[derive(Debug)]
struct Readers {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl Store {
    /// Opens or creates `muster.db` in a folder and brings its schema up to date.
    ///
    /// `on_commit` is called by the writer thread after each durable commit, in order.
    pub fn open(folder: &Path, on_commit: OnCommit) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).doing("making the data folder")?;
        let lock = lock(folder)?;
        let file = folder.join("muster.db");
        let mut conn = connect(&file, false)?;
        migrate(&mut conn)?;
        let idle = (0..limit::READERS).map(|_| connect(&file, true)).collect::<Result<Vec<_>, _>>()?;
        let readers = Readers { idle: Mutex::new(idle), returned: Condvar::new() };
        Ok(Self { writer: Writer::start(conn, connect(&file, true)?, on_commit), readers, _lock: lock })
    }

    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Asks the last committed state. Blocks its thread until one of the readers is free.
    pub fn read<T, E: From<StoreError>>(&self, question: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        let conn = self.readers.take();
        let answer = ask(&conn, question);
        self.readers.put(conn);
        answer
    }
}

/// One question may consist of several statements: they see one state.
fn ask<T, E: From<StoreError>>(conn: &Connection, question: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
    conn.execute_batch("BEGIN").doing("a read transaction")?;
    let answer = question(&View::new(conn));
    conn.execute_batch("COMMIT").doing("a read transaction")?;
    answer
}

impl Readers {
    fn take(&self) -> Connection {
        let mut idle = self.idle.lock();
        loop {
            if let Some(conn) = idle.pop() {
                return conn;
            }
            self.returned.wait(&mut idle);
        }
    }

    fn put(&self, conn: Connection) {
        self.idle.lock().push(conn);
        self.returned.notify_one();
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).doing("opening the lock file")?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked(folder.display().to_string())),
        Err(std::fs::TryLockError::Error(source)) => Err(StoreError::File { what: "locking the data folder", source }),
    }
}

fn connect(file: &PathBuf, read_only: bool) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .doing("opening the database")?;
    conn.busy_timeout(Duration::from_secs(10)).doing("setting up the database")?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Plans hang on the text alone. Without this SQLite looks at the bound values, too, and compiles nearly every
    // cached statement again each time it is used.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).doing("setting up the database")?;
    let cache_kib = if read_only { READER_CACHE_KIB } else { WRITER_CACHE_KIB };
    // FULL: a commit is on the disk before it is answered, also when the power goes.
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -{cache_kib}; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;
         PRAGMA wal_autocheckpoint = 4000;"
    ))
    .doing("setting up the database")?;
    add_functions(&conn)?;
    if read_only {
        conn.execute_batch("PRAGMA query_only = ON").doing("setting up the database")?;
    }
    Ok(conn)
}

/// `muster_number(text)`: the number a text is, or null. `muster_like(text, pattern)`: whether the whole text matches.
/// Other databases get functions of the same names.
fn add_functions(conn: &Connection) -> Result<(), StoreError> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("muster_number", 1, flags, |context| {
        Ok(context.get_raw(0).as_str().ok().and_then(literal::number))
    })
    .doing("setting up the database")?;
    conn.create_scalar_function("muster_like", 2, flags, |context| {
        let (text, wanted) = (context.get_raw(0).as_str(), context.get_raw(1).as_str());
        Ok(text.is_ok_and(|text| wanted.is_ok_and(|wanted| pattern::matches(wanted, text))))
    })
    .doing("setting up the database")
}

fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).expect("there are few migrations");
    let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).doing("the schema version")?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
        let tx = conn.transaction().doing("a migration")?;
        tx.execute_batch(migration).doing("a migration")?;
        tx.execute_batch(&format!("PRAGMA user_version = {}", at + 1)).doing("a migration")?;
        tx.commit().doing("a migration")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> OnCommit {
        Box::new(|_| ())
    }

    #[test]
    fn a_second_server_on_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path(), nothing()).unwrap();
        assert!(matches!(Store::open(folder.path(), nothing()), Err(StoreError::Locked(_))));
        drop(first);
        assert!(Store::open(folder.path(), nothing()).is_ok());
    }

    #[test]
    fn a_database_of_each_muster_before_is_brought_up_to_date() {
        for known in 1..MIGRATIONS.len() {
            let folder = tempfile::tempdir().unwrap();
            let conn = Connection::open(folder.path().join("muster.db")).unwrap();
            for migration in &MIGRATIONS[..known] {
                conn.execute_batch(migration).unwrap();
            }
            conn.execute_batch(&format!("PRAGMA user_version = {known}")).unwrap();
            drop(conn);
            drop(Store::open(folder.path(), nothing()).unwrap());
            let conn = Connection::open(folder.path().join("muster.db")).unwrap();
            let found: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
            assert_eq!(found as usize, MIGRATIONS.len());
        }
    }

    #[test]
    fn a_database_of_a_newer_muster_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path(), nothing()).unwrap());
        let conn = Connection::open(folder.path().join("muster.db")).unwrap();
        conn.execute_batch("PRAGMA user_version = 999").unwrap();
        drop(conn);
        assert!(matches!(Store::open(folder.path(), nothing()), Err(StoreError::Newer { found: 999, .. })));
    }
}
