//! What may a key in a TPM do, and can it leave? TPM2B_PUBLIC (part 2, 12.2).

use sha2::{Digest, Sha256};

use super::{BadTpm, Reader};

const ECC: u16 = 0x0023;
const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const P256: u16 = 0x0003;
/// TPMA_OBJECT (part 2, 8.3).
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const MADE_THERE: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
const COORDINATE_BYTES: usize = 32;
/// SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480), which is 0x04, x and y.
const SPKI_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A P-256 key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    area: Vec<u8>,
    attributes: u32,
    point: Vec<u8>,
}

impl Public {
    pub fn read(sized: &[u8]) -> Result<Self, BadTpm> {
        const WHAT: &str = "a key's public area";
        let mut outer = Reader::new(sized, WHAT);
        let area = outer.sized()?;
        outer.end()?;
        let mut reader = Reader::new(area, WHAT);
        let unreadable = || BadTpm::Unreadable("a key other than of ECC P-256 with SHA-256");
        if (reader.u16()?, reader.u16()?) != (ECC, SHA256) {
            return Err(unreadable());
        }
        let attributes = reader.u32()?;
        // The policy.
        reader.sized()?;
        if reader.u16()? != NULL {
            // Key bits and mode of a key that encrypts others.
            reader.take(4)?;
        }
        if reader.u16()? != NULL {
            reader.u16()?;
        }
        let curve = reader.u16()?;
        if reader.u16()? != NULL {
            reader.u16()?;
        }
        let (x, y) = (reader.sized()?, reader.sized()?);
        reader.end()?;
        if curve != P256 || x.len() > COORDINATE_BYTES || y.len() > COORDINATE_BYTES {
            return Err(unreadable());
        }
        let mut point = Vec::with_capacity(2 * COORDINATE_BYTES);
        for coordinate in [x, y] {
            point.resize(point.len() + COORDINATE_BYTES - coordinate.len(), 0);
            point.extend_from_slice(coordinate);
        }
        Ok(Self { area: area.to_vec(), attributes, point })
    }

    /// Part 1, 16: the digest of its public area behind the digest's number.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        [&SHA256.to_be_bytes()[..], &Sha256::digest(&self.area)].concat()
    }

    /// Made in this TPM, never to leave it, and it signs nothing that the TPM has not made itself.
    #[must_use]
    pub fn attests(&self) -> bool {
        self.is_fixed_signer() && self.attributes & RESTRICTED != 0
    }

    /// Made in this TPM, never to leave it, and it signs.
    #[must_use]
    pub fn is_fixed_signer(&self) -> bool {
        let wanted = FIXED_TPM | FIXED_PARENT | MADE_THERE | SIGN;
        self.attributes & wanted == wanted && self.attributes & DECRYPT == 0
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        [&SPKI_HEAD[..], &self.point].concat()
    }

    /// Uncompressed, with its 0x04.
    #[must_use]
    pub fn point(&self) -> Vec<u8> {
        [&[4][..], &self.point].concat()
    }
}
