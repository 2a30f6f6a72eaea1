//! What is in a device's file before it has joined, and what is written into it then?
//!
//! Images that are built once and copied to many devices have a file without a token. What it says is kept as it is,
//! comments included; what is missing is put in front, where top-level keys of TOML belong.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What a file may say before its device has joined. The rest is looked at when it is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Prepared {
    #[serde(default)]
    pub server: Option<String>,
    #[serde(default)]
    pub project: Option<String>,
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub ca: Option<PathBuf>,
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

/// Who the device is now.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub server: &'a str,
    pub project: &'a str,
    pub device: &'a str,
    /// Empty: it has a certificate, in its folder.
    pub token: &'a str,
    pub ca: Option<&'a Path>,
}

impl Prepared {
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|bad| bad.to_string())
    }

    /// The value that was asked for on the command line, or else the file's; two that differ are refused.
    pub fn agree(name: &str, asked: Option<&str>, prepared: Option<&str>) -> Result<Option<String>, String> {
        match (asked, prepared) {
            (Some(asked), Some(prepared)) if asked != prepared => {
                Err(format!("the file says {name} = {prepared:?} and you say {asked:?}; leave one of them out"))
            }
            (Some(value), _) | (None, Some(value)) => Ok(Some(value.to_owned())),
            (None, None) => Ok(None),
        }
    }

    /// The file with what was missing in front. The caller checks that it is complete.
    #[must_use]
    pub fn complete(&self, text: &str, identity: Identity<'_>) -> String {
        let ca = identity.ca.map(|path| path.to_string_lossy());
        let keys = [
            ("server", Some(identity.server), self.server.is_none()),
            ("project", Some(identity.project), self.project.is_none()),
            ("device", Some(identity.device), self.device.is_none()),
            ("token", Some(identity.token), self.token_file.is_none() && !identity.token.is_empty()),
            ("ca", ca.as_deref(), self.ca.is_none()),
        ];
        let mut file = String::new();
        for (name, value, is_missing) in keys {
            if let (Some(value), true) = (value, is_missing) {
                file.push_str(&format!("{name} = {}\n", toml::Value::from(value)));
            }
        }
        if !file.is_empty() && !text.is_empty() {
            file.push('\n');
        }
        file + text
    }
}

/// The file with another value for a top-level key; all else is kept as it is.
#[must_use]
pub fn with_value(text: &str, key: &str, value: &str) -> String {
    let mut is_top = true;
    let line = |line: &str| {
        is_top &= !line.trim_start().starts_with('[');
        let is_it = is_top && line.split_once('=').is_some_and(|(found, _)| found.trim() == key);
        if is_it { format!("{key} = {}\n", toml::Value::from(value)) } else { line.to_owned() }
    };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn identity() -> Identity<'static> {
        Identity {
            server: "https://muster.example.com",
            project: "default",
            device: "box \"7\"",
            token: "secret-7",
            ca: Some(Path::new("/etc/muster/ca.pem")),
        }
    }

    #[test]
    fn an_empty_file_becomes_a_complete_one() {
        let file = Prepared::default().complete("", identity());
        let config = Config::parse(&file).unwrap();
        assert_eq!((config.device.as_str(), config.token.as_str()), ("box \"7\"", "secret-7"));
        assert_eq!(config.ca.as_deref(), identity().ca);
    }

    #[test]
    fn a_prepared_file_keeps_its_comments_and_components() {
        let text = "# Of all our boxes.\nserver = \"https://muster.example.com\"\n[component.web]\ninstaller = \"tree\"\nroot = \"/srv\" # here\n";
        let prepared = Prepared::parse(text).unwrap();
        let file = prepared.complete(text, identity());
        assert!(file.ends_with(text), "{file}");
        assert_eq!(file.matches("server").count(), 1);
        assert_eq!(Config::parse(&file).unwrap().components.len(), 1);
    }

    #[test]
    fn a_value_is_replaced_where_it_stands_and_nowhere_else() {
        let text = "project = \"a\" # ours\n[component.x]\nproject = \"a\"\n";
        assert_eq!(with_value(text, "project", "b"), "project = \"b\"\n[component.x]\nproject = \"a\"\n");
    }

    #[test]
    fn a_token_with_a_file_of_its_own_stays_out_of_this_one() {
        let text = "token_file = \"/etc/muster/token\"\n";
        let file = Prepared::parse(text).unwrap().complete(text, identity());
        assert!(!file.contains("secret-7"), "{file}");
        Config::parse(&file).unwrap();
    }

    #[test]
    fn what_is_asked_for_and_what_is_prepared_must_not_differ() {
        assert_eq!(Prepared::agree("project", None, None), Ok(None));
        assert_eq!(Prepared::agree("project", Some("a"), None), Ok(Some("a".into())));
        assert_eq!(Prepared::agree("project", None, Some("b")), Ok(Some("b".into())));
        let why = Prepared::agree("project", Some("a"), Some("b")).unwrap_err();
        assert!(why.contains("project = \"b\""), "{why}");
    }
}
