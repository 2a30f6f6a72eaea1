//! What does a thing look like, in one digest?
//!
//! Audit records hold the digests of their target before and after the change. Each is SHA-256 over JSON: for every
//! question below its rows, each row the array of its columns, bytes as hex. What a person or a rule decides is in it;
//! what devices report, and bytes that change when keys are changed, are not.

use muster_vocab::digest::hex;
use muster_vocab::{ProjectId, RolloutId, Sha256};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection};
use serde_json::{Value, json};
use sha2::Digest;

use crate::error::Doing;
use crate::{StoreError, Tx, View};

/// Before the JSON, so that nothing else has the same digest. Goes up with each change of a question.
const PREFIX: &str = "muster state 1\n";

/// A kind of target and its questions. `?1` is the project, `?2` the name behind the colon, `?3` the number in it. No
/// row for the first question: there is no such thing.
const KINDS: [(&str, &[&str]); 21] = [
    (
        "account",
        &[
            "SELECT id, name, password, permissions, created_by, same_as FROM account WHERE project_id = ?1 AND name = ?2",
            "SELECT b.role, b.selector FROM role_binding b JOIN account a ON a.id = b.account_id
         WHERE a.project_id = ?1 AND a.name = ?2 ORDER BY b.role, b.selector",
            "SELECT t.confirmed_at IS NOT NULL FROM totp t JOIN account a ON a.id = t.account_id
         WHERE a.project_id = ?1 AND a.name = ?2",
            "SELECT i.issuer, i.subject FROM oidc_identity i JOIN account a ON a.id = i.account_id
         WHERE a.project_id = ?1 AND a.name = ?2 ORDER BY i.issuer, i.subject",
            "SELECT g.provider, g.role FROM group_role g JOIN account a ON a.id = g.account_id
         WHERE a.project_id = ?1 AND a.name = ?2 ORDER BY g.provider, g.role",
        ],
    ),
    (
        "action",
        &["SELECT id, device_id, rollout_id, release_id, is_rollback, push, state FROM action
         WHERE project_id = ?1 AND id = ?3"],
    ),
    (
        "approval-rule",
        &["SELECT id, role, selector, needed, life_s FROM approval_rule
         WHERE project_id = ?1 AND id = ?3"],
    ),
    ("artifact", &["SELECT digest, name, size FROM artifact WHERE project_id = ?1 AND digest = unhex(substr(?2, 8))"]),
    (
        "authority",
        &["SELECT name, kind, certificate, state FROM authority
         WHERE (project_id = ?1 OR project_id IS NULL) AND name = ?2 ORDER BY id"],
    ),
    (
        "channel",
        &["SELECT c.name, r.name, r.version FROM channel c JOIN release r ON r.id = c.release_id
         WHERE c.project_id = ?1 AND c.name = ?2"],
    ),
    ("claim", &["SELECT name, key, labels FROM claim WHERE project_id = ?1 AND name = ?2"]),
    ("configuration", &["SELECT name, body FROM configuration WHERE project_id = ?1 AND name = ?2"]),
    (
        "device",
        &[
            "SELECT id, name, state, token, auto_confirm, attributes_requested FROM device
         WHERE project_id = ?1 AND name = ?2",
            "SELECT l.key, l.value FROM device_label l JOIN device d ON d.id = l.device_id
         WHERE d.project_id = ?1 AND d.name = ?2 ORDER BY l.key",
            "SELECT k.key, k.next FROM device_key k JOIN device d ON d.id = k.device_id
         WHERE d.project_id = ?1 AND d.name = ?2",
            "SELECT h.reason FROM device_hold h JOIN device d ON d.id = h.device_id
         WHERE d.project_id = ?1 AND d.name = ?2",
            "SELECT t.tpm FROM device_tpm t JOIN device d ON d.id = t.device_id
         WHERE d.project_id = ?1 AND d.name = ?2",
        ],
    ),
    (
        "join-token",
        &["SELECT name, digest, uses, expires_at, labels FROM join_token
         WHERE project_id = ?1 AND name = ?2"],
    ),
    ("key", &["SELECT name, public FROM ring_key WHERE project_id = ?1 AND name = ?2"]),
    (
        "oidc_provider",
        &["SELECT name, issuer, client_id, server_url, certificates, scopes, name_claim, groups_claim,
         groups FROM oidc_provider WHERE project_id = ?1 AND name = ?2"],
    ),
    ("project", &["SELECT id, name, settings, gateway_token FROM project WHERE id = ?1 AND name = ?2"]),
    (
        "release",
        &[
            "SELECT id, name, version, state, notes FROM release WHERE project_id = ?1 AND name || '@' || version = ?2",
            "SELECT m.position, m.name, m.version, m.metadata, a.position, a.digest, a.file_name
         FROM release r JOIN module m ON m.release_id = r.id LEFT JOIN module_artifact a ON a.module_id = m.id
         WHERE r.project_id = ?1 AND r.name || '@' || r.version = ?2 ORDER BY m.position, a.position",
            "SELECT t.artifact, t.document, t.kind, t.signer FROM release r JOIN attestation t ON t.release_id = r.id
         WHERE r.project_id = ?1 AND r.name || '@' || r.version = ?2 ORDER BY t.artifact, t.document",
        ],
    ),
    ("release_policy", &["SELECT body FROM release_policy WHERE project_id = ?1"]),
    ("review", &["SELECT id, rollout_id, reason, closed_by, note FROM review WHERE project_id = ?1 AND id = ?3"]),
    ("role", &["SELECT name, permissions FROM role WHERE project_id = ?1 AND name = ?2"]),
    (
        "rollout",
        &[
            "SELECT id, name, release_id, state, json_extract(body, '$.spec'), json_extract(body, '$.author'),
         json_extract(body, '$.approved_by'), json_extract(body, '$.clearance') FROM rollout
         WHERE project_id = ?1 AND id = ?3",
            "SELECT account_id, plan FROM approval WHERE project_id = ?1 AND rollout_id = ?3 ORDER BY account_id",
        ],
    ),
    // A secret's bytes are sealed anew with each master key; its version tells whether it was changed.
    ("secret", &["SELECT name, version, sealed IS NOT NULL FROM secret WHERE project_id = ?1 AND name = ?2"]),
    (
        "token",
        &["SELECT id, account_id, name, digest, permissions, expires_at FROM token
         WHERE project_id = ?1 AND id = ?3"],
    ),
    (
        "workload",
        &["SELECT name, issuer, audience, subject, certificates, account_id, permissions, life_s FROM workload
         WHERE project_id = ?1 AND name = ?2"],
    ),
];

impl View<'_> {
    /// The digest of what `target` names, such as `rollout:r-12`. `None` if there is no such thing, and for what has no
    /// state of its own.
    pub fn state_digest(&self, project: ProjectId, target: &str) -> Result<Option<Sha256>, StoreError> {
        digest(self.conn, project, target).doing("the state of an audit record's target")
    }
}

impl Tx<'_> {
    /// Before this change and after it. What the same commit changed earlier counts as before if a record told of it.
    pub fn state_digests(
        &mut self,
        project: ProjectId,
        target: &str,
    ) -> Result<(Option<Sha256>, Option<Sha256>), StoreError> {
        let key = (project, target.to_owned());
        let told = self.own.states.get(&key).or_else(|| self.rollouts.states.get(&key)).copied();
        let before = match told {
            Some(told) => told,
            None => digest(self.past, project, target).doing("the state before a change")?,
        };
        // Rollouts are held back until the commit; what is written early is written again then.
        if let Some(rollout) = number(target).map(RolloutId).filter(|_| target.starts_with("rollout:"))
            && let Some((_, held)) = self.own.rollouts.get(&rollout).or_else(|| self.rollouts.rollouts.get(&rollout))
        {
            crate::rollouts::write_row(self.conn, project, rollout, held)?;
        }
        let after = self.state_digest(project, target)?;
        self.own.states.insert(key, after);
        Ok((before, after))
    }
}

fn digest(conn: &Connection, project: ProjectId, target: &str) -> rusqlite::Result<Option<Sha256>> {
    let (kind, name) = target.split_once(':').unwrap_or((target, ""));
    let Some((_, questions)) = KINDS.iter().find(|(known, _)| *known == kind) else { return Ok(None) };
    let mut answers = Vec::with_capacity(questions.len());
    for question in *questions {
        let rows = answer(conn.prepare_cached(question)?, (project, name, number(target)))?;
        if answers.is_empty() && rows.is_empty() {
            return Ok(None);
        }
        answers.push(Value::Array(rows));
    }
    let mut hasher = sha2::Sha256::new();
    hasher.update(PREFIX);
    hasher.update(json!({ "kind": kind, "rows": answers }).to_string());
    Ok(Some(Sha256(hasher.finalize().into())))
}

fn answer(
    mut statement: CachedStatement<'_>,
    (project, name, number): (ProjectId, &str, Option<i64>),
) -> rusqlite::Result<Vec<Value>> {
    let columns = statement.column_count();
    // A statement has only the parameters up to its highest.
    for (at, bound) in [(1, Value::from(project.0)), (2, Value::from(name)), (3, Value::from(number))] {
        if at <= statement.parameter_count() {
            match bound {
                Value::String(text) => statement.raw_bind_parameter(at, text)?,
                Value::Number(number) => statement.raw_bind_parameter(at, number.as_i64())?,
                _ => statement.raw_bind_parameter(at, None::<i64>)?,
            }
        }
    }
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|at| row.get_ref(at).map(cell)).collect::<rusqlite::Result<Vec<_>>>()?;
        all.push(Value::Array(cells));
    }
    Ok(all)
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => json!(hex(bytes)),
    }
}

/// Of `rollout:r-12` 12.
fn number(target: &str) -> Option<i64> {
    let (_, name) = target.split_once(':')?;
    name.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
