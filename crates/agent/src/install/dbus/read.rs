//! What does a message from the bus say? D-Bus specification, "Marshaling".
//!
//! The bus is trusted to send what the specification says, and still nothing here reads beyond what is there.

use super::{BusError, MESSAGE_BYTES_MAX, Message, MessageKind};

/// The specification's own bound: 32 arrays and 32 structures.
const DEPTH_MAX: usize = 64;
const HEAD_BYTES: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(i64),
    /// The standard's `t` and `d`, which RAUC sends for sizes and never for anything that is decided by.
    Other(u64),
    Text(String),
    /// An array or a structure.
    List(Vec<Value>),
    Entry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Variant(inside) => inside.text(),
            Self::Number(_) | Self::Other(_) | Self::List(_) | Self::Entry(_) => None,
        }
    }

    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Variant(inside) => inside.number(),
            Self::Other(_) | Self::Text(_) | Self::List(_) | Self::Entry(_) => None,
        }
    }

    pub fn list(&self) -> &[Value] {
        match self {
            Self::List(values) => values,
            Self::Variant(inside) => inside.list(),
            Self::Number(_) | Self::Other(_) | Self::Text(_) | Self::Entry(_) => &[],
        }
    }

    /// In a dictionary of names.
    pub fn entry(&self, key: &str) -> Option<&Value> {
        self.list().iter().find_map(|value| match value {
            Self::Entry(entry) if entry.0.text() == Some(key) => Some(&entry.1),
            _ => None,
        })
    }

    pub fn unwrapped(self) -> Self {
        if let Self::Variant(inside) = self { *inside } else { self }
    }
}

/// Bytes of the first message, if all of it has arrived.
pub fn complete(bytes: &[u8]) -> Result<Option<usize>, BusError> {
    if bytes.len() < HEAD_BYTES {
        return Ok(None);
    }
    let mut reader = Reader { bytes, at: 4, is_little: is_little(bytes[0])? };
    let body = reader.u32()? as usize;
    reader.at = 12;
    let fields = reader.u32()? as usize;
    if body > MESSAGE_BYTES_MAX || fields > MESSAGE_BYTES_MAX {
        return Err(BusError::Broken("a message that is too large"));
    }
    let size = (HEAD_BYTES + fields).next_multiple_of(8) + body;
    Ok((bytes.len() >= size).then_some(size))
}

pub fn message(bytes: &[u8]) -> Result<Message, BusError> {
    let mut reader = Reader { bytes, at: 12, is_little: is_little(bytes[0])? };
    let kind = match bytes[1] {
        1 => MessageKind::Call,
        2 => MessageKind::Return,
        3 => MessageKind::Error,
        4 => MessageKind::Signal,
        _ => return Err(BusError::Broken("a message of no known kind")),
    };
    let (interface, member, error, sender) = (String::new(), String::new(), String::new(), String::new());
    let mut message = Message { kind, reply_to: None, sender, interface, member, error, body: Vec::new() };
    let mut signature = String::new();
    let fields = reader.value(&mut b"a(yv)".as_slice(), 0)?;
    for field in fields.list() {
        let [code, value] = field.list() else { return Err(BusError::Broken("a header field is no pair")) };
        let text = || value.text().unwrap_or_default().to_owned();
        match code.number() {
            Some(2) => message.interface = text(),
            Some(3) => message.member = text(),
            Some(4) => message.error = text(),
            Some(5) => message.reply_to = value.number().and_then(|serial| u32::try_from(serial).ok()),
            Some(7) => message.sender = text(),
            Some(8) => signature = text(),
            _ => {}
        }
    }
    reader.align(8)?;
    let mut rest = signature.as_bytes();
    while !rest.is_empty() {
        message.body.push(reader.value(&mut rest, 0)?);
    }
    Ok(message)
}

fn is_little(mark: u8) -> Result<bool, BusError> {
    match mark {
        b'l' => Ok(true),
        b'B' => Ok(false),
        _ => Err(BusError::Broken("a message of no known byte order")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    is_little: bool,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], BusError> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        self.at = self.at.saturating_add(count);
        taken.ok_or(BusError::Broken("a message ends too early"))
    }

    fn align(&mut self, to: usize) -> Result<(), BusError> {
        self.take(self.at.next_multiple_of(to) - self.at).map(|_| ())
    }

    /// So many bytes, aligned to their count.
    fn unsigned(&mut self, count: usize) -> Result<u64, BusError> {
        self.align(count)?;
        let is_little = self.is_little;
        let bytes = self.take(count)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Ok(if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    }

    fn u32(&mut self) -> Result<u32, BusError> {
        Ok(u32::try_from(self.unsigned(4)?).expect("four bytes were read"))
    }

    fn string(&mut self, length: usize) -> Result<Value, BusError> {
        let bytes = self.take(length)?.to_vec();
        self.take(1)?;
        String::from_utf8(bytes).map(Value::Text).map_err(|_| BusError::Broken("a text is no UTF-8"))
    }

    /// The value of the signature's first complete type, which is taken off it.
    fn value(&mut self, signature: &mut &[u8], depth: usize) -> Result<Value, BusError> {
        if depth > DEPTH_MAX {
            return Err(BusError::Broken("a message is nested too deeply"));
        }
        let (&kind, rest) = signature.split_first().ok_or(BusError::Broken("a type is missing"))?;
        *signature = rest;
        let signed = |value: u64, bytes: u32| Value::Number(((value << (64 - 8 * bytes)) as i64) >> (64 - 8 * bytes));
        let number = |value: u64| Value::Number(i64::try_from(value).expect("at most four bytes were read"));
        match kind {
            b'y' => self.unsigned(1).map(number),
            b'q' => self.unsigned(2).map(number),
            b'b' | b'u' | b'h' => self.unsigned(4).map(number),
            b'n' => self.unsigned(2).map(|value| signed(value, 2)),
            b'i' => self.unsigned(4).map(|value| signed(value, 4)),
            b'x' => self.unsigned(8).map(|value| signed(value, 8)),
            b't' | b'd' => self.unsigned(8).map(Value::Other),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                self.string(length)
            }
            b'g' => {
                let length = self.unsigned(1)? as usize;
                self.string(length)
            }
            b'v' => {
                let length = self.unsigned(1)? as usize;
                let Value::Text(inside) = self.string(length)? else { unreachable!("a string was read") };
                Ok(Value::Variant(Box::new(self.value(&mut inside.as_bytes(), depth + 1)?)))
            }
            b'a' => self.array(signature, depth),
            b'(' => {
                self.align(8)?;
                self.fields(signature, b')', depth).map(Value::List)
            }
            b'{' => {
                self.align(8)?;
                let mut pair = self.fields(signature, b'}', depth)?.into_iter();
                match (pair.next(), pair.next(), pair.next()) {
                    (Some(key), Some(value), None) => Ok(Value::Entry(Box::new((key, value)))),
                    _ => Err(BusError::Broken("a dictionary's entry is no pair")),
                }
            }
            _ => Err(BusError::Broken("a type that nobody knows")),
        }
    }

    fn array(&mut self, signature: &mut &[u8], depth: usize) -> Result<Value, BusError> {
        let bytes = self.u32()? as usize;
        let (element, rest) = signature.split_at(type_length(signature, depth)?);
        *signature = rest;
        if matches!(element[0], b'(' | b'{' | b'x' | b't' | b'd') {
            self.align(8)?;
        }
        let end = self.at.saturating_add(bytes);
        let mut values = Vec::new();
        while self.at < end {
            // Every type takes at least one byte, so this ends with the message at the latest.
            values.push(self.value(&mut &*element, depth + 1)?);
        }
        if self.at == end { Ok(Value::List(values)) } else { Err(BusError::Broken("an array has another length")) }
    }

    fn fields(&mut self, signature: &mut &[u8], close: u8, depth: usize) -> Result<Vec<Value>, BusError> {
        let mut values = Vec::new();
        while signature.first() != Some(&close) {
            values.push(self.value(signature, depth + 1)?);
        }
        *signature = &signature[1..];
        if values.is_empty() { Err(BusError::Broken("an empty structure")) } else { Ok(values) }
    }
}

/// Letters of the first complete type.
fn type_length(signature: &[u8], depth: usize) -> Result<usize, BusError> {
    let first = signature.first().ok_or(BusError::Broken("an array of nothing"))?;
    if depth > DEPTH_MAX {
        return Err(BusError::Broken("a message is nested too deeply"));
    }
    match first {
        b'a' => Ok(1 + type_length(&signature[1..], depth + 1)?),
        b'(' | b'{' => {
            let mut open = 0_usize;
            for (at, letter) in signature.iter().enumerate() {
                match letter {
                    b'(' | b'{' => open += 1,
                    b')' | b'}' => open -= 1,
                    _ => {}
                }
                if open == 0 {
                    return Ok(at + 1);
                }
            }
            Err(BusError::Broken("a structure without an end"))
        }
        _ => Ok(1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Argument, Object, write};
    use super::*;

    fn call() -> Vec<u8> {
        let rauc = Object { destination: "de.pengutronix.rauc", path: "/", interface: "de.pengutronix.rauc.Installer" };
        write::call(7, &rauc, "InstallBundle", &[Argument::Text("/data/1.raucb"), Argument::NoOptions])
    }

    #[test]
    fn a_message_reads_as_it_was_written() {
        let bytes = call();
        assert_eq!(complete(&bytes).unwrap(), Some(bytes.len()));
        let message = message(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (MessageKind::Call, "InstallBundle"));
        assert_eq!(message.body, [Value::Text("/data/1.raucb".into()), Value::List(Vec::new())]);
    }

    #[test]
    fn numbers_of_the_other_byte_order_and_signs_are_read() {
        let mut reader = Reader { bytes: &[0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 2], at: 0, is_little: false };
        assert_eq!(reader.value(&mut b"i".as_slice(), 0).unwrap(), Value::Number(-2));
        assert_eq!(reader.value(&mut b"u".as_slice(), 0).unwrap(), Value::Number(2));
    }

    #[test]
    fn half_a_message_is_waited_for_and_read_as_nothing_else() {
        let bytes = call();
        for length in 0..bytes.len() {
            assert_eq!(complete(&bytes[..length]).unwrap(), None);
        }
    }

    #[test]
    fn whatever_byte_is_wrong_reading_ends() {
        let bytes = call();
        for at in 0..bytes.len() {
            for wrong in [0, 1, 0x7f, 0x80, 0xff, b'a', b'(', b'v'] {
                let mut broken = bytes.clone();
                broken[at] = wrong;
                if let Ok(Some(size)) = complete(&broken) {
                    // Whether it still means something is not the point.
                    let _ = message(&broken[..size]);
                }
            }
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = [b'a'; 200];
        let mut reader = Reader { bytes: &[0; 2000], at: 0, is_little: true };
        assert!(reader.value(&mut deep.as_slice(), 0).is_err());
        // A variant in a variant in a variant.
        let nested = [1, b'v', 0].repeat(200);
        let mut reader = Reader { bytes: &nested, at: 0, is_little: true };
        assert!(reader.value(&mut b"v".as_slice(), 0).is_err());
    }
}
