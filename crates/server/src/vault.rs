//! With what are secrets sealed here, and how does that key change while the server runs?
//!
//! The master key lies in a file, in the environment, or comes from a program. Everything that opens something else is
//! sealed with it: the keys of authorities, of the audit log and of signed metadata, and what people call secrets.

use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muster_trust::seal::{BadMasterKey, Keyring, SealError, is_sealed};
use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::config::{MASTER_KEY_VARIABLE, MasterKey};

/// A file or answer that is longer holds something else than master keys.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// The largest of the server's own key files, many times over.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} can be read by others: take that right from them with chmod 600")]
    Open(PathBuf),
    #[error("the master key from {from} can't be used")]
    Key {
        from: String,
        #[source]
        source: BadMasterKey,
    },
    #[error("{0} is not set, or is not text")]
    NotSet(&'static str),
    #[error("running {program} for the master key")]
    Run {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} was to print the master key and ended with {status}")]
    Failed { program: String, status: std::process::ExitStatus },
    #[error("{what} can't be opened: give the server the master key that it was sealed with")]
    Sealed {
        what: String,
        #[source]
        source: SealError,
    },
}

/// The only place where secrets are opened.
#[derive(Debug)]
pub struct Vault {
    source: MasterKey,
    keyring: RwLock<Keyring>,
}

impl Vault {
    /// Reads the master key; makes the file if it is the server's own and not there yet.
    pub fn open(source: &MasterKey) -> Result<Self, VaultError> {
        if let MasterKey::Own(path) = source
            && !path.exists()
        {
            let made = Keyring::generate().map_err(|source| VaultError::Key { from: shown(path), source })?;
            replace(path, made.text().as_bytes())?;
        }
        Ok(Self { source: source.clone(), keyring: RwLock::new(read(source)?) })
    }

    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        self.keyring.read().seal(purpose, plain)
    }

    pub fn unseal(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.keyring.read().open(purpose, sealed)
    }

    /// Sealed with the newest key, if it is not already.
    pub fn resealed(&self, purpose: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        let keyring = self.keyring.read();
        if keyring.is_newest(sealed) {
            return Ok(None);
        }
        let plain = keyring.open(purpose, sealed)?;
        keyring.seal(purpose, &plain).map(Some)
    }

    /// What the newest key is called, how many older ones still open, and whether the server keeps the key itself.
    #[must_use]
    pub fn shown(&self) -> (String, usize, bool) {
        let keyring = self.keyring.read();
        (keyring.name(), keyring.older(), matches!(self.source, MasterKey::Own(_)))
    }

    /// Takes up a new master key: makes one if it is the server's own, reads again what others keep. Both open until
    /// [`Vault::forget_older`].
    pub fn take_up_new(&self) -> Result<(), VaultError> {
        let new = match &self.source {
            MasterKey::Own(path) => {
                let new = read(&self.source)?.rotated();
                let new = new.map_err(|source| VaultError::Key { from: shown(path), source })?;
                replace(path, new.text().as_bytes())?;
                new
            }
            other => read(other)?,
        };
        *self.keyring.write() = new;
        Ok(())
    }

    /// All is sealed with the newest key. Only the server's own file is changed; other places are other people's.
    pub fn forget_older(&self) -> Result<(), VaultError> {
        let MasterKey::Own(path) = &self.source else { return Ok(()) };
        let newest = read(&self.source)?.newest();
        replace(path, newest.text().as_bytes())?;
        *self.keyring.write() = newest;
        Ok(())
    }

    /// A file of the server's own that was sealed; one from before there was a master key is sealed now.
    pub fn read_file(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let failed = |source| VaultError::File { what: "reading", path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(other) => return Err(failed(other)),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        if !is_sealed(&bytes) {
            self.write_file(path, &bytes)?;
            return Ok(Some(bytes));
        }
        let opened = self.unseal(&purpose_of(path), &bytes);
        opened.map(Some).map_err(|source| VaultError::Sealed { what: shown(path), source })
    }

    /// Whole or not at all, for the server alone, and durable.
    pub fn write_file(&self, path: &Path, plain: &[u8]) -> Result<(), VaultError> {
        let sealed = self.seal(&purpose_of(path), plain);
        let sealed = sealed.map_err(|source| VaultError::Sealed { what: shown(path), source })?;
        replace(path, &sealed)
    }

    pub fn reseal_file(&self, path: &Path) -> Result<(), VaultError> {
        match self.read_file(path)? {
            Some(plain) => self.write_file(path, &plain),
            None => Ok(()),
        }
    }
}

fn purpose_of(path: &Path) -> String {
    format!("file {}", path.file_name().unwrap_or_default().to_string_lossy())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn read(source: &MasterKey) -> Result<Keyring, VaultError> {
    let (text, from) = match source {
        MasterKey::Own(path) | MasterKey::File(path) => (text_of(path)?, shown(path)),
        MasterKey::Environment => {
            let text = std::env::var(MASTER_KEY_VARIABLE).map_err(|_| VaultError::NotSet(MASTER_KEY_VARIABLE))?;
            (Zeroizing::new(text), MASTER_KEY_VARIABLE.to_owned())
        }
        MasterKey::Command(words) => (answer_of(words)?, words.join(" ")),
    };
    Keyring::parse(&text).map_err(|source| VaultError::Key { from, source })
}

fn text_of(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let failed = |source| VaultError::File { what: "reading the master key in", path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(VaultError::Open(path.to_owned()));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn answer_of(words: &[String]) -> Result<Zeroizing<String>, VaultError> {
    let (program, arguments) = words.split_first().ok_or(VaultError::NotSet("the command for the master key"))?;
    let failed = |source| VaultError::Run { program: program.clone(), source };
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut text = Zeroizing::new(String::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(VaultError::Failed { program: program.clone(), status });
    }
    Ok(text)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let failed = |source| VaultError::File { what: "writing", path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(folder: &Path) -> MasterKey {
        MasterKey::Own(folder.join("master.key"))
    }

    #[test]
    fn the_servers_own_key_is_made_once_and_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let (name, _, is_own) = Vault::open(&own(folder.path())).unwrap().shown();
        assert_eq!(Vault::open(&own(folder.path())).unwrap().shown().0, name);
        assert!(is_own);
        let path = folder.path().join("master.key");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Vault::open(&own(folder.path())), Err(VaultError::Open(_))));
    }

    #[test]
    fn a_key_of_somebody_else_is_read_and_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(Vault::open(&MasterKey::File(path.clone())), Err(VaultError::File { .. })));
        assert!(!path.exists());
        replace(&path, Keyring::generate().unwrap().text().as_bytes()).unwrap();
        let by_file = Vault::open(&MasterKey::File(path.clone())).unwrap();
        let words = vec!["cat".to_owned(), shown(&path)];
        assert_eq!(Vault::open(&MasterKey::Command(words)).unwrap().shown().0, by_file.shown().0);
        let failed = Vault::open(&MasterKey::Command(vec!["false".into()])).unwrap_err().to_string();
        assert!(failed.starts_with("false was to print the master key and ended with"), "{failed}");
    }

    #[test]
    fn files_are_sealed_also_those_from_before_there_was_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&own(folder.path())).unwrap();
        let path = folder.path().join("root.key");
        assert!(vault.read_file(&path).unwrap().is_none());
        std::fs::write(&path, b"a key in the clear").unwrap();
        assert_eq!(vault.read_file(&path).unwrap().unwrap().as_slice(), b"a key in the clear");
        assert!(is_sealed(&std::fs::read(&path).unwrap()));
        assert_eq!(vault.read_file(&path).unwrap().unwrap().as_slice(), b"a key in the clear");
        std::fs::rename(&path, folder.path().join("audit.key")).unwrap();
        let swapped = vault.read_file(&folder.path().join("audit.key")).unwrap_err();
        assert!(matches!(swapped, VaultError::Sealed { .. }), "one file was taken for another");
    }

    #[test]
    fn during_a_rotation_both_keys_open_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&own(folder.path())).unwrap();
        let sealed = vault.seal("p", b"value").unwrap();
        vault.take_up_new().unwrap();
        let restarted = Vault::open(&own(folder.path())).unwrap();
        let anew = restarted.resealed("p", &sealed).unwrap().unwrap();
        assert_eq!(restarted.resealed("p", &anew).unwrap(), None);
        restarted.forget_older().unwrap();
        assert!(restarted.unseal("p", &sealed).is_err());
        assert_eq!(restarted.unseal("p", &anew).unwrap().as_slice(), b"value");
        assert_eq!(Vault::open(&own(folder.path())).unwrap().shown().1, 0);
    }
}
