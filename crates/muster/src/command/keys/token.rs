//! How does a key sign that never leaves its token? By PKCS#11: ECDSA on P-256.

use std::path::Path;

use anyhow::{Context, bail};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use muster_trust::tuf::key::Key;
use sha2::Digest;

/// A PIN on the command line would be seen by everybody on the machine.
const PIN: &str = "MUSTER_PKCS11_PIN";

/// A key in an open token.
#[derive(Debug)]
pub struct Token {
    session: Session,
    secret: ObjectHandle,
    public: Key,
}

impl Token {
    /// Opens the first token that has a key of this label.
    pub fn open(module: &Path, label: &str) -> anyhow::Result<Self> {
        let pin = std::env::var(PIN).with_context(|| format!("the token's PIN is expected in {PIN}"))?;
        let library = Pkcs11::new(module).with_context(|| format!("loading {}", module.display()))?;
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).context("starting PKCS#11")?;
        for slot in library.get_slots_with_token().context("looking for tokens")? {
            let session = library.open_ro_session(slot).context("opening the token")?;
            let Some(point) = public_point(&session, label)? else { continue };
            session.login(UserType::User, Some(&AuthPin::new(pin.into()))).context("logging in to the token")?;
            let public = Key::p256(&point).with_context(|| format!("key {label} is no ECDSA key on P-256"))?;
            let secret = one(&session, ObjectClass::PRIVATE_KEY, label)?
                .with_context(|| format!("the token has no secret key {label}"))?;
            return Ok(Self { session, secret, public });
        }
        bail!("no token has a public key {label}")
    }

    pub fn public(&self) -> &Key {
        &self.public
    }

    pub fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let digest = sha2::Sha256::digest(message);
        let raw = self.session.sign(&Mechanism::Ecdsa, self.secret, &digest).context("signing in the token")?;
        if raw.len() != 64 {
            bail!("the token gave a signature of {} bytes instead of 64", raw.len());
        }
        let (r, s) = raw.split_at(32);
        let body = [integer(r), integer(s)].concat();
        let length = u8::try_from(body.len()).expect("two numbers of 33 bytes fit");
        Ok([&[0x30, length], body.as_slice()].concat())
    }
}

fn one(session: &Session, class: ObjectClass, label: &str) -> anyhow::Result<Option<ObjectHandle>> {
    let wanted = [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
    let found = session.find_objects(&wanted).context("looking for the key")?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => bail!("the token has {} keys {label}", several.len()),
    }
}

/// An uncompressed point; the token wraps it in a DER octet string.
fn public_point(session: &Session, label: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(public) = one(session, ObjectClass::PUBLIC_KEY, label)? else { return Ok(None) };
    let found = session.get_attributes(public, &[AttributeType::EcPoint]).context("reading the public key")?;
    Ok(found.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(point.strip_prefix(&[0x04, 0x41]).map_or(point.clone(), <[u8]>::to_vec)),
        _ => None,
    }))
}

/// DER: no needless zeros, and one if the first bit would make it negative.
fn integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
    let number = &number[start..];
    let sign: &[u8] = if number[0] & 0x80 != 0 { &[0] } else { &[] };
    let length = u8::try_from(number.len() + sign.len()).expect("a number has 33 bytes at most");
    [&[0x02, length], sign, number].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_der_wants_them() {
        assert_eq!(integer(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(integer(&[0x80, 1]), [2, 3, 0, 0x80, 1]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }
}
