//! What do Quadlet files and units ask for?
//!
//! Keys are those of `podman-systemd.unit(5)`, the form is that of `systemd.syntax(7)`. What isn't listed here has to be allowed: what runs
//! outside of containers as `units`, the rest as `everything`.

use super::{Described, Permit, Policy, mount_options};

/// Of a container: they stay inside of it, or ask for less than the engine gives.
const CONTAINER_FREE: [&str; 51] = [
    "AddHost",
    "DNS",
    "DNSOption",
    "DNSSearch",
    "DropCapability",
    "Entrypoint",
    "Environment",
    "Exec",
    "ExposeHostPort",
    "Group",
    "HealthCmd",
    "HealthInterval",
    "HealthMaxLogCount",
    "HealthMaxLogSize",
    "HealthOnFailure",
    "HealthRetries",
    "HealthStartPeriod",
    "HealthStartupCmd",
    "HealthStartupInterval",
    "HealthStartupRetries",
    "HealthStartupSuccess",
    "HealthStartupTimeout",
    "HealthTimeout",
    "HostName",
    "IP",
    "IP6",
    "Label",
    "Memory",
    "NetworkAlias",
    "NoNewPrivileges",
    "Notify",
    "PidsLimit",
    "PublishPort",
    "ReadOnly",
    "ReadOnlyTmpfs",
    "RunInit",
    "ShmSize",
    "StartWithPod",
    "StopSignal",
    "StopTimeout",
    "Timezone",
    "Tmpfs",
    "Ulimit",
    "User",
    "VolatileTmp",
    "WorkingDir",
    "DisableDNS",
    "Gateway",
    "IPRange",
    "IPv6",
    "Internal",
];
const NETWORK_FREE: [&str; 8] = ["DNS", "DisableDNS", "Gateway", "IPRange", "IPv6", "Internal", "Label", "Subnet"];
const VOLUME_FREE: [&str; 4] = ["Copy", "Group", "Label", "User"];
const SERVICE_FREE: [&str; 8] = [
    "RemainAfterExit",
    "Restart",
    "RestartSec",
    "RestartSteps",
    "RestartMaxDelaySec",
    "TimeoutSec",
    "TimeoutStartSec",
    "TimeoutStopSec",
];
const UNIT_FREE: [&str; 6] =
    ["After", "Before", "Description", "Documentation", "StartLimitBurst", "StartLimitIntervalSec"];
/// They start what they name; `poweroff.target` is a name too.
const STARTS: [&str; 4] = ["BindsTo", "PartOf", "Requires", "Wants"];
const TARGETS: [&str; 5] =
    ["local-fs.target", "network-online.target", "network.target", "time-set.target", "time-sync.target"];
/// As `systemd.syntax(7)` has them, and what nobody writes by intent.
const COMMENTS: [char; 2] = ['#', ';'];

pub(super) fn check(policy: &Policy, described: Described<'_>) -> Result<(), String> {
    let ending = described.name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "container" | "volume" | "network" | "pod" => {}
        "service" | "socket" | "timer" | "path" => return policy.needs(Permit::Units, "a unit of systemd"),
        // They name files that are read, pulled or built outside of the release.
        _ => return policy.needs(Permit::Everything, &format!("a .{ending} file")),
    }
    for setting in settings(described.text)? {
        check_setting(policy, described, &setting)
            .map_err(|why| format!("[{}] {}={}: {why}", setting.section, setting.key, setting.value))?;
    }
    Ok(())
}

struct Setting {
    section: String,
    key: String,
    value: String,
}

/// Refuses what readers of this format understand differently.
fn settings(text: &[u8]) -> Result<Vec<Setting>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    if let Some(odd) = text.chars().find(|c| (c.is_control() || c.is_whitespace()) && !"\n\t ".contains(*c)) {
        return Err(format!("it has the character {odd:?}"));
    }
    let (mut section, mut found) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        if line.is_empty() || line.starts_with(COMMENTS) {
            continue;
        }
        while line.ends_with('\\') {
            let next = lines.next().map(str::trim).unwrap_or_default();
            if line.ends_with("\\\\") || next.is_empty() || next.starts_with(COMMENTS) {
                return Err(format!("{line:?} is followed by nothing, or by a comment: write it in one line"));
            }
            line.truncate(line.len() - 1);
            line.push_str(next);
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| format!("{line:?} is no setting"))?;
        found.push(Setting { section: section.clone(), key: key.trim().to_owned(), value: value.trim().to_owned() });
    }
    Ok(found)
}

fn check_setting(policy: &Policy, described: Described<'_>, setting: &Setting) -> Result<(), String> {
    let Setting { section, key, value } = setting;
    let (key, value) = (key.as_str(), value.as_str());
    let free = |keys: &[&str], permit| {
        if keys.contains(&key) { Ok(()) } else { policy.needs(permit, &format!("`{key}`")) }
    };
    match section.as_str() {
        "Container" | "Pod" => check_container(policy, described, key, value),
        "Volume" => free(&VOLUME_FREE, Permit::Everything),
        "Network" if key == "Driver" && value == "bridge" => Ok(()),
        "Network" => free(&NETWORK_FREE, Permit::HostNetwork),
        "Service" => free(&SERVICE_FREE, Permit::Units),
        "Unit" if STARTS.contains(&key) => {
            let is_known = |name: &str| TARGETS.contains(&name) || is_own_service(described, name);
            match value.split_whitespace().find(|name| !is_known(name)) {
                Some(odd) => policy.needs(Permit::Units, &format!("to start {odd}")),
                None => Ok(()),
            }
        }
        "Unit" => free(&UNIT_FREE, Permit::Units),
        "Install" => free(&["WantedBy"], Permit::Units),
        _ if section.starts_with("X-") => Ok(()),
        _ => policy.needs(Permit::Everything, &format!("[{section}]")),
    }
}

/// `web.service` of `web.container`, or the file itself as newer Quadlets take it.
fn is_own_service(described: Described<'_>, name: &str) -> bool {
    described.files.iter().any(|file| {
        file == name || file.strip_suffix(".container").is_some_and(|stem| name == format!("{stem}.service"))
    })
}

fn is_own(described: Described<'_>, name: &str, ending: &str) -> bool {
    name.ends_with(ending) && described.files.iter().any(|file| file == name)
}

fn check_container(policy: &Policy, described: Described<'_>, key: &str, value: &str) -> Result<(), String> {
    // An empty value takes back what was said before, which only makes it less.
    if value.is_empty() {
        return Ok(());
    }
    match key {
        "Image" => policy.image(value, described),
        "Pull" if ["never", "missing"].contains(&value) => Ok(()),
        "Pull" | "AutoUpdate" => policy.needs(Permit::Pull, &format!("`{key}`")),
        "ContainerName" | "PodName" => policy.needs(Permit::ContainerNames, &format!("`{key}`")),
        "AddCapability" => policy.needs(Permit::Capabilities, "a capability"),
        "Network" if ["none", "bridge", "private"].contains(&value) || is_own(described, value, ".network") => Ok(()),
        "Network" => policy.needs(Permit::HostNetwork, &format!("the network {value:?}")),
        "Pod" if is_own(described, value, ".pod") => Ok(()),
        "Volume" => check_volume(policy, described, value),
        "AddDevice" => {
            let path = value.strip_prefix('-').unwrap_or(value);
            policy.mount(path.split(':').next().unwrap_or(path))
        }
        "EnvironmentFile" => policy.mount(value),
        _ if key.starts_with("SecurityLabel") || key == "SeccompProfile" || key == "Unmask" => {
            policy.needs(Permit::Privileged, &format!("`{key}`"))
        }
        _ if CONTAINER_FREE.contains(&key) => Ok(()),
        _ => policy.needs(Permit::Everything, &format!("`{key}`")),
    }
}

/// A volume that isn't made by the release may be another component's.
fn check_volume(policy: &Policy, described: Described<'_>, value: &str) -> Result<(), String> {
    let parts: Vec<&str> = value.split(':').collect();
    let (source, options) = match parts.as_slice() {
        [_] => return Ok(()),
        [source, _] => (*source, "rw"),
        [source, _, options] => (*source, *options),
        _ => return Err("this volume can't be read".into()),
    };
    mount_options(policy, options)?;
    if is_own(described, source, ".volume") { Ok(()) } else { policy.mount(source) }
}
