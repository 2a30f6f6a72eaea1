//! Which numbers belong to the names of users and groups?

use std::path::Path;

use crate::disk::{self, Disk};

/// Devices have a few dozen accounts.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// Of `user:group`, each by name or number.
pub(super) fn owner(disk: &dyn Disk, folder: &Path, text: &str) -> Result<(u32, u32), String> {
    let Some((user, group)) = text.split_once(':') else {
        return Err(format!("the owner {text:?} is not of the form user:group"));
    };
    Ok((number(disk, &folder.join("passwd"), user)?, number(disk, &folder.join("group"), group)?))
}

/// A line is `name:password:number:…` in both files.
fn number(disk: &dyn Disk, file: &Path, name: &str) -> Result<u32, String> {
    // The highest number stands for "leave it as it is".
    if let Some(number) = name.parse().ok().filter(|number| *number != u32::MAX) {
        return Ok(number);
    }
    let bytes =
        disk::read_start(disk, file, FILE_BYTES_MAX).map_err(|why| format!("reading {}: {why}", file.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let found = text.lines().find_map(|line| {
        let mut words = line.split(':');
        (words.next() == Some(name)).then(|| words.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| format!("{} knows no {name:?}", file.display()))
}
