//! A small DDI server that answers as recorded from hawkBit: one action, offered to every device that asks.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use md5::Md5;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

pub struct Peer {
    pub url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Default)]
pub struct State {
    pub action: Option<Offered>,
    pub artifact: Vec<u8>,
    pub wants_attributes: bool,
    pub without_sleep: bool,
    /// Downloads that are cut after so many bytes.
    pub cuts: VecDeque<usize>,
    /// Statuses of the next final reports; 200 when there are no more.
    pub final_statuses: VecDeque<u16>,
    /// Bytes on the wire that differ from the promised ones.
    pub corrupt: bool,
    pub ignores_ranges: bool,
    pub seen: Vec<Seen>,
    pub closed: BTreeMap<String, i64>,
    pub agreed: BTreeMap<String, i64>,
}

#[derive(Clone, Copy)]
pub struct Offered {
    pub id: i64,
    pub update: &'static str,
    pub canceling: bool,
    pub needs_consent: bool,
    pub revision: u32,
}

impl Offered {
    pub fn forced(id: i64) -> Self {
        Self { id, update: "forced", canceling: false, needs_consent: false, revision: 1 }
    }
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub device: String,
    pub method: Method,
    /// From the device's root on, without a leading slash or query.
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub body: Value,
}

impl Seen {
    pub fn execution(&self) -> &str {
        self.body["status"]["execution"].as_str().unwrap_or_default()
    }

    pub fn finished(&self) -> &str {
        self.body["status"]["result"]["finished"].as_str().unwrap_or_default()
    }

    pub fn is_final(&self) -> bool {
        self.path.starts_with("deploymentBase/") && self.execution() == "closed"
    }
}

impl Peer {
    pub async fn start(state: State) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), state).await
    }

    pub async fn start_at(address: SocketAddr, state: State) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared), url.clone()));
        Self { url, address, shared, server }
    }

    /// Breaks every connection, forgets nothing, and is there again.
    pub async fn restart(&mut self) {
        self.server.abort();
        (&mut self.server).await.unwrap_err();
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.server = tokio::spawn(serve(listener, Arc::clone(&self.shared), self.url.clone()));
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Waits until what the server saw meets a condition.
    pub async fn until(&self, what: &str, met: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                if met(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
            let seen = self.state().seen.iter().rev().take(20).cloned().collect::<Vec<_>>();
            panic!("waited in vain for {what}; last seen: {seen:#?}");
        }
    }
}

impl State {
    pub fn feedback(&self) -> Vec<(String, String)> {
        let posts = self.seen.iter().filter(|seen| seen.path.ends_with("/feedback"));
        posts.map(|seen| (seen.execution().to_owned(), seen.finished().to_owned())).collect()
    }

    /// As a server does that lost what it had acknowledged.
    pub fn forget_endings(&mut self) {
        self.closed.clear();
    }

    pub fn finals(&self) -> usize {
        self.seen.iter().filter(|seen| seen.is_final()).count()
    }

    pub fn polls(&self) -> usize {
        self.seen.iter().filter(|seen| seen.path.is_empty()).count()
    }
}

/// A body that may break off before its promised end.
enum Sent {
    Whole(Option<Bytes>),
    /// Breaks off at the second turn after its bytes, so that they are on their way.
    Cut(Option<Bytes>, bool),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match &mut *self {
            Self::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Cut(bytes @ Some(_), _) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Cut(None, waited @ false) => {
                *waited = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Self::Cut(None, true) => Some(Err(io::Error::other("cut"))),
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Cut(..) => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, origin: String) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, origin) = (Arc::clone(&shared), origin.clone());
        let service = service_fn(move |request| {
            let (shared, origin) = (Arc::clone(&shared), origin.clone());
            async move { Ok::<_, Infallible>(answer(&shared, &origin, request).await) }
        });
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(shared: &Shared, origin: &str, request: Request<Incoming>) -> Response<Sent> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = |name: &http::HeaderName| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let rest = head.uri.path().strip_prefix("/DEFAULT/controller/v1/").unwrap();
    let (device, path) = rest.split_once('/').unwrap_or((rest, ""));
    let seen = Seen {
        device: device.to_owned(),
        method: head.method.clone(),
        path: path.to_owned(),
        range: text(&RANGE),
        authorization: text(&http::header::AUTHORIZATION),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let response = shared.state.lock().unwrap().answer(&seen, &format!("{origin}/DEFAULT/controller/v1/{device}"));
    shared.state.lock().unwrap().seen.push(seen);
    shared.changed.notify_waiters();
    response
}

impl State {
    fn answer(&mut self, seen: &Seen, root: &str) -> Response<Sent> {
        let parts = seen.path.split('/').collect::<Vec<_>>();
        let closed = self.closed.get(&seen.device).copied();
        let offered = self.action.filter(|action| closed < Some(action.id));
        match (&seen.method, parts.as_slice()) {
            (&Method::GET, [""]) => self.root(seen, root, offered),
            (&Method::PUT, ["configData"]) => {
                self.wants_attributes = false;
                status(200)
            }
            (&Method::GET, [word @ ("deploymentBase" | "confirmationBase"), _]) => match offered {
                Some(action) if !action.canceling => self.deployment(word, action, root),
                _ => status(404),
            },
            (&Method::GET, ["cancelAction", id]) => ok(&json!({ "id": id, "cancelAction": { "stopId": id } })),
            (&Method::POST, ["confirmationBase", id, "feedback"]) => {
                if seen.body["confirmation"] == "confirmed" {
                    self.agreed.insert(seen.device.clone(), id.parse().unwrap());
                }
                status(200)
            }
            (&Method::POST, ["cancelAction", id, "feedback"]) => {
                match seen.execution() {
                    "closed" => drop(self.closed.insert(seen.device.clone(), id.parse().unwrap())),
                    _ => self.action = self.action.map(|action| Offered { canceling: false, ..action }),
                }
                status(200)
            }
            (&Method::POST, ["deploymentBase", id, "feedback"]) => self.feedback_on(seen, id.parse().unwrap()),
            (_, ["softwaremodules", "3", "artifacts", "image"]) => self.artifact_answer(seen),
            _ => status(404),
        }
    }

    fn root(&self, seen: &Seen, root: &str, offered: Option<Offered>) -> Response<Sent> {
        let mut links = json!({});
        if self.wants_attributes {
            links["configData"] = json!({ "href": format!("{root}/configData") });
        }
        if let Some(action) = offered {
            let waits = action.needs_consent && self.agreed.get(&seen.device) != Some(&action.id);
            let (name, rest) = match (action.canceling, waits) {
                (true, _) => ("cancelAction", String::new()),
                (false, true) => ("confirmationBase", format!("?c={}", action.revision)),
                (false, false) => ("deploymentBase", format!("?c={}", action.revision)),
            };
            links[name] = json!({ "href": format!("{root}/{name}/{}{rest}", action.id) });
        }
        let config = if self.without_sleep { json!({}) } else { json!({ "polling": { "sleep": "00:00:01" } }) };
        ok(&json!({ "config": config, "_links": links }))
    }

    fn deployment(&self, word: &str, action: Offered, root: &str) -> Response<Sent> {
        let bytes = &self.artifact;
        let url = format!("{root}/softwaremodules/3/artifacts/image");
        let member = if word == "deploymentBase" { "deployment" } else { "confirmation" };
        ok(&json!({ "id": action.id.to_string(), member: {
            "download": "forced", "update": action.update,
            "chunks": [{ "part": "os", "name": "gateway-os", "version": "9.9", "artifacts": [{
                "filename": "image", "size": bytes.len(),
                "hashes": { "sha1": hex(&Sha1::digest(bytes)), "md5": hex(&Md5::digest(bytes)), "sha256": hex(&Sha256::digest(bytes)) },
                "_links": { "download-http": { "href": url }, "md5sum-http": { "href": format!("{url}.MD5SUM") } },
            }] }],
        } }))
    }

    fn feedback_on(&mut self, seen: &Seen, id: i64) -> Response<Sent> {
        if self.closed.get(&seen.device).copied() >= Some(id) {
            return status(410);
        }
        if !seen.is_final() {
            return status(200);
        }
        let answer = self.final_statuses.pop_front().unwrap_or(200);
        if answer == 200 {
            self.closed.insert(seen.device.clone(), id);
        }
        status(answer)
    }

    fn artifact_answer(&mut self, seen: &Seen) -> Response<Sent> {
        let mut bytes = Bytes::from(self.artifact.clone());
        let size = bytes.len();
        let etag = format!("\"{}\"", hex(&Sha1::digest(&bytes)));
        if self.corrupt {
            bytes = bytes.iter().map(|byte| byte ^ 1).collect();
        }
        let answer = Response::builder().header(ETAG, etag).header(ACCEPT_RANGES, "bytes");
        let asked = seen.range.as_deref().filter(|_| !self.ignores_ranges);
        let from = asked.map(|range| {
            range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).unwrap().parse::<usize>().unwrap()
        });
        if from == Some(size) {
            let answer = Response::builder().status(416).header(CONTENT_RANGE, format!("bytes */{size}"));
            return answer.body(Sent::Whole(None)).unwrap();
        }
        let (answer, bytes) = match from {
            Some(from) => {
                let range = format!("bytes {from}-{}/{size}", size - 1);
                (answer.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range), bytes.slice(from..))
            }
            None => (answer, bytes),
        };
        let answer = answer.header(CONTENT_LENGTH, bytes.len());
        if seen.method == Method::HEAD {
            return answer.body(Sent::Whole(None)).unwrap();
        }
        match self.cuts.pop_front() {
            Some(cut) => answer.body(Sent::Cut(Some(bytes.slice(..cut)), false)).unwrap(),
            None => answer.body(Sent::Whole(Some(bytes))).unwrap(),
        }
    }
}

fn ok(body: &Value) -> Response<Sent> {
    Response::new(Sent::Whole(Some(Bytes::from(body.to_string()))))
}

fn status(status: u16) -> Response<Sent> {
    Response::builder().status(status).body(Sent::Whole(None)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
