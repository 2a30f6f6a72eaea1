//! What of a text that leaves the device is nobody's business?
//!
//! A net for the usual spellings of secrets in logs and output, not a proof that none gets through: what a device
//! sends is chosen by its own file first.

/// Stands where a secret was.
const GONE: &str = "[redacted]";
/// `NAME=secret` and `NAME: secret`, also as the end of a longer name such as `DB_PASSWORD`.
const NAMES: [&str; 10] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "api_key",
    "apikey",
    "api-key",
    "private_key",
    "access_key",
];
/// Headers whose whole value is a secret.
const HEADERS: [&str; 4] = ["authorization:", "proxy-authorization:", "cookie:", "set-cookie:"];
/// What Muster's own tokens of devices begin with.
const PREFIXES: [&str; 1] = ["mdt_"];

/// The text without what looks like a secret; its lines stay lines.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut is_key = false;
    let mut clean = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY");
        let ends = line.contains("-----END ") && line.contains("PRIVATE KEY");
        if ends && !begins && !is_key {
            // The text was cut in the middle of a key.
            clean = "[redacted private key]\n".to_owned();
            continue;
        }
        if begins || is_key {
            if begins {
                clean.push_str("[redacted private key]\n");
            }
            is_key = !ends;
            continue;
        }
        clean.push_str(&redact_line(line));
    }
    clean
}

fn redact_line(line: &str) -> String {
    let mut line = line.to_owned();
    for header in HEADERS {
        line = redact_after(&line, header, |rest| rest.find(['\n', '"', '\'']).unwrap_or(rest.len()));
    }
    for name in NAMES {
        line = redact_named(&line, name);
    }
    for prefix in PREFIXES {
        line = redact_after(&line, prefix, |rest| rest.find(|char: char| !is_of_token(char)).unwrap_or(rest.len()));
    }
    redact_bearer(&redact_address(&line))
}

fn is_of_token(char: char) -> bool {
    char.is_ascii_alphanumeric() || "_-.+/=~".contains(char)
}

/// Replaces what follows each occurrence of a mark; `length` says how much of the rest is secret.
fn redact_after(line: &str, mark: &str, length: impl Fn(&str) -> usize) -> String {
    // ASCII only: the bytes stay where they are.
    let lower = line.to_ascii_lowercase();
    let (mut clean, mut from) = (String::new(), 0);
    while let Some(found) = lower[from..].find(mark) {
        let begin = from + found + mark.len();
        clean.push_str(&line[from..begin]);
        let secret = length(&line[begin..]);
        if secret > 0 {
            clean.push_str(GONE);
        }
        from = begin + secret;
    }
    clean + &line[from..]
}

/// `token=x`, `"password": "x y"`, `secret = 'x'`.
fn redact_named(line: &str, name: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let (mut clean, mut from) = (String::new(), 0);
    while let Some(found) = lower[from..].find(name) {
        let after = from + found + name.len();
        let (begin, secret) = value_at(&line[after..]);
        clean.push_str(&line[from..after + begin]);
        if secret > 0 && &line[after + begin..after + begin + secret] != GONE {
            clean.push_str(GONE);
        } else {
            clean.push_str(&line[after + begin..after + begin + secret]);
        }
        from = after + begin + secret;
    }
    clean + &line[from..]
}

/// Where in the rest a value begins, and its length; 0 if the name stands alone.
fn value_at(rest: &str) -> (usize, usize) {
    let trimmed = rest.trim_start_matches(['"', '\'', ' ', '\t']);
    let Some(after) = trimmed.strip_prefix(['=', ':']) else { return (0, 0) };
    let value = after.trim_start_matches([' ', '\t', '=']);
    let begin = rest.len() - value.len();
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = &value[1..];
            (begin + 1, inner.find(quote).unwrap_or(inner.trim_end_matches('\n').len()))
        }
        Some(_) => {
            (begin, value.find(|char: char| char.is_whitespace() || "\"'&,;)}".contains(char)).unwrap_or(value.len()))
        }
        None => (begin, 0),
    }
}

/// `scheme://user:pass@host`: the part between is gone.
fn redact_address(line: &str) -> String {
    redact_after(line, "://", |rest| {
        let end = rest.find(|char: char| char.is_whitespace() || "/?#\"'<>".contains(char)).unwrap_or(rest.len());
        rest[..end].rfind('@').filter(|at| rest[..*at].contains(':')).unwrap_or(0)
    })
}

fn redact_bearer(line: &str) -> String {
    redact_after(line, "bearer ", |rest| {
        let end = rest.find(|char: char| !is_of_token(char)).unwrap_or(rest.len());
        // "bearer of news" is a sentence.
        if end >= 8 { end } else { 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_their_usual_spellings_are_gone() {
        for (line, clean) in [
            ("Authorization: Basic dTpw\n", "Authorization:[redacted]\n"),
            ("curl -H 'authorization: Bearer abc.def' x", "curl -H 'authorization:[redacted]' x"),
            ("using Bearer eyJhbGciOi.J9 now", "using Bearer [redacted] now"),
            ("GET /x?token=abc&y=1", "GET /x?token=[redacted]&y=1"),
            ("DB_PASSWORD=hunter2 started", "DB_PASSWORD=[redacted] started"),
            ("{\"password\": \"hun ter2\", \"a\": 1}", "{\"password\": \"[redacted]\", \"a\": 1}"),
            ("password = 'x y'", "password = '[redacted]'"),
            ("joined with mdt_abcDEF123 at once", "joined with mdt_[redacted] at once"),
            ("clone https://me:s3cr3t@example.org/x", "clone https://[redacted]@example.org/x"),
            ("api_key: 12345\n", "api_key: [redacted]\n"),
        ] {
            assert_eq!(redact(line), clean);
            assert_eq!(redact(clean), clean, "twice is the same as once");
        }
    }

    #[test]
    fn a_private_key_is_gone_and_what_follows_stays() {
        let key = "before\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\nafter\n";
        assert_eq!(redact(key), "before\n[redacted private key]\nafter\n");
        assert_eq!(
            redact("-----BEGIN PRIVATE KEY-----\nMHcCAQEE\n"),
            "[redacted private key]\n",
            "cut off in its middle"
        );
        assert_eq!(redact("MHcCAQEE\n-----END PRIVATE KEY-----\nafter\n"), "[redacted private key]\nafter\n");
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(redact(certificate), certificate);
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for line in [
            "the token expired",
            "password for user changed",
            "https://example.org:8080/a@b",
            "ssh://git@example.org/x",
            "bearer of news",
            "Ünïcödé 世界 token",
            "",
        ] {
            assert_eq!(redact(line), line);
        }
    }
}
