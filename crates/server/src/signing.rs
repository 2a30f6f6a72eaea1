//! With which keys does the server sign by itself? Snapshot and timestamp, and what it says to single devices.
//!
//! Made at the first start, in `keys/` of the data folder, sealed. They are no part of the database, and so of no copy of
//! it. Whoever steals them can't bring a release to a device that nobody signed offline.

use std::fs;
use std::path::{Path, PathBuf};

use muster_trust::tuf::secret_key::SecretKey;

use crate::vault::{Vault, VaultError};

#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("making {path}")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no key: {problem}; put the right file back from a backup")]
    Key { path: PathBuf, problem: String },
}

#[derive(Debug)]
pub struct Signing {
    /// Of the roles snapshot and timestamp.
    pub online: SecretKey,
    /// Of the role director.
    pub director: SecretKey,
}

impl Signing {
    /// Reads the keys, or makes them.
    ///
    /// # Errors
    /// If a file can't be read or written, or holds something else: it is never replaced.
    pub fn open(data: &Path, vault: &Vault) -> Result<Self, SigningError> {
        let folder = data.join("keys");
        fs::create_dir_all(&folder).map_err(|source| SigningError::Folder { path: folder, source })?;
        let [online, director] = files(data);
        Ok(Self { online: key(&online, vault)?, director: key(&director, vault)? })
    }
}

/// Where the keys lie.
#[must_use]
pub fn files(data: &Path) -> [PathBuf; 2] {
    ["online.pem", "director.pem"].map(|name| data.join("keys").join(name))
}

fn key(path: &Path, vault: &Vault) -> Result<SecretKey, SigningError> {
    let bad = |problem: String| SigningError::Key { path: path.to_owned(), problem };
    if let Some(pem) = vault.read_file(path)? {
        let pem = std::str::from_utf8(&pem).map_err(|_| bad("it is not text".into()))?;
        return SecretKey::parse(pem).map_err(|why| bad(why.to_string()));
    }
    let key = SecretKey::generate().map_err(|why| bad(why.to_string()))?;
    vault.write_file(path, key.pem().as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MasterKey;

    #[test]
    fn keys_are_made_once_and_lie_there_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&MasterKey::Own(folder.path().join("master.key"))).unwrap();
        let made = Signing::open(folder.path(), &vault).unwrap();
        let found = Signing::open(folder.path(), &vault).unwrap();
        assert_eq!(made.online.public(), found.online.public());
        assert_ne!(made.online.public(), made.director.public());
        for path in files(folder.path()) {
            assert!(muster_trust::seal::is_sealed(&fs::read(path).unwrap()));
        }
        fs::write(folder.path().join("keys/online.pem"), "broken").unwrap();
        assert!(Signing::open(folder.path(), &vault).is_err());
    }
}
