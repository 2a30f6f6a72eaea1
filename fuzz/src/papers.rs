//! What is read to decide whether something is to be believed: certificates, requests, signed metadata, attestations, tokens,
//! exports of the audit log, what a TPM says, signatures inside of images.

use std::io::Cursor;
use std::str::FromStr;
use std::sync::OnceLock;

use muster_trust::attestation::Attestation;
use muster_trust::audit::checkpoint::{PublicKey, Signer, new_key};
use muster_trust::audit::export;
use muster_trust::authority::request::Request;
use muster_trust::authority::verify::{Anchor, Anchors, Leaf};
use muster_trust::authority::{pem, proof};
use muster_trust::inner::keys::Trusted;
use muster_trust::inner::{self, Verdict};
use muster_trust::seal::Keyring;
use muster_trust::tpm::Evidence;
use muster_trust::tpm::public::Public;
use muster_trust::tuf::document::{Document, RootRole, SnapshotRole, Spelling, TargetsRole, TimestampRole};
use muster_trust::tuf::key::Key;
use muster_trust::tuf::secret_key::SecretKey;
use muster_trust::{authority, delivery, jwt, totp};
use muster_vocab::Timestamp;

use crate::text;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Bills of materials, provenance, and both in a DSSE envelope.
pub fn attestation(data: &[u8]) {
    let _ = Attestation::read(data);
}

/// The payload of a DSSE envelope, so that nobody has to guess base64.
pub fn dsse(data: &[u8]) {
    let payload = base64(data);
    let envelope = format!(
        r#"{{"payload":"{payload}","payloadType":"application/vnd.in-toto+json","signatures":[{{"sig":"{payload}"}}]}}"#
    );
    if let Ok(Attestation { envelope: Some(envelope), .. }) = Attestation::read(envelope.as_bytes()) {
        let key = [("mine", Key::p256(&[4; 65])), ("any", Key::from_pem(text(data)))];
        let keys: Vec<(&str, Key)> = key.into_iter().filter_map(|(whose, key)| Some((whose, key?))).collect();
        assert_eq!(envelope.signer(&keys), None, "an envelope was believed that nobody signed");
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| char::from(LETTERS[(bits & 63) as usize]);
    let quartet = |three: &[u8]| {
        let bits = three.iter().chain([0, 0].iter()).take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let all = [bits >> 18, bits >> 12, bits >> 6, bits].map(letter);
        all.into_iter().take(three.len() + 1).chain(std::iter::repeat_n('=', 3 - three.len())).collect::<String>()
    };
    bytes.chunks(3).map(quartet).collect()
}

pub fn audit_export(data: &[u8]) {
    let known = export::Known { key: None, kept: None };
    let _ = export::verify(data, &known);
}

/// A signed checkpoint as others bring it, and a key of the log.
pub fn checkpoint(data: &[u8]) {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let bytes = new_key().expect("the machine has random bytes");
        Signer::from_pkcs8(&bytes).expect("it was just made").public()
    });
    assert!(key.open(text(data)).is_err(), "a checkpoint was believed that nobody signed");
    if let Ok(key) = PublicKey::from_str(text(data)) {
        let _ = key.open(text(data));
    }
}

pub fn certificate(data: &[u8]) {
    let _ = Leaf::read(data);
    let _ = proof::is_signed_by(data, 0x0403, b"message", data);
    let _ = proof::is_signed_by(data, 0x0807, b"message", data);
}

/// A chain that nobody vouches for, as a stranger shows it in TLS: sizes in two bytes, then DER.
pub fn certificate_chain(data: &[u8]) {
    let chain = sized(data);
    assert!(Anchors::default().verify(&chain, NOW).is_err(), "a chain was believed that nobody vouches for");
    let named = chain.iter().map(|der| (Anchor::Own(1), der.clone()));
    let (anchors, _) = Anchors::new(named);
    let _ = anchors.verify(&chain, NOW);
}

/// An image with a signature of its own kind.
pub fn inner_signature(data: &[u8]) {
    let key = include_str!("../inner.pub");
    let ring = [("factory".to_owned(), Trusted::parse(key).expect("it was made with openssl"))];
    let mut image = Cursor::new(data);
    let Some(kind) = inner::kind(&mut image).expect("memory can be read") else { return };
    let verdict = inner::check(&mut image, kind, &ring, NOW).expect("memory can be read");
    assert!(!matches!(verdict, Verdict::Verified(_)), "an image was believed that nobody signed");
}

fn sized(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some(([low, high], rest)) = data.split_first_chunk() {
        let (part, rest) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
        parts.push(part.to_vec());
        data = rest;
    }
    parts
}

pub fn certificate_request(data: &[u8]) {
    let _ = Request::parse(data);
    let _ = Request::from_der(data);
}

pub fn certificates(data: &[u8]) {
    let _ = pem::ders(text(data));
}

pub fn sealed_delivery(data: &[u8]) {
    let Ok(asking) = delivery::Asking::new() else { return };
    assert!(asking.open(data).is_err(), "something was opened that nobody sealed");
    let _ = delivery::seal(data, b"value");
}

/// A header and claims as they are before base64, in two lines; and a token as it is.
pub fn token(data: &[u8]) {
    const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k","alg":"ES256","use":"sig",
        "x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}"#;
    let keys = jwt::Keys::of(&serde_json::from_str(KEYS).expect("it is JSON"));
    let expected = jwt::Expected { issuer: "i", audience: "a", nonce: None, now: NOW };
    let (head, claims) = text(data).split_once('\n').unwrap_or((text(data), "{}"));
    let [head, claims] = [head, claims].map(|part| unpadded(part.as_bytes()));
    for token in [text(data), &format!("{head}.{claims}.{head}"), &format!("{head}.{claims}.")] {
        assert!(jwt::check(token, &keys, &expected).is_err(), "a token was believed that nobody signed");
    }
}

fn unpadded(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// What an issuer publishes as its keys.
pub fn keys(data: &[u8]) {
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.AAAA";
    let keys = jwt::Keys::of(&serde_json::from_slice(data).unwrap_or_default());
    let expected = jwt::Expected { issuer: "i", audience: "a", nonce: None, now: NOW };
    assert!(jwt::check(TOKEN, &keys, &expected).is_err(), "a token was believed that nobody signed");
}

pub fn key(data: &[u8]) {
    if let Some(key) = Key::from_pem(text(data)) {
        let _ = key.signed(b"message", data);
    }
    let _ = SecretKey::parse(text(data));
    let _ = authority::sealed::is_sealed(text(data));
}

pub fn sealed(data: &[u8]) {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    let keyring = KEYRING.get_or_init(|| Keyring::generate().expect("the machine has random bytes"));
    assert!(keyring.open("purpose", data).is_err(), "something was opened that nobody sealed");
    let _ = Keyring::parse(text(data));
    let _ = totp::check(b"secret", text(data), NOW, 0);
}

pub fn tpm(data: &[u8]) {
    if let Ok(public) = Public::read(data) {
        let _ = (public.name(), public.spki(), public.attests(), public.is_fixed_signer());
    }
    let mut parts = sized(data).into_iter();
    let mut part = || parts.next().unwrap_or_default();
    let (attestation, key, certified, signature) = (part(), part(), part(), part());
    if let (Ok(by), Ok(key)) = (Public::read(&attestation), Public::read(&key)) {
        let _ = muster_trust::tpm::attest::verify(&certified, &signature, &by, &key);
    }
    let chain: Vec<Vec<u8>> = parts.collect();
    let evidence = Evidence { endorsement: chain.clone(), attestation, key, certified, signature };
    assert!(evidence.check(&[], NOW).is_err(), "a TPM was believed whose maker nobody believes");
    let _ = evidence.check(&chain, NOW);
}

pub fn tuf_root(data: &[u8]) {
    for spelling in [Spelling::Exact, Spelling::Any] {
        let _ = Document::<RootRole>::read(data, spelling);
    }
}

pub fn tuf_metadata(data: &[u8]) {
    for spelling in [Spelling::Exact, Spelling::Any] {
        let _ = Document::<TimestampRole>::read(data, spelling);
        let _ = Document::<SnapshotRole>::read(data, spelling);
        let _ = Document::<TargetsRole>::read(data, spelling);
    }
}
