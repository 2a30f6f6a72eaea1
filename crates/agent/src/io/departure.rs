//! How does the program on a device leave its project: for good, or for another one?

use std::path::Path;

use muster_wire::agent::Joined;

use super::disk::RealDisk;
use super::net::{NetSetupError, Reach, RealNet, RenewError};
use crate::config::{Config, ConfigError, read_text, write_secret};
use crate::join::{Prepared, with_value};
use crate::wipe::{self, Leaving, ROOT_FILE, WipeError, WipeSettings};

#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Renew(#[from] RenewError),
    #[error(transparent)]
    File(#[from] ConfigError),
    #[error(transparent)]
    Identity(#[from] super::identity::IdentityError),
}

/// Writes down that the device belongs to another project. What proves it comes last: before that it asks again.
pub fn follow(net: &RealNet, config: &Config, path: &Path) -> Result<Joined, FollowError> {
    let (joined, identity) = net.follow()?;
    let mut text = with_value(&read_text(path)?, "project", &joined.project);
    if !joined.token.is_empty() && config.token_file.is_none() {
        text = with_value(&text, "token", &joined.token);
    }
    write_secret(path, &text)?;
    if let Some(file) = config.token_file.as_ref().filter(|_| !joined.token.is_empty()) {
        write_secret(file, &format!("{}\n", joined.token))?;
    }
    if let Some(identity) = identity {
        identity.write(&config.folder)?;
    }
    Ok(joined)
}

/// What a device's file says whose wipe was begun, whether or not there is a token in it any more.
#[derive(Debug, Clone)]
pub struct Leaver {
    pub settings: WipeSettings,
    pub leaving: Leaving,
    server: String,
    ca: Option<std::path::PathBuf>,
}

impl Leaver {
    /// None: nobody has ordered this device to leave.
    pub fn find(path: &Path, folder_default: &Path) -> Result<Option<Self>, WipeError> {
        let Ok(text) = read_text(path) else { return Ok(None) };
        // What is wrong with the file is told by whoever reads all of it.
        let Ok(prepared) = Prepared::parse(&text) else { return Ok(None) };
        let folder = prepared.folder.unwrap_or_else(|| folder_default.to_owned());
        let Some(leaving) = wipe::read(&RealDisk, &folder)? else { return Ok(None) };
        let root = folder.join(ROOT_FILE);
        let settings =
            WipeSettings { folder, allowed: Vec::new(), file: Some(path.to_owned()), token_file: prepared.token_file };
        let ca = prepared.ca.or_else(|| root.exists().then_some(root));
        Ok(Some(Self { settings, leaving, server: prepared.server.unwrap_or_default(), ca }))
    }

    /// The way to the server without key and certificate: the receipt is enough.
    pub fn net(&self) -> Result<RealNet, NetSetupError> {
        RealNet::new(Reach { server: &self.server, token: "", ca: self.ca.as_deref(), identity: None })
    }
}

/// The root by which the device reaches its server once its certificate is gone.
pub fn keep_root(net: &RealNet, folder: &Path) -> Result<(), ConfigError> {
    net.root().map_or(Ok(()), |root| write_secret(&folder.join(ROOT_FILE), &root))
}
