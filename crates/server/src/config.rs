//! How is the server told what to do? By flags, then environment, then a TOML file, then defaults.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use muster_vocab::limit;
use muster_vocab::nearest::nearest;

use crate::work::audit_stream::syslog;

/// What `muster server` takes. Every flag has an environment variable and a key of the same name in the file.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// The data folder: database, artifacts, lock. Made if missing [default: ./muster-data]
    #[arg(long, env = "MUSTER_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "MUSTER_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address and port for HTTPS (TLS 1.3), where devices may show certificates [default: none]
    #[arg(long, env = "MUSTER_TLS_LISTEN", value_name = "ADDR")]
    pub tls_listen: Option<SocketAddr>,
    /// Names and addresses in the certificate that the server makes for itself, separated by commas; localhost and
    /// this machine's name are always in it
    #[arg(long, env = "MUSTER_SERVER_NAMES", value_name = "NAME,…", value_delimiter = ',')]
    pub server_names: Option<Vec<String>>,
    /// A certificate (PEM, with its issuers) of somebody else for the server; read again when the file changes
    #[arg(long, env = "MUSTER_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, env = "MUSTER_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// The master key that secrets and the server's own keys are sealed with [default: master.key in the data folder,
    /// made at the first start]; MUSTER_MASTER_KEY may hold the key itself instead
    #[arg(long, env = "MUSTER_MASTER_KEY_FILE", value_name = "FILE", conflicts_with = "master_key_command")]
    pub master_key_file: Option<PathBuf>,
    /// A program with its arguments, separated by spaces, that prints the master key
    #[arg(long, env = "MUSTER_MASTER_KEY_COMMAND", value_name = "COMMAND")]
    pub master_key_command: Option<String>,
    /// A TOML file with any of these keys: data, listen, tls_listen, server_names, tls_certificate, tls_key,
    /// master_key_file, master_key_command, log, log_format, trusted_proxies, audit_syslog, audit_webhook,
    /// audit_webhook_key_file, audit_certificates, connections_per_address, delta_memory_mib
    #[arg(long, env = "MUSTER_CONFIG_FILE", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, or per module as in info,muster_server=debug [default: info]
    #[arg(long, env = "MUSTER_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Log lines for people (text) or programs (json) [default: text]
    #[arg(long, env = "MUSTER_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Addresses of proxies whose X-Forwarded-* and X-Controller-Id headers are believed, separated by commas
    /// [default: none]
    #[arg(long, env = "MUSTER_TRUSTED_PROXIES", value_name = "IP,…", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<IpAddr>>,
    /// A syslog collector that gets each audit record, over TLS: HOST or HOST:PORT [default: none; port 6514]
    #[arg(long, env = "MUSTER_AUDIT_SYSLOG", value_name = "HOST")]
    pub audit_syslog: Option<String>,
    /// An https address that gets each audit record as a CloudEvent [default: none]
    #[arg(long, env = "MUSTER_AUDIT_WEBHOOK", value_name = "URL")]
    pub audit_webhook: Option<String>,
    /// A file with the key that signs these requests: whsec_ and 24 to 64 bytes in base64
    #[arg(long, env = "MUSTER_AUDIT_WEBHOOK_KEY_FILE", value_name = "FILE", requires = "audit_webhook")]
    pub audit_webhook_key_file: Option<PathBuf>,
    /// Authorities (PEM) that vouch for the collector and the webhook [default: those that browsers trust]
    #[arg(long, env = "MUSTER_AUDIT_CERTIFICATES", value_name = "FILE")]
    pub audit_certificates: Option<PathBuf>,
    /// Open connections from one address, or from one IPv6 network of 64 bits; more are closed at once [default: 10000]
    #[arg(long, env = "MUSTER_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER")]
    pub connections_per_address: Option<u32>,
    /// Memory in MiB that making a delta may take, beside the server's own; 0 makes none [default: 1024]
    #[arg(long, env = "MUSTER_DELTA_MEMORY_MIB", value_name = "MIB")]
    pub delta_memory_mib: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Whose certificate the server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// One of Muster's own authority, for these names.
    Own {
        names: Vec<String>,
    },
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
}

/// Where the master key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKey {
    /// Made if missing.
    Own(PathBuf),
    File(PathBuf),
    /// The variable [`MASTER_KEY_VARIABLE`].
    Environment,
    Command(Vec<String>),
}

/// Who is told of each audit record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditStreams {
    /// Host and port.
    pub syslog: Option<(String, u16)>,
    pub webhook: Option<String>,
    pub webhook_key_file: Option<PathBuf>,
    /// PEM.
    pub certificates: Option<PathBuf>,
}

/// Holds the master key itself; no flag does, because flags are seen by everybody on the machine.
pub const MASTER_KEY_VARIABLE: &str = "MUSTER_MASTER_KEY";

/// All decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub data: PathBuf,
    pub listen: SocketAddr,
    pub tls_listen: Option<SocketAddr>,
    pub tls: Tls,
    pub master_key: MasterKey,
    pub log: String,
    pub log_format: LogFormat,
    pub trusted_proxies: Vec<IpAddr>,
    pub audit: AuditStreams,
    pub connections_per_address: u32,
    /// What making a delta may take. 0: none is made.
    pub delta_memory_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not TOML")]
    Syntax {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    #[error("{path}: there is no key {key:?}{hint}")]
    UnknownKey { path: PathBuf, key: String, hint: String },
    #[error("{path}: {key} {problem}")]
    BadValue { path: PathBuf, key: &'static str, problem: String },
    #[error("tls_certificate and tls_key go together: name both files")]
    HalfAPair,
    #[error("audit_syslog is a host or host:port such as logs.example.com:6514, not {0:?}")]
    Syslog(String),
    #[error("audit_webhook is an https address, not {0:?}; http only for this machine itself")]
    Webhook(String),
    #[error("the master key comes from one place: name a file, a command, or set {MASTER_KEY_VARIABLE}")]
    MasterKeys,
}

const KEYS: [&str; 17] = [
    "data",
    "listen",
    "tls_listen",
    "server_names",
    "tls_certificate",
    "tls_key",
    "master_key_file",
    "master_key_command",
    "log",
    "log_format",
    "trusted_proxies",
    "audit_syslog",
    "audit_webhook",
    "audit_webhook_key_file",
    "audit_certificates",
    "connections_per_address",
    "delta_memory_mib",
];
const MIB: u64 = 1024 * 1024;

impl Config {
    /// Flags and environment win over the file, the file over the defaults.
    pub fn resolve(flags: Flags) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            Some(path) => read_file(path)?,
            None => Flags::default(),
        };
        let certificate = flags.tls_certificate.or(file.tls_certificate);
        let key = flags.tls_key.or(file.tls_key);
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Tls::Files { certificate, key },
            (None, None) => Tls::Own { names: flags.server_names.or(file.server_names).unwrap_or_default() },
            (Some(_), None) | (None, Some(_)) => return Err(ConfigError::HalfAPair),
        };
        let data = flags.data.or(file.data).unwrap_or_else(|| PathBuf::from("muster-data"));
        let by_flags = (flags.master_key_file, flags.master_key_command);
        let chosen = if by_flags == (None, None) { (file.master_key_file, file.master_key_command) } else { by_flags };
        let is_set = std::env::var_os(MASTER_KEY_VARIABLE).is_some();
        Ok(Self {
            master_key: master_key(chosen, is_set, &data)?,
            data,
            listen: flags.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            tls_listen: flags.tls_listen.or(file.tls_listen),
            tls,
            log: flags.log.or(file.log).unwrap_or_else(|| "info".into()),
            log_format: flags.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            trusted_proxies: flags.trusted_proxies.or(file.trusted_proxies).unwrap_or_default(),
            connections_per_address: flags
                .connections_per_address
                .or(file.connections_per_address)
                .unwrap_or(limit::CONNECTIONS_PER_ADDRESS),
            audit: AuditStreams {
                syslog: flags.audit_syslog.or(file.audit_syslog).map(|text| collector(&text)).transpose()?,
                webhook: flags.audit_webhook.or(file.audit_webhook).map(webhook).transpose()?,
                webhook_key_file: flags.audit_webhook_key_file.or(file.audit_webhook_key_file),
                certificates: flags.audit_certificates.or(file.audit_certificates),
            },
            delta_memory_bytes: flags
                .delta_memory_mib
                .or(file.delta_memory_mib)
                .map_or(limit::DELTA_MEMORY_BYTES, |mib| u64::from(mib) * MIB),
        })
    }
}

fn master_key(chosen: (Option<PathBuf>, Option<String>), is_set: bool, data: &Path) -> Result<MasterKey, ConfigError> {
    match (chosen, is_set) {
        ((None, None), false) => Ok(MasterKey::Own(data.join("master.key"))),
        ((None, None), true) => Ok(MasterKey::Environment),
        ((Some(file), None), false) => Ok(MasterKey::File(file)),
        ((None, Some(command)), false) => {
            Ok(MasterKey::Command(command.split_whitespace().map(str::to_owned).collect()))
        }
        _ => Err(ConfigError::MasterKeys),
    }
}

fn collector(text: &str) -> Result<(String, u16), ConfigError> {
    let bad = || ConfigError::Syslog(text.to_owned());
    // An IPv6 address stands in brackets if a port follows.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
        Some(_) | None => (text, syslog::PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_name = rustls::pki_types::ServerName::try_from(host).is_ok();
    if is_name { Ok((host.to_owned(), port)) } else { Err(bad()) }
}

/// Records must not be readable on their way.
fn webhook(url: String) -> Result<String, ConfigError> {
    let is_local = |rest: &str| {
        ["127.0.0.1", "localhost", "[::1]"].iter().any(|here| {
            rest.strip_prefix(here).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '?']))
        })
    };
    let is_good = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
        || url.strip_prefix("http://").is_some_and(is_local);
    if is_good { Ok(url) } else { Err(ConfigError::Webhook(url)) }
}

fn read_file(path: &Path) -> Result<Flags, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Flags, ConfigError> {
    let table: toml::Table = text.parse().map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })?;
    let mut flags = Flags::default();
    for (key, value) in &table {
        let bad = |key, problem: String| ConfigError::BadValue { path: path.to_owned(), key, problem };
        let text = || value.as_str().unwrap_or_default();
        match key.as_str() {
            "data" => flags.data = Some(PathBuf::from(text())),
            "listen" => {
                let address = text().parse().map_err(|_| bad("listen", "is an address such as 0.0.0.0:8080".into()))?;
                flags.listen = Some(address);
            }
            "tls_listen" => {
                let address =
                    text().parse().map_err(|_| bad("tls_listen", "is an address such as 0.0.0.0:8443".into()))?;
                flags.tls_listen = Some(address);
            }
            "server_names" => {
                let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let names: Option<Vec<String>> = listed.iter().map(|one| one.as_str().map(str::to_owned)).collect();
                let problem = || bad("server_names", "is a list of names such as [\"muster.example.com\"]".into());
                flags.server_names = Some(names.filter(|names| !names.is_empty()).ok_or_else(problem)?);
            }
            "tls_certificate" => flags.tls_certificate = Some(PathBuf::from(text())),
            "tls_key" => flags.tls_key = Some(PathBuf::from(text())),
            "master_key_file" => flags.master_key_file = Some(PathBuf::from(text())),
            "master_key_command" => flags.master_key_command = Some(text().to_owned()),
            "log" => flags.log = Some(text().to_owned()),
            "log_format" => {
                flags.log_format = Some(match text() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return Err(bad("log_format", "is \"text\" or \"json\"".into())),
                })
            }
            "trusted_proxies" => {
                let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let parsed: Option<Vec<IpAddr>> =
                    listed.iter().map(|one| one.as_str().and_then(|text| text.parse().ok())).collect();
                let problem = || bad("trusted_proxies", "is a list of addresses such as [\"10.0.0.1\"]".into());
                flags.trusted_proxies = Some(parsed.ok_or_else(problem)?);
            }
            "audit_syslog" => flags.audit_syslog = Some(text().to_owned()),
            "audit_webhook" => flags.audit_webhook = Some(text().to_owned()),
            "audit_webhook_key_file" => flags.audit_webhook_key_file = Some(PathBuf::from(text())),
            "audit_certificates" => flags.audit_certificates = Some(PathBuf::from(text())),
            "connections_per_address" => {
                let problem = || bad("connections_per_address", "is a number such as 10000".into());
                let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
                flags.connections_per_address = Some(number.ok_or_else(problem)?);
            }
            "delta_memory_mib" => {
                let problem = || bad("delta_memory_mib", "is a number of MiB such as 512; 0 makes no deltas".into());
                let mib = value.as_integer().and_then(|mib| u32::try_from(mib).ok());
                flags.delta_memory_mib = Some(mib.ok_or_else(problem)?);
            }
            other => {
                let hint = nearest(other, KEYS).map_or_else(
                    || format!("; the keys are {}", KEYS.join(", ")),
                    |near| format!("; did you mean {near:?}?"),
                );
                return Err(ConfigError::UnknownKey { path: path.to_owned(), key: other.to_owned(), hint });
            }
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_refused_by_name_with_the_nearest_right_one() {
        let refused = parse(Path::new("muster.toml"), "lisen = \"0.0.0.0:1\"").unwrap_err();
        assert_eq!(refused.to_string(), "muster.toml: there is no key \"lisen\"; did you mean \"listen\"?");
    }

    #[test]
    fn the_master_key_comes_from_one_place() {
        let (data, file) = (Path::new("d"), PathBuf::from("/run/key"));
        assert_eq!(master_key((None, None), false, data).unwrap(), MasterKey::Own("d/master.key".into()));
        assert_eq!(master_key((None, None), true, data).unwrap(), MasterKey::Environment);
        assert_eq!(master_key((Some(file.clone()), None), false, data).unwrap(), MasterKey::File(file.clone()));
        let command = master_key((None, Some("pass show muster".into())), false, data).unwrap();
        assert_eq!(command, MasterKey::Command(vec!["pass".into(), "show".into(), "muster".into()]));
        assert!(master_key((Some(file.clone()), None), true, data).is_err());
        assert!(master_key((Some(file), Some("pass".into())), false, data).is_err());
    }

    #[test]
    fn audit_records_go_nowhere_unencrypted() {
        for good in ["https://siem.example.com/in", "http://127.0.0.1:9/x", "http://localhost", "http://[::1]:80/"] {
            assert!(webhook(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["http://siem.example.com", "http://127.0.0.1.example.com/", "https://", "ftp://x", "siem"] {
            assert!(webhook(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(collector("logs.example.com").unwrap(), ("logs.example.com".to_owned(), 6514));
        assert_eq!(collector("[::1]:7000").unwrap(), ("::1".to_owned(), 7000));
        assert_eq!(collector("::1").unwrap(), ("::1".to_owned(), 6514));
        for bad in ["logs:x", "tls://logs", "a b", ""] {
            assert!(collector(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_checked() {
        for text in
            ["listen = \"nowhere\"", "log_format = \"xml\"", "trusted_proxies = [1]", "delta_memory_mib = -1", "data ="]
        {
            assert!(parse(Path::new("muster.toml"), text).is_err(), "{text} was taken");
        }
        let flags = parse(Path::new("x"), "listen = \"0.0.0.0:80\"\ntrusted_proxies = [\"10.0.0.1\"]").unwrap();
        assert_eq!(flags.listen, Some(SocketAddr::from(([0, 0, 0, 0], 80))));
    }
}
