//! A thousand devices come in by three ways, and stay while one of them is thrown out and authorities change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::scope;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_sim::certified::{Key, Link, client};
use muster_tests::api::Api;
use muster_tests::server::Server;
use muster_tests::wait::until_true;
use rustls::ClientConfig;
use serde_json::{Value, json};

const DEVICES: usize = 1000;
const THREADS: usize = 8;
/// A connection is given up after as many polls, and resumed.
const POLLS_PER_LINK: u64 = 3;
const REVOKED: &str = "sn-0500";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Token,
    Claim,
    Est,
}

struct Device {
    name: String,
    way: Way,
    key: Key,
    polls: AtomicU64,
    resumed: AtomicU64,
}

/// What a device needs to know of its server.
struct Site {
    address: SocketAddr,
    root: String,
    token: String,
}

/// What came of polling.
#[derive(Default)]
struct Seen {
    /// When a device was refused for the first time, and with what.
    refused: Mutex<BTreeMap<String, u16>>,
    /// When the last poll that was answered well began, of the device that is thrown out.
    last_good: Mutex<Option<Instant>>,
    stop: AtomicBool,
}

fn site(server: &Server) -> Site {
    let admin = server.admin();
    let root = admin.get("/identity").expect(200).at("/root").as_str().unwrap().to_owned();
    let made = admin.post("/join-tokens", &json!({ "name": "line-3", "life_s": 3600 })).expect(201);
    let token = made.at("/secret").as_str().unwrap().to_owned();
    let address = server.tls_origin().strip_prefix("https://").unwrap().parse().unwrap();
    Site { address, root, token }
}

fn devices() -> Vec<Device> {
    let ways = [Way::Token, Way::Claim, Way::Est];
    let make = |number: usize| Device {
        name: format!("sn-{number:04}"),
        way: ways[number % ways.len()],
        key: Key::make().unwrap(),
        polls: AtomicU64::new(0),
        resumed: AtomicU64::new(0),
    };
    (0..DEVICES).map(make).collect()
}

/// The factory tells the keys of those that come by them.
fn announce(admin: &Api, devices: &[Device]) {
    let hex = |key: &Key| key.digest().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let claims = devices.iter().filter(|device| device.way == Way::Claim);
    let claims: Vec<Value> =
        claims.map(|device| json!({ "name": device.name, "key": format!("sha256:{}", hex(&device.key)) })).collect();
    let _ = admin.post("/claims", &json!({ "claims": claims })).expect(201);
}

/// Answers the device's certificates, PEM.
fn come_in(site: &Site, device: &Device) -> String {
    let (pem, der) = device.key.request().unwrap();
    let factory = device.key.self_signed().unwrap();
    let own = (device.way == Way::Claim).then_some((factory.as_str(), &device.key));
    let mut link = Link::open(site.address, &Arc::new(client(&site.root, own).unwrap())).unwrap();
    if device.way == Way::Est {
        let basic = STANDARD.encode(format!("{}:{}", device.name, site.token));
        let headers = format!("authorization: Basic {basic}\r\ncontent-type: application/pkcs10\r\n");
        let what = ("POST", "/.well-known/est/simpleenroll");
        let answer = link.ask(what, &headers, STANDARD.encode(der).as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}: {}", device.name, String::from_utf8_lossy(&answer.body));
        let issuing = link.ask(("GET", "/.well-known/est/cacerts"), "", b"").unwrap();
        return pem_of(&answer.body, 1) + &pem_of(&issuing.body, 1);
    }
    let token = if device.way == Way::Token { site.token.as_str() } else { "" };
    let join = json!({ "token": token, "project": "default", "device": device.name, "request": pem });
    let answer =
        link.ask(("POST", "/device/v1/join"), "content-type: application/json\r\n", join.to_string().as_bytes());
    let answer = answer.unwrap();
    assert_eq!(answer.status, 201, "{}: {}", device.name, String::from_utf8_lossy(&answer.body));
    let joined: Value = serde_json::from_slice(&answer.body).unwrap();
    joined["certificate"]["chain"].as_str().unwrap().to_owned()
}

fn all_come_in<'d>(site: &Site, devices: &'d [Device]) -> Vec<(&'d Device, Arc<ClientConfig>)> {
    let come = |device| {
        let chain = come_in(site, device);
        (device, Arc::new(client(&site.root, Some((&chain, &device.key))).unwrap()))
    };
    devices.iter().map(come).collect()
}

/// The first certificates of a PKCS #7 answer: ContentInfo, in it SignedData, in it `[0]`.
fn pem_of(base64: &[u8], count: usize) -> String {
    let der = STANDARD.decode(base64).unwrap();
    let content_info = element(&der).1;
    let signed = element(element(element(content_info).2).1).1;
    let mut rest = signed;
    while rest[0] != 0xa0 {
        rest = element(rest).2;
    }
    let mut certificates = element(rest).1;
    let mut text = String::new();
    for _ in 0..count {
        let (whole, _, after) = element(certificates);
        text += &format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(whole));
        certificates = after;
    }
    text
}

/// Of the first DER element: all of it, its content, and what comes behind it.
fn element(der: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (head, length) = match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let bytes = usize::from(long & 0x7f);
            (2 + bytes, der[2..2 + bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    };
    let (whole, rest) = der.split_at(head + length);
    (whole, &whole[head..], rest)
}

/// Polls round and round with these devices, each on a connection that it leaves and resumes now and then.
fn poll(site: &Site, devices: &[(&Device, Arc<ClientConfig>)], seen: &Seen) {
    let mut links: Vec<Option<Link>> = devices.iter().map(|_| None).collect();
    while !seen.stop.load(Ordering::Relaxed) {
        for ((device, config), link) in devices.iter().zip(&mut links) {
            if seen.refused.lock().unwrap().contains_key(&device.name) {
                continue;
            }
            let open = link.get_or_insert_with(|| {
                let opened = Link::open(site.address, config).unwrap();
                device.resumed.fetch_add(u64::from(opened.was_resumed()), Ordering::Relaxed);
                opened
            });
            let began = Instant::now();
            let answer = open.ask(("GET", "/device/v1/orders"), "", b"").unwrap();
            let polls = device.polls.fetch_add(1, Ordering::Relaxed) + 1;
            if answer.status != 200 {
                seen.refused.lock().unwrap().insert(device.name.clone(), answer.status);
            } else if device.name == REVOKED {
                *seen.last_good.lock().unwrap() = Some(began);
            }
            if polls.is_multiple_of(POLLS_PER_LINK) {
                *link = None;
            }
        }
    }
}

/// A new key and a certificate for it, over a connection with the old one; then the new one polls.
fn renew(site: &Site, config: &Arc<ClientConfig>, name: &str) {
    let mut link = Link::open(site.address, config).unwrap();
    let key = Key::make().unwrap();
    let body = json!({ "request": key.request().unwrap().0 }).to_string();
    let answer = link.ask(("POST", "/device/v1/certificate"), "content-type: application/json\r\n", body.as_bytes());
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{name}: {}", String::from_utf8_lossy(&answer.body));
    let renewed: Value = serde_json::from_slice(&answer.body).unwrap();
    let chain = renewed["chain"].as_str().unwrap();
    let config = Arc::new(client(&site.root, Some((chain, &key))).unwrap());
    let polled = Link::open(site.address, &config).unwrap().ask(("GET", "/device/v1/orders"), "", b"").unwrap();
    assert_eq!(polled.status, 200, "{name} was lost when it renewed its certificate");
}

/// Waits until each device but the one that was thrown out has polled that often from now on.
fn all_poll(devices: &[Device], times: u64) {
    let before: Vec<u64> = devices.iter().map(|device| device.polls.load(Ordering::Relaxed)).collect();
    until_true(format_args!("every device has polled {times} times"), || {
        let mut since = devices.iter().zip(&before).filter(|(device, _)| device.name != REVOKED);
        since.all(|(device, before)| device.polls.load(Ordering::Relaxed) >= before + times)
    });
}

#[test]
fn a_thousand_devices_come_in_and_stay_through_a_revocation_and_a_new_authority() {
    let server = Server::start_tls();
    let (site, devices) = (site(&server), devices());
    announce(server.admin(), &devices);
    let shares: Vec<&[Device]> = devices.chunks(DEVICES.div_ceil(THREADS)).collect();
    let began = Instant::now();
    let configured: Vec<Vec<(&Device, Arc<ClientConfig>)>> = scope(|scope| {
        let threads: Vec<_> = shares.iter().map(|share| scope.spawn(|| all_come_in(&site, share))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    println!("{DEVICES} devices came in within {:.1} s", began.elapsed().as_secs_f64());
    let seen = Seen::default();
    scope(|scope| {
        let polling: Vec<_> = configured.iter().map(|share| scope.spawn(|| poll(&site, share, &seen))).collect();
        let stop = Stops(&seen.stop);
        all_poll(&devices, 1);
        let _ = server.admin().post(&format!("/devices/{REVOKED}/revoke"), &json!({})).expect(200);
        let revoked = Instant::now();
        until_true("the revoked device is refused", || seen.refused.lock().unwrap().contains_key(REVOKED));
        assert!(
            seen.last_good.lock().unwrap().is_some_and(|last| last <= revoked),
            "a poll after the revocation was answered"
        );
        all_poll(&devices, 1);
        let rotated = server.admin().post("/identity/rotate", &json!({})).expect(200);
        assert_eq!(rotated.at("/issuing"), json!(["issuing-1", "issuing-2"]));
        // On the connections that were open, and on such as were resumed since.
        all_poll(&devices, POLLS_PER_LINK + 1);
        drop(stop);
        for thread in polling {
            thread.join().unwrap();
        }
    });
    assert_eq!(*seen.refused.lock().unwrap(), BTreeMap::from([(REVOKED.to_owned(), 401)]), "others were refused, too");
    assert!(devices.iter().all(|device| device.resumed.load(Ordering::Relaxed) > 0 || device.name == REVOKED));
    scope(|scope| {
        for share in &configured {
            scope.spawn(|| {
                for (device, config) in share.iter().filter(|(device, _)| device.name != REVOKED) {
                    renew(&site, config, &device.name);
                }
            });
        }
    });
    println!("all of it took {:.1} s", began.elapsed().as_secs_f64());
}

/// Ends the devices also when the test fails, which would otherwise wait for them.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
