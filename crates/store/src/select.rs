//! How does a selector become SQL?
//!
//! Values only ever travel as parameters; field names come from the fixed tables below. Text that a person,
//! a device or a repository wrote never becomes part of a statement.

use muster_domain::ActionState;
use muster_vocab::Timestamp;
use muster_vocab::selector::{Expr, Field, Op, Selector, Value};
use rusqlite::{Connection, Row, types};

use crate::StoreError;
use crate::error::Doing;

/// A statement in the making.
#[derive(Debug)]
pub(crate) struct Sql {
    text: String,
    values: Vec<types::Value>,
}

/// Where the fields of one kind of thing live.
#[derive(Debug)]
pub(crate) struct Columns {
    pub fields: &'static [(&'static str, Column)],
    /// The column with the device's id, where labels and attributes hang on it.
    pub device: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// An SQL expression; may be null.
    Plain(&'static str),
    /// An action state's number.
    ActionState(&'static str),
    /// Stored from 0, counted by people from 1.
    FromOne(&'static str),
    /// A number shown with a prefix: `r-12` or a name.
    Rollout { id: &'static str, name: &'static str },
    /// 32 bytes written as hex.
    Digest(&'static str),
}

use Column::{Digest, FromOne, Plain, Rollout};

pub(crate) const DEVICES: Columns = Columns {
    fields: &[
        ("name", Plain("d.name")),
        ("state", Plain("d.state")),
        ("release", Plain("(SELECT r.name || '@' || r.version FROM release r WHERE r.id = d.installed_release_id)")),
        ("last_seen", Plain("d.last_seen")),
        ("created_at", Plain("d.created_at")),
    ],
    device: Some("d.id"),
};

pub(crate) const ACTIONS: Columns = Columns {
    fields: &[
        ("device", Plain("d.name")),
        ("rollout", Rollout { id: "a.rollout_id", name: "(SELECT o.name FROM rollout o WHERE o.id = a.rollout_id)" }),
        ("wave", FromOne("a.wave")),
        ("state", Column::ActionState("a.state")),
        ("release", Plain("(SELECT r.name || '@' || r.version FROM release r WHERE r.id = a.release_id)")),
        ("created_at", Plain("a.created_at")),
        ("changed_at", Plain("a.changed_at")),
    ],
    device: Some("a.device_id"),
};

pub(crate) const ROLLOUTS: Columns = Columns {
    fields: &[
        ("name", Plain("o.name")),
        ("state", Plain("o.state")),
        ("release", Plain("(SELECT r.name || '@' || r.version FROM release r WHERE r.id = o.release_id)")),
        ("created_at", Plain("o.created_at")),
        ("created_by", Plain("o.created_by")),
    ],
    device: None,
};

pub(crate) const RELEASES: Columns = Columns {
    fields: &[
        ("name", Plain("name")),
        ("version", Plain("version")),
        ("state", Plain("state")),
        ("created_at", Plain("created_at")),
    ],
    device: None,
};

pub(crate) const ARTIFACTS: Columns = Columns {
    fields: &[
        ("name", Plain("name")),
        ("size", Plain("size")),
        ("digest", Digest("digest")),
        ("created_at", Plain("created_at")),
    ],
    device: None,
};

pub(crate) const TOKENS: Columns = Columns {
    fields: &[
        ("name", Plain("t.name")),
        ("account", Plain("a.name")),
        ("expires_at", Plain("t.expires_at")),
        ("created_at", Plain("t.created_at")),
        ("last_used_at", Plain("t.last_used_at")),
    ],
    device: None,
};

pub(crate) const AUDIT: Columns = Columns {
    fields: &[
        ("at", Plain("at")),
        ("actor", Plain("actor")),
        ("action", Plain("action")),
        ("target", Plain("target")),
        ("authority", Plain("json_extract(nullif(context, ''), '$.authority')")),
        ("request", Plain("json_extract(nullif(context, ''), '$.request')")),
        ("reason", Plain("json_extract(nullif(context, ''), '$.reason')")),
    ],
    device: None,
};

impl Sql {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A parameter in place of a value.
    pub(crate) fn bind(&mut self, value: impl Into<types::Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('?');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    pub(crate) fn and_select(&mut self, select: &Selector, columns: &Columns, now: Timestamp) {
        if !select.is_everything() {
            self.push(" AND ");
            self.expr(select.expr(), columns, now);
        }
    }

    /// Runs it and reads each row.
    pub(crate) fn query<T>(
        &self,
        conn: &Connection,
        what: &'static str,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = conn.prepare_cached(&self.text).doing(what)?;
        let mut rows = statement.query(rusqlite::params_from_iter(&self.values)).doing(what)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().doing(what)? {
            all.push(read(row)?);
        }
        Ok(all)
    }

    fn expr(&mut self, expr: &Expr, columns: &Columns, now: Timestamp) {
        match expr {
            Expr::All => {
                self.push("1 = 1");
            }
            Expr::And(parts) => self.joined(parts, " AND ", "1 = 1", (columns, now)),
            Expr::Or(parts) => self.joined(parts, " OR ", "1 = 0", (columns, now)),
            Expr::Not(inner) => {
                self.push("NOT (");
                self.expr(inner, columns, now);
                self.push(")");
            }
            Expr::Compare { field, op, values } => self.compare(field, *op, values, (columns, now)),
        }
    }

    fn joined(&mut self, parts: &[Expr], with: &str, empty: &str, of: (&Columns, Timestamp)) {
        self.push("(");
        if parts.is_empty() {
            self.push(empty);
        }
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.push(with);
            }
            self.expr(part, of.0, of.1);
        }
        self.push(")");
    }

    /// Negative operators are the exact opposite of their positive form, so that a missing value is true for them.
    fn compare(&mut self, field: &Field, op: Op, values: &[Value], of: (&Columns, Timestamp)) {
        let positive = match op {
            Op::NotEqual => Some(Op::Equal),
            Op::NotIn => Some(Op::In),
            Op::NotLike => Some(Op::Like),
            _ => None,
        };
        if let Some(positive) = positive {
            self.push("NOT (");
            self.positive(field, positive, values, of);
            self.push(")");
        } else {
            self.positive(field, op, values, of);
        }
    }

    fn positive(&mut self, field: &Field, op: Op, values: &[Value], of: (&Columns, Timestamp)) {
        match field {
            Field::Builtin(name) => {
                let found = of.0.fields.iter().find(|(known, _)| known == name);
                let (_, column) = found.expect("the schema of a list names only fields its table has");
                self.builtin(*column, op, values, of.1);
            }
            Field::Label(key) => self.hanging(("device_label", key), op, values, of),
            Field::Attribute(key) => self.hanging(("device_attribute", key), op, values, of),
        }
    }

    fn builtin(&mut self, column: Column, op: Op, values: &[Value], now: Timestamp) {
        let expr = match column {
            Plain(expr) | Column::ActionState(expr) | FromOne(expr) | Digest(expr) => expr,
            Rollout { id, name } => return self.rollout((id, name), op, values, now),
        };
        self.push("(").push(expr).push(" IS NOT NULL");
        if op != Op::Exists {
            self.push(" AND ");
            let as_text = matches!(column, Digest(_)).then(|| format!("('sha256:' || lower(hex({expr})))"));
            self.operator(as_text.as_deref().unwrap_or(expr), op, values, |value| stored(column, value, now));
        }
        self.push(")");
    }

    /// A rollout goes by `r-12` or by its name.
    fn rollout(&mut self, of: (&str, &str), op: Op, values: &[Value], now: Timestamp) {
        let (id, name) = of;
        self.push("(");
        self.operator(name, op, values, |value| stored(Plain(""), value, now));
        self.push(" OR ");
        self.operator(&format!("('r-' || {id})"), op, values, |value| stored(Plain(""), value, now));
        self.push(")");
    }

    fn hanging(&mut self, at: (&str, &str), op: Op, values: &[Value], of: (&Columns, Timestamp)) {
        let (table, key) = at;
        let device = of.0.device.expect("only lists of devices and actions take labels and attributes");
        self.push(device).push(" IN (SELECT device_id FROM ").push(table).push(" WHERE key = ");
        self.bind(key.to_owned());
        if op != Op::Exists {
            let numeric = matches!(op, Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual)
                && matches!(values, [Value::Number(_)]);
            self.push(" AND ");
            let column = if numeric { "muster_number(value)" } else { "value" };
            self.operator(column, op, values, |value| match value {
                Value::Number(number) if numeric => types::Value::Real(*number),
                Value::Number(number) => types::Value::Text(number.to_string()),
                other => stored(Plain(""), other, of.1),
            });
        }
        self.push(")");
    }

    fn operator(&mut self, column: &str, op: Op, values: &[Value], stored: impl Fn(&Value) -> types::Value) {
        let sign = match op {
            Op::Equal | Op::NotEqual => " = ",
            Op::Less => " < ",
            Op::LessOrEqual => " <= ",
            Op::Greater => " > ",
            Op::GreaterOrEqual => " >= ",
            Op::Like | Op::NotLike => {
                // SQL's own LIKE stops reading at a NUL, which devices may send.
                let pattern = values.first().map_or(types::Value::Null, like_pattern);
                self.push("muster_like(").push(column).push(", ").bind(pattern).push(")");
                return;
            }
            Op::In | Op::NotIn => {
                self.push(column).push(" IN (");
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        self.push(", ");
                    }
                    self.bind(stored(value));
                }
                self.push(")");
                return;
            }
            Op::Exists => {
                self.push(column).push(" IS NOT NULL");
                return;
            }
        };
        self.push(column).push(sign);
        if let Some(value) = values.first() {
            self.bind(stored(value));
        }
    }
}

/// A value as its column stores it.
fn stored(column: Column, value: &Value, now: Timestamp) -> types::Value {
    match (column, value) {
        (Column::ActionState(_), Value::Text(name)) => {
            let found = ActionState::ALL.iter().position(|state| crate::actions::state_name(*state) == name);
            types::Value::Integer(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
        }
        (Digest(_), Value::Text(text)) => {
            let digits = text.strip_prefix("sha256:").unwrap_or(text);
            types::Value::Text(format!("sha256:{}", digits.to_ascii_lowercase()))
        }
        (FromOne(_), Value::Number(number)) => types::Value::Real(number - 1.0),
        (_, Value::Text(text)) => types::Value::Text(text.clone()),
        (_, Value::Number(number)) => types::Value::Real(*number),
        (_, Value::Time(_) | Value::RelativeTime(_)) => {
            types::Value::Integer(value.moment(now).map_or(0, |moment| moment.0))
        }
    }
}

fn like_pattern(value: &Value) -> types::Value {
    match value {
        Value::Text(text) => types::Value::Text(text.clone()),
        Value::Number(_) | Value::Time(_) | Value::RelativeTime(_) => types::Value::Null,
    }
}

#[cfg(test)]
mod tests;
