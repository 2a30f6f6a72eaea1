//! Which parts of a Rust file are code, which are text, and which are tests?
//!
//! Not a parser: it knows just enough of Rust's tokens that a check does not mistake a word in a string
//! or in a comment for code.

/// A string literal, without its quotes, and the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub line: usize,
    pub text: String,
}

/// A Rust file, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file with the insides of strings, characters and comments blanked; lines are where they were.
    pub code: String,
    pub texts: Vec<Text>,
    /// The line of the `#[cfg(test)]` that makes the rest of the file tests, if there is one.
    pub tests_begin: Option<usize>,
}

impl Source {
    pub fn read(text: &str) -> Source {
        let mut reader = Reader { rest: text, line: 1, code: String::with_capacity(text.len()), texts: Vec::new() };
        while !reader.rest.is_empty() {
            reader.token();
        }
        let tests_begin = tests_begin(&reader.code);
        Source { code: reader.code, texts: reader.texts, tests_begin }
    }

    /// The lines of code with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Is this line part of the tests at the end of the file?
    pub fn is_test(&self, line: usize) -> bool {
        self.tests_begin.is_some_and(|begin| line >= begin)
    }

    /// Lines of the file without its tests.
    pub fn length(&self) -> usize {
        self.tests_begin.map_or_else(|| self.code.lines().count(), |begin| begin - 1)
    }
}

fn tests_begin(code: &str) -> Option<usize> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let marked = |index: usize| {
        let next = lines[index + 1..].iter().find(|line| !line.starts_with("#[")).copied().unwrap_or_default();
        next.trim_start_matches("pub ").starts_with("mod ") && next.ends_with('{')
    };
    (0..lines.len()).find(|&index| lines[index] == "#[cfg(test)]" && marked(index)).map(|index| index + 1)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    code: String,
    texts: Vec<Text>,
}

impl Reader<'_> {
    fn token(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            self.blank(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.blank(block_comment_length(rest));
        } else if let Some((open, inside, close)) = string_lengths(rest) {
            self.keep(open);
            self.texts.push(Text { line: self.line, text: rest[open..open + inside].to_owned() });
            self.blank(inside);
            self.keep(close);
        } else if let Some(length) = character_length(rest) {
            self.blank(length);
        } else {
            self.keep(word_length(rest));
        }
    }

    fn keep(&mut self, length: usize) {
        let (kept, rest) = self.rest.split_at(length);
        self.code.push_str(kept);
        self.line += kept.matches('\n').count();
        self.rest = rest;
    }

    fn blank(&mut self, length: usize) {
        let (blanked, rest) = self.rest.split_at(length);
        self.code.extend(blanked.chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
        self.line += blanked.matches('\n').count();
        self.rest = rest;
    }
}

/// A whole word at once, so that the `r` at the end of `for` does not begin a raw string.
fn word_length(rest: &str) -> usize {
    let word = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
    let first = rest.chars().next().map_or(0, char::len_utf8);
    word.max(first)
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        at += match here {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Lengths of a string's opening, inside and closing, if one begins here.
fn string_lengths(rest: &str) -> Option<(usize, usize, usize)> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix).unwrap_or_default();
        after.starts_with('"') || (prefix.ends_with('r') && after.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = rest[prefix.len()..].find('"')?;
    let open = prefix.len() + hashes + 1;
    let body = &rest[open..];
    if prefix.ends_with('r') {
        let close = format!("\"{}", "#".repeat(hashes));
        let inside = body.find(&close);
        return Some(inside.map_or((open, body.len(), 0), |inside| (open, inside, close.len())));
    }
    let mut escaped = false;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((open, at, 1)),
            _ => {}
        }
    }
    Some((open, body.len(), 0))
}

/// Length of a character literal; a lifetime is none.
fn character_length(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let first = body.chars().next()?;
    if first == '\\' {
        return body[2..].find('\'').map(|end| end + 4);
    }
    body[first.len_utf8()..].starts_with('\'').then(|| first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_strings_and_comments_are_not_code() {
        let source = Source::read("let a = \"todo!() \\\" x\"; // dbg!(a)\n/* dbg! /* */ dbg! */ let b = 'x';\n");
        assert_eq!(source.code.split_whitespace().collect::<String>(), "leta=\"\";letb=;");
        assert_eq!(source.texts, [Text { line: 1, text: "todo!() \\\" x".into() }]);
    }

    #[test]
    fn raw_strings_end_where_their_hashes_do() {
        let source = Source::read("f(r#\"a \"quoted\" word\"#);\nlet r#type = br\"x\";");
        let texts: Vec<&str> = source.texts.iter().map(|text| text.text.as_str()).collect();
        assert_eq!(texts, ["a \"quoted\" word", "x"]);
        assert!(source.code.contains("let r#type = br\" \";"));
    }

    #[test]
    fn lifetimes_and_quote_characters_do_not_begin_a_string() {
        let source = Source::read("fn f<'a>(x: &'a str) { x.split('\"').find('\\'') }\nfn g() {}\n");
        assert_eq!(source.texts, []);
        assert!(source.code.ends_with("fn g() {}\n"));
        assert!(source.code.starts_with("fn f<'a>(x: &'a str) { x.split(   ).find(    ) }"));
    }

    #[test]
    fn lines_stay_where_they_were_across_long_strings() {
        let source = Source::read("let a = \"one\ntwo\";\nlet b = \"three\";");
        assert_eq!(source.texts[1], Text { line: 3, text: "three".into() });
        assert_eq!(source.code.lines().count(), 3);
    }

    #[test]
    fn tests_begin_at_their_attribute() {
        let source = Source::read("fn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n");
        assert_eq!((source.tests_begin, source.length()), (Some(3), 2));
        assert!(!source.is_test(1) && source.is_test(5));
    }

    #[test]
    fn a_test_module_in_its_own_file_does_not_end_the_code() {
        let source = Source::read("#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn g() {}\nfn f() {}\n");
        assert_eq!((source.tests_begin, source.length()), (None, 5));
    }
}
