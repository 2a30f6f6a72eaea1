//! What does TLS cost by itself? A server of rustls and tokio that answers every request with the same bytes.
//!
//! The same version, provider, ticket and kind of certificates as Muster's, one thread per core on one listener. It
//! checks client certificates as rustls does; it reads no HTTP beyond the empty line and keeps no books.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::site::Site;
use crate::bench::server::{end, told_address};

const REQUEST_BYTES_MAX: usize = 4096;
const END: &[u8] = b"\r\n\r\n";
/// As long as what a device is told that has nothing to do.
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 73\r\n\
    muster-protocol: 1\r\ncache-control: no-store\r\ndate: Mon, 23 Nov 2026 12:00:00 GMT\r\n\r\n\
    {\"tag\":\"0123456789abcdef\",\"poll_s\":300,\"action\":null,\"commands\":[],\"x\":1}";

/// A bare TLS server, to be compared with.
#[derive(Debug, Args)]
pub struct BareTls {
    /// The server's certificate, PEM.
    certificate: PathBuf,
    /// Its key, PEM.
    key: PathBuf,
    /// Who signs for clients, PEM.
    issuing: PathBuf,
}

impl BareTls {
    pub fn run(self) -> anyhow::Result<()> {
        let config = Arc::new(self.config()?);
        let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
        listener.set_nonblocking(true).context("listening")?;
        println!("listening on http://{}", listener.local_addr().context("listening")?);
        std::io::stdout().flush().context("saying the address")?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| serve(&listener, &config))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a thread of the server does not panic"))
        })
    }

    fn config(&self) -> anyhow::Result<ServerConfig> {
        let mut clients = RootCertStore::empty();
        clients.add(CertificateDer::from_pem_file(&self.issuing).context("reading who signs for clients")?)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider.clone()).build()?;
        let chain = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&self.key)?)?;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = listener.try_clone().context("sharing the listener")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let config = config.clone();
            tokio::spawn(async move {
                // A client that goes away ends its connection and nothing else.
                let _ = answer(TlsAcceptor::from(config), stream).await;
            });
        }
    })
}

async fn answer(acceptor: TlsAcceptor, stream: tokio::net::TcpStream) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::with_capacity(REQUEST_BYTES_MAX);
    loop {
        request.clear();
        while !request.ends_with(END) {
            if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        stream.write_all(ANSWER.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Bare {
    child: Child,
    pub address: std::net::SocketAddr,
}

impl Bare {
    pub fn start(site: &Site) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("asking for this program's path")?);
        command.arg("bare-tls").args([site.certificate(), site.key(), site.issuing()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting bare TLS")?;
        match told_address(&mut child) {
            Ok(address) => Ok(Self { child, address }),
            Err(failed) => {
                end(&mut child);
                Err(failed)
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
