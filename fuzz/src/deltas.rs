//! What travels instead of a whole version, as a device applies it: deltas, packed deltas, compressed wholes.
//!
//! Each is tried as it is, and with sums around it that are right: an attacker computes them, too.

use muster_delta::packed::apply::PackedApplier;
use muster_delta::{Applier, whole};
use sha2::{Digest, Sha256};

/// What may come out of a few kilobytes here.
const NEW_BYTES_MAX: u64 = 1024 * 1024;
const OLD: [u8; 4096] = [7; 4096];
const CHECK_BYTES: usize = 8;

/// Takes what is written, up to a bound that a device's disk has as well.
fn bounded() -> impl FnMut(&[u8]) -> std::io::Result<()> {
    let mut left = NEW_BYTES_MAX;
    move |bytes: &[u8]| {
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| std::io::Error::other("too much"))?;
        Ok(())
    }
}

pub fn compressed(data: &[u8]) {
    let new_bytes = data.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let head = [&b"MUSTWHL\x01"[..], &u64::from(new_bytes).to_le_bytes(), &[0; 32]].concat();
    for whole in [data.to_vec(), [&checked(head), data].concat()] {
        let Ok(mut expander) = whole::Expander::new() else { return };
        let _ = expander.feed(&whole, &mut bounded());
        let _ = expander.finish();
    }
}

pub fn delta(data: &[u8]) {
    for delta in [data.to_vec(), framed(data)] {
        let mut applier = Applier::new();
        let _ = applier.feed(&delta, &OLD.as_slice(), &mut bounded());
        let _ = applier.finish();
    }
}

/// The size of the maps in two bytes, the maps before compression, and a delta.
pub fn packed_delta(data: &[u8]) {
    let (size, rest) = data.split_first_chunk().map_or((0, data), |(size, rest)| (u16::from_le_bytes(*size), rest));
    let (maps, inner) = rest.split_at(usize::from(size).min(rest.len()));
    let maps = zstd::bulk::compress(maps, 1).expect("a few kilobytes can be compressed");
    let mut head = head(*b"MUSTPCK\x01", NEW_BYTES_MAX / 2);
    head.extend((maps.len() as u32).to_le_bytes());
    for delta in [data.to_vec(), [checked(head), maps, framed(inner)].concat()] {
        let mut applier = PackedApplier::new();
        let _ = applier.feed(&delta, &OLD.as_slice(), &mut bounded());
        let _ = applier.finish();
    }
}

/// A delta of one segment: how many new bytes it makes, where it copies from, and its body.
fn framed(data: &[u8]) -> Vec<u8> {
    let (new_bytes, rest) = data.split_first_chunk::<4>().unwrap_or((&[1, 0, 0, 0], data));
    let (position, body) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], rest));
    let head = head(*b"MUSTDLT\x01", u64::from(u32::from_le_bytes(*new_bytes)));
    let position = u64::from(u16::from_le_bytes(*position)).to_le_bytes();
    let segment = [&new_bytes[..], &(body.len() as u32).to_le_bytes(), &position].concat();
    let sum = Sha256::new().chain_update(&segment).chain_update(body).finalize();
    [&checked(head), &segment, &sum[..CHECK_BYTES], body].concat()
}

fn head(magic: [u8; 8], new_bytes: u64) -> Vec<u8> {
    let (old_bytes, digest) = (OLD.len() as u64, Sha256::digest(OLD));
    [&magic[..], &old_bytes.to_le_bytes(), &digest, &new_bytes.to_le_bytes(), &[0; 32]].concat()
}

fn checked(mut head: Vec<u8>) -> Vec<u8> {
    let sum = Sha256::digest(&head);
    head.extend(&sum[..CHECK_BYTES]);
    head
}
