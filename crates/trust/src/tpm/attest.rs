//! Has an attestation key certified another key? TPM2_Certify's TPMS_ATTEST (part 2, 10.12).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::public::Public;
use super::{BadTpm, Reader};

/// What only a TPM writes: a restricted key signs nothing else that begins so.
const MAGIC: u32 = 0xff54_4347;
const CERTIFY: u16 = 0x8017;
/// Clock, counts of resets and restarts, whether the clock is safe, and the firmware's version.
const CLOCK_AND_FIRMWARE: usize = 17 + 8;

pub fn verify(attest: &[u8], signature: &[u8], by: &Public, key: &Public) -> Result<(), BadTpm> {
    let mut reader = Reader::new(attest, "what the attestation key has signed");
    if (reader.u32()?, reader.u16()?) != (MAGIC, CERTIFY) {
        return Err(BadTpm::NotCertified);
    }
    // Who signed, in the terms of his own tree, and what the device adds.
    reader.sized()?;
    reader.sized()?;
    reader.take(CLOCK_AND_FIRMWARE)?;
    let name = reader.sized()?;
    reader.sized()?;
    reader.end()?;
    let is_signed = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, by.point()).verify(attest, signature).is_ok();
    if is_signed && name == key.name() { Ok(()) } else { Err(BadTpm::NotCertified) }
}
