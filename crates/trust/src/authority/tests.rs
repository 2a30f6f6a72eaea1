use std::time::Duration;

use muster_vocab::Timestamp;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::issue::{Issuer, ServerName, make_root, request_issuing};
use super::request::{Request, RequestError};
use super::verify::{Anchor, Anchors, BadChain, Leaf};
use super::{DeviceName, short_fingerprint};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn issuing() -> (Issuer, Issuer, Vec<u8>) {
    let (certificate, key) = make_root("root", NOW).unwrap();
    let root = Issuer::open(&certificate, &key, true).unwrap();
    let (request, key) = request_issuing("issuing 1").unwrap();
    let certificate = root.sign_issuing(&request, NOW).unwrap();
    (root, Issuer::open(&certificate, &key, false).unwrap(), ders(&certificate).remove(0))
}

fn ders(pem: &str) -> Vec<Vec<u8>> {
    x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).map(|found| found.unwrap().contents).collect()
}

/// A request that asks for everything it must not get.
fn request(name: &str) -> (Request, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["server.example.com".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.push(rcgen::SanType::URI("muster://other/admin".try_into().unwrap()));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    (Request::parse(pem.as_bytes()).unwrap(), key)
}

fn name() -> DeviceName {
    DeviceName { project: "default".into(), device: "Gerät 7/1".into() }
}

#[test]
fn a_devices_certificate_says_what_the_server_says_and_nothing_of_the_request() {
    let (_, issuing, anchor) = issuing();
    let (request, _) = request("somebody else");
    assert_eq!(request.asked_name.as_deref(), Some("somebody else"));
    let issued = issuing.issue_device(&request, &name(), NOW, MONTH).unwrap();
    let (anchors, bad) = Anchors::new([(Anchor::Own(1), anchor)]);
    assert_eq!(bad, 0);
    let chain = ders(&issued.chain);
    let proven = anchors.verify(&chain, NOW).unwrap();
    assert_eq!(proven.device, Some(name()));
    assert_eq!((proven.by, proven.is_over), (Anchor::Own(1), false));
    assert_eq!(Leaf::read(&chain[0]).unwrap().key, request.key_digest());
    let text = String::from_utf8_lossy(&chain[0]).into_owned();
    assert!(!text.contains("server.example.com") && !text.contains("other/admin") && !text.contains("somebody"));
}

#[test]
fn a_stopped_clock_does_not_lock_a_device_out_and_an_end_is_seen() {
    let (_, issuing, anchor) = issuing();
    let issued = issuing.issue_device(&request("x").0, &name(), NOW, MONTH).unwrap();
    let (anchors, _) = Anchors::new([(Anchor::Own(1), anchor)]);
    let chain = ders(&issued.chain);
    assert!(!anchors.verify(&chain, Timestamp(200_000_000_000)).unwrap().is_over);
    let late = anchors.verify(&chain, NOW.plus(MONTH + MONTH)).unwrap();
    assert!(late.is_over);
    assert_eq!(late.not_after, issued.not_after);
}

#[test]
fn certificates_of_another_authority_are_not_believed() {
    let (_, issuing_one, _) = issuing();
    let (root, _, anchor) = issuing();
    let (anchors, _) = Anchors::new([(Anchor::Own(1), anchor)]);
    let issued = issuing_one.issue_device(&request("x").0, &name(), NOW, MONTH).unwrap();
    assert!(matches!(anchors.verify(&ders(&issued.chain), NOW), Err(BadChain::Unknown(_))));
    // A root signs no devices by itself: it isn't an anchor.
    let issued = root.issue_device(&request("x").0, &name(), NOW, MONTH).unwrap();
    assert!(matches!(anchors.verify(&ders(&issued.chain), NOW), Err(BadChain::Unknown(_))));
}

#[test]
fn a_servers_certificate_is_no_devices() {
    let (_, issuing, anchor) = issuing();
    let (issued, _) = issuing.issue_server(&[ServerName::Dns("localhost".into())], NOW, MONTH).unwrap();
    let (anchors, _) = Anchors::new([(Anchor::Own(1), anchor)]);
    assert!(matches!(anchors.verify(&ders(&issued.chain), NOW), Err(BadChain::Unknown(_))));
}

#[test]
fn a_device_cannot_issue_for_others() {
    let (_, issuing, anchor) = issuing();
    let (asked, key) = request("x");
    let issued = issuing.issue_device(&asked, &name(), NOW, MONTH).unwrap();
    let forger = Issuer::open(&issued.chain, &key.serialize_pem(), false).unwrap();
    let forged = forger.issue_device(&request("y").0, &name(), NOW, MONTH).unwrap();
    let (anchors, _) = Anchors::new([(Anchor::Own(1), anchor)]);
    let mut chain = ders(&forged.chain);
    chain.extend(ders(&issued.chain));
    assert!(matches!(anchors.verify(&chain, NOW), Err(BadChain::Unknown(_))));
    assert!(forger.sign_issuing(&request_issuing("z").unwrap().0, NOW).is_err());
}

#[test]
fn every_flipped_byte_of_a_certificate_is_refused() {
    let (_, issuing, anchor) = issuing();
    let issued = issuing.issue_device(&request("x").0, &name(), NOW, MONTH).unwrap();
    let (anchors, _) = Anchors::new([(Anchor::Own(1), anchor)]);
    let chain = ders(&issued.chain);
    for at in 0..chain[0].len() {
        let mut flipped = chain.clone();
        flipped[0][at] ^= 1;
        assert!(anchors.verify(&flipped, NOW).is_err(), "byte {at}");
    }
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let key = KeyPair::generate().unwrap();
    let der = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    assert!(Request::from_der(&der).is_ok());
    for at in 0..der.len() {
        let mut flipped = der.clone();
        flipped[at] ^= 1;
        // What is not signed names no key: another spelling of the signature's algorithm may pass.
        let taken = Request::from_der(&flipped);
        assert!(taken.is_err() || taken == Request::from_der(&der), "byte {at}");
    }
    for length in 0..der.len() {
        assert!(Request::from_der(&der[..length]).is_err());
    }
    assert_eq!(Request::parse(&vec![b'A'; 20_000]), Err(RequestError::TooLong));
    assert_eq!(Request::parse(b"\xff"), Err(RequestError::Unreadable));
}

#[test]
fn names_survive_the_way_through_a_uri() {
    for device in ["sn-1", "a/b", "ü %41", "muster://x/y"] {
        let name = DeviceName { project: "p.1".into(), device: device.into() };
        assert_eq!(DeviceName::from_uri(&name.uri()), Some(name));
    }
    assert_eq!(DeviceName::from_uri("http://a/b"), None);
}

#[test]
fn fingerprints_are_short_enough_to_compare() {
    assert_eq!(short_fingerprint(&[0xab; 32]), "abab-abab-abab-abab-abab");
}
