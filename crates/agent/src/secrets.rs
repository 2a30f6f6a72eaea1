//! How do the values get into a device's files, and nowhere else?
//!
//! Files arrive with marks in them. Values are asked for just before the files are written, sealed for a key made for this
//! one question; they are never in the agent's own files, and taken out of what it tells.

use std::collections::BTreeMap;

use muster_trust::delivery::{self, Asking};
use muster_vocab::secret_mark::{fill, marks};
use muster_wire::agent::{Configuration, SealedSecrets, SecretsAsk};

use crate::world::Proof;

/// Shorter values are part of too many words to be taken out.
const HIDDEN_BYTES_MIN: usize = 4;

/// Values by their marks.
#[derive(Default)]
pub struct Secrets(BTreeMap<String, String>);

#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("its files hold secrets, and this device has no key of its own: let it join over HTTPS")]
    NoIdentity,
    #[error(transparent)]
    Delivery(#[from] delivery::DeliveryError),
    #[error("the server's answer holds no sealed secrets")]
    Answer,
    #[error("the server sent no value for a secret in {0}")]
    Missing(String),
}

/// Whether values are to be asked for.
#[must_use]
pub fn needs(wanted: &Configuration) -> bool {
    wanted.files.iter().any(|file| !marks(&file.content).is_empty())
}

/// The question; what it returns with opens the answer.
pub fn ask(version: u64, prove: impl FnOnce(&[u8]) -> Option<Proof>) -> Result<(Asking, SecretsAsk), SecretsError> {
    let asking = Asking::new()?;
    let key = asking.public();
    let proof = prove(&delivery::asked(&key)).ok_or(SecretsError::NoIdentity)?;
    let ask = SecretsAsk {
        configuration: version,
        key: delivery::text(&key),
        public_key: delivery::text(&proof.public_key),
        scheme: proof.scheme,
        signature: delivery::text(&proof.signature),
    };
    Ok((asking, ask))
}

impl Secrets {
    pub fn open(asking: Asking, answer: &SealedSecrets) -> Result<Self, SecretsError> {
        let sealed = delivery::bytes(&answer.sealed).ok_or(SecretsError::Answer)?;
        let plain = asking.open(&sealed)?;
        serde_json::from_slice(&plain).map(Self).map_err(|_| SecretsError::Answer)
    }

    /// The files with values in place of the marks.
    pub fn fill(&self, mut wanted: Configuration) -> Result<Configuration, SecretsError> {
        for file in &mut wanted.files {
            let filled = fill(&file.content, |mark| self.0.get(&mark.to_string()).map(String::as_str));
            file.content = filled.ok_or_else(|| SecretsError::Missing(file.path.clone()))?;
        }
        Ok(wanted)
    }

    /// Lines without values: what a command says about a file may quote it.
    #[must_use]
    pub fn hide(&self, mut lines: Vec<String>) -> Vec<String> {
        for (mark, value) in self.0.iter().filter(|(_, value)| value.len() >= HIDDEN_BYTES_MIN) {
            let name = marks(mark).first().map_or(mark.as_str(), |mark| mark.name).to_owned();
            // A value of several lines is quoted line by line.
            for part in value.lines().filter(|part| part.len() >= HIDDEN_BYTES_MIN) {
                lines.iter_mut().for_each(|line| *line = line.replace(part, &format!("[secret {name}]")));
            }
        }
        lines
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use muster_wire::agent::ConfigurationFile;

    use super::*;

    fn wanted(content: &str) -> Configuration {
        let file = ConfigurationFile {
            path: "/etc/a".into(),
            content: content.into(),
            mode: None,
            owner: None,
            validate: Vec::new(),
            reload: Vec::new(),
        };
        Configuration { version: 3, files: vec![file] }
    }

    fn secrets() -> Secrets {
        Secrets(BTreeMap::from([("{muster-secret:db:3}".to_owned(), "hunter2".to_owned())]))
    }

    #[test]
    fn marks_are_filled_and_a_missing_value_is_told_by_its_file() {
        assert!(needs(&wanted("{muster-secret:db:3}")) && !needs(&wanted("plain")));
        let filled = secrets().fill(wanted("p={muster-secret:db:3}\n")).unwrap();
        assert_eq!(filled.files[0].content, "p=hunter2\n");
        let told = secrets().fill(wanted("{muster-secret:db:4}")).unwrap_err().to_string();
        assert_eq!(told, "the server sent no value for a secret in /etc/a");
    }

    #[test]
    fn values_are_taken_out_of_what_is_told_and_never_printed() {
        let lines = secrets().hide(vec!["line 1: bad value hunter2".into()]);
        assert_eq!(lines, ["line 1: bad value [secret db]"]);
        assert!(!format!("{:?}", secrets()).contains("hunter2"));
    }

    #[test]
    fn the_answer_to_one_question_does_not_open_with_another() {
        let prove = |_: &[u8]| Some(Proof { public_key: vec![1], scheme: 2, signature: vec![3] });
        let (asking, question) = ask(3, prove).unwrap();
        let (other, _) = ask(3, prove).unwrap();
        let key = delivery::bytes(&question.key).unwrap();
        let sealed = delivery::seal(&key, b"{\"{muster-secret:db:3}\":\"hunter2\"}").unwrap();
        let answer = SealedSecrets { sealed: delivery::text(&sealed) };
        assert!(Secrets::open(other, &answer).is_err());
        let opened = Secrets::open(asking, &answer).unwrap();
        assert_eq!(opened.fill(wanted("{muster-secret:db:3}")).unwrap().files[0].content, "hunter2");
        assert!(matches!(ask(3, |_| None), Err(SecretsError::NoIdentity)));
    }
}
