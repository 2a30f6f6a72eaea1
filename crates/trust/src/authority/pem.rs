//! How do certificates travel as text?

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// DER of each certificate in a PEM text, in order; what is no certificate is passed over.
#[must_use]
pub fn ders(text: &str) -> Vec<Vec<u8>> {
    let certificates = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok);
    certificates.filter(|found| found.label == "CERTIFICATE").map(|found| found.contents).collect()
}

/// One certificate as PEM.
#[must_use]
pub fn certificate(der: &[u8]) -> String {
    const LINE_CHARS: usize = 64;
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(LINE_CHARS).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
