use std::io::Cursor;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use muster_vocab::digest::hex;
use sha2::Digest;

use super::keys::BadTrusted;
use super::*;

mod archives;

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const IMAGE: &[u8] = b"a root file system";

fn entry(archive: &mut Vec<u8>, name: &str, body: &[u8]) {
    let (size, length) = (body.len(), name.len() + 1);
    let field = |value: usize| format!("{value:08x}");
    archive.extend_from_slice(b"070701");
    for value in [1, 0o100_644, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0] {
        archive.extend_from_slice(field(value).as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(body);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn description(images: &[&[u8]]) -> String {
    let images: Vec<String> = images
        .iter()
        .map(|image| format!("{{ filename = \"rootfs\"; sha256 = \"{}\"; }}", hex(&sha2::Sha256::digest(image))))
        .collect();
    format!("software = {{ version = \"1\"; images: ( {} ); }}", images.join(", "))
}

fn swu(description: &str, signature: Option<&[u8]>, images: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, "sw-description", description.as_bytes());
    if let Some(signature) = signature {
        entry(&mut archive, "sw-description.sig", signature);
    }
    for (name, body) in images {
        entry(&mut archive, name, body);
    }
    entry(&mut archive, "TRAILER!!!", b"");
    archive
}

fn sign(key: &RsaKeyPair, how: &'static dyn RsaEncoding, text: &str) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(how, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    signature
}

fn ring(key: &RsaKeyPair) -> Vec<Named> {
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let pem = rustls_pki_types::SubjectPublicKeyInfoDer::from(spki.as_ref().to_vec());
    vec![("factory".into(), Trusted::Key(pem.as_ref().to_vec()))]
}

fn told(image: &[u8], ring: &[Named]) -> Verdict {
    let mut file = Cursor::new(image);
    match kind(&mut file).unwrap() {
        Some(kind) => check(&mut file, kind, ring, NOW).unwrap(),
        None => panic!("it is not known what this is"),
    }
}

#[test]
fn an_image_whose_description_was_signed_is_believed_and_no_other() {
    let (key, other) =
        (RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let text = description(&[IMAGE]);
    for how in [&RSA_PKCS1_SHA256 as &'static dyn RsaEncoding, &RSA_PSS_SHA256] {
        let signature = sign(&key, how, &text);
        let image = swu(&text, Some(&signature), &[("rootfs", IMAGE)]);
        assert_eq!(told(&image, &ring(&key)), Verdict::Verified("factory".into()));
        assert_eq!(told(&image, &ring(&other)), Verdict::Refused(BadInner::UnknownKey));
        assert_eq!(told(&image, &[]), Verdict::Refused(BadInner::UnknownKey));
    }
    assert_eq!(told(&swu(&text, None, &[("rootfs", IMAGE)]), &ring(&key)), Verdict::Unsigned);
    let signature = sign(&key, &RSA_PKCS1_SHA256, &text);
    let smuggled = swu(&text, Some(&signature), &[("rootfs", IMAGE), ("script", b"rm -rf /")]);
    assert_eq!(told(&smuggled, &ring(&key)), Verdict::Refused(BadInner::NotNamed("script".into())));
}

#[test]
fn no_byte_that_counts_changes_unseen_and_no_length_is_enough_but_the_whole() {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (text, keys) = (description(&[IMAGE]), ring(&key));
    let image = swu(&text, Some(&sign(&key, &RSA_PKCS1_SHA256, &text)), &[("rootfs", IMAGE)]);
    let good = Verdict::Verified("factory".into());
    for length in 6..image.len() {
        // Behind the trailer's name there is nothing but padding.
        if image.len() - length > 3 {
            assert_ne!(told(&image[..length], &keys), good, "cut to {length} bytes");
        }
    }
    let begins = |what: &[u8]| image.windows(what.len()).position(|window| window == what).unwrap();
    for at in (begins(text.as_bytes())..).take(text.len()).chain((begins(IMAGE)..).take(IMAGE.len())) {
        let mut changed = image.clone();
        changed[at] ^= 1;
        assert_ne!(told(&changed, &keys), good, "byte {at} changed");
    }
}

#[test]
fn what_no_honest_tool_writes_is_refused_with_the_reason() {
    let broken = |image: &[u8]| told(image, &[]);
    let mut long = swu("x", None, &[]);
    long[6 + 11 * 8..6 + 12 * 8].copy_from_slice(b"ffffffff");
    assert_eq!(broken(&long), Verdict::Refused(BadInner::Broken("a file in it has no name, or one too long")));
    let mut large = swu("x", None, &[]);
    large[6 + 6 * 8..6 + 7 * 8].copy_from_slice(b"ffffffff");
    assert_eq!(broken(&large), Verdict::Refused(BadInner::Broken("its description or signature is too large")));
    let mut signs = swu("x", None, &[]);
    signs[6 + 6 * 8..6 + 7 * 8].copy_from_slice(b"+0000001");
    assert_eq!(broken(&signs), Verdict::Refused(BadInner::Broken("a file's header in it makes no sense")));
    let mut other = Vec::new();
    entry(&mut other, "rootfs", b"x");
    assert_eq!(broken(&other), Verdict::Refused(BadInner::Broken("sw-description does not stand first")));
    assert_eq!(broken(b"hsqs and nothing"), Verdict::Unsigned);
    assert_eq!(broken(b"hsqs"), Verdict::Refused(BadInner::Broken("it is too short")));
    let mut bundle = b"hsqs, some bytes that are no signature".to_vec();
    bundle.extend_from_slice(&8_u64.to_be_bytes());
    assert_eq!(broken(&bundle), Verdict::Refused(BadInner::Unreadable("it is no CMS signature in DER")));
    assert_eq!(kind(&mut Cursor::new(b"PK\x03\x04")).unwrap(), None);
    assert_eq!(kind(&mut Cursor::new(b"")).unwrap(), None);
}

#[test]
fn only_keys_and_certificates_go_into_the_ring() {
    assert_eq!(Trusted::parse("nonsense"), Err(BadTrusted));
    let private = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert_eq!(Trusted::parse(private), Err(BadTrusted));
}
