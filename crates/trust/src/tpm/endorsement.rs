//! Whose TPM is it? The chain from an endorsement key's certificate to its maker (TCG "EK Credential Profile", 3.2).
//!
//! Not by the library that checks TLS: these certificates name a chip where it wants a host, and are for encryption.

use muster_vocab::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

use super::BadTpm;

/// tcg-kp-EKCertificate, 2.23.133.8.1.
const EK_PURPOSE: &[u64] = &[2, 23, 133, 8, 1];
/// Issuers between a chip and its maker's root: real ones have two at most.
const ISSUERS_MAX: usize = 4;
/// What part 1's default template makes, and what every TPM has a certificate for.
const RSA_BITS: usize = 2048;

/// The endorsement key (SubjectPublicKeyInfo, DER), if somebody who is believed has signed for it.
pub fn verify(chain: &[Vec<u8>], makers: &[Vec<u8>], now: Timestamp) -> Result<Vec<u8>, BadTpm> {
    let (leaf, issuers) = chain.split_first().ok_or(BadTpm::Unreadable("the endorsement key's certificate"))?;
    if issuers.len() > ISSUERS_MAX {
        return Err(BadTpm::Maker);
    }
    let now = ASN1Time::from_timestamp(now.0.div_euclid(1000)).map_err(|_| BadTpm::Over)?;
    let leaf = read(leaf)?;
    let issuers = issuers.iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
    let makers = makers.iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
    let oid = Oid::from(EK_PURPOSE).map_err(|_| BadTpm::Maker)?;
    let purposes = leaf.extended_key_usage().map_err(|_| BadTpm::Maker)?;
    if leaf.is_ca() || !purposes.is_some_and(|purposes| purposes.value.other.contains(&oid)) {
        return Err(BadTpm::Maker);
    }
    let mut current = &leaf;
    for _ in 0..=ISSUERS_MAX {
        if !current.validity().is_valid_at(now) {
            return Err(BadTpm::Over);
        }
        if makers.iter().any(|maker| has_signed(maker, current) && maker.validity().is_valid_at(now)) {
            return endorsement_key(&leaf);
        }
        let next = issuers.iter().find(|issuer| issuer.is_ca() && has_signed(issuer, current));
        current = next.ok_or(BadTpm::Maker)?;
    }
    Err(BadTpm::Maker)
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, BadTpm> {
    // Chips keep their certificate in a place that is larger, so that padding may follow.
    X509Certificate::from_der(der).map(|(_, read)| read).map_err(|_| BadTpm::Unreadable("a certificate"))
}

fn has_signed(issuer: &X509Certificate<'_>, of: &X509Certificate<'_>) -> bool {
    issuer.is_ca() && issuer.subject() == of.issuer() && of.verify_signature(Some(issuer.public_key())).is_ok()
}

fn endorsement_key(leaf: &X509Certificate<'_>) -> Result<Vec<u8>, BadTpm> {
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() == RSA_BITS => Ok(leaf.public_key().raw.to_vec()),
        Ok(_) | Err(_) => Err(BadTpm::EndorsementKey),
    }
}
