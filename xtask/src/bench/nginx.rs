//! What does the fastest plain web server reach, loaded the same way on the same machine?
//!
//! Debian's nginx with one worker, answering a constant of the same size and without a log.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::folder::Folder;
use super::server::{end, until};
use crate::parts;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    _folder: Folder,
}

impl Nginx {
    pub fn start(body: &str) -> anyhow::Result<Self> {
        let program = parts::nginx()?;
        let folder = Folder::make("nginx")?;
        let address = free_address()?;
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(folder.path(), address, body)).context("writing nginx.conf")?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("error.log"));
        let child = command.stdin(Stdio::null()).spawn().context("starting nginx")?;
        let nginx = Self { child, address, _folder: folder };
        let listens = || Ok(TcpStream::connect_timeout(&address, START_TIMEOUT).ok());
        until(START_TIMEOUT, "nginx to listen", listens)?;
        Ok(nginx)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A port nobody listens on at this moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("looking for a free port")
}

fn configuration(folder: &Path, address: SocketAddr, body: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {address};
    location / {{
      default_type application/hal+json;
      add_header etag '\"0123456789abcdef\"';
      return 200 '{body}';
    }}
  }}
}}
"
    )
}
