//! How does the device's key stay in its TPM, and how does it show that it does?
//!
//! By the programs of tpm2-tools, which every distribution has: see docs/decisions/2026-11-tpm-by-tools.md. The key is
//! made in the TPM, lies there under a handle, and signs there; what the agent keeps is the handle and the public half.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_wire::agent::{TpmAnswer, TpmEvidence, TpmTask};
use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{CipherSuite, Error as TlsError, SignatureAlgorithm, SignatureScheme};
use serde::{Deserialize, Serialize};

use super::program;
use crate::world::Run;

/// A persistent handle of the owner's, out of the way of those that others use (TCG "Registry of Reserved TPM 2.0
/// Handles", 2.3.1).
pub const HANDLE: &str = "0x81014d01";
/// Where makers put the certificate of an RSA 2048 endorsement key (TCG "EK Credential Profile", 2.2.1.4).
const CERTIFICATE_INDEX: &str = "0x01c00002";
/// Making an RSA key takes some chips half a minute.
const TIMEOUT: Duration = Duration::from_secs(120);
const OUTPUT_BYTES_MAX: usize = 16 * 1024;
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// In front of what stands for a key where libraries want the key itself.
const MARK: &[u8] = b"muster-tpm-key ";
/// What `tpm2_activatecredential` reads: a number, a version, then the TPM's own two structures.
const CREDENTIAL_FILE: [u8; 8] = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
/// Fixed in this TPM, made there, and it signs.
const ATTRIBUTES: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
/// SubjectPublicKeyInfo of P-256 ends with the point.
const POINT_BYTES: usize = 65;
/// What is in front of it (RFC 5480).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    #[error("running {program}; is tpm2-tools installed?")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} failed: {output}")]
    Tool { program: String, output: String },
    #[error("{what} for the TPM")]
    File {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the TPM or the server said something that makes no sense: {0}")]
    Broken(&'static str),
}

/// A key in the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmKey {
    handle: String,
    /// How the TPM is reached, as tpm2-tools spell it; none: as they find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcti: Option<String>,
    /// The public point, base64.
    point: String,
}

/// Files of one exchange with the TPM; gone afterwards.
#[derive(Debug)]
struct Workshop {
    folder: PathBuf,
    tcti: Option<String>,
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What is left is no secret: contexts that only this TPM reads.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Workshop {
    fn open(folder: &Path, tcti: Option<&str>) -> Result<Self, TpmError> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = folder.join(format!("tpm-{:016x}", chance()?));
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| TpmError::File { what: "making a folder", source })?;
        Ok(Self { folder, tcti: tcti.map(str::to_owned) })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// `arguments` that begin with `@` are files of the workshop.
    fn run(&self, tool: &str, arguments: &[&str]) -> Result<(), TpmError> {
        let mut words = vec![tool.to_owned()];
        words.extend(arguments.iter().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name),
            None => match word.split_once("session:@") {
                Some((_, name)) => format!("session:{}", self.path(name)),
                None => (*word).to_owned(),
            },
        }));
        if let Some(tcti) = &self.tcti {
            words.extend(["-T".to_owned(), tcti.clone()]);
        }
        let run = Run { words: &words, stdin: b"", timeout: TIMEOUT, output_bytes_max: OUTPUT_BYTES_MAX };
        let program = || tool.to_owned();
        let ran = program::run(&run).map_err(|source| TpmError::Start { program: program(), source })?;
        if ran.succeeded() {
            return Ok(());
        }
        Err(TpmError::Tool { program: program(), output: ran.last_lines(3).join("; ") })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, TpmError> {
        let path = self.folder.join(name);
        let failed = |source| TpmError::File { what: "reading a file", source };
        if std::fs::metadata(&path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(TpmError::Broken("a file is too long"));
        }
        std::fs::read(&path).map_err(failed)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TpmError> {
        std::fs::write(self.folder.join(name), bytes)
            .map_err(|source| TpmError::File { what: "writing a file", source })
    }

    /// Without a resource manager a TPM has room for three keys. With one there is nothing to do.
    fn make_room(&self) {
        let _ = self.run("tpm2_flushcontext", &["-t"]);
    }
}

/// A device that proves its TPM while it joins.
#[derive(Debug)]
pub struct Prover {
    shop: Workshop,
    key: TpmKey,
    evidence: TpmEvidence,
}

impl Prover {
    /// Finds or makes the device's key, and has the TPM certify it.
    pub fn start(folder: &Path, tcti: Option<&str>) -> Result<Self, TpmError> {
        let shop = Workshop::open(folder, tcti)?;
        shop.run("tpm2_nvread", &["-C", "o", CERTIFICATE_INDEX, "-o", "@ek.crt"])?;
        let key = device_key(&shop)?;
        shop.run("tpm2_createek", &["-c", "@ek.ctx", "-G", "rsa", "-u", "@ek.pub", "-Q"])?;
        shop.make_room();
        let made =
            ["-C", "@ek.ctx", "-c", "@ak.ctx", "-G", "ecc", "-g", "sha256", "-s", "ecdsa", "-u", "@ak.pub", "-Q"];
        shop.run("tpm2_createak", &made)?;
        shop.make_room();
        let certify =
            ["-C", "@ak.ctx", "-c", HANDLE, "-g", "sha256", "-f", "plain", "-o", "@said", "-s", "@signed", "-Q"];
        shop.run("tpm2_certify", &certify)?;
        shop.make_room();
        let told = |name| shop.read(name).map(|bytes| STANDARD.encode(bytes));
        let evidence = TpmEvidence {
            endorsement: vec![told("ek.crt")?],
            attestation: told("ak.pub")?,
            key: told("key.pub")?,
            certified: told("said")?,
            signature: told("signed")?,
            answer: None,
        };
        Ok(Self { key, evidence, shop })
    }

    #[must_use]
    pub fn key(&self) -> &TpmKey {
        &self.key
    }

    /// To be shown first.
    #[must_use]
    pub fn evidence(&self) -> TpmEvidence {
        self.evidence.clone()
    }

    /// To be shown with the answer to the server's task: what only this TPM opens.
    pub fn answer(&self, task: TpmTask) -> Result<TpmEvidence, TpmError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| TpmError::Broken("the task is not base64"));
        let file = [&CREDENTIAL_FILE[..], &decode(&task.credential)?, &decode(&task.seed)?].concat();
        let shop = &self.shop;
        shop.write("task", &file)?;
        shop.run("tpm2_startauthsession", &["--policy-session", "-S", "@session"])?;
        shop.run("tpm2_policysecret", &["-S", "@session", "-c", "e", "-Q"])?;
        let activate =
            ["-c", "@ak.ctx", "-C", "@ek.ctx", "-i", "@task", "-o", "@secret", "-P", "session:@session", "-Q"];
        let activated = shop.run("tpm2_activatecredential", &activate);
        let _ = shop.run("tpm2_flushcontext", &["@session"]);
        shop.make_room();
        activated?;
        let secret = STANDARD.encode(shop.read("secret")?);
        Ok(TpmEvidence { answer: Some(TpmAnswer { task: task.task, secret }), ..self.evidence.clone() })
    }
}

/// Under its handle for ever; made at the first time. Its public half is left in the workshop.
fn device_key(shop: &Workshop) -> Result<TpmKey, TpmError> {
    let public = ["-c", HANDLE, "-o", "@key.pub", "-Q"];
    if shop.run("tpm2_readpublic", &public).is_err() {
        shop.run("tpm2_createprimary", &["-C", "o", "-G", "ecc", "-c", "@srk.ctx", "-Q"])?;
        shop.make_room();
        let make =
            ["-C", "@srk.ctx", "-G", "ecc256:ecdsa-sha256", "-a", ATTRIBUTES, "-u", "@new.pub", "-r", "@new", "-Q"];
        shop.run("tpm2_create", &make)?;
        shop.make_room();
        shop.run("tpm2_load", &["-C", "@srk.ctx", "-u", "@new.pub", "-r", "@new", "-c", "@new.ctx", "-Q"])?;
        shop.run("tpm2_evictcontrol", &["-C", "o", "-c", "@new.ctx", HANDLE, "-Q"])?;
        shop.make_room();
        shop.run("tpm2_readpublic", &public)?;
    }
    shop.run("tpm2_readpublic", &["-c", HANDLE, "-f", "der", "-o", "@key.der", "-Q"])?;
    let der = shop.read("key.der")?;
    let at = der.len().checked_sub(POINT_BYTES).filter(|at| der[*at] == 4);
    let point = &der[at.ok_or(TpmError::Broken("the key is none of P-256"))?..];
    Ok(TpmKey { handle: HANDLE.to_owned(), tcti: shop.tcti.clone(), point: STANDARD.encode(point) })
}

impl TpmKey {
    /// The uncompressed point.
    pub fn point(&self) -> Result<Vec<u8>, TpmError> {
        STANDARD.decode(&self.point).map_err(|_| TpmError::Broken("the key's point is not base64"))
    }

    /// ECDSA over SHA-256, DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        let shop = Workshop::open(&std::env::temp_dir(), self.tcti.as_deref())?;
        shop.write("message", message)?;
        let sign =
            ["-c", &self.handle, "-g", "sha256", "-s", "ecdsa", "-f", "plain", "-o", "@signed", "@message", "-Q"];
        shop.run("tpm2_sign", &sign)?;
        shop.read("signed")
    }

    /// What stands for the key where libraries want the key itself; [`provider`] knows it.
    #[must_use]
    pub fn stand_in(&self) -> PrivateKeyDer<'static> {
        let text = serde_json::to_vec(self).expect("words are JSON");
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from([MARK, &text].concat()))
    }
}

impl TpmKey {
    /// The same as PEM.
    #[must_use]
    pub fn stand_in_pem(&self) -> String {
        let text = STANDARD.encode(self.stand_in().secret_der());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }
}

/// As everywhere else, but keys may lie in the TPM, and what a device computes fastest is asked for first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static KEYS: Keys = Keys;
    let mut made = CryptoProvider { key_provider: &KEYS, ..ring::default_provider() };
    // A sort keeps the order of the rest.
    made.cipher_suites
        .sort_by_key(|suite| FASTEST.iter().position(|fast| *fast == suite.suite()).unwrap_or(usize::MAX));
    Arc::new(made)
}

/// SHA-256 before SHA-384, which takes 64-bit words, and a cipher that this kind of processor has instructions for.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const FASTEST: [CipherSuite; 2] = [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FASTEST: [CipherSuite; 2] = [CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, CipherSuite::TLS13_AES_128_GCM_SHA256];

#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, TlsError> {
        match key.secret_der().strip_prefix(MARK) {
            Some(text) => {
                let key = serde_json::from_slice(text).map_err(|_| TlsError::General("the key's handle".into()))?;
                Ok(Arc::new(InTpm(key)))
            }
            None => ring::default_provider().key_provider.load_private_key(key),
        }
    }
}

#[derive(Debug, Clone)]
struct InTpm(TpmKey);

impl SigningKey for InTpm {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        fits.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let point = self.0.point().ok().filter(|point| point.len() == POINT_BYTES)?;
        Some(SubjectPublicKeyInfoDer::from([&SPKI_HEAD[..], &point].concat()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for InTpm {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        self.0.sign(message).map_err(|failed| TlsError::General(failed.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

fn chance() -> Result<u64, TpmError> {
    getrandom::u64().map_err(|failed| TpmError::File { what: "chance", source: io::Error::other(failed.to_string()) })
}
