//! Which server, as whom? Named contexts in a file that only its owner can read.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::exit::{Failed, Outcome};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    pub server: String,
    pub token: String,
    pub account: String,
    pub project: String,
    /// PEM: the server's own root certificate; nothing else is trusted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("server", &self.server).field("account", &self.account).finish_non_exhaustive()
    }
}

/// `$MUSTER_CONFIG`, or `muster/config.toml` in the user's configuration folder.
pub fn path() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("MUSTER_CONFIG") {
        return Ok(path.into());
    }
    let folder = match (std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME")) {
        (Some(folder), _) if !folder.is_empty() => PathBuf::from(folder),
        (_, Some(home)) => PathBuf::from(home).join(".config"),
        _ => anyhow::bail!("set HOME, XDG_CONFIG_HOME or MUSTER_CONFIG, so that contexts have a place"),
    };
    Ok(folder.join("muster").join("config.toml"))
}

/// `https://HOST[:PORT]`, or `http://`, without a slash at its end.
pub fn server_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    match text.split_once("://") {
        Some(("https" | "http", host)) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '\n']) => {
            Ok(text.into())
        }
        _ => Err("write the server as https://HOST:PORT or http://HOST:PORT".into()),
    }
}

pub fn load(path: &Path) -> anyhow::Result<Contexts> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("{} is not a contexts file", path.display())),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(Contexts::default()),
        Err(other) => Err(other).with_context(|| format!("reading {}", path.display())),
    }
}

/// To a temporary name first, so that a crash never leaves half a file.
pub fn save(path: &Path, contexts: &Contexts) -> anyhow::Result<()> {
    let folder = path.parent().context("the contexts file lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(toml::to_string_pretty(contexts)?.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

/// MUSTER_SERVER and MUSTER_TOKEN win over the current context.
pub fn current(named: Option<&str>) -> Outcome<Context> {
    let env = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let server = env("MUSTER_SERVER").map(|text| server_url(&text)).transpose();
    let server = server.map_err(|wrong| Failed::Usage(format!("MUSTER_SERVER: {wrong}")))?;
    let token = env("MUSTER_TOKEN");
    if let (Some(server), Some(token)) = (&server, &token) {
        let (server, token) = (server.clone(), token.clone());
        return Ok(Context {
            server,
            token,
            account: String::new(),
            project: String::new(),
            root: root_of_environment()?,
        });
    }
    let mut contexts = load(&path()?)?;
    let name = named.map(str::to_owned).or(contexts.current.take());
    let found = name.as_ref().and_then(|name| contexts.contexts.remove(name));
    match (name, found) {
        (_, Some(found)) => merged(found, server, token),
        (Some(wanted), None) => {
            Err(Failed::NotFound(format!("no context {wanted:?}; `muster context list` shows them")))
        }
        (None, None) => Err(Failed::NotAllowed(
            "not logged in: run `muster login URL`, or set MUSTER_SERVER and MUSTER_TOKEN".into(),
        )),
    }
}

/// MUSTER_CA names a PEM file.
fn root_of_environment() -> anyhow::Result<Option<String>> {
    let file = std::env::var_os("MUSTER_CA").filter(|file| !file.is_empty());
    let read = |file: std::ffi::OsString| {
        std::fs::read_to_string(&file).with_context(|| format!("MUSTER_CA: reading {}", file.display()))
    };
    file.map(read).transpose()
}

/// A token is only ever sent to the server that gave it.
fn merged(found: Context, server: Option<String>, token: Option<String>) -> Outcome<Context> {
    match (server, token) {
        (Some(server), None) if server != found.server => Err(Failed::NotAllowed(format!(
            "MUSTER_SERVER is not the server of the context, {}: set MUSTER_TOKEN too, or neither",
            found.server
        ))),
        (_, Some(token)) => Ok(Context { token, ..found }),
        (_, None) => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_read_back_and_only_their_owner_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("muster/config.toml");
        assert_eq!(load(&path).unwrap(), Contexts::default());
        let context = Context {
            server: "http://127.0.0.1:1".into(),
            token: "muster_x".into(),
            account: "ann".into(),
            project: "default".into(),
            root: None,
        };
        let contexts =
            Contexts { current: Some("lab".into()), contexts: BTreeMap::from([("lab".to_owned(), context)]) };
        save(&path, &contexts).unwrap();
        assert_eq!(load(&path).unwrap(), contexts);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_token_is_not_sent_to_another_server() {
        let context = || Context {
            server: "http://127.0.0.1:1".into(),
            token: "muster_x".into(),
            account: "ann".into(),
            project: "default".into(),
            root: None,
        };
        let other = merged(context(), Some("http://127.0.0.1:2".into()), None);
        assert_eq!(other.unwrap_err().code(), 4);
        assert_eq!(merged(context(), Some("http://127.0.0.1:1".into()), None).unwrap(), context());
        assert_eq!(merged(context(), None, Some("t".into())).unwrap().token, "t");
    }

    #[test]
    fn a_server_is_a_whole_http_url() {
        assert_eq!(server_url("http://10.0.0.1:8080/"), Ok("http://10.0.0.1:8080".into()));
        assert_eq!(server_url("https://muster.lan:8443"), Ok("https://muster.lan:8443".into()));
        for text in ["localhost:8080", "https://", "http://", "http://a/b", "ftp://x", "http://u:p@h", "http://a\nb"] {
            assert!(server_url(text).is_err(), "{text} was taken");
        }
    }
}
