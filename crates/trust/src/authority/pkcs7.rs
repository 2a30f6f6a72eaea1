//! How do certificates travel in EST? As a CMS message that signs nothing and carries certificates (RFC 5652 5.1,
//! RFC 7030 4.1.3).

use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, construct_der};

const SIGNED_DATA: [u64; 7] = [1, 2, 840, 113_549, 1, 7, 2];
const DATA: [u64; 7] = [1, 2, 840, 113_549, 1, 7, 1];
/// ecdsa-with-SHA256, RFC 5758 3.2.
const ECDSA_SHA256: [u64; 7] = [1, 2, 840, 10_045, 4, 3, 2];

/// DER of a message with these certificates (DER), in order.
#[must_use]
pub fn certificates(ders: &[Vec<u8>]) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(&SIGNED_DATA));
            writer.next().write_tagged(Tag::context(0), |writer| signed_data(writer, ders));
        });
    })
}

fn signed_data(writer: DERWriter<'_>, ders: &[Vec<u8>]) {
    writer.write_sequence(|writer| {
        writer.next().write_u8(1);
        writer.next().write_set(|_| {});
        writer.next().write_sequence(|writer| writer.next().write_oid(&ObjectIdentifier::from_slice(&DATA)));
        writer.next().write_tagged_implicit(Tag::context(0), |writer| {
            writer.write_sequence(|writer| {
                for der in ders {
                    writer.next().write_der(der);
                }
            });
        });
        writer.next().write_set(|_| {});
    });
}

/// What a request should have (RFC 7030 4.5.2): a signature that every TLS library can make.
#[must_use]
pub fn request_attributes() -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| writer.next().write_oid(&ObjectIdentifier::from_slice(&ECDSA_SHA256)));
    })
}
