//! Images by Debian's mksquashfs, unmodified: a change inside of a compressed block costs a device little.

use std::path::Path;

use muster_tests::part::{run, word};
use muster_tests::server::program;
use muster_tests::swupdate::require;

/// Text that compresses to about a quarter.
fn text(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let mut text = String::new();
    while text.len() < bytes {
        text += &format!("{} is {} of {}\n", draw() % 9973, draw() % 97, draw() % 31);
    }
    text
}

fn image(folder: &Path, name: &str, compression: &str) -> std::path::PathBuf {
    let image = folder.join(name);
    let same = ["-noappend", "-quiet", "-all-root", "-all-time", "0", "-mkfs-time", "0", "-processors", "1"];
    let tree = folder.join("tree");
    let words = ["mksquashfs", word(&tree), word(&image), "-comp", compression];
    let _ = run(&[&words[..], &same].concat());
    image
}

#[test]
fn a_change_inside_of_a_compressed_block_costs_a_little() {
    require(&["mksquashfs"]);
    for compression in ["gzip", "zstd"] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("tree")).unwrap();
        for number in 0..6 {
            std::fs::write(at("tree").join(format!("file-{number}")), text(number, 400_000)).unwrap();
        }
        let old = image(folder.path(), "old", compression);
        let changed = text(0, 400_000).replacen("of 7\n", "of 8\n", 40);
        std::fs::write(at("tree/file-0"), changed).unwrap();
        let new = image(folder.path(), "new", compression);
        let muster = program("muster").unwrap();
        let (delta, made) = (at("delta"), at("made"));
        let _ = run(&[word(&muster), "delta", "make", word(&old), word(&new), word(&delta)]);
        let _ = run(&[word(&muster), "delta", "apply", word(&old), word(&delta), word(&made)]);
        assert!(std::fs::read(&made).unwrap() == std::fs::read(&new).unwrap(), "{compression}: another image");
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        println!("{compression}: {} bytes of {}", size(&delta), size(&new));
        assert!(size(&delta) * 50 < size(&new), "{compression}: {} bytes of {}", size(&delta), size(&new));
    }
}
