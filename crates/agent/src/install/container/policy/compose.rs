//! What does a Compose file ask for?
//!
//! Keys are the Compose specification's. One that isn't listed here, also because it is newer, has to be allowed as
//! `everything`. Variables are filled in by the compose program; where a value matters none may be in it.

use serde_json::{Map, Value};

use super::{Described, Permit, Policy, mount_options};

/// Of a service: they stay inside of its container, or ask for less than the engine gives.
const SERVICE_FREE: [&str; 47] = [
    "attach",
    "cap_drop",
    "command",
    "configs",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpus",
    "cpuset",
    "depends_on",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "environment",
    "expose",
    "extra_hosts",
    "healthcheck",
    "hostname",
    "init",
    "labels",
    "links",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "pids_limit",
    "platform",
    "ports",
    "profiles",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "working_dir",
];
/// Those that write where the engine says. Others, and options with a path, write where the release says.
const LOG_DRIVERS: [&str; 5] = ["json-file", "journald", "local", "none", "k8s-file"];
const LOG_OPTIONS: [&str; 6] = ["max-size", "max-file", "tag", "labels", "env", "compress"];
const NETWORK_FREE: [&str; 7] = ["attachable", "enable_ipv4", "enable_ipv6", "internal", "ipam", "labels", "driver"];
const DEPLOY_FREE: [&str; 6] = ["labels", "mode", "replicas", "resources", "restart_policy", "update_config"];
const BIND_FREE: [&str; 2] = ["create_host_path", "selinux"];

pub(super) fn check(policy: &Policy, described: Described<'_>) -> Result<(), String> {
    let text = std::str::from_utf8(described.text).map_err(|_| "it is not UTF-8".to_owned())?;
    // Keys that are there twice, and more than one document, are errors here; programs differ in what they take then.
    let file: Value = serde_saphyr::from_str(text).map_err(|error| format!("it is no YAML: {error}"))?;
    for (key, value) in members(&file, "it")? {
        match key.as_str() {
            "version" | "name" => {}
            "services" => each(value, "services", |name, service| check_service(policy, described, name, service))?,
            "networks" => each(value, "networks", |name, network| check_network(policy, name, network))?,
            "volumes" => each(value, "volumes", |name, volume| check_volume(policy, name, volume))?,
            "secrets" | "configs" => each(value, key, |name, source| check_source(policy, described, name, source))?,
            // Kept for anchors.
            _ if is_extension(key) => {}
            _ => policy.needs(Permit::Everything, &format!("`{key}`"))?,
        }
    }
    Ok(())
}

/// podman-compose reads some of them.
fn is_extension(key: &str) -> bool {
    key.starts_with("x-") && !key.starts_with("x-podman")
}

fn members<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{what} is no mapping"))
}

/// Members of a mapping; one without a value has no settings.
fn each(
    value: &Value,
    what: &str,
    check: impl Fn(&str, &Map<String, Value>) -> Result<(), String>,
) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let none = Map::new();
    for (name, value) in members(value, what)? {
        let settings = if value.is_null() { &none } else { members(value, name)? };
        check(name, settings)?;
    }
    Ok(())
}

/// A value that is judged: nothing that is filled in later.
fn plain<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    let text = value.as_str().ok_or_else(|| format!("{what} is no text"))?;
    if text.contains('$') {
        return Err(format!("{what} is {text:?}: a variable there can't be judged; write what it stands for"));
    }
    Ok(text)
}

/// One text, or a list of entries.
fn entries(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(entries) => entries.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn check_service(
    policy: &Policy,
    described: Described<'_>,
    name: &str,
    service: &Map<String, Value>,
) -> Result<(), String> {
    for (key, value) in service {
        check_setting(policy, described, key, value).map_err(|why| format!("service {name}: {why}"))?;
    }
    Ok(())
}

fn check_setting(policy: &Policy, described: Described<'_>, key: &str, value: &Value) -> Result<(), String> {
    let asked = || format!("`{key}: {value}`");
    match key {
        "image" => policy.image(plain(value, key)?, described),
        "pull_policy" if ["never", "missing", "if_not_present"].contains(&plain(value, key)?) => Ok(()),
        "pull_policy" => policy.needs(Permit::Pull, &asked()),
        "privileged" if *value == Value::Bool(false) => Ok(()),
        "privileged" => policy.needs(Permit::Privileged, &asked()),
        "cap_add" if entries(value).is_empty() => Ok(()),
        "cap_add" => policy.needs(Permit::Capabilities, &asked()),
        "security_opt" => check_security(policy, value),
        "network_mode" => check_network_mode(policy, plain(value, key)?),
        "networks" => check_joined(policy, value),
        "container_name" => policy.needs(Permit::ContainerNames, &asked()),
        "pid" => policy.needs(Permit::HostPid, &asked()),
        "ipc" if ["private", "shareable", "none"].contains(&plain(value, key)?) => Ok(()),
        "volumes" => entries(value).into_iter().try_for_each(|entry| check_mount(policy, described, entry)),
        "devices" => entries(value).into_iter().try_for_each(|entry| check_device(policy, entry)),
        "env_file" => entries(value).into_iter().try_for_each(|entry| {
            let path = entry.get("path").unwrap_or(entry);
            check_file(policy, described, plain(path, key)?)
        }),
        "logging" => check_logging(policy, value),
        "deploy" => check_deploy(policy, value),
        _ if SERVICE_FREE.contains(&key) || is_extension(key) => Ok(()),
        _ => policy.needs(Permit::Everything, &asked()),
    }
}

fn check_security(policy: &Policy, value: &Value) -> Result<(), String> {
    for entry in entries(value) {
        let option = plain(entry, "security_opt")?;
        if !["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"].contains(&option) {
            policy.needs(Permit::Privileged, &format!("`security_opt: {option}`"))?;
        }
    }
    Ok(())
}

fn check_network_mode(policy: &Policy, mode: &str) -> Result<(), String> {
    match mode {
        "none" | "bridge" | "private" => Ok(()),
        _ if mode.starts_with("service:") => Ok(()),
        _ => policy.needs(Permit::HostNetwork, &format!("`network_mode: {mode}`")),
    }
}

/// Which networks a service joins: a list of names, or a mapping from them.
fn check_joined(policy: &Policy, value: &Value) -> Result<(), String> {
    let names: Vec<&str> = match value {
        Value::Object(joined) => joined.keys().map(String::as_str).collect(),
        other => entries(other).into_iter().map(|entry| plain(entry, "networks")).collect::<Result<_, _>>()?,
    };
    let is_plain = |name: &str| name != "host" && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    match names.into_iter().find(|name| !is_plain(name)) {
        Some(odd) => policy.needs(Permit::HostNetwork, &format!("the network {odd:?}")),
        None => Ok(()),
    }
}

fn check_network(policy: &Policy, name: &str, network: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in network {
        let is_free = match key.as_str() {
            "driver" => value == "bridge",
            "external" => *value == Value::Bool(false),
            _ => NETWORK_FREE.contains(&key.as_str()) || is_extension(key),
        };
        if !is_free {
            policy.needs(Permit::HostNetwork, &format!("`{key}: {value}` of the network {name}"))?;
        }
    }
    Ok(())
}

/// With a driver's options a volume can be any folder of the device; with a name, or an external one, it is another's.
fn check_volume(policy: &Policy, name: &str, volume: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in volume {
        let is_free = match key.as_str() {
            "driver" => value == "local",
            "external" => *value == Value::Bool(false),
            _ => key == "labels" || is_extension(key),
        };
        if !is_free {
            policy.needs(Permit::Everything, &format!("`{key}: {value}` of the volume {name}"))?;
        }
    }
    Ok(())
}

/// Where a secret or a setting comes from.
fn check_source(
    policy: &Policy,
    described: Described<'_>,
    name: &str,
    source: &Map<String, Value>,
) -> Result<(), String> {
    for (key, value) in source {
        match key.as_str() {
            "file" => check_file(policy, described, plain(value, key)?)?,
            "content" | "labels" => {}
            _ => policy.needs(Permit::Everything, &format!("`{key}: {value}` of {name}"))?,
        }
    }
    Ok(())
}

/// A file that comes with the release, or one of the device that may be seen.
fn check_file(policy: &Policy, described: Described<'_>, path: &str) -> Result<(), String> {
    if is_own(described, path) { Ok(()) } else { policy.mount(path) }
}

fn is_own(described: Described<'_>, path: &str) -> bool {
    let name = path.strip_prefix("./").unwrap_or(path);
    described.files.iter().any(|file| file == name)
}

fn check_mount(policy: &Policy, described: Described<'_>, entry: &Value) -> Result<(), String> {
    if entry.is_object() {
        return check_long_mount(policy, described, entry);
    }
    let text = plain(entry, "volumes")?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, options) = match parts.as_slice() {
        [_] => return Ok(()),
        [source, _] => (*source, "rw"),
        [source, _, options] => (*source, *options),
        _ => return Err(format!("the volume {text:?} can't be read")),
    };
    mount_options(policy, options)?;
    let is_read_only = options.split(',').any(|option| option == "ro");
    check_mounted(policy, described, source, is_read_only)
}

fn check_long_mount(policy: &Policy, described: Described<'_>, entry: &Value) -> Result<(), String> {
    let kind = entry.get("type").map(|kind| plain(kind, "type")).transpose()?;
    let source = entry.get("source").or_else(|| entry.get("src"));
    let source = source.map(|source| plain(source, "source")).transpose()?;
    if entry.get("source").is_some() && entry.get("src").is_some() {
        return Err(format!("the volume {entry} has two sources"));
    }
    let is_read_only = entry.get("read_only") == Some(&Value::Bool(true));
    let odd = || format!("the volume {entry}");
    match (kind, source) {
        (Some("tmpfs"), None) | (Some("volume"), None) => Ok(()),
        (Some("volume"), Some(name)) if is_volume(name) => Ok(()),
        (Some("bind"), Some(path)) => {
            let bind = entry.get("bind").and_then(Value::as_object);
            if bind.is_some_and(|bind| bind.keys().any(|key| !BIND_FREE.contains(&key.as_str()))) {
                policy.needs(Permit::Everything, &odd())?;
            }
            // A word alone is a path here.
            let path = if is_volume(path) { format!("./{path}") } else { path.to_owned() };
            check_mounted(policy, described, &path, is_read_only)
        }
        _ => policy.needs(Permit::Everything, &odd()),
    }
}

/// A name of a volume, and no path.
fn is_volume(source: &str) -> bool {
    source.starts_with(|c: char| c.is_ascii_alphanumeric())
        && source.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn check_mounted(policy: &Policy, described: Described<'_>, source: &str, is_read_only: bool) -> Result<(), String> {
    if is_volume(source) {
        return Ok(());
    }
    if !is_own(described, source) {
        return policy.mount(source);
    }
    // What the agent reads again on the way back is not for containers to write.
    if is_read_only { Ok(()) } else { Err(format!("{source} comes with the release: mount it with :ro")) }
}

fn check_device(policy: &Policy, entry: &Value) -> Result<(), String> {
    let source = entry.get("source").unwrap_or(entry);
    let text = plain(source, "devices")?;
    policy.mount(text.split(':').next().unwrap_or(text))
}

fn check_logging(policy: &Policy, value: &Value) -> Result<(), String> {
    for (key, value) in members(value, "logging")? {
        let is_free = match (key.as_str(), value) {
            ("driver", driver) => LOG_DRIVERS.contains(&plain(driver, key)?),
            ("options", Value::Object(options)) => options.keys().all(|key| LOG_OPTIONS.contains(&key.as_str())),
            ("options", Value::Null) => true,
            _ => false,
        };
        if !is_free {
            policy.needs(Permit::Everything, &format!("`logging: {key}: {value}`"))?;
        }
    }
    Ok(())
}

/// Limits are free; reservations may be for devices.
fn check_deploy(policy: &Policy, value: &Value) -> Result<(), String> {
    let odd = members(value, "deploy")?.keys().find(|key| !DEPLOY_FREE.contains(&key.as_str()));
    if let Some(odd) = odd {
        policy.needs(Permit::Everything, &format!("`deploy: {odd}`"))?;
    }
    if value.pointer("/resources/reservations/devices").is_some() {
        policy.needs(Permit::Everything, "`deploy` with devices")?;
    }
    Ok(())
}
