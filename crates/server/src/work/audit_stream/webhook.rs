//! How does an audit record look to a webhook?
//!
//! A batch of CloudEvents 1.0 in JSON, signed as Standard Webhooks asks. Any answer of 200 to 299 is a receipt.

use muster_trust::audit::export::Exported;
use muster_trust::webhook::{Key, seconds};
use muster_vocab::{Timestamp, limit};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::StreamError;

/// CloudEvents JSON format, 4.
const CONTENT_TYPE: &str = "application/cloudevents-batch+json";

#[derive(Debug)]
pub struct Webhook {
    url: String,
    key: Option<Key>,
    agent: Agent,
}

impl Webhook {
    /// `roots`: PEM; the authorities that everybody trusts if none.
    #[must_use]
    pub fn new(url: String, key: Option<Key>, roots: Option<&str>) -> Self {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = roots {
            let found = parse_pem(pem.as_bytes()).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                Ok(_) | Err(_) => None,
            });
            tls = tls.root_certs(RootCerts::Specific(std::sync::Arc::new(found.collect())));
        }
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(limit::WEBHOOK_TIMEOUT))
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build();
        Self { url, key, agent: config.into() }
    }

    pub(super) async fn deliver(&self, log: &str, records: &[Exported], now: Timestamp) -> Result<(), StreamError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let id = format!("audit-{log}-{}-{}", first.sequence, last.sequence);
        let body = json!(records.iter().map(|record| event(log, record)).collect::<Vec<Value>>()).to_string();
        let signature = self.key.as_ref().map(|key| key.sign(&id, now, &body));
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", CONTENT_TYPE)
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds(now).to_string());
        if let Some(signature) = signature {
            request = request.header("webhook-signature", signature);
        }
        let name = format!("the webhook {}", self.url);
        let sent = tokio::task::spawn_blocking(move || request.send(body));
        let answer = match sent.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failed)) => return Err(StreamError::Request(name, failed.to_string())),
            Err(failed) => return Err(StreamError::Request(name, failed.to_string())),
        };
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            status => Err(StreamError::Refused(name, status)),
        }
    }
}

/// CloudEvents 1.0, 3.
fn event(log: &str, record: &Exported) -> Value {
    json!({
        "specversion": "1.0",
        "id": record.sequence.to_string(),
        "source": format!("muster/{log}"),
        "type": format!("muster.audit.{}", record.action),
        "subject": record.target,
        "time": Timestamp(record.at),
        "datacontenttype": "application/json",
        "data": record,
    })
}

#[cfg(test)]
mod tests {
    use muster_trust::audit::START;

    use super::*;

    /// Golden: never edit; receivers read it.
    #[test]
    fn a_record_becomes_a_cloud_event() {
        let record = Exported {
            sequence: 17,
            at: 1_795_000_000_000,
            actor: "account:ann".into(),
            action: "rollout.start".into(),
            target: "rollout:r-1".into(),
            detail: "{}".into(),
            context: String::new(),
            previous: START,
            digest: START,
        };
        let told = event("plant", &record);
        assert_eq!(told["specversion"], "1.0");
        assert_eq!((&told["id"], &told["source"]), (&json!("17"), &json!("muster/plant")));
        assert_eq!((&told["type"], &told["subject"]), (&json!("muster.audit.rollout.start"), &json!("rollout:r-1")));
        assert_eq!(told["time"], "2026-11-18T11:06:40.000Z");
        assert_eq!(told["data"]["digest"], json!(START));
        assert_eq!(told.as_object().unwrap().len(), 8);
    }
}
