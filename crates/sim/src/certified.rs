//! How does a device with a key and a certificate reach its server, if nothing else is there?
//!
//! One blocking connection of TLS 1.3 with HTTP/1.1 on it: for tests and measurements that need thousands of devices
//! and no agents. Keys are ECDSA P-256, as the agent makes them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use sha2::{Digest, Sha256};

/// A server that says nothing for this long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum CertifiedError {
    #[error("making a key or a request")]
    Key(#[from] rcgen::Error),
    #[error("reading PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("setting TLS up")]
    Tls(#[from] rustls::Error),
}

/// A device's key.
#[derive(Debug)]
pub struct Key(KeyPair);

impl Key {
    pub fn make() -> Result<Self, CertifiedError> {
        Ok(Self(KeyPair::generate()?))
    }

    /// `pem`: PKCS #8.
    pub fn read(pem: &str) -> Result<Self, CertifiedError> {
        Ok(Self(KeyPair::from_pem(pem)?))
    }

    /// PKCS #10 that names nobody: PEM, and DER.
    pub fn request(&self) -> Result<(String, Vec<u8>), CertifiedError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0)?;
        Ok((request.pem()?, request.der().to_vec()))
    }

    /// A certificate that nobody vouches for, PEM: what a factory burns in.
    pub fn self_signed(&self) -> Result<String, CertifiedError> {
        Ok(CertificateParams::default().self_signed(&self.0)?.pem())
    }

    /// SHA-256 of the public key.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.subject_public_key_info()).into()
    }

    /// PKCS #8, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }
}

/// How a device speaks TLS. `root`: whom it believes, PEM. `own`: its certificates and its key, PEM.
pub fn client(root: &str, own: Option<(&str, &Key)>) -> Result<ClientConfig, CertifiedError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(root?)?;
    }
    let builder = ClientConfig::builder_with_provider(muster_agent::io::tpm::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut made = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.pem().as_bytes())?)?
        }
    };
    // One server, one ticket.
    made.resumption = Resumption::in_memory_sessions(1);
    Ok(made)
}

/// An open connection.
#[derive(Debug)]
pub struct Link {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// What the server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Link {
    /// Connects and shakes hands; the server's certificate has to name its address.
    pub fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let name = ServerName::IpAddress(address.ip().into());
        let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream: BufReader::new(stream) })
    }

    #[must_use]
    pub fn was_resumed(&self) -> bool {
        self.stream.get_ref().conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends a request and reads the whole answer. `headers`: whole lines, each with its line end.
    pub fn ask(&mut self, what: (&str, &str), headers: &str, body: &[u8]) -> io::Result<Answer> {
        let (method, path) = what;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: muster\r\ncontent-length: {length}\r\n{headers}\r\n");
        let out = self.stream.get_mut();
        out.write_all(&[head.as_bytes(), body].concat())?;
        out.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the answer has no {what}"));
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| bad("status"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| bad("length"))?;
            }
        }
        if length > BODY_BYTES_MAX {
            return Err(bad("end"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body })
    }
}
