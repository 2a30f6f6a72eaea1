//! Which words and signs is a selector text made of?

use crate::selector::{Fault, Op};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub position: usize,
    pub kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Open,
    Close,
    Comma,
    Sign(Op),
    Word(Word),
    /// `label."my key"`: the word before the point, and the key.
    Keyed(String, String),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub position: usize,
    pub text: String,
    /// As a pattern of `like`: `\*` is a star here, `*` the wildcard.
    pub pattern: String,
    pub is_quoted: bool,
}

impl Word {
    /// Whether this is the keyword `keyword`; a quoted word never is one.
    pub fn is(&self, keyword: &str) -> bool {
        !self.is_quoted && self.text.eq_ignore_ascii_case(keyword)
    }
}

/// The tokens of `text`; the last one is the only [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut position = 0;
    while let Some(first) = text[position..].chars().next() {
        if first.is_whitespace() {
            position += first.len_utf8();
            continue;
        }
        let (kind, bytes) = token(text, position, first)?;
        tokens.push(Token { position, kind });
        position += bytes;
    }
    tokens.push(Token { position: text.len(), kind: TokenKind::End });
    Ok(tokens)
}

/// Letters and digits of any script, and the signs that names, versions, times and addresses are made of.
pub(super) fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || "._-:+@/*".contains(c)
}

/// The token that starts at `position`, and its length in bytes.
fn token(text: &str, position: usize, first: char) -> Result<(TokenKind, usize), Fault> {
    let rest = &text[position..];
    let sign = |op| Ok((TokenKind::Sign(op), op.as_str().len()));
    match first {
        '(' => Ok((TokenKind::Open, 1)),
        ')' => Ok((TokenKind::Close, 1)),
        ',' => Ok((TokenKind::Comma, 1)),
        '=' if !rest.starts_with("==") => Ok((TokenKind::Sign(Op::Equal), 1)),
        '=' => sign(Op::Equal),
        '!' if rest.starts_with("!=") => sign(Op::NotEqual),
        '<' if rest.starts_with("<=") => sign(Op::LessOrEqual),
        '<' => sign(Op::Less),
        '>' if rest.starts_with(">=") => sign(Op::GreaterOrEqual),
        '>' => sign(Op::Greater),
        '"' | '\'' => quoted(text, position, first).map(|(word, bytes)| (TokenKind::Word(word), bytes)),
        _ if is_word_character(first) => bare(text, position),
        _ => Err(Fault::at(position, unexpected(first))),
    }
}

fn unexpected(c: char) -> String {
    match c {
        '&' => "write and".to_owned(),
        '|' => "write or".to_owned(),
        '!' => "write not, or != for \"is not\"".to_owned(),
        '~' => "write like, with * for any characters".to_owned(),
        _ => {
            format!("{c:?} can't stand here: quote a value that has other characters than letters, digits and ._-:+@/")
        }
    }
}

fn bare(text: &str, position: usize) -> Result<(TokenKind, usize), Fault> {
    let rest = &text[position..];
    let bytes = rest.find(|c| !is_word_character(c)).unwrap_or(rest.len());
    let word = &rest[..bytes];
    let next = rest[bytes..].chars().next();
    if let (Some(kind), Some(quote @ ('"' | '\''))) = (word.strip_suffix('.'), next) {
        let (key, key_bytes) = quoted(text, position + bytes, quote)?;
        return Ok((TokenKind::Keyed(kind.to_owned(), key.text), bytes + key_bytes));
    }
    let word = Word { position, text: word.to_owned(), pattern: word.to_owned(), is_quoted: false };
    Ok((TokenKind::Word(word), bytes))
}

/// The quoted text that starts at `position`, and its length in bytes with both quotes.
fn quoted(text: &str, position: usize, quote: char) -> Result<(Word, usize), Fault> {
    let mut word = Word { position, text: String::new(), pattern: String::new(), is_quoted: true };
    let mut characters = text[position..].char_indices().skip(1);
    while let Some((offset, c)) = characters.next() {
        if c == quote {
            return Ok((word, offset + c.len_utf8()));
        }
        let here = position + offset;
        match c {
            '\0' => return Err(Fault::at(here, "a text can't hold the character NUL")),
            '\\' => {
                let escape = characters.next().map(|(_, escape)| escape);
                let Some(meant) = escape.and_then(unescaped) else {
                    return Err(Fault::at(here, r#"after a backslash write \, ", ', *, n, r or t"#));
                };
                word.text.push(meant);
                if matches!(meant, '*' | '\\') {
                    word.pattern.push('\\');
                }
                word.pattern.push(meant);
            }
            _ => {
                word.text.push(c);
                word.pattern.push(c);
            }
        }
    }
    Err(Fault::at(position, format!("this text has no end: add {quote} after it")))
}

fn unescaped(escape: char) -> Option<char> {
    match escape {
        '\\' | '"' | '\'' | '*' => Some(escape),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        _ => None,
    }
}
