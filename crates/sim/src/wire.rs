//! How does a request of a device get to the server and its answer back?
//!
//! All devices share one pool of HTTP/1.1 connections; permits bound how many are open at once, so that ten thousand
//! devices do not need ten thousand sockets. Transfers have permits of their own: a slow link must not starve polls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RANGE};
use http::header::{ACCEPT_RANGES, CONTENT_RANGE};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use md5::Md5;
use muster_vocab::ActionId;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::clock::Clock;
use crate::ddi::{Artifact, Judge};
use crate::device::{Call, Fetched, Order, Reply};
use crate::payload::{FIRST_LINE_BYTES_MAX, Payload};
use crate::stats::{Counter, Stats};
use crate::work::PROGRESS_PARTS;

/// Requests at once: the server has two cores, more would only wait inside it.
const CALLS_MAX: usize = 64;
/// Downloads at once.
const TRANSFERS_MAX: usize = 256;
/// Between two signs of life of a server that works.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub struct Wire {
    client: Client<HttpConnector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    calls: Semaphore,
    transfers: Arc<Semaphore>,
    stats: Arc<Stats>,
    pub clock: Clock,
}

/// A download that may stop and go on.
#[derive(Debug)]
pub struct Transfer {
    action: ActionId,
    digest: String,
    received: u64,
    first_bytes: Vec<u8>,
    sha1: Sha1,
    md5: Md5,
    sha256: Sha256,
    head_asked: bool,
    /// When a slow link has carried all that was received.
    link_free_ms: u64,
    open: Option<(Incoming, OwnedSemaphorePermit)>,
}

impl Transfer {
    pub fn new(order: &Order) -> Self {
        Self {
            action: order.action,
            digest: order.artifact.sha256.clone(),
            received: 0,
            first_bytes: Vec::new(),
            sha1: Sha1::new(),
            md5: Md5::new(),
            sha256: Sha256::new(),
            head_asked: false,
            link_free_ms: 0,
            open: None,
        }
    }

    pub fn is_of(&self, order: &Order) -> bool {
        self.action == order.action && self.digest == order.artifact.sha256
    }

    fn start_over(&mut self) {
        self.received = 0;
        self.first_bytes.clear();
        (self.sha1, self.md5, self.sha256) = (Sha1::new(), Md5::new(), Sha256::new());
    }

    fn take(&mut self, bytes: &[u8]) {
        let wanted = FIRST_LINE_BYTES_MAX.saturating_sub(self.first_bytes.len()).min(bytes.len());
        self.first_bytes.extend_from_slice(&bytes[..wanted]);
        self.received += bytes.len() as u64;
        self.sha1.update(bytes);
        self.md5.update(bytes);
        self.sha256.update(bytes);
    }

    /// All bytes are there: are they the ones that were promised?
    fn verify(&self, judge: Judge<'_>, artifact: &Artifact) -> Fetched {
        let found = [
            ("sha1", hex(&self.sha1.clone().finalize()), &artifact.sha1),
            ("md5", hex(&self.md5.clone().finalize()), &artifact.md5),
            ("sha256", hex(&self.sha256.clone().finalize()), &artifact.sha256),
        ];
        for (kind, found, promised) in found {
            if found != *promised {
                let reason = format!("{kind} of {:?} is {found}, not {promised}", artifact.name);
                judge.breach(&reason);
                return Fetched::Corrupt(reason);
            }
        }
        Fetched::Whole(Payload::read(&self.first_bytes))
    }
}

impl Wire {
    pub fn new(authorization: Option<HeaderValue>, stats: Arc<Stats>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(CALLS_MAX)
            .build(connector);
        Self {
            client,
            authorization,
            calls: Semaphore::new(CALLS_MAX),
            transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            stats,
            clock: Clock::start(),
        }
    }

    /// Nothing, if no whole answer came.
    pub async fn send(&self, call: Call) -> Option<Reply> {
        if call.answer_lost {
            self.exchange(&call).await?;
        }
        self.exchange(&call).await
    }

    /// Goes on with a download until there is something to say, or until it is time for something else.
    pub async fn fetch(&self, judge: Judge<'_>, transfer: &mut Transfer, order: &Order) -> Fetched {
        if !transfer.head_asked && !self.ask_head(judge, &order.artifact).await {
            return Fetched::Cut;
        }
        transfer.head_asked = true;
        if transfer.open.is_none()
            && let Err(failed) = self.open(judge, transfer, order).await
        {
            return failed;
        }
        let fetched = self.pump(judge, transfer, order).await;
        if !matches!(fetched, Fetched::Some { .. }) {
            transfer.open = None;
        }
        fetched
    }

    async fn exchange(&self, call: &Call) -> Option<Reply> {
        let _permit = self.calls.acquire().await.ok()?;
        let response = self.request(call.method.clone(), &call.url, call.body.clone(), None).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = timeout(SILENCE_MAX, body.collect()).await.ok()?.ok()?;
        Some(Reply { status, body: body.to_bytes() })
    }

    async fn request(
        &self,
        method: Method,
        url: &str,
        body: Option<Bytes>,
        range_from: Option<u64>,
    ) -> Option<Response<Incoming>> {
        self.stats.count(Counter::Requests);
        let mut request = Request::builder().method(method).uri(url).header(ACCEPT, "application/hal+json, */*;q=0.5");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(from) = range_from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let request = request.body(Full::new(body.unwrap_or_default())).ok()?;
        timeout(SILENCE_MAX, self.client.request(request)).await.ok()?.ok()
    }

    /// swupdate asks for the size before each download. False if nobody answered.
    async fn ask_head(&self, judge: Judge<'_>, artifact: &Artifact) -> bool {
        let Ok(_permit) = self.calls.acquire().await else { return false };
        let Some(response) = self.request(Method::HEAD, &artifact.url, None, None).await else { return false };
        match response.status().as_u16() {
            200 => check_header(judge, &response, CONTENT_LENGTH, &artifact.size_bytes.to_string()),
            other => judge.read_status("HEAD of an artifact", other),
        }
        true
    }

    async fn open(&self, judge: Judge<'_>, transfer: &mut Transfer, order: &Order) -> Result<(), Fetched> {
        let artifact = &order.artifact;
        // While slow links hold all permits a device still polls.
        let until = self.clock.instant_of(order.until_ms);
        let Ok(Ok(permit)) = timeout_at(until, Arc::clone(&self.transfers).acquire_owned()).await else {
            return Err(Fetched::Some { received: transfer.received });
        };
        let (from, size) = (transfer.received, artifact.size_bytes);
        let range_from = (from > 0).then_some(from);
        let response = self.request(Method::GET, &artifact.url, None, range_from).await.ok_or(Fetched::Cut)?;
        match (response.status().as_u16(), range_from) {
            (200, None) => {
                check_header(judge, &response, CONTENT_LENGTH, &size.to_string());
                check_header(judge, &response, ETAG, &format!("\"{}\"", artifact.sha1));
                check_header(judge, &response, ACCEPT_RANGES, "bytes");
            }
            (206, Some(_)) if from < size => {
                let promised = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
                check_header(judge, &response, CONTENT_RANGE, &promised);
                check_header(judge, &response, CONTENT_LENGTH, &size.saturating_sub(from).to_string());
                self.stats.count(Counter::Resumes);
            }
            // rauc-hawkbit-updater takes it for "already complete".
            (416, Some(_)) if from == size => {
                check_header(judge, &response, CONTENT_RANGE, &format!("bytes */{size}"));
                return Err(transfer.verify(judge, artifact));
            }
            (200, Some(_)) => {
                judge.breach("a range was answered 200, so that a client would append the whole file");
                transfer.start_over();
            }
            (status @ (206 | 416), _) => {
                judge.breach(&format!("an artifact of {size} bytes, asked from {from}, was answered {status}"));
                transfer.start_over();
                return Err(Fetched::Cut);
            }
            (status, _) => {
                judge.read_status("an artifact", status);
                return Err(Fetched::Refused(status));
            }
        }
        transfer.open = Some((response.into_body(), permit));
        Ok(())
    }

    async fn pump(&self, judge: Judge<'_>, transfer: &mut Transfer, order: &Order) -> Fetched {
        let size = order.artifact.size_bytes;
        let part_of = |received: u64| received.saturating_mul(u64::from(PROGRESS_PARTS)) / size.max(1);
        let part = part_of(transfer.received);
        while let Some((body, _)) = &mut transfer.open {
            // A slow link: what was just read from the socket is still on its way.
            if transfer.link_free_ms > self.clock.now_ms() {
                sleep_until(self.clock.instant_of(transfer.link_free_ms.min(order.until_ms))).await;
                if transfer.link_free_ms > order.until_ms {
                    return Fetched::Some { received: transfer.received };
                }
            }
            let bytes = match timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(None) if transfer.received == size => return transfer.verify(judge, &order.artifact),
                Ok(None | Some(Err(_))) | Err(_) => return Fetched::Cut,
            };
            transfer.take(&bytes);
            self.stats.add(Counter::Bytes, bytes.len() as u64);
            if transfer.received > size {
                let reason = format!("{:?} has more than the promised {size} bytes", order.artifact.name);
                judge.breach(&reason);
                return Fetched::Corrupt(reason);
            }
            if let Some(bytes_per_s) = order.link_bytes_per_s {
                let took_ms = bytes.len() as u64 * 1000 / u64::from(bytes_per_s.max(1));
                transfer.link_free_ms = transfer.link_free_ms.max(self.clock.now_ms()).saturating_add(took_ms);
            }
            let received = transfer.received;
            if received < size && (part_of(received) > part || self.clock.now_ms() >= order.until_ms) {
                return Fetched::Some { received };
            }
        }
        Fetched::Cut
    }
}

fn check_header(judge: Judge<'_>, response: &Response<Incoming>, name: HeaderName, promised: &str) {
    let found = response.headers().get(&name).and_then(|value| value.to_str().ok());
    if found != Some(promised) {
        judge.breach(&format!("{name} of an artifact is {found:?}, not {promised:?}"));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[digit as usize]))
        .collect()
}
