//! What does one value of a comparison mean, next to its field?

use crate::Timestamp;
use crate::nearest::nearest;
use crate::selector::lex::Word;
use crate::selector::schema::FieldKind;
use crate::selector::{Fault, Field, Op, Value};

/// Units of relative times, smallest first, in milliseconds.
pub(super) const UNITS: [(char, i64); 5] =
    [('s', 1000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000), ('w', 604_800_000)];

/// Reads `word` as a value that `field` can be compared with by `op`.
pub(super) fn value(field: &Field, kind: Option<FieldKind>, op: Op, word: &Word) -> Result<Value, Fault> {
    if matches!(op, Op::Like | Op::NotLike) {
        return Ok(Value::Text(word.pattern.clone()));
    }
    let refuse = |message: String| Err(Fault::at(word.position, message));
    if !word.is_quoted && word.text.contains('*') {
        return refuse(format!("a wildcard needs like: write {field} like {}, or quote the value", word.text));
    }
    match kind {
        Some(FieldKind::Text) => Ok(Value::Text(word.text.clone())),
        Some(FieldKind::Number) => match number(&word.text) {
            Some(number) => Ok(Value::Number(number)),
            None => refuse(format!("{field} is a number, and {:?} is none: write digits such as 12 or 0.5", word.text)),
        },
        Some(FieldKind::Time) => match moment(&word.text) {
            Some(value) => Ok(value),
            None => refuse(format!(
                "{:?} is no time: write 2026-11-23T08:00:00Z, now, -2h or +30m (units s m h d w)",
                word.text
            )),
        },
        Some(FieldKind::Choice(words)) => match words.contains(&word.text.as_str()) {
            true => Ok(Value::Text(word.text.clone())),
            false => refuse(unknown_choice(field, words, &word.text)),
        },
        None => of_label(field, op, word),
    }
}

/// Labels and attributes hold texts; a bare number gives `<` and its kin the order of numbers.
fn of_label(field: &Field, op: Op, word: &Word) -> Result<Value, Fault> {
    let is_ordered = matches!(op, Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual);
    if !is_ordered || word.is_quoted {
        return Ok(Value::Text(word.text.clone()));
    }
    if let Some(number) = number(&word.text) {
        return Ok(Value::Number(number));
    }
    match relative(&word.text) {
        Some(_) => Err(Fault::at(
            word.position,
            format!(
                "{field} holds text, so it can't be compared with the time {0}: quote it to mean the text",
                word.text
            ),
        )),
        None => Ok(Value::Text(word.text.clone())),
    }
}

/// Reads a plain decimal number: an optional sign, digits, and perhaps a point and digits. No exponents, no `inf`.
///
/// The same rule decides whether the text of a label counts as a number.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn moment(text: &str) -> Option<Value> {
    relative(text).map(Value::RelativeTime).or_else(|| Timestamp::parse(text).ok().map(Value::Time))
}

/// Milliseconds from now of `now`, `-2h`, `+30m`, `now-7d`.
fn relative(text: &str) -> Option<i64> {
    let is_now = text.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("now"));
    let offset = if is_now { &text[3..] } else { text };
    if is_now && offset.is_empty() {
        return Some(0);
    }
    let (sign, unsigned) = match offset.chars().next()? {
        '-' => (-1, &offset[1..]),
        '+' => (1, &offset[1..]),
        _ => return None,
    };
    let (letter, unit_ms) = UNITS.into_iter().find(|(letter, _)| unsigned.ends_with(*letter))?;
    let count = unsigned.strip_suffix(letter)?;
    if !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    count.parse::<i64>().ok()?.checked_mul(unit_ms * sign)
}

fn unknown_choice(field: &Field, words: &[&str], given: &str) -> String {
    match nearest(given, words.iter().copied()) {
        Some(near) => format!("{given:?} is no {field}; did you mean {near}?"),
        None => format!("{given:?} is no {field}: write one of {}", words.join(", ")),
    }
}
