//! With which keys does the server sign by itself? Snapshot and timestamp, and what it says to single devices.
//!
//! Made at the first start, in `keys/` of the data folder, readable by the server only. They are no part of the database,
//! and so of no copy of it. Whoever steals them can't bring a release to a device that nobody signed offline.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use muster_trust::tuf::secret_key::SecretKey;

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
    pub fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("keys");
        fs::create_dir_all(&folder)?;
        Ok(Self { online: key(&folder, "online.pem")?, director: key(&folder, "director.pem")? })
    }
}

fn key(folder: &Path, name: &str) -> io::Result<SecretKey> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(pem) => SecretKey::parse(&pem).map_err(|bad| io::Error::other(format!("{}: {bad}", path.display()))),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let key = SecretKey::generate().map_err(io::Error::other)?;
            let beside = folder.join(format!("{name}.new"));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(key.pem().as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            fs::File::open(folder)?.sync_all()?;
            Ok(key)
        }
        Err(failed) => Err(failed),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_are_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let made = Signing::open(folder.path()).unwrap();
        let found = Signing::open(folder.path()).unwrap();
        assert_eq!(made.online.public(), found.online.public());
        assert_ne!(made.online.public(), made.director.public());
        let mode = fs::metadata(folder.path().join("keys/online.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(folder.path().join("keys/online.pem"), "broken").unwrap();
        assert!(Signing::open(folder.path()).is_err());
    }
}
