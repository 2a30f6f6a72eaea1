//! What people and devices write in our own languages: names, selectors, windows, templates, marks, messages.

use std::collections::BTreeMap;

use muster_domain::configuration::check::check_path;
use muster_domain::configuration::render::{Facts, Renderer};
use muster_domain::configuration::{Configuration, File, Spec, template};
use muster_domain::window::Window;
use muster_vocab::selector::Selector;
use muster_vocab::selector::schema::DEVICE_SCHEMA;
use muster_vocab::{Name, Sha256, Timestamp, limit, secret_mark};
use muster_wire::agent::{Configuration as Files, Deployment, Join, Orders, Reports, SecretsAsk};

use crate::text;

/// What the agent and the server tell each other.
pub fn device_messages(data: &[u8]) {
    let _ = serde_json::from_slice::<Join>(data);
    let _ = serde_json::from_slice::<Reports>(data);
    let _ = serde_json::from_slice::<SecretsAsk>(data);
    let _ = serde_json::from_slice::<Orders>(data);
    let _ = serde_json::from_slice::<Deployment>(data);
    let _ = serde_json::from_slice::<Files>(data);
}

pub fn name(data: &[u8]) {
    if let Ok(name) = Name::parse(text(data)) {
        assert_eq!(name.as_str(), text(data));
    }
    let _ = text(data).parse::<Sha256>();
    let _ = Timestamp::parse(text(data));
    if check_path(text(data)).is_ok() {
        assert!(text(data).starts_with('/') && !text(data).split('/').any(|part| part == ".."), "{}", text(data));
    }
}

pub fn mark(data: &[u8]) {
    let text = text(data);
    let filled = secret_mark::fill(text, |_| Some("")).expect("each mark has a value");
    assert!(filled.len() <= text.len());
    assert!(secret_mark::marks(text).len() <= text.len());
}

/// What is printed means the same.
pub fn selector(data: &[u8]) {
    if let Ok(selector) = Selector::parse(text(data), &DEVICE_SCHEMA) {
        let printed = selector.to_string();
        let again = Selector::parse(&printed, &DEVICE_SCHEMA);
        assert_eq!(again.as_ref(), Ok(&selector), "{printed}");
    }
}

/// Checked and rendered: neither takes long, and what is rendered has a bound.
pub fn template_text(data: &[u8]) {
    if template::check(text(data)).is_err() {
        return;
    }
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let (labels, attributes) = (map(&[("site", "north")]), map(&[("net.mac", "aa:bb")]));
    let secrets = [("wifi".to_owned(), 1)].into();
    let facts = Facts { device: "d1", project: "default", labels: &labels, attributes: &attributes, secrets: &secrets };
    let rendered = Renderer::default().render(&[&configuration(text(data))], &facts);
    let bytes: usize = rendered.unwrap_or_default().iter().map(|file| file.content.len()).sum();
    assert!(bytes <= limit::RENDERED_BYTES_MAX, "{bytes} bytes were rendered");
}

fn configuration(template: &str) -> Configuration {
    let file = File {
        path: "/etc/net.conf".into(),
        content: template.to_owned(),
        mode: Some("0600".into()),
        owner: None,
        validate: Vec::new(),
        reload: Vec::new(),
    };
    let at = Timestamp(0);
    let spec = Spec { select: "all".into(), priority: 1, files: vec![file] };
    Configuration { name: "net".into(), spec, created_at: at, updated_at: at, updated_by: "admin".into(), revision: 1 }
}

pub fn window(data: &[u8]) {
    let _ = Window::parse(text(data));
}
