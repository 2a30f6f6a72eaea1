use super::world::{Device, Owner, release};
use super::*;

#[test]
fn an_honest_release_is_installed() {
    let (owner, release) = (Owner::new(), release("one", 1));
    let repository = owner.publish(1, &[&release]);
    assert!(Device::new(&repository).would_install(&repository, &release).unwrap());
}

#[test]
fn no_threat_is_let_through() {
    let (tried, through) = tried();
    assert_eq!(through, []);
    assert!(tried >= 33, "{tried} threats were tried");
}

#[test]
fn no_bit_of_any_document_changes_without_notice() {
    let flips = flips::bit_flips();
    assert_eq!(flips.accepted, 0);
    assert!(flips.tried > 30_000, "{} bits were flipped", flips.tried);
}
