//! What shall one device's files hold?

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::Object;
use minijinja::{Environment, ErrorKind, Value};
use muster_vocab::limit;
use muster_vocab::secret_mark::{Mark, marks};

use super::check::folder_in;
use super::template::engine;
use super::{Configuration, File};

/// Characters of an expression or a problem that are told.
const TOLD_CHARS_MAX: usize = 200;

/// Of a file that holds a secret and says nothing of its mode.
const PRIVATE: &str = "0600";

/// What templates know of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    pub device: &'a str,
    pub project: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub attributes: &'a BTreeMap<String, String>,
    /// Names and versions of the project's secrets: templates get marks, never values.
    pub secrets: &'a BTreeMap<String, u64>,
}

/// Why a device gets nothing. Each names the device, the file and what is to be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotRender {
    #[error("{value:?} is missing for device {device:?}: {path} of configuration {configuration:?}, line {line}")]
    Missing { value: String, device: String, configuration: String, path: String, line: usize },
    #[error(
        "{path} of configuration {configuration:?} can't be rendered for device {device:?}: {problem}, line {line}"
    )]
    Template { problem: String, device: String, configuration: String, path: String, line: usize },
    #[error("configurations {one:?} and {other:?} both give {path} to device {device:?}")]
    SamePath { one: String, other: String, path: String, device: String },
    #[error("device {device:?} would get {folder:?} as a file and {path:?} in it")]
    Folder { folder: String, path: String, device: String },
    #[error(
        "{path} of configuration {configuration:?} can't be rendered for device {device:?}: secrets are written out as \
         they are; take filters, tests and conditions off them, and nothing else may look like the mark of one"
    )]
    SecretChanged { device: String, configuration: String, path: String },
    #[error("{path} of configuration {configuration:?} holds a secret and can be read by everybody: give it mode 0640")]
    SecretReadable { configuration: String, path: String },
    #[error("the files of device {device:?} have more than {max} bytes together: {path} of configuration {configuration:?} is too much", max = limit::RENDERED_BYTES_MAX)]
    TooLarge { device: String, configuration: String, path: String },
}

/// Renders many devices with one engine.
#[derive(Debug)]
pub struct Renderer {
    engine: Environment<'static>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self { engine: engine() }
    }
}

impl Renderer {
    /// All files of a device, from the configurations that match it: a higher priority first, then by name.
    pub fn render(&self, matching: &[&Configuration], facts: &Facts<'_>) -> Result<Vec<File>, CannotRender> {
        let mut sorted = matching.to_vec();
        sorted.sort_by(|a, b| (b.spec.priority, &a.name).cmp(&(a.spec.priority, &b.name)));
        check_paths(&sorted, facts)?;
        let secrets = Arc::new(Secrets { versions: facts.secrets.clone(), asked: AtomicUsize::new(0) });
        let known = known(facts, &secrets);
        let mut files = Vec::new();
        let mut left = limit::RENDERED_BYTES_MAX;
        for configuration in sorted {
            for file in &configuration.spec.files {
                let place = Place { configuration: &configuration.name, path: &file.path, device: facts.device };
                secrets.asked.store(0, Ordering::Relaxed);
                let content = self.render_one(&file.content, &known, left).map_err(|failed| place.told(failed))?;
                left -= content.len();
                let mode = place.mode(file, marks(&content).len(), secrets.asked.load(Ordering::Relaxed))?;
                files.push(File { content, mode, ..file.clone() });
            }
        }
        Ok(files)
    }

    fn render_one(&self, template: &str, known: &Value, bytes_max: usize) -> Result<String, Failed> {
        let mut output = Bounded { bytes: Vec::new(), bytes_max, is_full: false };
        let failed = |bad: minijinja::Error, is_full: bool| {
            if is_full { Failed::TooLarge } else { Failed::Engine(Box::new(bad), template.to_owned()) }
        };
        let compiled = self.engine.template_from_str(template).map_err(|bad| failed(bad, false))?;
        let rendered = compiled.render_captured_to(known, &mut output).map(drop);
        rendered.map_err(|bad| failed(bad, output.is_full))?;
        Ok(String::from_utf8(output.bytes).expect("the engine writes UTF-8"))
    }
}

/// Before anything is rendered: the same answer whatever the templates hold.
fn check_paths(matching: &[&Configuration], facts: &Facts<'_>) -> Result<(), CannotRender> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let device = || facts.device.to_owned();
    for configuration in matching {
        for file in &configuration.spec.files {
            if let Some(one) = owners.insert(&file.path, &configuration.name) {
                let (one, other) = (one.to_owned(), configuration.name.clone());
                return Err(CannotRender::SamePath { one, other, path: file.path.clone(), device: device() });
            }
        }
    }
    let paths: BTreeSet<&str> = owners.keys().copied().collect();
    match paths.iter().find_map(|path| folder_in(path, &paths).map(|folder| (folder, path))) {
        Some((folder, path)) => {
            Err(CannotRender::Folder { folder: folder.to_owned(), path: (*path).to_owned(), device: device() })
        }
        None => Ok(()),
    }
}

fn known(facts: &Facts<'_>, secrets: &Arc<Secrets>) -> Value {
    let texts =
        |map: &BTreeMap<String, String>| Value::from_iter(map.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut known = BTreeMap::from([
        ("device", Value::from(facts.device)),
        ("project", Value::from(facts.project)),
        ("label", texts(facts.labels)),
        ("attribute", texts(facts.attributes)),
        ("secret", Value::from_dyn_object(secrets.clone())),
    ]);
    if let Some(site) = facts.labels.get("site") {
        known.insert("site", Value::from(site.as_str()));
    }
    Value::from_iter(known)
}

/// What `secret` is in a template: each name gives a mark, and each look is counted.
#[derive(Debug)]
struct Secrets {
    versions: BTreeMap<String, u64>,
    asked: AtomicUsize,
}

impl Object for Secrets {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let version = *self.versions.get(name)?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        Some(Value::from(Mark { name, version }.to_string()))
    }
}

#[derive(Debug)]
enum Failed {
    TooLarge,
    /// With the template, so that the expression can be named.
    Engine(Box<minijinja::Error>, String),
}

#[derive(Debug)]
struct Place<'a> {
    configuration: &'a str,
    path: &'a str,
    device: &'a str,
}

impl Place<'_> {
    /// The file's mode, if it holds `marked` marks and the template looked at `asked` secrets: only its owner may read
    /// it if nothing else is said.
    fn mode(&self, file: &File, marked: usize, asked: usize) -> Result<Option<String>, CannotRender> {
        let (configuration, path) = (self.configuration.to_owned(), self.path.to_owned());
        if marked != asked {
            return Err(CannotRender::SecretChanged { device: self.device.to_owned(), configuration, path });
        }
        if marked == 0 {
            return Ok(file.mode.clone());
        }
        let mode = file.mode.as_deref().unwrap_or(PRIVATE);
        match u32::from_str_radix(mode, 8) {
            Ok(bits) if bits & 0o007 == 0 => Ok(Some(mode.to_owned())),
            _ => Err(CannotRender::SecretReadable { configuration, path }),
        }
    }

    fn told(&self, failed: Failed) -> CannotRender {
        let (configuration, path) = (self.configuration.to_owned(), self.path.to_owned());
        let device = self.device.to_owned();
        match failed {
            Failed::TooLarge => CannotRender::TooLarge { device, configuration, path },
            Failed::Engine(bad, template) => {
                let line = bad.line().unwrap_or(1);
                if bad.kind() == ErrorKind::UndefinedError {
                    let value = expression(&bad, &template);
                    return CannotRender::Missing { value, device, configuration, path, line };
                }
                let problem = match bad.kind() {
                    ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
                    kind => bad.detail().map_or_else(|| kind.to_string(), str::to_owned),
                };
                let problem = problem.chars().take(TOLD_CHARS_MAX).collect();
                CannotRender::Template { problem, device, configuration, path, line }
            }
        }
    }
}

/// The part of the template that names what is missing.
fn expression(bad: &minijinja::Error, template: &str) -> String {
    let Some(range) = bad.range().filter(|range| template.get(range.clone()).is_some()) else {
        return "a value".into();
    };
    let before = template[..range.start].trim_end();
    // The engine points at a filter's name; what it was given stands before it.
    let start = if before.ends_with('|') { before.rfind(['{', '%']).map_or(0, |at| at + 1) } else { range.start };
    let text = template[start..range.end].trim_start_matches("{{").trim_end_matches("}}");
    text.trim_matches(|c: char| c.is_whitespace() || c == '-').chars().take(TOLD_CHARS_MAX).collect()
}

/// Takes so many bytes and no more.
#[derive(Debug)]
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.bytes_max {
            self.is_full = true;
            return Err(io::Error::other("the output is too large"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
