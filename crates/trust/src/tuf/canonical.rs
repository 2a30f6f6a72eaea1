//! Over which bytes is a signature made?
//!
//! Canonical JSON as securesystemslib writes it: keys sorted by code point, no white space, only `"` and `\` escaped,
//! whole numbers only. The bytes are worked out from what was parsed, never taken from the document, so a field
//! nobody here knows is signed as well.

use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    #[error("{0} is no whole number")]
    Fraction(String),
}

/// The canonical form.
///
/// # Errors
/// If there is a number with a fraction or an exponent: two programs would write it differently.
pub fn bytes(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::new();
    write(value, write_text, &mut out)?;
    Ok(out)
}

/// The one spelling in which Muster writes documents: as the canonical form, but with texts as JSON has them. The
/// canonical form is no JSON where a text has a line break, as keys in PEM do.
///
/// # Errors
/// As [`bytes`].
pub fn document(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::new();
    let json = |text: &str, out: &mut Vec<u8>| out.extend_from_slice(Value::from(text).to_string().as_bytes());
    write(value, json, &mut out)?;
    Ok(out)
}

// The parser bounds the depth of a value at 128, so this recursion is bounded as well.
fn write(value: &Value, text: fn(&str, &mut Vec<u8>), out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::Number(number) => return Err(CanonicalError::Fraction(number.to_string())),
        Value::String(found) => text(found, out),
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                separate(index, out);
                write(value, text, out)?;
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            // Order of bytes in UTF-8 is order of code points.
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                separate(index, out);
                text(name, out);
                out.push(b':');
                write(value, text, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_nothing_but_quotes_and_backslashes_is_escaped() {
        let value: Value =
            serde_json::from_str(r#"{"b": [1, -2, true, null], "a": "q\"\\\n\u00e9", "B": {}}"#).unwrap();
        assert_eq!(
            String::from_utf8(bytes(&value).unwrap()).unwrap(),
            "{\"B\":{},\"a\":\"q\\\"\\\\\n\u{e9}\",\"b\":[1,-2,true,null]}"
        );
    }

    #[test]
    fn a_document_is_json_whatever_its_texts_hold() {
        let value = serde_json::json!({ "b": "line\nbreak \u{1} \u{e9}", "a": 1 });
        let written = document(&value).unwrap();
        assert_eq!(String::from_utf8(written.clone()).unwrap(), "{\"a\":1,\"b\":\"line\\nbreak \\u0001 \u{e9}\"}");
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), value);
    }

    #[test]
    fn a_fraction_has_no_canonical_form() {
        assert!(bytes(&serde_json::json!({ "a": 1.5 })).is_err());
    }
}
