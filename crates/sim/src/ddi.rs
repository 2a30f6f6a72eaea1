//! What does the server say in hawkBit's DDI, and does it keep to the contract?
//!
//! Reads answers as strictly as the pickiest client in the field would and collects each breach in a sentence;
//! writes the bodies that devices send. hawkBit's words stay in this file.

use std::time::Duration;

use bytes::Bytes;
use muster_vocab::ActionId;
use serde_json::{Value, json};

use crate::stats::{Counter, Stats};

/// Zephyr's buffers: `deploymentBase/…` and `cancelAction/…`, and download paths from `/…/controller/v1` on.
const ACTION_LINK_CHARS_MAX: usize = 49;
const DOWNLOAD_PATH_CHARS_MAX: usize = 199;

/// Counts and describes breaches of contract of one device's conversation.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    pub stats: &'a Stats,
    pub device: &'a str,
    /// `http://host:port`, which every link has to start with.
    pub origin: &'a str,
}

/// What the server wants next, and where it says more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    Deployment {
        action: ActionId,
        url: String,
    },
    Cancel {
        action: ActionId,
        url: String,
    },
    /// Without an action the link leads to the list first.
    Confirmation {
        action: Option<ActionId>,
        url: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Root {
    pub sleep: Option<Duration>,
    pub config_data: Option<String>,
    pub offer: Option<Offer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    Skip,
    Attempt,
    Forced,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub download: Handling,
    pub update: Handling,
    /// The version of the first chunk: what is installed when the artifact itself says nothing.
    pub version: String,
    pub artifacts: Vec<Artifact>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub name: String,
    pub size_bytes: u64,
    pub sha1: String,
    pub md5: String,
    pub sha256: String,
    pub url: String,
}

impl Judge<'_> {
    pub fn breach(&self, text: &str) {
        self.stats.breach(self.device, text);
    }

    /// The answer to a poll.
    pub fn root(&self, body: &[u8]) -> Root {
        let Some(body) = self.json("root", body) else { return Root::default() };
        let sleep = body.pointer("/config/polling/sleep").and_then(Value::as_str);
        if sleep.is_none() {
            self.breach("config.polling.sleep is missing");
        }
        let links = &body["_links"];
        let offers = [
            self.link(links, "deploymentBase").and_then(|url| self.deployment_offer(url)),
            self.link(links, "cancelAction").and_then(|url| self.cancel_offer(url)),
            self.link(links, "confirmationBase").map(confirmation_offer),
        ];
        let mut offers = offers.into_iter().flatten();
        let root = Root {
            sleep: sleep.and_then(|text| self.sleep(text)),
            config_data: self.link(links, "configData"),
            offer: offers.next(),
        };
        if offers.next().is_some() {
            self.breach("more than one of deploymentBase, cancelAction and confirmationBase at once");
        }
        root
    }

    pub fn deployment(&self, action: ActionId, body: &[u8], member: &str) -> Option<Deployment> {
        let body = self.json("deployment", body)?;
        self.same_id(&body["id"], action, "id");
        let deployment = &body[member];
        let chunks = deployment["chunks"].as_array().map_or(&[][..], Vec::as_slice);
        if chunks.is_empty() {
            self.breach("a deployment without chunks");
            return None;
        }
        let mut artifacts = Vec::new();
        for chunk in chunks {
            for part in ["part", "name", "version"] {
                if !chunk[part].is_string() {
                    self.breach(&format!("a chunk without {part}"));
                }
            }
            let Some(listed) = chunk["artifacts"].as_array() else {
                self.breach("a chunk without artifacts");
                return None;
            };
            for artifact in listed {
                artifacts.push(self.artifact(artifact)?);
            }
        }
        Some(Deployment {
            download: self.handling(&deployment["download"])?,
            update: self.handling(&deployment["update"])?,
            version: chunks[0]["version"].as_str().unwrap_or_default().to_owned(),
            artifacts,
        })
    }

    /// Checks `{"id":"7","cancelAction":{"stopId":"7"}}`.
    pub fn cancel(&self, action: ActionId, body: &[u8]) {
        let Some(body) = self.json("cancelAction", body) else { return };
        self.same_id(&body["id"], action, "id");
        self.same_id(&body["cancelAction"]["stopId"], action, "stopId");
    }

    /// The link to what waits for consent, from the list of confirmations.
    pub fn confirmation_link(&self, body: &[u8]) -> Option<(ActionId, String)> {
        let body = self.json("confirmationBase", body)?;
        if !body["autoConfirm"]["active"].is_boolean() {
            self.breach("confirmationBase without autoConfirm.active");
        }
        let url = self.link(&body["_links"], "confirmationBase")?;
        let Some(action) = last_number(&url) else {
            self.breach(&format!("confirmationBase link {url:?} names no action"));
            return None;
        };
        Some((action, url))
    }

    /// A write has to be answered by exactly 200; a closed or unknown action by 410 or 404.
    pub fn write_status(&self, what: &str, status: u16) {
        match status {
            200 | 401 | 403 | 404 | 410 | 429 | 500..=599 => (),
            other => self.breach(&format!("{what} was answered {other}, not 200")),
        }
        if status != 200 {
            self.stats.count(Counter::Errors);
        }
    }

    /// A read is answered by 200, or refused in a way that a device can wait out.
    pub fn read_status(&self, what: &str, status: u16) {
        match status {
            200 | 401 | 403 | 404 | 429 | 500..=599 => (),
            other => self.breach(&format!("{what} was answered {other}, not 200")),
        }
        if status != 200 {
            self.stats.count(Counter::Errors);
        }
    }

    fn json(&self, what: &str, body: &[u8]) -> Option<Value> {
        match serde_json::from_slice(body) {
            Ok(value @ Value::Object(_)) => Some(value),
            Ok(_) | Err(_) => {
                self.breach(&format!("{what} is not a JSON object"));
                None
            }
        }
    }

    fn sleep(&self, text: &str) -> Option<Duration> {
        let sleep = parse_sleep(text);
        if sleep.is_none() {
            self.breach(&format!("sleep {text:?} is not a time between 00:00:01 and 23:59:59"));
        }
        sleep
    }

    fn link(&self, links: &Value, name: &str) -> Option<String> {
        let link = links.get(name)?;
        let Some(url) = link["href"].as_str() else {
            self.breach(&format!("link {name} has no href"));
            return None;
        };
        let absolute = url.strip_prefix(self.origin).is_some_and(|rest| rest.starts_with('/'));
        if !absolute {
            self.breach(&format!("link {name} {url:?} does not start with {} as it was asked", self.origin));
        }
        absolute.then(|| url.to_owned())
    }

    fn deployment_offer(&self, url: String) -> Option<Offer> {
        let action = self.action_link(&url, "/deploymentBase/")?;
        let number = url.rsplit_once("?c=").map(|(_, number)| number);
        if number.is_none_or(|number| number.strip_prefix('-').unwrap_or(number).parse::<u64>().is_err()) {
            self.breach(&format!("deploymentBase link {url:?} does not end with ?c= and a number"));
        }
        Some(Offer::Deployment { action, url })
    }

    fn cancel_offer(&self, url: String) -> Option<Offer> {
        let action = self.action_link(&url, "/cancelAction/")?;
        Some(Offer::Cancel { action, url })
    }

    fn action_link(&self, url: &str, word: &str) -> Option<ActionId> {
        let from_word = url.rfind(word).map_or("", |at| &url[at + 1..]);
        if from_word.len() > ACTION_LINK_CHARS_MAX {
            self.breach(&format!("{from_word:?} has more than {ACTION_LINK_CHARS_MAX} characters"));
        }
        let action = last_number(from_word);
        if action.is_none() {
            self.breach(&format!("link {url:?} has no action id between 1 and 2147483647 after {word}"));
        }
        action
    }

    fn same_id(&self, found: &Value, action: ActionId, what: &str) {
        if found.as_str() != Some(action.to_string().as_str()) {
            self.breach(&format!("{what} is {found}, not the text \"{action}\""));
        }
    }

    fn handling(&self, found: &Value) -> Option<Handling> {
        match found.as_str() {
            Some("skip") => Some(Handling::Skip),
            Some("attempt") => Some(Handling::Attempt),
            Some("forced") => Some(Handling::Forced),
            _ => {
                self.breach(&format!("download or update is {found}, not skip, attempt or forced"));
                None
            }
        }
    }

    fn artifact(&self, found: &Value) -> Option<Artifact> {
        let name = found["filename"].as_str().unwrap_or_default().to_owned();
        let hash = |kind: &str, digits: usize| {
            let hash = found["hashes"][kind].as_str().filter(|hash| is_lower_hex(hash, digits));
            if hash.is_none() {
                self.breach(&format!("artifact {name:?} has no lower case {kind} in its hashes"));
            }
            hash.map(str::to_owned)
        };
        let (sha1, md5, sha256) = (hash("sha1", 40), hash("md5", 32), hash("sha256", 64));
        let size_bytes = found["size"].as_u64();
        if size_bytes.is_none() {
            self.breach(&format!("artifact {name:?} has no size in bytes"));
        }
        let links = &found["_links"];
        let url = self.link(links, "download-http");
        let sum = self.link(links, "md5sum-http");
        if url.is_none() || sum.is_none() {
            self.breach(&format!("artifact {name:?} has no download-http and md5sum-http over plain HTTP"));
        }
        let url = url?;
        let path = url.find("/controller/v1").map_or(0, |at| url.len() - at);
        if path > DOWNLOAD_PATH_CHARS_MAX {
            self.breach(&format!("the download path of {name:?} has more than {DOWNLOAD_PATH_CHARS_MAX} characters"));
        }
        Some(Artifact { name, size_bytes: size_bytes?, sha1: sha1?, md5: md5?, sha256: sha256?, url })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    Proceeding,
    Download,
    Downloaded,
    Closed,
    Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    None,
    Success,
    Failure,
}

/// Where feedback on what a link shows is sent.
pub fn feedback_url(link: &str) -> String {
    format!("{}/feedback", link.split('?').next().unwrap_or(link))
}

pub fn feedback(
    timestamp_ms: i64,
    execution: Execution,
    finished: Finished,
    progress: Option<(u32, u32)>,
    details: &[String],
) -> Bytes {
    let execution = match execution {
        Execution::Proceeding => "proceeding",
        Execution::Download => "download",
        Execution::Downloaded => "downloaded",
        Execution::Closed => "closed",
        Execution::Rejected => "rejected",
    };
    let finished = match finished {
        Finished::None => "none",
        Finished::Success => "success",
        Finished::Failure => "failure",
    };
    let mut result = json!({ "finished": finished });
    if let Some((cnt, of)) = progress {
        result["progress"] = json!({ "cnt": cnt, "of": of });
    }
    let status = json!({ "execution": execution, "result": result, "details": details });
    written(&json!({ "timestamp": timestamp_ms, "status": status }))
}

pub fn consent(given: bool) -> Bytes {
    match given {
        true => written(&json!({ "confirmation": "confirmed", "code": 1, "details": ["the user agreed"] })),
        false => written(&json!({ "confirmation": "denied", "code": -1, "details": ["the user said: not now"] })),
    }
}

pub fn config_data(attributes: &[(&str, String)]) -> Bytes {
    let data = attributes.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
    written(&json!({ "mode": "merge", "data": Value::Object(data.collect()) }))
}

fn written(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

fn confirmation_offer(url: String) -> Offer {
    Offer::Confirmation { action: last_number(&url), url }
}

/// The action id that a link ends with, before its query.
fn last_number(url: &str) -> Option<ActionId> {
    let path = url.split('?').next().unwrap_or(url);
    let number = path.rsplit('/').next()?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse::<i32>().ok().filter(|number| plain && *number > 0)?;
    Some(ActionId(i64::from(number)))
}

fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn parse_sleep(text: &str) -> Option<Duration> {
    let digits = |range| text.get(range).filter(|part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()));
    let number = |range, below: u64| digits(range)?.parse::<u64>().ok().filter(|number| *number < below);
    if text.len() != 8 || text.get(2..3) != Some(":") || text.get(5..6) != Some(":") {
        return None;
    }
    let seconds = number(0..2, 24)? * 3600 + number(3..5, 60)? * 60 + number(6..8, 60)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "http://127.0.0.1:8080";

    fn breaches_of(body: &str, read: impl Fn(Judge<'_>, &[u8])) -> Vec<String> {
        let stats = Stats::default();
        read(Judge { stats: &stats, device: "sim-1", origin: ORIGIN }, body.as_bytes());
        stats.snapshot().breach_samples
    }

    fn root_with(links: &str) -> String {
        format!(r#"{{"config":{{"polling":{{"sleep":"00:05:00"}}}},"_links":{{{links}}}}}"#)
    }

    #[test]
    fn sleep_is_eight_characters_and_below_a_day() {
        assert_eq!(parse_sleep("00:05:00"), Some(Duration::from_secs(300)));
        assert_eq!(parse_sleep("23:59:59"), Some(Duration::from_secs(86399)));
        for text in ["", "0:05:00", "00:00:00", "24:00:00", "00:60:00", "00:05:0x", "+1:05:00", "00-05-00", "é0:05:0"]
        {
            assert_eq!(parse_sleep(text), None, "{text}");
        }
    }

    #[test]
    fn a_root_as_hawkbit_sends_it_is_clean() {
        let links = r#""deploymentBase":{"href":"http://127.0.0.1:8080/DEFAULT/controller/v1/sim-1/deploymentBase/7?c=-212"},
            "configData":{"href":"http://127.0.0.1:8080/DEFAULT/controller/v1/sim-1/configData"}"#;
        let stats = Stats::default();
        let judge = Judge { stats: &stats, device: "sim-1", origin: ORIGIN };
        let root = judge.root(root_with(links).as_bytes());
        assert_eq!(stats.snapshot().breach_samples, Vec::<String>::new());
        assert_eq!(root.sleep, Some(Duration::from_secs(300)));
        assert!(root.config_data.is_some());
        assert!(matches!(root.offer, Some(Offer::Deployment { action: ActionId(7), .. })));
    }

    #[test]
    fn each_breach_of_a_root_is_named() {
        let link = |name: &str, rest: &str| format!(r#""{name}":{{"href":"{ORIGIN}/DEFAULT/controller/v1/s/{rest}"}}"#);
        let two =
            format!("{},{}", link("deploymentBase", "deploymentBase/7?c=1"), link("cancelAction", "cancelAction/7"));
        for (body, says) in [
            ("[]".to_owned(), "not a JSON object"),
            ("{}".to_owned(), "sleep is missing"),
            (r#"{"config":{"polling":{"sleep":"300"}}}"#.to_owned(), "is not a time"),
            (root_with(&link("deploymentBase", "deploymentBase/7")), "?c="),
            (root_with(&link("deploymentBase", "deploymentBase/0?c=1")), "no action id"),
            (root_with(&link("deploymentBase", "deploymentBase/4294967296?c=1")), "no action id"),
            (root_with(&link("deploymentBase", &format!("deploymentBase/7?c={}", "1".repeat(40)))), "more than 49"),
            (root_with(r#""configData":{"href":"/DEFAULT/controller/v1/s/configData"}"#), "does not start with"),
            (root_with(r#""configData":{}"#), "no href"),
            (root_with(&two), "more than one"),
        ] {
            let breaches = breaches_of(&body, |judge, body| {
                judge.root(body);
            });
            assert!(breaches.iter().any(|breach| breach.contains(says)), "{body} gave {breaches:?}");
        }
    }

    #[test]
    fn each_breach_of_a_deployment_is_named() {
        let artifact = |hashes: &str, links: &str| {
            format!(
                r#"{{"id":"7","deployment":{{"download":"forced","update":"forced","chunks":[{{"part":"os","name":"os",
                "version":"1.1","artifacts":[{{"filename":"f","size":1,"hashes":{{{hashes}}},"_links":{{{links}}}}}]}}]}}}}"#
            )
        };
        let hashes = format!(r#""sha1":"{:040}","md5":"{:032}","sha256":"{:064}""#, 0, 0, 0);
        let links = format!(r#""download-http":{{"href":"{ORIGIN}/f"}},"md5sum-http":{{"href":"{ORIGIN}/f.MD5SUM"}}"#);
        let read = |judge: Judge<'_>, body: &[u8]| {
            judge.deployment(ActionId(7), body, "deployment");
        };
        assert_eq!(breaches_of(&artifact(&hashes, &links), read), Vec::<String>::new());
        for (body, says) in [
            (artifact(&hashes.replace("sha1", "sha512"), &links), "no lower case sha1"),
            (artifact(&hashes.replace(&"0".repeat(64), &"A".repeat(64)), &links), "no lower case sha256"),
            (artifact(&hashes, &links.replace("download-http", "download")), "no download-http"),
            (artifact(&hashes, &links).replace(r#""id":"7""#, r#""id":7"#), "not the text"),
            (artifact(&hashes, &links).replace(r#""size":1,"#, ""), "no size"),
            (artifact(&hashes, &links).replace(r#""update":"forced""#, r#""update":"maybe""#), "not skip"),
        ] {
            let breaches = breaches_of(&body, read);
            assert!(breaches.iter().any(|breach| breach.contains(says)), "{body} gave {breaches:?}");
        }
    }

    #[test]
    fn writes_are_answered_by_exactly_200() {
        for status in [201, 202, 204, 400, 415] {
            let breaches = breaches_of("", |judge, _| judge.write_status("feedback", status));
            assert_eq!(breaches, [format!("sim-1: feedback was answered {status}, not 200")]);
        }
        assert_eq!(breaches_of("", |judge, _| judge.write_status("feedback", 410)), Vec::<String>::new());
    }
}
