//! Does any input make a parser crash, hang or eat the memory? One target for each parser of untrusted bytes.
//!
//! `cargo xtask fuzz` builds this with coverage and runs target after target; `MUSTER_FUZZ` names the one that is run.
//! Beside "doesn't crash", many targets hold what was read against a promise: what is printed means the same, nothing is
//! believed that nobody signed, nothing is written outside its folder. docs/security.md lists which parser has which.

#![no_main]

mod around;
mod deltas;
mod device;
#[path = "../../crates/agent/src/io/session/frames.rs"]
mod frames;
mod papers;
mod server;
mod words;

use std::sync::OnceLock;

use libfuzzer_sys::{Corpus, fuzz_target};

type Target = fn(&[u8]);

/// By name; `cargo xtask fuzz` asks for the list.
const TARGETS: [(&str, Target); 43] = [
    ("agent-file", device::agent_file),
    ("agent-requests", server::agent),
    ("agent-state", device::agent_state),
    ("archive", device::archive_entries),
    ("attestation", papers::attestation),
    ("attributes", device::attributes),
    ("audit-export", papers::audit_export),
    ("bus", device::bus),
    ("certificate", papers::certificate),
    ("certificate-chain", papers::certificate_chain),
    ("certificate-request", papers::certificate_request),
    ("checkpoint", papers::checkpoint),
    ("compose", device::compose),
    ("compressed", deltas::compressed),
    ("ddi-requests", server::ddi),
    ("delivery", papers::sealed_delivery),
    ("delta", deltas::delta),
    ("device-messages", words::device_messages),
    ("dsse", papers::dsse),
    ("grub", device::grub),
    ("image-archive", device::image_archive),
    ("inner", papers::inner_signature),
    ("jwt", papers::token),
    ("key", papers::key),
    ("name", words::name),
    ("orders", device::orders),
    ("packed-delta", deltas::packed_delta),
    ("pem", papers::certificates),
    ("people-requests", server::people),
    ("sealed", papers::sealed),
    ("secret-mark", words::mark),
    ("selector", words::selector),
    ("session-frames", session_frames),
    ("swupdate", device::swupdate),
    ("systemd-boot", device::systemd_boot),
    ("template", words::template_text),
    ("tpm", papers::tpm),
    ("tuf-metadata", papers::tuf_metadata),
    ("tuf-root", papers::tuf_root),
    ("uboot", device::uboot),
    ("unit", device::unit),
    ("window", words::window),
    ("workload-keys", papers::keys),
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

/// The same frames come out wherever the bytes are split.
fn session_frames(data: &[u8]) {
    let mut whole = data.to_vec();
    let expected = frames::take(&mut whole);
    let (mut rest, mut found) = (Vec::new(), Vec::new());
    for part in data.chunks(3) {
        rest.extend_from_slice(part);
        found.extend(frames::take(&mut rest));
    }
    assert_eq!((found, rest), (expected, whole));
}
