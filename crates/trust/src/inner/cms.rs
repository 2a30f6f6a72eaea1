//! Who signed this content, and do they count? (RFC 5652, section 5.)

use cms::cert::CertificateChoices;
use cms::cert::x509::der::{Decode, Encode, asn1::ObjectIdentifier};
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use muster_vocab::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::Digest;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keys::Trusted;
use super::keys::{Algorithm, is_signed};
use super::{BadInner, Named};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SHA384: &str = "2.16.840.1.101.3.4.2.2";
const SHA512: &str = "2.16.840.1.101.3.4.2.3";
/// `emailProtection` and `codeSigning` (RFC 5280, 4.2.1.12), without the prefix: what certificates of signers are for,
/// if they say so.
const PURPOSES: [&[u8]; 2] = [&[43, 6, 1, 5, 5, 7, 3, 4], &[43, 6, 1, 5, 5, 7, 3, 3]];

/// A content's digests, for whichever a signer used.
#[derive(Debug, Clone, Default)]
pub(super) struct Digests {
    sha256: sha2::Sha256,
    sha384: sha2::Sha384,
    sha512: sha2::Sha512,
}

impl Digests {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.sha384.update(bytes);
        self.sha512.update(bytes);
    }

    fn of(&self, algorithm: &str) -> Option<Vec<u8>> {
        match algorithm {
            SHA256 => Some(self.sha256.clone().finalize().to_vec()),
            SHA384 => Some(self.sha384.clone().finalize().to_vec()),
            SHA512 => Some(self.sha512.clone().finalize().to_vec()),
            _ => None,
        }
    }
}

/// A signature, read.
#[derive(Debug)]
pub(super) struct Signature(SignedData);

impl Signature {
    pub(super) fn read(der: &[u8]) -> Result<Self, BadInner> {
        let unreadable = |_| BadInner::Unreadable("it is no CMS signature in DER");
        let info = ContentInfo::from_der(der).map_err(unreadable)?;
        if info.content_type != SIGNED_DATA {
            return Err(BadInner::Unreadable("it is CMS, but nothing signed"));
        }
        info.content.decode_as().map(Self).map_err(unreadable)
    }

    /// What was signed, if it lies in the signature itself.
    pub(super) fn content(&self) -> Option<Vec<u8>> {
        self.0.encap_content_info.econtent.as_ref().map(|content| content.value().to_vec())
    }

    /// The name of the ring's key by which one of the signers counts.
    pub(super) fn verify(&self, content: &Digests, ring: &[Named], now: Timestamp) -> Result<String, BadInner> {
        let mut worst = BadInner::UnknownKey;
        for signer in self.0.signer_infos.0.iter() {
            match self.by(signer, content, ring, now) {
                Ok(name) => return Ok(name),
                // A changed content is worth more words than a stranger.
                Err(BadInner::UnknownKey) => {}
                Err(bad) => worst = bad,
            }
        }
        Err(worst)
    }

    fn by(&self, signer: &SignerInfo, content: &Digests, ring: &[Named], now: Timestamp) -> Result<String, BadInner> {
        let sent = self.certificates();
        let kept = ring.iter().filter_map(|(_, trusted)| match trusted {
            Trusted::Certificate(der) => Some(der.clone()),
            Trusted::Key(_) => None,
        });
        let own: Vec<Vec<u8>> = sent.iter().cloned().chain(kept).filter(|der| is_of(der, &signer.sid)).collect();
        let leaf = own.first().ok_or(BadInner::UnknownKey)?;
        let name = vouched(leaf, &sent, ring, now)?;
        let key = Trusted::Certificate(leaf.clone()).key().ok_or(BadInner::UnknownKey)?;
        let digest = signer.digest_alg.oid.to_string();
        let expected = content.of(&digest).ok_or(BadInner::Unsupported("its digest algorithm"))?;
        let attributes = signer.signed_attrs.as_ref().ok_or(BadInner::Unsupported("a signature without attributes"))?;
        let value = |wanted: ObjectIdentifier| {
            let found = attributes.iter().find(|attribute| attribute.oid == wanted)?;
            (found.values.len() == 1).then(|| found.values.get(0)).flatten()
        };
        let told = value(MESSAGE_DIGEST).ok_or(BadInner::Unreadable("it has no digest of its content"))?;
        let kind = value(CONTENT_TYPE).and_then(|kind| kind.decode_as::<ObjectIdentifier>().ok());
        if told.value() != expected || kind != Some(self.0.encap_content_info.econtent_type) {
            return Err(BadInner::Changed);
        }
        // RFC 5652, 5.4: as a SET OF, not by the tag it has in here.
        let signed = attributes.to_der().map_err(|_| BadInner::Unreadable("its attributes"))?;
        let algorithm = algorithm(&signer.signature_algorithm.oid.to_string(), &digest)?;
        match is_signed(&key, algorithm, &signed, signer.signature.as_bytes()) {
            true => Ok(name),
            false => Err(BadInner::Changed),
        }
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        let all = self.0.certificates.iter().flat_map(|set| set.0.iter());
        all.filter_map(|choice| match choice {
            CertificateChoices::Certificate(found) => found.to_der().ok(),
            CertificateChoices::Other(_) => None,
        })
        .collect()
    }
}

fn algorithm(oid: &str, digest: &str) -> Result<Algorithm, BadInner> {
    Ok(match (oid, digest) {
        ("1.2.840.113549.1.1.1", SHA256) | ("1.2.840.113549.1.1.11", _) => Algorithm::RsaSha256,
        ("1.2.840.113549.1.1.1", SHA384) | ("1.2.840.113549.1.1.12", _) => Algorithm::RsaSha384,
        ("1.2.840.113549.1.1.1", SHA512) | ("1.2.840.113549.1.1.13", _) => Algorithm::RsaSha512,
        ("1.2.840.113549.1.1.10", SHA256) => Algorithm::RsaPssSha256,
        ("1.2.840.10045.4.3.2", _) => Algorithm::EcdsaSha256,
        ("1.2.840.10045.4.3.3", _) => Algorithm::EcdsaSha384,
        ("1.3.101.112", _) => Algorithm::Ed25519,
        _ => return Err(BadInner::Unsupported("its signature algorithm")),
    })
}

/// Is it the certificate that a signer names?
fn is_of(der: &[u8], named: &SignerIdentifier) -> bool {
    let Ok((_, found)) = X509Certificate::from_der(der) else { return false };
    match named {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            let issuer = named.issuer.to_der().unwrap_or_default();
            found.issuer().as_raw() == issuer && found.raw_serial() == named.serial_number.as_bytes()
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => found.iter_extensions().any(|extension| {
            use x509_parser::extensions::ParsedExtension;
            matches!(extension.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(id) if id.0 == named.0.as_bytes())
        }),
    }
}

/// The name of what in the ring vouches for a signer's certificate: itself, its key, or an authority above it.
fn vouched(leaf: &[u8], sent: &[Vec<u8>], ring: &[Named], now: Timestamp) -> Result<String, BadInner> {
    let (_, found) = X509Certificate::from_der(leaf).map_err(|_| BadInner::Unreadable("a certificate in it"))?;
    let itself = ring.iter().find(|(_, trusted)| match trusted {
        Trusted::Certificate(der) => der == leaf,
        Trusted::Key(key) => key == found.public_key().raw,
    });
    if let Some((name, _)) = itself {
        let at = x509_parser::time::ASN1Time::from_timestamp(now.0.div_euclid(1000)).map_err(|_| BadInner::Validity)?;
        return if found.validity().is_valid_at(at) { Ok(name.clone()) } else { Err(BadInner::Validity) };
    }
    let others: Vec<CertificateDer<'_>> = sent.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(u64::try_from(now.0).unwrap_or(0)));
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(|_| BadInner::Unreadable("a certificate in it"))?;
    let mut bad = BadInner::UnknownKey;
    for (name, trusted) in ring {
        let Trusted::Certificate(der) = trusted else { continue };
        let authority = CertificateDer::from(der.as_slice());
        let Ok(anchor) = anchor_from_trusted_cert(&authority) else { continue };
        for purpose in PURPOSES {
            let usage = KeyUsage::required_if_present(purpose);
            let anchors = [anchor.clone()];
            let path = leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &others, time, usage, None, None);
            match path {
                Ok(_) => return Ok(name.clone()),
                Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
                    bad = BadInner::Validity;
                }
                Err(_) => {}
            }
        }
    }
    Err(bad)
}
