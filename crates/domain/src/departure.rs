//! How does a device leave: what is it to destroy, and how far has it come?
//!
//! From the order on the device's credentials open nothing but the order itself. It confirms, destroys its data and its
//! key, and tells so by a receipt, because it has nothing else left by then.

use muster_vocab::{Timestamp, limit};
use serde::{Deserialize, Serialize};

/// A decommission, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// What people named, absolute. The device takes of it what its own file allows.
    pub wipe: Vec<String>,
    /// All that the device's own file names.
    pub wipe_defaults: bool,
    pub reason: String,
    pub ordered_at: Timestamp,
    pub ordered_by: String,
    #[serde(default)]
    pub confirmed_at: Option<Timestamp>,
    #[serde(default)]
    pub done_at: Option<Timestamp>,
    /// What the device will not destroy, because its own file doesn't allow it.
    #[serde(default)]
    pub refused: Vec<String>,
    #[serde(default)]
    pub wiped: Vec<String>,
    /// What it could not destroy, and why.
    #[serde(default)]
    pub failed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDeparture {
    #[error("{0:?} is no absolute path without `.` and `..`")]
    Path(String),
    #[error("at most {max} paths at a time", max = limit::WIPE_PATHS_MAX)]
    TooMany,
    #[error("a reason has at most {max} characters", max = limit::MESSAGE_CHARS_MAX)]
    Reason,
}

/// Is it an order that a device can understand?
pub fn check(wipe: &[String], reason: &str) -> Result<(), BadDeparture> {
    if wipe.len() > limit::WIPE_PATHS_MAX {
        return Err(BadDeparture::TooMany);
    }
    if reason.chars().count() > limit::MESSAGE_CHARS_MAX {
        return Err(BadDeparture::Reason);
    }
    match wipe.iter().find(|path| !is_plain(path)) {
        Some(bad) => Err(BadDeparture::Path(bad.chars().take(200).collect())),
        None => Ok(()),
    }
}

fn is_plain(path: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control);
    path.len() <= limit::WIPE_PATH_BYTES_MAX
        && path.strip_prefix('/').is_some_and(|rest| rest.trim_end_matches('/').split('/').all(is_name))
}

/// Who must say that a device is gone?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// It fetches its order and tells when it is done.
    ByItself,
    /// It speaks no language in which it could be told, or nobody waits for it.
    AtOnce,
}

/// Only Muster's own agent can be told to destroy anything.
#[must_use]
pub fn leaves(is_agent: bool, has_credentials: bool, force: bool) -> Leaves {
    if is_agent && has_credentials && !force { Leaves::ByItself } else { Leaves::AtOnce }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_paths_are_ordered() {
        let check = |path: &str| check(&[path.to_owned()], "");
        assert_eq!(check("/data/customer"), Ok(()));
        assert_eq!(check("/data/customer/"), Ok(()));
        for bad in ["", "/", "data", "/data/../etc", "/data/./x", "/data//x", "/da\nta"] {
            assert!(check(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn who_cannot_be_told_leaves_at_once() {
        assert_eq!(leaves(true, true, false), Leaves::ByItself);
        assert_eq!(leaves(true, true, true), Leaves::AtOnce);
        assert_eq!(leaves(false, true, false), Leaves::AtOnce);
        assert_eq!(leaves(true, false, false), Leaves::AtOnce);
    }
}
