//! With which key does the server vouch for its audit log?

use std::path::{Path, PathBuf};

use muster_trust::audit::checkpoint::{BadCheckpoint, Signer, new_key};

use crate::vault::{Vault, VaultError};

/// In the data folder, sealed.
pub const FILE: &str = "audit.key";

#[derive(Debug, thiserror::Error)]
pub enum AuditKeyError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{path} can't be used: put the right file back from a backup")]
    Key {
        path: PathBuf,
        #[source]
        source: BadCheckpoint,
    },
}

/// Reads `audit.key` in the data folder, PKCS#8; makes it at the first start, before anything is signed with it.
pub fn load(data: &Path, vault: &Vault) -> Result<Signer, AuditKeyError> {
    let path = data.join(FILE);
    let unusable = |source| AuditKeyError::Key { path: path.clone(), source };
    if let Some(bytes) = vault.read_file(&path)? {
        return Signer::from_pkcs8(&bytes).map_err(unusable);
    }
    let made = new_key().map_err(unusable)?;
    vault.write_file(&path, &made)?;
    Signer::from_pkcs8(&made).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MasterKey;

    #[test]
    fn the_key_stays_and_is_not_readable_without_the_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let own = MasterKey::Own(folder.path().join("master.key"));
        let vault = Vault::open(&own).unwrap();
        let made = load(folder.path(), &vault).unwrap().public();
        assert_eq!(load(folder.path(), &Vault::open(&own).unwrap()).unwrap().public(), made);
        assert!(muster_trust::seal::is_sealed(&std::fs::read(folder.path().join(FILE)).unwrap()));
        let other = Vault::open(&MasterKey::Own(folder.path().join("other.key"))).unwrap();
        assert!(load(folder.path(), &other).is_err(), "the key was made anew instead");
        std::fs::write(folder.path().join(FILE), b"nonsense").unwrap();
        assert!(load(folder.path(), &vault).is_err());
    }
}
