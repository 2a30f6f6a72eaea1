//! Which columns does each kind of thing have?

use muster_vocab::Timestamp;
use muster_wire::account::Account;
use muster_wire::action::{Action, Report};
use muster_wire::approval::{ApprovalRule, Review};
use muster_wire::artifact::Artifact;
use muster_wire::attestation::{Attestation, ReleasePolicy, RingKey};
use muster_wire::audit::AuditRecord;
use muster_wire::channel::Channel;
use muster_wire::command::{Command, CommandKind, Session, SessionKind};
use muster_wire::configuration::Configuration;
use muster_wire::device::{Device, TimelineEntry};
use muster_wire::event::Event;
use muster_wire::identity::{Authority, Claim};
use muster_wire::join_token::JoinToken;
use muster_wire::oidc::OidcProvider;
use muster_wire::project::Project;
use muster_wire::release::Release;
use muster_wire::role::{Role, RoleBinding};
use muster_wire::rollout::Rollout;
use muster_wire::secret::{MasterKey, Secret};
use muster_wire::token::Token;
use muster_wire::workload::Workload;
use serde::Serialize;

use crate::output::Row;

/// The word of an enum on the wire.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// To the second; people don't read milliseconds.
pub fn time(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.split('.').next().unwrap_or(&text))
}

fn maybe(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".into(), time)
}

fn pairs(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn join(words: &[impl Serialize]) -> String {
    words.iter().map(word).collect::<Vec<_>>().join(",")
}

/// Bytes in the unit people would say.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut scaled = (bytes, 0);
    let mut rest = 0;
    while scaled.0 >= 1024 && scaled.1 + 1 < UNITS.len() {
        rest = scaled.0 % 1024 * 10 / 1024;
        scaled = (scaled.0 / 1024, scaled.1 + 1);
    }
    if scaled.1 == 0 { format!("{bytes} B") } else { format!("{}.{rest} {}", scaled.0, UNITS[scaled.1]) }
}

impl Row for Device {
    const HEADERS: &'static [&'static str] = &["NAME", "STATE", "RELEASE", "LAST SEEN"];
    const WIDE: &'static [&'static str] = &["LABELS", "ATTRIBUTES", "POLLS EVERY"];
    const EMPTY: &'static str = "No devices. Point a DDI client at this server, or add one: muster device create NAME";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        let release = self.release.clone().unwrap_or_else(|| "-".into());
        vec![self.name.clone(), word(&self.state), release, maybe(self.last_seen)]
    }

    fn wide(&self) -> Vec<String> {
        vec![pairs(&self.labels), pairs(&self.attributes), format!("{} s", self.poll_interval_s)]
    }
}

impl Row for Artifact {
    const HEADERS: &'static [&'static str] = &["DIGEST", "NAME", "SIZE", "CREATED"];
    const WIDE: &'static [&'static str] = &["SHA1", "MD5", "BY"];
    const EMPTY: &'static str = "No artifacts. Upload one: muster artifact push FILE";

    fn name(&self) -> String {
        self.digest.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.digest.to_string(), self.name.clone(), size(self.size), time(self.created_at)]
    }

    fn wide(&self) -> Vec<String> {
        vec![self.sha1.clone(), self.md5.clone(), self.created_by.clone()]
    }
}

impl Row for Release {
    const HEADERS: &'static [&'static str] = &["RELEASE", "STATE", "COMPONENTS", "CREATED"];
    const WIDE: &'static [&'static str] = &["BY", "NOTES"];
    const EMPTY: &'static str = "No releases. Make one: muster release create NAME VERSION --artifact FILE --publish";

    fn name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn cells(&self) -> Vec<String> {
        let components: Vec<String> =
            self.components.iter().map(|component| format!("{}={}", component.name, component.version)).collect();
        vec![Row::name(self), word(&self.state), components.join(","), time(self.created_at)]
    }

    fn wide(&self) -> Vec<String> {
        vec![self.created_by.clone(), self.notes.lines().next().unwrap_or_default().to_owned()]
    }
}

impl Row for Channel {
    const HEADERS: &'static [&'static str] = &["CHANNEL", "RELEASE", "UPDATED", "BY"];
    const EMPTY: &'static str = "No channels. Make one: muster channel set stable NAME@VERSION";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.release.clone(), time(self.updated_at), self.updated_by.clone()]
    }
}

impl Row for Rollout {
    const HEADERS: &'static [&'static str] = &["ID", "NAME", "RELEASE", "STATE", "WAVE", "DONE", "FAILED"];
    const WIDE: &'static [&'static str] = &["SELECT", "PRIORITY", "BY", "TEXT"];
    const EMPTY: &'static str = "No rollouts. Make one: muster rollout create NAME@VERSION --select all --start";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        let opened = self.waves.iter().filter(|wave| wave.opened_at.is_some()).count();
        let total: u32 = self.waves.iter().map(|wave| wave.counts.total).sum();
        let done: u32 = self.waves.iter().map(|wave| wave.counts.finished + wave.counts.downloaded).sum();
        let failed: u32 = self.waves.iter().map(|wave| wave.counts.failed + wave.counts.lost).sum();
        vec![
            self.id.clone(),
            self.name.clone(),
            self.release.clone(),
            word(&self.state),
            format!("{opened}/{}", self.waves.len()),
            format!("{done}/{total}"),
            failed.to_string(),
        ]
    }

    fn wide(&self) -> Vec<String> {
        vec![self.select.clone(), self.priority.to_string(), self.created_by.clone(), self.text.clone()]
    }
}

impl Row for Action {
    const HEADERS: &'static [&'static str] = &["ID", "DEVICE", "ROLLOUT", "WAVE", "RELEASE", "STATE", "CHANGED"];
    const WIDE: &'static [&'static str] = &["BACK", "BEFORE", "REASON"];
    const EMPTY: &'static str = "No actions. A rollout makes one for each of its devices.";

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn cells(&self) -> Vec<String> {
        let progress = self.progress.map_or_else(String::new, |progress| format!(" {}/{}", progress.done, progress.of));
        vec![
            self.id.to_string(),
            self.device.clone(),
            self.rollout.clone(),
            self.wave.to_string(),
            self.release.clone(),
            format!("{}{progress}", word(&self.state)),
            time(self.changed_at),
        ]
    }

    fn wide(&self) -> Vec<String> {
        let back = if self.rollback { "yes" } else { "" };
        vec![back.into(), self.previous_release.clone().unwrap_or_default(), self.reason.clone().unwrap_or_default()]
    }
}

impl Row for Report {
    const HEADERS: &'static [&'static str] = &["AT", "REPORT", "MESSAGES"];
    const EMPTY: &'static str = "No reports yet.";

    fn name(&self) -> String {
        self.text.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![time(self.at), self.text.clone(), self.messages.join(" | ")]
    }
}

impl Row for TimelineEntry {
    const HEADERS: &'static [&'static str] = &["AT", "ACTION", "WHAT"];
    const EMPTY: &'static str = "Nothing has happened to this device yet.";

    fn name(&self) -> String {
        self.text.clone()
    }

    fn cells(&self) -> Vec<String> {
        let action = self.action.map_or_else(|| "-".into(), |id| id.to_string());
        let text = [std::slice::from_ref(&self.text), &self.messages].concat().join(" | ");
        vec![time(self.at), action, text]
    }
}

impl Row for Token {
    const HEADERS: &'static [&'static str] = &["ID", "NAME", "ACCOUNT", "SCOPES", "EXPIRES"];
    const WIDE: &'static [&'static str] = &["LAST USED"];
    const EMPTY: &'static str = "No tokens. Make one: muster token create NAME --scope read --life 90d";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        let (id, name, account) = (self.id.clone(), self.name.clone(), self.account.clone());
        vec![id, name, account, join(&self.scopes), time(self.expires_at)]
    }

    fn wide(&self) -> Vec<String> {
        vec![maybe(self.last_used_at)]
    }
}

impl Row for JoinToken {
    const HEADERS: &'static [&'static str] = &["NAME", "USES", "LEFT", "EXPIRES", "LABELS"];
    const WIDE: &'static [&'static str] = &["CREATED", "BY"];
    const EMPTY: &'static str = "No join tokens. Make one: muster join-token create NAME --life 7d";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        let left = self.uses_left.map_or_else(|| "any".into(), |left| left.to_string());
        vec![self.name.clone(), self.uses.to_string(), left, time(self.expires_at), pairs(&self.labels)]
    }

    fn wide(&self) -> Vec<String> {
        vec![time(self.created_at), self.created_by.clone()]
    }
}

impl Row for Claim {
    const HEADERS: &'static [&'static str] = &["NAME", "KEY", "CLAIMED", "LABELS"];
    const WIDE: &'static [&'static str] = &["CREATED", "BY"];
    const EMPTY: &'static str = "No keys told in advance. Tell some: muster claim import manifest.csv";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.key.to_string(), maybe(self.claimed_at), pairs(&self.labels)]
    }

    fn wide(&self) -> Vec<String> {
        vec![time(self.created_at), self.created_by.clone()]
    }
}

impl Row for Authority {
    const HEADERS: &'static [&'static str] = &["NAME", "CREATED", "BY"];
    const EMPTY: &'static str = "No authorities of others. Register one: muster authority register NAME FILE";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), time(self.created_at), self.created_by.clone()]
    }
}

impl Row for Attestation {
    const HEADERS: &'static [&'static str] = &["KIND", "SIGNER", "BUILDER", "ARTIFACT", "DOCUMENT"];
    const EMPTY: &'static str = "Nothing is said of it. Attach something: muster release attach NAME@VERSION FILE";

    fn name(&self) -> String {
        self.document.to_string()
    }

    fn cells(&self) -> Vec<String> {
        let signer = match (&self.signer, self.signed) {
            (Some(signer), _) => signer.clone(),
            (None, true) => "unknown".to_owned(),
            (None, false) => "-".to_owned(),
        };
        let builder = self.builder.clone().unwrap_or_else(|| "-".to_owned());
        vec![word(&self.kind), signer, builder, self.artifact.to_string(), self.document.to_string()]
    }
}

impl Row for RingKey {
    const HEADERS: &'static [&'static str] = &["NAME", "CREATED", "BY"];
    const EMPTY: &'static str = "No keys. Add one: muster keys ring add NAME FILE";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.created_at.to_string(), self.created_by.clone()]
    }
}

impl Row for ReleasePolicy {
    const HEADERS: &'static [&'static str] = &["SBOM", "SIGNED SBOM", "PROVENANCE", "BUILDERS", "INNER SIGNATURE"];
    const EMPTY: &'static str = "No policy.";

    fn name(&self) -> String {
        "release-policy".to_owned()
    }

    fn cells(&self) -> Vec<String> {
        let needed = |is_so: bool| if is_so { "needed" } else { "-" }.to_owned();
        let builders = if self.builders.is_empty() { "any".to_owned() } else { self.builders.join(" ") };
        let inner = needed(self.inner_signature);
        vec![needed(self.sbom), needed(self.signed_sbom), needed(self.provenance), builders, inner]
    }
}

impl Row for Secret {
    const HEADERS: &'static [&'static str] = &["NAME", "VERSION", "UPDATED", "BY"];
    const EMPTY: &'static str = "No secrets. Make one: muster secret set NAME < FILE";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.version.to_string(), self.updated_at.to_string(), self.updated_by.clone()]
    }
}

impl Row for MasterKey {
    const HEADERS: &'static [&'static str] = &["ID", "OLDER", "OWN"];
    const EMPTY: &'static str = "No master key.";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.older.to_string(), if self.own { "yes" } else { "no" }.to_owned()]
    }
}

impl Row for ApprovalRule {
    const HEADERS: &'static [&'static str] = &["ID", "NEEDED", "ROLE", "SELECT", "EXPIRES"];
    const EMPTY: &'static str = "No rules. Make one: muster approval rule set --needed 2 --role security-officer";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        let select = if self.select.is_empty() { "every rollout".to_owned() } else { self.select.clone() };
        vec![self.id.clone(), self.needed.to_string(), self.role.clone(), select, format!("{} s", self.expires_s)]
    }
}

impl Row for Review {
    const HEADERS: &'static [&'static str] = &["ID", "ROLLOUT", "OPENED", "BY", "REASON", "CLOSED BY", "NOTE"];
    const EMPTY: &'static str = "No reviews are open.";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            format!("{} {}", self.rollout, self.rollout_name),
            time(self.opened_at),
            self.opened_by.clone(),
            self.reason.clone(),
            self.closed_by.clone().unwrap_or_default(),
            self.note.clone().unwrap_or_default(),
        ]
    }
}

impl Row for Role {
    const HEADERS: &'static [&'static str] = &["NAME", "SCOPES", "BUILTIN"];
    const EMPTY: &'static str = "No roles.";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), join(&self.scopes), if self.builtin { "yes" } else { "no" }.to_owned()]
    }
}

impl Row for OidcProvider {
    const HEADERS: &'static [&'static str] = &["NAME", "ISSUER", "CLIENT", "GROUPS"];
    const WIDE: &'static [&'static str] = &["CALLBACK", "NAME CLAIM", "GROUPS CLAIM", "CREATED"];
    const EMPTY: &'static str =
        "No OpenID providers. Add one: muster oidc provider set NAME --issuer URL --client-id ID";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        let groups: Vec<String> =
            self.groups.iter().map(|(group, roles)| format!("{group}={}", roles.join("+"))).collect();
        vec![self.name.clone(), self.issuer.clone(), self.client_id.clone(), groups.join(",")]
    }

    fn wide(&self) -> Vec<String> {
        let callback = self.callback.clone().unwrap_or_else(|| "-".into());
        vec![callback, self.name_claim.clone(), self.groups_claim.clone(), time(self.created_at)]
    }
}

impl Row for Workload {
    const HEADERS: &'static [&'static str] = &["NAME", "SUBJECT", "ACCOUNT", "SCOPES"];
    const WIDE: &'static [&'static str] = &["ISSUER", "AUDIENCE", "LIFE", "CREATED"];
    const EMPTY: &'static str = "No workloads. Add one: muster workload set NAME --issuer URL …";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        let scopes: Vec<String> = self.scopes.iter().map(word).collect();
        vec![self.name.clone(), self.subject.clone(), self.account.clone(), scopes.join(",")]
    }

    fn wide(&self) -> Vec<String> {
        let life = format!("{}s", self.life_s);
        vec![self.issuer.clone(), self.audience.clone(), life, time(self.created_at)]
    }
}

impl Row for RoleBinding {
    const HEADERS: &'static [&'static str] = &["ID", "ACCOUNT", "ROLE", "OVER"];
    const WIDE: &'static [&'static str] = &["CREATED", "BY"];
    const EMPTY: &'static str = "Nobody has a role beside his scopes. Give one: muster role bind ACCOUNT ROLE";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        let over = if self.select.is_empty() { "the project".to_owned() } else { self.select.clone() };
        vec![self.id.clone(), self.account.clone(), self.role.clone(), over]
    }

    fn wide(&self) -> Vec<String> {
        vec![time(self.created_at), self.created_by.clone()]
    }
}

impl Row for Project {
    const HEADERS: &'static [&'static str] = &["NAME", "REGISTRATION", "POLL"];
    const EMPTY: &'static str = "No projects.";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), word(&self.registration), format!("{} s", self.poll_interval_s)]
    }
}

impl Row for Account {
    const HEADERS: &'static [&'static str] = &["NAME", "SCOPES", "CREATED"];
    const EMPTY: &'static str = "No accounts.";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), join(&self.scopes), time(self.created_at)]
    }
}

impl Row for AuditRecord {
    const HEADERS: &'static [&'static str] = &["SEQUENCE", "AT", "ACTOR", "ACTION", "TARGET"];
    const WIDE: &'static [&'static str] = &["REASON", "AUTHORITY", "REQUEST", "DETAIL", "DIGEST"];
    const EMPTY: &'static str = "No audit records match.";

    fn name(&self) -> String {
        self.sequence.to_string()
    }

    fn cells(&self) -> Vec<String> {
        let (actor, action, target) = (self.actor.clone(), self.action.clone(), self.target.clone());
        vec![self.sequence.to_string(), time(self.at), actor, action, target]
    }

    fn wide(&self) -> Vec<String> {
        let said = |text: &Option<String>| text.clone().unwrap_or_default();
        let (reason, authority, request) = (said(&self.reason), said(&self.authority), said(&self.request));
        vec![reason, authority, request, self.detail.to_string(), self.digest.to_string()]
    }
}

impl Row for Event {
    const HEADERS: &'static [&'static str] = &["AT", "KIND", "ID", "CHANGE"];
    const EMPTY: &'static str = "";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![time(self.at), self.kind.clone(), self.id.clone(), self.change.clone()]
    }
}

impl Row for Configuration {
    const HEADERS: &'static [&'static str] = &["CONFIGURATION", "SELECT", "PRIORITY", "FILES", "UPDATED"];
    const WIDE: &'static [&'static str] = &["BY", "REVISION"];
    const EMPTY: &'static str = "No configurations. Make one: muster configuration apply -f FILE";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        let files: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        let (priority, files) = (self.priority.to_string(), files.join(","));
        vec![self.name.clone(), self.select.clone(), priority, files, time(self.updated_at)]
    }

    fn wide(&self) -> Vec<String> {
        vec![self.updated_by.clone(), self.revision.to_string()]
    }
}

impl Row for Command {
    const HEADERS: &'static [&'static str] = &["ID", "DEVICE", "COMMAND", "STATE", "CREATED"];
    const WIDE: &'static [&'static str] = &["BY", "DEADLINE", "EXIT CODE"];
    const EMPTY: &'static str = "No commands. Give one: muster device logs NAME";

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn cells(&self) -> Vec<String> {
        let what = match &self.what {
            CommandKind::Reboot => "reboot".to_owned(),
            CommandKind::CollectLogs { unit, .. } => unit.as_ref().map_or("logs".into(), |unit| format!("logs {unit}")),
            CommandKind::RunScript { script, arguments } => {
                format!("{script} {}", arguments.join(" ")).trim_end().into()
            }
            CommandKind::OpenSession { session, .. } => kind_of(session),
        };
        vec![self.id.to_string(), self.device.clone(), what, word(&self.state), time(self.created_at)]
    }

    fn wide(&self) -> Vec<String> {
        let code = self.exit_code.map_or_else(|| "-".into(), |code| code.to_string());
        vec![self.created_by.clone(), time(self.deadline), code]
    }
}

impl Row for Session {
    const HEADERS: &'static [&'static str] = &["SESSION", "DEVICE", "KIND", "STATE", "OPENED BY", "CREATED"];
    const WIDE: &'static [&'static str] = &["CONNECTED", "ENDED", "END", "TO DEVICE", "TO OPERATOR"];
    const EMPTY: &'static str = "No sessions. Open one: muster device shell NAME";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        let (kind, state) = (kind_of(&self.kind), word(&self.state));
        vec![self.id.clone(), self.device.clone(), kind, state, self.opened_by.clone(), time(self.created_at)]
    }

    fn wide(&self) -> Vec<String> {
        let end = self.end.clone().unwrap_or_else(|| "-".into());
        vec![maybe(self.connected_at), maybe(self.ended_at), end, size(self.to_device), size(self.to_operator)]
    }
}

fn kind_of(session: &SessionKind) -> String {
    match session {
        SessionKind::Shell => "shell".to_owned(),
        SessionKind::Forward { host, port } => format!("forward {host} {port}"),
    }
}

#[cfg(test)]
mod tests;
