//! With which key does the server vouch for its audit log?

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use muster_trust::audit::checkpoint::{BadCheckpoint, Signer, new_key};

const FILE: &str = "audit.key";

#[derive(Debug, thiserror::Error)]
pub enum AuditKeyError {
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} can't be used: put the right file back from a backup")]
    Key {
        path: PathBuf,
        #[source]
        source: BadCheckpoint,
    },
}

/// Reads `audit.key` in the data folder, PKCS#8; makes it at the first start.
pub fn load(data: &Path) -> Result<Signer, AuditKeyError> {
    let path = data.join(FILE);
    let unusable = |source| AuditKeyError::Key { path: path.clone(), source };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let bytes = new_key().map_err(unusable)?;
            write(data, &path, &bytes)?;
            bytes
        }
        Err(source) => return Err(AuditKeyError::File { what: "reading", path, source }),
    };
    Signer::from_pkcs8(&bytes).map_err(unusable)
}

/// Whole or not at all, for its owner only, and durable before anything is signed with it.
fn write(data: &Path, path: &Path, bytes: &[u8]) -> Result<(), AuditKeyError> {
    let failed = |source| AuditKeyError::File { what: "writing", path: path.to_owned(), source };
    let fresh = path.with_extension("key.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    std::fs::File::open(data).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_and_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let made = load(folder.path()).unwrap().public();
        assert_eq!(load(folder.path()).unwrap().public(), made);
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join(FILE), b"nonsense").unwrap();
        assert!(load(folder.path()).is_err());
    }
}
