//! Does any input make a parser crash, hang or eat the memory? One target a parser of untrusted bytes.
//!
//! `cargo xtask fuzz` builds this with coverage and runs target after target. The target is named by `MUSTER_FUZZ`.
//! Beside "doesn't crash", some targets hold what is read against what is written back.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_target, Corpus};
use muster_agent::config::Config;
use muster_agent::disk::Disk;
use muster_agent::install::unpack::unpack;
use muster_delta::{Applier, whole};
use muster_domain::configuration::template;
use muster_domain::window::Window;
use muster_sim::board::disk::VirtualDisk;
use muster_trust::attestation::Attestation;
use muster_trust::audit::export;
use muster_trust::authority::request::Request;
use muster_trust::authority::verify::Leaf;
use muster_trust::authority::{pem, proof};
use muster_trust::delivery;
use muster_trust::jwt;
use muster_trust::seal::Keyring;
use muster_trust::tpm::public::Public;
use muster_trust::tuf::document::{Document, RootRole, SnapshotRole, Spelling, TargetsRole, TimestampRole};
use muster_trust::tuf::key::Key;
use muster_vocab::selector::Selector;
use muster_vocab::selector::schema::DEVICE_SCHEMA;
use muster_vocab::{Name, Sha256, Timestamp, secret_mark};
use muster_wire::agent::{Configuration, Deployment, Join, Orders, Reports, SecretsAsk};

/// An archive may unpack to this much.
const UNPACKED_BYTES_MAX: u64 = 1024 * 1024;
const OLD: [u8; 4096] = [7; 4096];

type Target = fn(&[u8]);

/// By name; `cargo xtask fuzz` asks for the list.
const TARGETS: [(&str, Target); 22] = [
    ("archive", archive),
    ("agent-file", agent_file),
    ("attestation", attestation),
    ("audit-export", audit_export),
    ("certificate", certificate),
    ("certificate-request", certificate_request),
    ("compressed", compressed),
    ("delta", delta),
    ("device-messages", device_messages),
    ("delivery", sealed_delivery),
    ("jwt", token),
    ("key", key),
    ("name", name),
    ("pem", certificates),
    ("sealed", sealed),
    ("secret-mark", mark),
    ("selector", selector),
    ("template", template_text),
    ("tpm-public", tpm_public),
    ("tuf-root", tuf_root),
    ("tuf-metadata", tuf_metadata),
    ("window", window),
];

fuzz_target!(init: {
    if std::env::var_os("MUSTER_FUZZ_LIST").is_some() {
        for (name, _) in TARGETS {
            println!("{name}");
        }
        std::process::exit(0);
    }
}, |data: &[u8]| -> Corpus {
    target()(data);
    Corpus::Keep
});

fn target() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let wanted = std::env::var("MUSTER_FUZZ").unwrap_or_default();
        let found = TARGETS.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("MUSTER_FUZZ names no target: {wanted:?}")).1
    })
}

fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default()
}

/// Nothing outside the folder is written, and no more than was allowed.
fn archive(data: &[u8]) {
    for name in ["a.tar", "a.tar.gz", "a.tar.zst", "a"] {
        let disk = VirtualDisk::default();
        disk.add_file("/outside/kept", b"kept".to_vec());
        disk.add_folder("/data/new");
        let path = format!("/data/{name}");
        disk.add_file(&path, data.to_vec());
        let _ = unpack(&disk, path.as_ref(), "/data/new".as_ref(), UNPACKED_BYTES_MAX);
        assert_eq!(disk.bytes("/outside/kept".as_ref()).as_deref(), Some(&b"kept"[..]), "it left its folder");
        assert!(disk.kind("/escaped".as_ref()).is_ok_and(|kind| kind.is_none()));
    }
}

fn agent_file(data: &[u8]) {
    let _ = Config::parse(text(data));
    let _ = muster_agent::join::Prepared::parse(text(data));
    let _ = muster_agent::boot::plain::Memory::parse(text(data));
}

fn attestation(data: &[u8]) {
    let _ = Attestation::read(data);
}

fn audit_export(data: &[u8]) {
    let known = export::Known { key: None, kept: None };
    let _ = export::verify(data, &known);
}

fn certificate(data: &[u8]) {
    let _ = Leaf::read(data);
    let _ = proof::is_signed_by(data, 0x0403, b"message", data);
}

fn certificate_request(data: &[u8]) {
    let _ = Request::parse(data);
}

fn compressed(data: &[u8]) {
    let Ok(mut expander) = whole::Expander::new() else { return };
    let mut left = UNPACKED_BYTES_MAX;
    let mut take = |bytes: &[u8]| {
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| std::io::Error::other("too much"))?;
        Ok(())
    };
    let _ = expander.feed(data, &mut take);
    let _ = expander.finish();
}

fn delta(data: &[u8]) {
    let mut left = UNPACKED_BYTES_MAX;
    let mut take = |bytes: &[u8]| {
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| std::io::Error::other("too much"))?;
        Ok(())
    };
    let mut applier = Applier::new();
    let _ = applier.feed(data, &OLD.as_slice(), &mut take);
    let _ = applier.finish();
}

fn device_messages(data: &[u8]) {
    let _ = serde_json::from_slice::<Join>(data);
    let _ = serde_json::from_slice::<Reports>(data);
    let _ = serde_json::from_slice::<SecretsAsk>(data);
    let _ = serde_json::from_slice::<Orders>(data);
    let _ = serde_json::from_slice::<Deployment>(data);
    let _ = serde_json::from_slice::<Configuration>(data);
}

fn sealed_delivery(data: &[u8]) {
    let Ok(asking) = delivery::Asking::new() else { return };
    assert!(asking.open(data).is_err(), "something was opened that nobody sealed");
    let _ = delivery::seal(data, b"value");
}

fn token(data: &[u8]) {
    let keys = jwt::Keys::of(&serde_json::from_slice(data).unwrap_or_default());
    let expected = jwt::Expected { issuer: "i", audience: "a", nonce: None, now: Timestamp(0) };
    assert!(jwt::check(text(data), &keys, &expected).is_err(), "a token was believed that nobody signed");
}

fn key(data: &[u8]) {
    if let Some(key) = Key::from_pem(text(data)) {
        let _ = key.signed(b"message", data);
    }
}

fn name(data: &[u8]) {
    if let Ok(name) = Name::parse(text(data)) {
        assert_eq!(name.as_str(), text(data));
    }
    let _ = text(data).parse::<Sha256>();
    let _ = Timestamp::parse(text(data));
}

fn certificates(data: &[u8]) {
    let _ = pem::ders(text(data));
}

fn sealed(data: &[u8]) {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    let keyring = KEYRING.get_or_init(|| Keyring::generate().expect("the machine has random bytes"));
    assert!(keyring.open("purpose", data).is_err(), "something was opened that nobody sealed");
    let _ = Keyring::parse(text(data));
}

fn mark(data: &[u8]) {
    let text = text(data);
    let filled = secret_mark::fill(text, |_| Some("")).expect("each mark has a value");
    assert!(filled.len() <= text.len());
    assert!(secret_mark::marks(text).len() <= text.len());
}

/// What is printed means the same.
fn selector(data: &[u8]) {
    if let Ok(selector) = Selector::parse(text(data), &DEVICE_SCHEMA) {
        let printed = selector.to_string();
        let again = Selector::parse(&printed, &DEVICE_SCHEMA);
        assert_eq!(again.as_ref(), Ok(&selector), "{printed}");
    }
}

fn template_text(data: &[u8]) {
    let _ = template::check(text(data));
}

fn tpm_public(data: &[u8]) {
    if let Ok(public) = Public::read(data) {
        let _ = (public.name(), public.spki(), public.attests(), public.is_fixed_signer());
    }
}

fn tuf_root(data: &[u8]) {
    let _ = Document::<RootRole>::read(data, Spelling::Exact);
}

fn tuf_metadata(data: &[u8]) {
    let _ = Document::<TimestampRole>::read(data, Spelling::Exact);
    let _ = Document::<SnapshotRole>::read(data, Spelling::Exact);
    let _ = Document::<TargetsRole>::read(data, Spelling::Exact);
}

fn window(data: &[u8]) {
    let _ = Window::parse(text(data));
}
