//! Which things are meant?
//!
//! The one query language of Muster: it selects devices and filters every list.
//!
//! ```text
//! state == accepted and label.site in (berlin, "new york") and not (attribute.ram < 512 or last_seen < -2h)
//! ```
//!
//! `not` binds tighter than `and`, `and` tighter than `or`. Keywords may be in any case, fields may not.
//! `like` knows the wildcard `*` and takes A-Z for a-z; every other comparison of texts is exact.
//! Labels and attributes are texts: `==`, `!=` and `in` compare them as written (`1.10` is not `1.1`), while `<` and its
//! kin compare numbers when a bare number is given, and texts byte by byte otherwise.
//! Where a value is missing or is no number, `==`, `<`, `<=`, `>`, `>=`, `like` and `in` are false, and `!=`, `not in` and
//! `not like` are true: each is the exact opposite of its positive form.
//!
//! Reading is here; meaning is in `eval` and, for lists, in the store, which turns [`Expr`] into SQL.

pub mod eval;
mod lex;
pub mod literal;
mod parse;
pub mod pattern;
mod print;
pub mod schema;

use crate::Timestamp;
use crate::selector::schema::Schema;

/// A checked query, together with the text somebody wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    text: String,
    expr: Expr,
}

/// What a selector says. Printed, it is a selector text that reads back as the same expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    All,
    /// Two or more; an empty one is true.
    And(Vec<Expr>),
    /// Two or more; an empty one is false.
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// `in` and `not in` have one value or more, `exists` has none, every other operator has one.
    Compare {
        field: Field,
        op: Op,
        values: Vec<Value>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// A field of the schema, under the schema's own spelling.
    Builtin(&'static str),
    Label(String),
    Attribute(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    NotLike,
    In,
    NotIn,
    Exists,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// With `like` and `not like` a pattern: see [`pattern::pieces`].
    Text(String),
    /// Finite.
    Number(f64),
    Time(Timestamp),
    /// Milliseconds after now, in whole seconds; resolved by [`Value::moment`] each time the selector is used.
    RelativeTime(i64),
}

/// Why a text is no selector, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {character}: {message}")]
pub struct SelectorError {
    /// Bytes before the fault.
    pub position: usize,
    /// The same for people: characters before the fault, plus one.
    pub character: usize,
    pub message: String,
}

impl Selector {
    /// Reads a selector over the fields that `schema` lists. Blank text is refused: `all` selects everything.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, SelectorError> {
        match parse::expression(text, schema) {
            Ok(expr) => Ok(Self { text: text.to_owned(), expr }),
            Err(fault) => {
                let character = text[..fault.position].chars().count() + 1;
                Err(SelectorError { position: fault.position, character, message: fault.message })
            }
        }
    }

    /// What this and one of the others select.
    #[must_use]
    pub fn and_any_of(&self, others: &[Self]) -> Self {
        let any = match others {
            [one] => one.expr.clone(),
            many => Expr::Or(many.iter().map(|other| other.expr.clone()).collect()),
        };
        let expr = Expr::And(vec![self.expr.clone(), any]);
        Self { text: expr.to_string(), expr }
    }

    #[must_use]
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Value {
    /// The moment this value names at `now`, if it names one.
    #[must_use]
    pub fn moment(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Value::Time(at) => Some(*at),
            Value::RelativeTime(offset_ms) => Some(Timestamp(now.0.saturating_add(*offset_ms))),
            Value::Text(_) | Value::Number(_) => None,
        }
    }
}

impl SelectorError {
    /// The part of `text` around the fault with a caret under it, for a terminal.
    ///
    /// ```text
    /// state = runing
    ///         ^
    /// ```
    #[must_use]
    pub fn caret(&self, text: &str) -> String {
        const SHOWN_BEFORE: usize = 50;
        const SHOWN_AFTER: usize = 25;
        let before = self.character - 1;
        let skipped = before.saturating_sub(SHOWN_BEFORE);
        let line: String = text
            .chars()
            .skip(skipped)
            .take(before - skipped + SHOWN_AFTER)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        format!("{line}\n{}^", " ".repeat(before - skipped))
    }
}

/// A fault while reading: becomes a [`SelectorError`] once the characters are counted.
#[derive(Debug)]
struct Fault {
    position: usize,
    message: String,
}

impl Fault {
    fn at(position: usize, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
