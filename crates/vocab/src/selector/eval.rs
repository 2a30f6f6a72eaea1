//! Does a thing match a selector?

use std::cmp::Ordering;

use crate::Timestamp;
use crate::selector::literal::number;
use crate::selector::{Expr, Field, Op, Selector, Value, pattern};

/// What a thing has in a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    Text(&'a str),
    Number(f64),
    Time(Timestamp),
}

impl Selector {
    /// Whether the thing whose fields `lookup` knows is selected at `now`.
    pub fn matches<'found>(&self, now: Timestamp, lookup: impl Fn(&Field) -> Option<Found<'found>>) -> bool {
        self.expr.matches(now, &lookup)
    }

    /// Whether this says `all`, perhaps in a roundabout way such as `all or state == pending`.
    ///
    /// Only `all` itself counts: `name like *` is not seen through.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.expr.is_everything()
    }
}

impl Expr {
    /// As [`Selector::matches`].
    pub fn matches<'found>(&self, now: Timestamp, lookup: &impl Fn(&Field) -> Option<Found<'found>>) -> bool {
        match self {
            Expr::All => true,
            Expr::And(parts) => parts.iter().all(|part| part.matches(now, lookup)),
            Expr::Or(parts) => parts.iter().any(|part| part.matches(now, lookup)),
            Expr::Not(part) => !part.matches(now, lookup),
            Expr::Compare { field, op, values } => compare(lookup(field), *op, values, now),
        }
    }

    /// As [`Selector::is_everything`].
    #[must_use]
    pub fn is_everything(&self) -> bool {
        match self {
            Expr::All => true,
            Expr::And(parts) => parts.iter().all(Expr::is_everything),
            Expr::Or(parts) => parts.iter().any(Expr::is_everything),
            Expr::Not(part) => part.is_nothing(),
            Expr::Compare { .. } => false,
        }
    }

    fn is_nothing(&self) -> bool {
        match self {
            Expr::All | Expr::Compare { .. } => false,
            Expr::And(parts) => parts.iter().any(Expr::is_nothing),
            Expr::Or(parts) => parts.iter().all(Expr::is_nothing),
            Expr::Not(part) => part.is_everything(),
        }
    }
}

fn compare(found: Option<Found<'_>>, op: Op, values: &[Value], now: Timestamp) -> bool {
    let Some(found) = found else { return matches!(op, Op::NotEqual | Op::NotIn | Op::NotLike) };
    let ordered = |holds: fn(Ordering) -> bool| values.iter().any(|value| order(found, value, now).is_some_and(holds));
    match op {
        Op::Equal | Op::In => ordered(Ordering::is_eq),
        Op::NotEqual | Op::NotIn => !ordered(Ordering::is_eq),
        Op::Less => ordered(Ordering::is_lt),
        Op::LessOrEqual => ordered(Ordering::is_le),
        Op::Greater => ordered(Ordering::is_gt),
        Op::GreaterOrEqual => ordered(Ordering::is_ge),
        Op::Like => values.iter().any(|value| like(found, value)),
        Op::NotLike => !values.iter().any(|value| like(found, value)),
        Op::Exists => true,
    }
}

/// How `found` stands to `value`; nothing if the two can't be compared, such as the text "many" with a number.
fn order(found: Found<'_>, value: &Value, now: Timestamp) -> Option<Ordering> {
    match (found, value) {
        (Found::Text(text), Value::Text(wanted)) => Some(text.as_bytes().cmp(wanted.as_bytes())),
        (Found::Text(text), Value::Number(wanted)) => number(text)?.partial_cmp(wanted),
        (Found::Number(number), Value::Number(wanted)) => number.partial_cmp(wanted),
        (Found::Time(at), Value::Time(_) | Value::RelativeTime(_)) => Some(at.cmp(&value.moment(now)?)),
        (Found::Text(_), Value::Time(_) | Value::RelativeTime(_))
        | (Found::Number(_), Value::Text(_) | Value::Time(_) | Value::RelativeTime(_))
        | (Found::Time(_), Value::Text(_) | Value::Number(_)) => None,
    }
}

fn like(found: Found<'_>, value: &Value) -> bool {
    match (found, value) {
        (Found::Text(text), Value::Text(wanted)) => pattern::matches(wanted, text),
        _ => false,
    }
}
