//! Files as squashfs lays them out: blocks packed one by one, with bytes between them.

use super::apply::{HEADER_BYTES, Header, PackedApplier, PackedError, is_packed};
use super::find::{find, make};
use super::map::Map;
use super::pack::Packing;
use crate::make as make_plain;

fn words(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let mut text = Vec::new();
    while text.len() < bytes {
        text.extend(format!("{} is {}; ", draw() % 997, draw() % 31).bytes());
    }
    text.truncate(bytes);
    text
}

/// Blocks of the content at this level, with a few bytes before each and an index at the end.
fn image(content: &[u8], block_bytes: usize, level: u8) -> Vec<u8> {
    image_of(content, block_bytes, Packing::Zstd(level))
}

fn image_of(content: &[u8], block_bytes: usize, packing: Packing) -> Vec<u8> {
    let mut image = b"an image".to_vec();
    let mut index = Vec::new();
    for block in content.chunks(block_bytes) {
        index.extend((image.len() as u32).to_le_bytes());
        image.extend(packing.pack(block).unwrap());
    }
    image.extend(index);
    image
}

fn changed(content: &[u8]) -> Vec<u8> {
    let mut new = content.to_vec();
    for at in (1000..new.len()).step_by(50_000) {
        new[at] ^= 1;
    }
    new
}

/// And how many pieces there are in both.
fn delta(old: &[u8], new: &[u8]) -> (Vec<u8>, (usize, usize)) {
    let mut out = Vec::new();
    let maps = (find(old), find(new));
    let made = make((old, new), (&maps.0, &maps.1), &mut out).unwrap();
    assert_eq!(made.bytes, out.len() as u64);
    assert!(is_packed(&out));
    (out, (maps.0.pieces().len(), maps.1.pieces().len()))
}

fn apply(delta: &[u8], old: &[u8], step: usize) -> Result<Vec<u8>, PackedError> {
    let mut new = Vec::new();
    let mut applier = PackedApplier::new();
    for part in delta.chunks(step) {
        applier.feed(part, &old, &mut |bytes| {
            new.extend_from_slice(bytes);
            Ok(())
        })?;
    }
    applier.finish()?;
    Ok(new)
}

#[test]
fn what_changed_a_little_inside_of_blocks_costs_a_little() {
    let content = words(1, 1_000_000);
    let (old, new) = (image(&content, 128 * 1024, 15), image(&changed(&content), 128 * 1024, 15));
    let (packed, pieces) = delta(&old, &new);
    assert_eq!(pieces, (8, 8));
    assert!(apply(&packed, &old, 1000).unwrap() == new);
    let mut plain = Vec::new();
    make_plain(&old, &new, &mut plain).unwrap();
    assert!(packed.len() * 20 < plain.len(), "{} bytes packed, {} plain", packed.len(), plain.len());
}

#[test]
fn blocks_of_zlib_are_rebuilt_too() {
    let content = words(6, 500_000);
    for level in [9, 6] {
        let zlib = |content: &[u8]| image_of(content, 128 * 1024, Packing::Zlib(level));
        let (old, new) = (zlib(&content), zlib(&changed(&content)));
        let (packed, pieces) = delta(&old, &new);
        assert_eq!(pieces, (4, 4));
        assert!(apply(&packed, &old, 1000).unwrap() == new);
        assert!(packed.len() < 3000, "{} bytes", packed.len());
    }
}

#[test]
fn blocks_of_other_levels_and_sizes_and_files_without_any_lead_there_too() {
    let content = words(2, 300_000);
    let mut mixed = image(&content[..100_000], 64 * 1024, 3);
    mixed.extend(image(&content[100_000..], 32 * 1024, 19));
    let files = [mixed, image(&content, 100_000, 9), content.clone(), Vec::new(), image(&content, 300_000, 15)];
    for old in &files {
        for new in &files {
            let (packed, _) = delta(old, new);
            assert!(apply(&packed, old, 7777).unwrap() == *new);
        }
    }
}

#[test]
fn pieces_that_are_too_large_or_packed_in_no_known_way_stay_as_they_are() {
    let content = words(3, 600_000);
    assert_eq!(find(&image(&content, 300_000, 15)).pieces(), [], "larger than a device takes");
    let checked = {
        let mut zstd = zstd::bulk::Compressor::new(15).unwrap();
        zstd.include_checksum(true).unwrap();
        zstd.compress(&content[..100_000]).unwrap()
    };
    assert_eq!(find(&checked).pieces(), [], "with a checksum at its end");
    let image = image(&content, 128 * 1024, 15);
    assert_eq!(find(&image[..image.len() / 2]).pieces().len(), 2, "a cut frame is none");
}

#[test]
fn applying_goes_on_at_every_boundary_after_a_power_cut() {
    // Incompressible content, so that there are several segments.
    let noise = |seed: u32| -> Vec<u8> {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3f
        };
        (0..1_000_000).map(|_| draw()).collect()
    };
    let (old, new) = (image(&noise(1), 128 * 1024, 3), image(&noise(2), 128 * 1024, 3));
    let (packed, pieces) = delta(&old, &new);
    assert_eq!(pieces, (8, 8));
    let head = &packed[..HEADER_BYTES + u32::from_le_bytes(packed[88..92].try_into().unwrap()) as usize];
    let mut written = Vec::new();
    let mut checkpoints = Vec::new();
    let mut applier = PackedApplier::new();
    for part in packed.chunks(50_000) {
        let mut write = |bytes: &[u8]| {
            written.extend_from_slice(bytes);
            Ok(())
        };
        applier.feed(part, &old.as_slice(), &mut write).unwrap();
        checkpoints.extend(applier.checkpoint());
    }
    applier.finish().unwrap();
    assert!(written == new);
    checkpoints.dedup();
    assert!(checkpoints.len() > 2, "only {} checkpoints", checkpoints.len());
    for checkpoint in checkpoints {
        let mut rest = new[..checkpoint.new_offset as usize].to_vec();
        let kept = rest.clone();
        let mut applier = PackedApplier::resume(&checkpoint, head, &kept.as_slice()).unwrap();
        let mut write = |bytes: &[u8]| {
            rest.extend_from_slice(bytes);
            Ok(())
        };
        applier.feed(&packed[checkpoint.delta_offset as usize..], &old.as_slice(), &mut write).unwrap();
        applier.finish().unwrap();
        assert!(rest == new, "{checkpoint:?}");
    }
}

#[test]
fn no_change_of_a_byte_leads_elsewhere_and_nothing_may_miss() {
    let content = words(4, 9_000);
    let (old, new) = (image(&content, 3000, 15), image(&changed(&content), 3000, 15));
    let (packed, _) = delta(&old, &new);
    for at in 0..packed.len() {
        let mut bad = packed.clone();
        bad[at] ^= 0x10;
        // A few bits in the frame around the maps mean nothing.
        assert!(apply(&bad, &old, 4096).map_or(true, |made| made == new), "byte {at} leads elsewhere");
        assert!(apply(&packed[..at], &old, 4096).is_err(), "{at} bytes are enough");
    }
    let more = [&packed[..], b"x"].concat();
    assert!(apply(&more, &old, 4096).is_err());
    assert!(apply(&packed, &new, 4096).is_err(), "from other bytes");
}

#[test]
fn a_piece_that_is_packed_otherwise_here_is_found_out() {
    let content = words(5, 100_000);
    let (old, new) = (image(&content, 50_000, 15), image(&changed(&content), 50_000, 15));
    let (new_map, old_map) = (find(&new), find(&old));
    let other = new_map.pieces().iter().map(|piece| (piece.at, piece.bytes, piece.unpacked_bytes, Packing::Zstd(1)));
    let lying = Map::new(new.len() as u64, other).unwrap();
    let mut maps = Vec::new();
    old_map.write(&mut maps);
    lying.write(&mut maps);
    let (packed, _) = delta(&old, &new);
    let maps_bytes = u32::from_le_bytes(packed[88..92].try_into().unwrap()) as usize;
    let maps = zstd::bulk::compress(&maps, 19).unwrap();
    let header =
        Header { maps_bytes: maps.len() as u32, ..Header::read(&packed[..HEADER_BYTES].try_into().unwrap()).unwrap() };
    let bad = [&header.write(), &maps, &packed[HEADER_BYTES + maps_bytes..]].concat();
    let refused = apply(&bad, &old, 4096).unwrap_err();
    assert!(matches!(refused, PackedError::OtherPacking { .. }), "{refused}");
}
