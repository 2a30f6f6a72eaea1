//! What does a selector text say?
//!
//! One pass from left to right. Nesting, comparisons, values and length are bounded by `limit`, so a hostile text costs
//! no more than an honest one.

use crate::limit;
use crate::nearest::nearest;
use crate::selector::lex::{Token, TokenKind, Word, tokens};
use crate::selector::schema::{FieldKind, Schema};
use crate::selector::{Expr, Fault, Field, Op, Value, literal};

const KEYWORDS: [&str; 6] = ["and", "or", "not", "like", "in", "exists"];

pub(super) fn expression(text: &str, schema: &Schema) -> Result<Expr, Fault> {
    // Four bytes at most make one character: a text of megabytes is not even counted.
    if text.len() > 4 * limit::SELECTOR_CHARS_MAX || text.chars().count() > limit::SELECTOR_CHARS_MAX {
        return Err(Fault::at(0, format!("a selector has at most {} characters", limit::SELECTOR_CHARS_MAX)));
    }
    if text.trim().is_empty() {
        return Err(Fault::at(0, "the selector is empty: write all to select everything"));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, terms: 0, schema };
    let expr = parser.either()?;
    match parser.peek().kind {
        TokenKind::End => Ok(expr),
        TokenKind::Close => Err(parser.fault("this ) closes nothing: remove it or add a ( before")),
        _ => Err(parser.fault("write and or or between two comparisons; quote a value that has spaces")),
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    next: usize,
    /// Open parentheses and `not`s.
    depth: usize,
    /// Comparisons so far.
    terms: usize,
    schema: &'a Schema,
}

impl Parser<'_> {
    fn either(&mut self) -> Result<Expr, Fault> {
        let mut parts = vec![self.both()?];
        while self.take_keyword("or") {
            parts.push(self.both()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expr::Or(parts) })
    }

    fn both(&mut self) -> Result<Expr, Fault> {
        let mut parts = vec![self.negated()?];
        while self.take_keyword("and") {
            parts.push(self.negated()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expr::And(parts) })
    }

    fn negated(&mut self) -> Result<Expr, Fault> {
        if !self.is_keyword("not") {
            return self.operand();
        }
        self.descend()?;
        let part = self.negated()?;
        self.depth -= 1;
        Ok(Expr::Not(Box::new(part)))
    }

    fn operand(&mut self) -> Result<Expr, Fault> {
        if self.peek().kind == TokenKind::Open {
            return self.parenthesized();
        }
        if self.take_keyword("all") {
            return Ok(Expr::All);
        }
        self.terms += 1;
        if self.terms > limit::SELECTOR_TERMS_MAX {
            return Err(self.fault(format!("a selector has at most {} comparisons", limit::SELECTOR_TERMS_MAX)));
        }
        if self.take_keyword("exists") {
            let (field, _) = self.field()?;
            return Ok(Expr::Compare { field, op: Op::Exists, values: Vec::new() });
        }
        self.comparison()
    }

    fn parenthesized(&mut self) -> Result<Expr, Fault> {
        let open = self.peek().position;
        self.descend()?;
        let expr = self.either()?;
        self.depth -= 1;
        match self.peek().kind {
            TokenKind::Close => self.next += 1,
            TokenKind::End => return Err(Fault::at(open, "this ( is never closed: add a )")),
            _ => return Err(self.fault("write and, or or ) here; quote a value that has spaces")),
        }
        Ok(expr)
    }

    /// Takes the token that opens a level.
    fn descend(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > limit::SELECTOR_DEPTH_MAX {
            return Err(self.fault(format!("parentheses and not nest at most {} deep", limit::SELECTOR_DEPTH_MAX)));
        }
        self.next += 1;
        Ok(())
    }

    fn comparison(&mut self) -> Result<Expr, Fault> {
        let (field, kind) = self.field()?;
        let position = self.peek().position;
        let Some(op) = self.operator(&field)? else {
            let exists = Expr::Compare { field, op: Op::Exists, values: Vec::new() };
            return Ok(Expr::Not(Box::new(exists)));
        };
        if let Some(message) = kind.and_then(|kind| unfit(&field, kind, op)) {
            return Err(Fault::at(position, message));
        }
        let values = match op {
            Op::Exists => Vec::new(),
            Op::In | Op::NotIn => self.list(&field, kind, op)?,
            _ => vec![self.value(&field, kind, op)?],
        };
        Ok(Expr::Compare { field, op, values })
    }

    /// The operator after a field; nothing for `not exists`, which has no operator of its own.
    fn operator(&mut self, field: &Field) -> Result<Option<Op>, Fault> {
        if let TokenKind::Sign(op) = self.peek().kind {
            self.next += 1;
            return Ok(Some(op));
        }
        let is_negated = self.take_keyword("not");
        for (keyword, plain, negated) in
            [("like", Op::Like, Some(Op::NotLike)), ("in", Op::In, Some(Op::NotIn)), ("exists", Op::Exists, None)]
        {
            if self.take_keyword(keyword) {
                return Ok(if is_negated { negated } else { Some(plain) });
            }
        }
        Err(self.fault(match is_negated {
            true => "after this not write like, in or exists".to_owned(),
            false => format!("compare {field} with something: write ==, !=, <, <=, >, >=, like, in or exists"),
        }))
    }

    fn list(&mut self, field: &Field, kind: Option<FieldKind>, op: Op) -> Result<Vec<Value>, Fault> {
        if self.peek().kind != TokenKind::Open {
            return Err(self.fault("write the values of in between parentheses, such as in (a, b)"));
        }
        self.next += 1;
        let mut values = vec![self.value(field, kind, op)?];
        loop {
            match self.peek().kind {
                TokenKind::Close => break self.next += 1,
                TokenKind::Comma => self.next += 1,
                _ => return Err(self.fault("write a comma or ) after a value; quote a value that has spaces")),
            }
            if values.len() == limit::SELECTOR_LIST_MAX {
                return Err(self.fault(format!("in takes at most {} values", limit::SELECTOR_LIST_MAX)));
            }
            values.push(self.value(field, kind, op)?);
        }
        Ok(values)
    }

    fn value(&mut self, field: &Field, kind: Option<FieldKind>, op: Op) -> Result<Value, Fault> {
        let word = match &self.peek().kind {
            TokenKind::Word(word) => word.clone(),
            TokenKind::Keyed(..) => {
                return Err(self.fault("a field can only be compared with a value: quote the value"));
            }
            _ => return Err(self.fault("a value is missing here; write \"\" for an empty text")),
        };
        if let Some(keyword) = KEYWORDS.into_iter().find(|keyword| word.is(keyword)) {
            return Err(self.fault(format!("a value is missing here; quote \"{keyword}\" to mean the word")));
        }
        self.next += 1;
        literal::value(field, kind, op, &word)
    }

    /// A field and the kind of its values; labels and attributes have no kind.
    fn field(&mut self) -> Result<(Field, Option<FieldKind>), Fault> {
        let found = match &self.peek().kind {
            TokenKind::Keyed(kind, key) => self.keyed(kind, key)?,
            TokenKind::Word(word) => self.named(word)?,
            _ => return Err(self.fault("a comparison is missing here, such as name == gateway-7")),
        };
        self.next += 1;
        Ok(found)
    }

    fn named(&self, word: &Word) -> Result<(Field, Option<FieldKind>), Fault> {
        if word.is_quoted {
            return Err(self.fault("a field is missing here: write name == value, and quote only the value"));
        }
        if let Some((name, kind)) = self.schema.fields.iter().find(|(name, _)| *name == word.text) {
            return Ok((Field::Builtin(name), Some(*kind)));
        }
        match word.text.split_once('.') {
            Some((_, key)) if key.contains('*') => Err(self.fault("a key has no wildcards: quote a key that has a *")),
            Some((kind, key)) => self.keyed(kind, key),
            None => Err(self.fault(self.unknown(&word.text))),
        }
    }

    fn keyed(&self, kind: &str, key: &str) -> Result<(Field, Option<FieldKind>), Fault> {
        let (is_known, plural, field) = match kind {
            "label" => (self.schema.labels, "labels", Field::Label(key.to_owned())),
            "attribute" => (self.schema.attributes, "attributes", Field::Attribute(key.to_owned())),
            _ => return Err(self.fault(self.unknown(&format!("{kind}.{key}")))),
        };
        if !is_known {
            return Err(self.fault(format!("{} have no {plural}: {}", self.schema.things, self.fields())));
        }
        if key.is_empty() {
            return Err(self.fault(format!("write a key after {kind}., such as {kind}.site")));
        }
        Ok((field, None))
    }

    fn unknown(&self, name: &str) -> String {
        let things = self.schema.things;
        let is_label = self.schema.labels && !name.contains('.');
        let prefixes = [("label.", self.schema.labels), ("attribute.", self.schema.attributes)];
        let prefixes = prefixes.into_iter().filter(|(_, is_known)| *is_known).map(|(prefix, _)| prefix);
        let known = self.schema.fields.iter().map(|(name, _)| *name);
        let start = name.split_inclusive('.').next().unwrap_or(name);
        let near = if start.ends_with('.') { nearest(start, prefixes) } else { nearest(name, known) };
        let fields = self.fields();
        match (near, is_label) {
            (Some(near), true) => {
                format!("{things} have no field {name:?}; did you mean {near}? For a label write label.{name}")
            }
            (Some(near), false) => format!("{things} have no field {name:?}; did you mean {near}?"),
            (None, true) => format!("{things} have no field {name:?}; write label.{name} for a label: {fields}"),
            (None, false) => format!("{things} have no field {name:?}: {fields}"),
        }
    }

    fn fields(&self) -> String {
        let names: Vec<&str> = self.schema.fields.iter().map(|(name, _)| *name).collect();
        format!("their fields are {}", names.join(", "))
    }

    fn peek(&self) -> &Token {
        // The last token is the end, and nothing takes it.
        &self.tokens[self.next]
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(&self.peek().kind, TokenKind::Word(word) if word.is(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_next = self.is_keyword(keyword);
        self.next += usize::from(is_next);
        is_next
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(self.peek().position, message)
    }
}

/// Why `op` makes no sense for a field of this kind, and what to write instead.
fn unfit(field: &Field, kind: FieldKind, op: Op) -> Option<String> {
    let is_like = matches!(op, Op::Like | Op::NotLike);
    let is_ordered = matches!(op, Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual);
    match kind {
        FieldKind::Choice(words) if is_like || is_ordered => {
            let sample = words.iter().take(2).copied().collect::<Vec<_>>().join(", ");
            Some(format!("{} does not fit {field}: write ==, != or in, such as {field} in ({sample})", op.as_str()))
        }
        FieldKind::Number if is_like => {
            Some(format!("{field} is a number: compare it with ==, !=, <, <=, >, >= or in"))
        }
        FieldKind::Time if is_like => Some(format!("{field} is a time: compare it with <, <=, > or >=, such as > -2h")),
        FieldKind::Text | FieldKind::Number | FieldKind::Time | FieldKind::Choice(_) => None,
    }
}
