//! What may a template say?
//!
//! Values, `if`, `for` and a few filters. Nothing that makes a value out of two others is allowed (assignment, `+`, `*`,
//! `~`, lists in a loop's head), so no value can double with every line: the steps and the size of the output
//! bound everything else.

use minijinja::machinery::{Token, tokenize};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, filters, tests};
use muster_vocab::limit;

/// What `join` makes at most: the only filter whose result is longer than what it is given.
const JOINED_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    #[error("a template has at most {max} bytes", max = limit::TEMPLATE_BYTES_MAX)]
    TooLong,
    #[error("a template is text without NUL")]
    Nul,
    #[error("line {line}: {problem}")]
    Syntax { line: usize, problem: String },
    #[error("line {line}: {what} is not part of the template language: {instead}")]
    NotAllowed { line: usize, what: String, instead: &'static str },
}

/// The engine: no files, no functions, no escaping, and a missing value is an error.
pub(super) fn engine() -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(limit::RENDER_STEPS_MAX));
    // Only so do errors know where in the template they are.
    engine.set_debug(true);
    engine.set_keep_trailing_newline(true);
    engine.set_trim_blocks(true);
    engine.set_lstrip_blocks(true);
    engine.add_filter("default", filters::default);
    engine.add_filter("upper", filters::upper);
    engine.add_filter("lower", filters::lower);
    engine.add_filter("trim", filters::trim);
    engine.add_filter("length", filters::length);
    engine.add_filter("int", filters::int);
    engine.add_filter("first", filters::first);
    engine.add_filter("last", filters::last);
    engine.add_filter("sort", filters::sort);
    engine.add_filter("split", filters::split);
    engine.add_filter("items", filters::items);
    engine.add_filter("join", join);
    engine.add_filter("add", add);
    engine.add_test("defined", tests::is_defined);
    engine.add_test("undefined", tests::is_undefined);
    engine.add_test("startingwith", tests::is_startingwith);
    engine.add_test("endingwith", tests::is_endingwith);
    engine
}

/// Whether it can be rendered at all.
pub fn check(template: &str) -> Result<(), BadTemplate> {
    if template.len() > limit::TEMPLATE_BYTES_MAX {
        return Err(BadTemplate::TooLong);
    }
    if template.contains('\0') {
        return Err(BadTemplate::Nul);
    }
    // What is allowed is asked of the same tokens that the engine reads.
    let mut place = Place::Text;
    for token in tokenize(template, false, Default::default(), Default::default()) {
        let (token, span) = token.map_err(|bad| syntax(&bad))?;
        place = step(place, &token).map_err(|(what, instead)| BadTemplate::NotAllowed {
            line: span.start_line.into(),
            what,
            instead,
        })?;
    }
    engine().template_from_str(template).map(drop).map_err(|bad| syntax(&bad))
}

fn syntax(bad: &Error) -> BadTemplate {
    let problem = bad.detail().map_or_else(|| bad.kind().to_string(), str::to_owned);
    BadTemplate::Syntax { line: bad.line().unwrap_or(1), problem }
}

/// Where in the template a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    /// Inside `{{ … }}`.
    Value,
    /// Behind `{%`.
    Begin,
    /// Inside `{% … %}`.
    Statement,
    /// Between `for` and `in`.
    Names,
    /// Behind a loop's `in`.
    Head,
}

fn step(place: Place, token: &Token<'_>) -> Result<Place, (String, &'static str)> {
    const WRITE: &str = "write one value beside the other";
    const ALLOWED: &str = "there are if, elif, else, for and their ends";
    match (place, token) {
        (_, Token::TemplateData(_) | Token::VariableEnd | Token::BlockEnd) => Ok(Place::Text),
        (_, Token::VariableStart) => Ok(Place::Value),
        (_, Token::BlockStart) => Ok(Place::Begin),
        (Place::Begin, Token::Ident("for")) => Ok(Place::Names),
        (Place::Begin, Token::Ident("if" | "elif" | "else" | "endif" | "endfor")) => Ok(Place::Statement),
        (Place::Begin, Token::Ident(other)) => Err((format!("{other:?}"), ALLOWED)),
        (_, Token::Ident("recursive")) => Err(("\"recursive\"".into(), ALLOWED)),
        (Place::Names, Token::Ident("in")) => Ok(Place::Head),
        (Place::Head, Token::Comma) => Err(("a comma in a loop's head".into(), "loop over one value")),
        (_, Token::Plus) => Err(("+".into(), "use the filter add for numbers and write texts beside each other")),
        (_, token @ (Token::Mul | Token::Pow | Token::Tilde | Token::BraceOpen | Token::BraceClose)) => {
            Err((token.to_string(), WRITE))
        }
        (place, _) => Ok(place),
    }
}

fn add(value: i64, more: i64) -> Result<i64, Error> {
    value.checked_add(more).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the sum is too large"))
}

fn join(value: &Value, joiner: &str) -> Result<String, Error> {
    let mut joined = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let Some(item) = item.as_str() else {
            return Err(Error::new(ErrorKind::InvalidOperation, "join takes a list of texts"));
        };
        if at > 0 {
            joined.push_str(joiner);
        }
        joined.push_str(item);
        if joined.len() > JOINED_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "the joined text is too long"));
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests_of_check {
    use super::*;

    #[test]
    fn a_plain_file_is_a_template() {
        for text in ["", "a = 1\n", "{ \"json\": [1, 2] }", "# 100 % + 1 ~ {x}", "{# a remark with + and * #}"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn values_conditions_loops_and_filters_are_taken() {
        for text in [
            "{{ label.site }}",
            "{{ attribute[\"hw.revision\"] | default(\"1\") | int | add(1) }}",
            "{% if label.ring is defined and label.ring == 'lab' %}a{% elif site in ['x', 'y'] %}b{% else %}c{% endif %}",
            "{%- for key, value in label | items -%}{{ key }}={{ value }}{{ loop.index }}{% endfor %}",
            "{% raw %}{{ + }}{% endraw %}",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_makes_values_out_of_values_is_refused_with_its_line() {
        for text in [
            "{% set a = 'x' %}",
            "{% with a = 'x' %}{% endwith %}",
            "{% macro a() %}{% endmacro %}",
            "{% include 'x' %}",
            "{% extends 'x' %}",
            "{% filter upper %}x{% endfilter %}",
            "{{ 'a' * 9 }}",
            "{{ 'a' ~ 'b' }}",
            "{{ 'a' + 'b' }}",
            "{{ 9 ** 9 }}",
            "{{ {'a': 1} }}",
            "{% for a in [1, 2] %}{% endfor %}",
            "{% for a in b recursive %}{% endfor %}",
            "{%- set a %}{% endset %}",
            "{% block a %}{% endblock %}",
            "{% import 'x' as y %}",
            "{% do x() %}",
        ] {
            let refused = check(&format!("\n{text}")).unwrap_err();
            assert!(matches!(refused, BadTemplate::NotAllowed { line: 2, .. }), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_line() {
        for text in ["{{ a", "{% if a %}", "{{ a b }}", "{{ 'a }}", "{% endfor %}", "{{ }}"] {
            let refused = check(&format!("\n\n{text}")).unwrap_err();
            assert!(matches!(refused, BadTemplate::Syntax { .. }), "{text}: {refused}");
        }
        assert_eq!(check(&"x".repeat(limit::TEMPLATE_BYTES_MAX + 1)), Err(BadTemplate::TooLong));
        assert_eq!(check("a\0b"), Err(BadTemplate::Nul));
    }
}
