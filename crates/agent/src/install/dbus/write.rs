//! How does a call look on the wire? D-Bus specification, "Message Protocol".

use super::Object;

/// What RAUC's methods take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    Text(&'a str),
    /// An empty `a{sv}`.
    NoOptions,
}

const LITTLE_ENDIAN: u8 = b'l';
const METHOD_CALL: u8 = 1;
const NO_FLAGS: u8 = 0;
const PROTOCOL: u8 = 1;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

pub fn call(serial: u32, object: &Object<'_>, member: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut signature = String::new();
    for argument in arguments {
        match argument {
            Argument::Text(value) => {
                signature.push('s');
                text(&mut body, value);
            }
            Argument::NoOptions => {
                signature.push_str("a{sv}");
                number(&mut body, 0);
                // An array's padding up to its first element is there even if there is none.
                pad(&mut body, 8);
            }
        }
    }
    let mut bytes = vec![LITTLE_ENDIAN, METHOD_CALL, NO_FLAGS, PROTOCOL];
    number(&mut bytes, body.len());
    bytes.extend_from_slice(&serial.to_le_bytes());
    let mut fields = Vec::new();
    field(&mut fields, PATH, b'o', object.path);
    field(&mut fields, INTERFACE, b's', object.interface);
    field(&mut fields, MEMBER, b's', member);
    field(&mut fields, DESTINATION, b's', object.destination);
    if !signature.is_empty() {
        field(&mut fields, SIGNATURE, b'g', &signature);
    }
    number(&mut bytes, fields.len());
    // The fields begin at byte 16, a multiple of 8, so that their own padding is right.
    bytes.extend_from_slice(&fields);
    pad(&mut bytes, 8);
    bytes.extend_from_slice(&body);
    bytes
}

fn field(fields: &mut Vec<u8>, code: u8, kind: u8, value: &str) {
    pad(fields, 8);
    fields.extend_from_slice(&[code, 1, kind, 0]);
    if kind == b'g' {
        fields.push(u8::try_from(value.len()).expect("signatures here are short"));
        fields.extend_from_slice(value.as_bytes());
        fields.push(0);
    } else {
        text(fields, value);
    }
}

fn text(bytes: &mut Vec<u8>, value: &str) {
    number(bytes, value.len());
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(0);
}

fn number(bytes: &mut Vec<u8>, value: usize) {
    pad(bytes, 4);
    bytes.extend_from_slice(&u32::try_from(value).expect("messages of ours are short").to_le_bytes());
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}
