//! A browser without a picture: it follows redirects, keeps cookies by host, and sends the forms it is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::exchange::{Answer, Payload, exchange};

/// More steps than any login takes.
const STEPS_MAX: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Browser {
    agent: ureq::Agent,
    cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    /// Believes these certificates (PEM) and no others.
    #[must_use]
    pub fn new(certificate: &str) -> Self {
        let found: Vec<Certificate<'static>> = parse_pem(certificate.as_bytes())
            .filter_map(|item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None })
            .collect();
        let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(found))).build();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls);
        Self { agent: config.build().into(), cookies: BTreeMap::new() }
    }

    /// Forgets all cookies.
    pub fn forget(&mut self) {
        self.cookies.clear();
    }

    /// One step, without following.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn step(&mut self, url: &str, form: Option<&[(String, String)]>) -> Answer {
        let host = origin(url);
        let mine = self.cookies.iter().filter(|((of, _), _)| *of == host);
        let cookies: Vec<String> = mine.map(|((_, name), value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let headers: Vec<(&str, &str)> = if cookies.is_empty() { vec![] } else { vec![("cookie", &cookies)] };
        let answer = match form {
            Some(fields) => {
                let body = encoded(fields);
                let payload = Payload::Bytes("application/x-www-form-urlencoded", body.as_bytes());
                exchange(&self.agent, "POST", url, &headers, payload)
            }
            None => exchange(&self.agent, "GET", url, &headers, Payload::None),
        };
        let answer = answer.unwrap_or_else(|failed| panic!("no answer: {failed:#}"));
        for set in answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()) {
            if let Some((name, value)) = set.split(';').next().and_then(|pair| pair.split_once('=')) {
                self.cookies.insert((host.clone(), name.to_owned()), value.to_owned());
            }
        }
        answer
    }

    /// Follows redirects until one leads to an address that begins like this; answers it.
    ///
    /// # Panics
    /// If it doesn't come there.
    pub fn follow(&mut self, url: &str, until: &str) -> String {
        let mut at = url.to_owned();
        for _ in 0..STEPS_MAX {
            let answer = self.step(&at, None);
            let next = answer.header("location").unwrap_or_else(|| panic!("no way on from {at}: {answer}"));
            at = absolute(&at, next);
            if at.starts_with(until) {
                return at;
            }
        }
        panic!("{url} never leads to {until}")
    }

    /// Follows redirects and sends each form, until a page has none; answers that page.
    ///
    /// # Panics
    /// If it never ends.
    pub fn click_through(&mut self, url: &str) -> Answer {
        let (mut at, mut form) = (url.to_owned(), None);
        for _ in 0..STEPS_MAX {
            let answer = self.step(&at, form.as_deref());
            form = None;
            if let Some(next) = answer.header("location") {
                at = absolute(&at, next);
                continue;
            }
            let fields = fields(&answer.text());
            if fields.is_empty() {
                return answer;
            }
            at = at.split('?').next().unwrap_or_default().to_owned();
            form = Some(fields);
        }
        panic!("{url} has no end")
    }
}

fn origin(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

fn absolute(base: &str, next: &str) -> String {
    if next.starts_with('/') { format!("{}{next}", origin(base)) } else { next.to_owned() }
}

/// The named inputs of a page with their values.
fn fields(page: &str) -> Vec<(String, String)> {
    let attribute = |input: &str, name: &str| {
        let from = input.split_once(&format!("{name}=\""))?.1;
        Some(from.split_once('"')?.0.to_owned())
    };
    let inputs = page.split("<input").skip(1).filter_map(|rest| rest.split_once('>')).map(|(input, _)| input);
    inputs.filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?))).collect()
}

fn encoded(fields: &[(String, String)]) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let text = |text: &str| text.bytes().map(byte).collect::<String>();
    fields.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join("&")
}
