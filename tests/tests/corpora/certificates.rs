//! x509-limbo: is no chain believed that must not be?
//!
//! Cases of clients go to what the server asks about devices' chains, cases of servers to what the agent asks about the
//! server's. Where the outcome is not the expected one, the reason stands here; a case that changes sides fails the test.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use muster_trust::authority::verify::{Anchor, Anchors};
use muster_vocab::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

use super::corpus;

/// Why, and which. Believed, though the collection would not.
const BELIEVED: &[(&str, &[&str])] = &[
    (
        "Revocation is by the server's records, not by lists: a device that is revoked is refused on its next poll.",
        &[
            "crl::crlnumber-critical",
            "crl::crlnumber-missing",
            "crl::issuer-missing-crlsign",
            "crl::revoked-certificate-with-crl",
        ],
    ),
    (
        "Chains have a bound of their own, whatever a case asks for.",
        &["pathlen::max-chain-depth-0-exhausted", "pathlen::max-chain-depth-1-exhausted"],
    ),
    (
        "The root is whom an operator named: its key and name count, and not what else it says of itself.",
        &[
            "rfc5280::aki::critical-aki",
            "rfc5280::aki::cross-signed-root-missing-aki",
            "rfc5280::ca-empty-subject",
            "rfc5280::nc::invalid-dnsname-leading-period",
            "rfc5280::nc::permitted-dns-match-noncritical",
            "rfc5280::root-inconsistent-ca-extensions",
            "rfc5280::root-missing-basic-constraints",
            "rfc5280::root-non-critical-basic-constraints",
            "rfc5280::ski::critical-ski",
            "rfc5280::ski::root-missing-ski",
            "rfc5280::unknown-critical-extension-root",
            "rfc5280::validity::expired-root",
            "webpki::aki::root-with-aki-all-fields",
            "webpki::aki::root-with-aki-authoritycertissuer",
            "webpki::aki::root-with-aki-authoritycertserialnumber",
            "webpki::aki::root-with-aki-missing-keyidentifier",
            "webpki::aki::root-with-aki-ski-mismatch",
            "webpki::eku::root-has-eku",
            "webpki::forbidden-rsa-not-divisible-by-8-in-root",
        ],
    ),
    (
        "The common name is a label: names are compared with the alternative names only.",
        &[
            "webpki::cn::case-mismatch",
            "webpki::cn::ipv4-hex-mismatch",
            "webpki::cn::ipv4-leading-zeros-mismatch",
            "webpki::cn::ipv6-non-rfc5952-mismatch",
            "webpki::cn::ipv6-uncompressed-mismatch",
            "webpki::cn::ipv6-uppercase-mismatch",
            "webpki::cn::not-in-san",
            "webpki::cn::punycode-not-in-san",
            "webpki::cn::utf8-vs-punycode-mismatch",
        ],
    ),
    (
        "A profile for the public web: what a private authority signs is not bound to it.",
        &[
            "webpki::eku::ee-anyeku",
            "webpki::eku::ee-critical-eku",
            "webpki::eku::ee-without-eku",
            "webpki::forbidden-dsa-leaf",
            "webpki::forbidden-p192-leaf",
            "webpki::forbidden-rsa-key-not-divisible-by-8-in-leaf",
            "webpki::forbidden-weak-rsa-in-leaf",
            "webpki::malformed-aia",
            "webpki::nc::intermediate-permitted-excluded-subtrees-both-empty-sequences",
            "webpki::nc::intermediate-permitted-excluded-subtrees-both-null",
            "webpki::san::public-suffix-multi-label-wildcard-san",
            "webpki::san::public-suffix-private-namespace-wildcard-san",
            "webpki::san::san-critical-with-nonempty-subject",
        ],
    ),
    (
        "Form, not trust: who signed, for whom and until when is the same without it.",
        &[
            "rfc5280::aki::intermediate-missing-aki",
            "rfc5280::aki::leaf-missing-aki",
            "rfc5280::leaf-ku-keycertsign",
            "rfc5280::nc::not-allowed-in-ee-critical",
            "rfc5280::nc::not-allowed-in-ee-noncritical",
            "rfc5280::pc::ica-noncritical-pc",
            "rfc5280::san::noncritical-with-empty-subject",
            "rfc5280::san::underscore-dns",
            "rfc5280::serial::too-long",
            "rfc5280::serial::zero",
            "rfc5280::ski::intermediate-missing-ski",
        ],
    ),
];
/// Not believed, though the collection would: strictness costs somebody a certificate, and nobody a device.
const NOT_BELIEVED: &[(&str, &[&str])] = &[
    (
        "Authorities that are bound to e-mail addresses or directory names vouch for no device here.",
        &[
            "rfc5280::nc::nc-permits-email-domain",
            "rfc5280::nc::nc-permits-email-exact",
            "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match",
            "rfc5280::nc::nc-permits-email-literal-double-asterisk",
            "rfc5280::nc::nc-permits-email-literal-mid-asterisk",
            "rfc5280::nc::permitted-dn-match",
            "rfc5280::nc::permitted-self-issued",
        ],
    ),
    ("Self-issued certificates count towards the length of a path.", &["pathlen::self-issued-certs-pathlen"]),
    (
        "Whoever may sign others is no device and no server.",
        &["rfc5280::ca-as-leaf", "pathlen::validation-ignores-pathlen-in-leaf"],
    ),
];

struct Case {
    id: String,
    is_client: bool,
    is_good: bool,
    trusted: Vec<Vec<u8>>,
    chain: Vec<Vec<u8>>,
    name: Option<String>,
    at: Timestamp,
}

impl Case {
    fn read(case: &Value) -> Self {
        let text = |key: &str| case[key].as_str();
        let der =
            |pem: &Value| CertificateDer::from_pem_slice(pem.as_str().unwrap().as_bytes()).ok().map(|der| der.to_vec());
        let ders = |key: &str| case[key].as_array().unwrap().iter().filter_map(der).collect::<Vec<_>>();
        let at = text("validation_time").map(|time| time.parse::<jiff::Timestamp>().unwrap());
        Self {
            id: text("id").unwrap().to_owned(),
            is_client: text("validation_kind") == Some("CLIENT"),
            is_good: text("expected_result") == Some("SUCCESS"),
            trusted: ders("trusted_certs"),
            chain: der(&case["peer_certificate"]).into_iter().chain(ders("untrusted_intermediates")).collect(),
            name: case["expected_peer_name"]["value"].as_str().map(str::to_owned),
            at: Timestamp(at.unwrap_or_else(jiff::Timestamp::now).as_millisecond()),
        }
    }

    fn is_believed(&self) -> bool {
        if self.is_client { self.by_the_server() } else { self.by_the_agent() }
    }

    fn by_the_server(&self) -> bool {
        let foreign = |der: &Vec<u8>| (Anchor::Foreign { project: 1, authority: 1 }, der.clone());
        let (anchors, _) = Anchors::new(self.trusted.iter().map(foreign));
        anchors.verify(&self.chain, self.at).is_ok_and(|proven| !proven.is_over)
    }

    fn by_the_agent(&self) -> bool {
        let mut roots = RootCertStore::empty();
        let (_, _) =
            roots.add_parsable_certificates(self.trusted.iter().map(|der| CertificateDer::from(der.as_slice())));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
            return false;
        };
        let name = self.name.clone().and_then(|name| ServerName::try_from(name).ok());
        let chain: Vec<CertificateDer<'_>> =
            self.chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let (Some(name), Some((leaf, others))) = (name, chain.split_first()) else { return false };
        let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(self.at.0).unwrap()));
        verifier.verify_server_cert(leaf, others, &name, &[], at).is_ok()
    }
}

#[test]
fn no_chain_is_believed_that_must_not_be() {
    let Some(file) = corpus("x509-limbo-core.json.gz") else { return };
    let unpacked = Command::new("gzip").arg("-dc").arg(file).output().unwrap();
    let cases: Value = serde_json::from_slice(&unpacked.stdout).unwrap();
    let cases: Vec<Case> = cases["testcases"].as_array().unwrap().iter().map(Case::read).collect();
    assert!(cases.len() > 200, "{} cases", cases.len());
    let wrong = |is_good: bool| {
        let cases = cases.iter().filter(|case| case.is_good == is_good && case.is_believed() != is_good);
        cases.map(|case| case.id.as_str()).collect::<BTreeSet<&str>>()
    };
    let known = |list: &[(&str, &[&'static str])]| {
        list.iter().flat_map(|(_, ids)| ids.iter().copied()).collect::<BTreeSet<&str>>()
    };
    assert_eq!(wrong(false), known(BELIEVED), "believed, and should not be");
    assert_eq!(wrong(true), known(NOT_BELIEVED), "not believed, and should be");
}
