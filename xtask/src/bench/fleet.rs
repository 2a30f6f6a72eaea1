//! Devices that exist only as the requests they send.

use std::net::SocketAddr;

use anyhow::{Context, ensure};

use crate::loader::{Length, Load, Requests};

/// Many, because registrations that wait together share a durable commit.
const CONNECTIONS: usize = 1000;
const THREADS: usize = 2;
const ATTRIBUTES: &str = r#"{"mode":"merge","data":{"hw":"x"}}"#;

/// The name of one of them.
pub fn device(number: usize) -> String {
    format!("bench-{number:06}")
}

/// The first poll makes a device known; its attributes are asked for until it has sent some.
pub fn register(address: SocketAddr, token: &str, devices: usize) -> anyhow::Result<()> {
    for requests in [&polls(address, token, devices), &attributes(address, token, devices)] {
        let load = Load { address, connections: CONNECTIONS, threads: THREADS, requests, length: Length::Once };
        let answers = load.run().context("registering devices")?;
        ensure!(answers.count == devices, "{} of {devices} devices were answered", answers.count);
    }
    Ok(())
}

/// One poll of each.
pub fn polls(address: SocketAddr, token: &str, devices: usize) -> Requests {
    let mut polls = Requests::default();
    for number in 0..devices {
        polls.push(&format!(
            "GET /default/controller/v1/{} HTTP/1.1\r\nhost: {address}\r\nauthorization: GatewayToken {token}\r\n\
             accept: application/hal+json\r\n\r\n",
            device(number)
        ));
    }
    polls
}

fn attributes(address: SocketAddr, token: &str, devices: usize) -> Requests {
    let mut attributes = Requests::default();
    for number in 0..devices {
        attributes.push(&format!(
            "PUT /default/controller/v1/{}/configData HTTP/1.1\r\nhost: {address}\r\n\
             authorization: GatewayToken {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n\
             {ATTRIBUTES}",
            device(number),
            ATTRIBUTES.len()
        ));
    }
    attributes
}
