//! How is an expression written so that it reads back as itself?

use std::fmt::{Display, Formatter, Result, Write};

use crate::selector::lex::is_word_character;
use crate::selector::literal::UNITS;
use crate::selector::{Expr, Field, Op, Value};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Expr::All => f.write_str("all"),
            Expr::And(parts) if parts.is_empty() => f.write_str("all"),
            Expr::Or(parts) if parts.is_empty() => f.write_str("not all"),
            Expr::And(parts) => joined(f, parts, " and "),
            Expr::Or(parts) => joined(f, parts, " or "),
            Expr::Not(part) => {
                f.write_str("not ")?;
                operand(f, part)
            }
            Expr::Compare { field, op: Op::Exists, .. } => write!(f, "exists {field}"),
            Expr::Compare { field, op: op @ (Op::In | Op::NotIn), values } => {
                write!(f, "{field} {} (", op.as_str())?;
                for (index, item) in values.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    value(f, *op, item)?;
                }
                f.write_char(')')
            }
            Expr::Compare { field, op, values } => {
                write!(f, "{field} {} ", op.as_str())?;
                values.iter().try_for_each(|item| value(f, *op, item))
            }
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (kind, key) = match self {
            Field::Builtin(name) => return f.write_str(name),
            Field::Label(key) => ("label.", key),
            Field::Attribute(key) => ("attribute.", key),
        };
        f.write_str(kind)?;
        match key.chars().all(|c| c != '*' && is_word_character(c)) {
            true => f.write_str(key),
            false => quoted(f, key),
        }
    }
}

impl Op {
    /// The operator as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Equal => "==",
            Op::NotEqual => "!=",
            Op::Less => "<",
            Op::LessOrEqual => "<=",
            Op::Greater => ">",
            Op::GreaterOrEqual => ">=",
            Op::Like => "like",
            Op::NotLike => "not like",
            Op::In => "in",
            Op::NotIn => "not in",
            Op::Exists => "exists",
        }
    }
}

fn joined(f: &mut Formatter<'_>, parts: &[Expr], between: &str) -> Result {
    for (index, part) in parts.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { between })?;
        operand(f, part)?;
    }
    Ok(())
}

fn operand(f: &mut Formatter<'_>, part: &Expr) -> Result {
    match part {
        Expr::And(_) | Expr::Or(_) => write!(f, "({part})"),
        Expr::All | Expr::Not(_) | Expr::Compare { .. } => write!(f, "{part}"),
    }
}

fn value(f: &mut Formatter<'_>, op: Op, value: &Value) -> Result {
    match value {
        // A pattern already carries the backslashes it needs.
        Value::Text(pattern) if matches!(op, Op::Like | Op::NotLike) => escaped(f, pattern, false),
        Value::Text(text) => quoted(f, text),
        Value::Number(number) => write!(f, "{number}"),
        Value::Time(at) => write!(f, "{at}"),
        Value::RelativeTime(0) => f.write_str("now"),
        Value::RelativeTime(offset_ms) => relative(f, *offset_ms),
    }
}

/// In the largest unit that gives a whole number: `-2h`, `+90m`.
fn relative(f: &mut Formatter<'_>, offset_ms: i64) -> Result {
    let exact = UNITS.iter().rev().find(|(_, unit_ms)| offset_ms % unit_ms == 0);
    let (unit, unit_ms) = exact.copied().unwrap_or(UNITS[0]);
    write!(f, "{:+}{unit}", offset_ms / unit_ms)
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> Result {
    escaped(f, text, true)
}

fn escaped(f: &mut Formatter<'_>, text: &str, backslashes: bool) -> Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' if backslashes => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
