//! What exactly is signed when a release is signed?
//!
//! A release's statement: all that a device needs to know whether an order is that release and nothing else. It is
//! worked out from the release on one side and from the order on the other, and never travels: the target in the
//! channel's document has its length and hash, and the counter.

use std::collections::BTreeMap;

use muster_vocab::Sha256;
use serde_json::{Value, json};

use crate::tuf::canonical;
use crate::tuf::document::{self, Target};

/// A release as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub release: String,
    pub version: String,
    /// Grows with every release that is signed for a project; a device never goes back to a lower one.
    pub counter: u64,
    pub components: Vec<SignedComponent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedComponent {
    pub name: String,
    pub version: String,
    pub metadata: BTreeMap<String, String>,
    pub artifacts: Vec<SignedArtifact>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedArtifact {
    pub file_name: String,
    pub size: u64,
    pub digest: Sha256,
}

impl Statement {
    /// The bytes of the target. The order of the components is not part of it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let artifact = |artifact: &SignedArtifact| json!({ "digest": artifact.digest, "file_name": artifact.file_name, "size": artifact.size });
        let component = |component: &SignedComponent| {
            json!({
                "artifacts": component.artifacts.iter().map(artifact).collect::<Vec<_>>(),
                "metadata": component.metadata,
                "name": component.name,
                "version": component.version,
            })
        };
        let mut components: Vec<&SignedComponent> = self.components.iter().collect();
        components.sort_by(|a, b| a.name.cmp(&b.name));
        let whole = json!({
            "components": components.into_iter().map(component).collect::<Vec<_>>(),
            "counter": self.counter,
            "release": self.release,
            "version": self.version,
        });
        canonical::bytes(&whole).expect("a statement has texts and whole numbers only")
    }

    /// What the signer says about it besides.
    #[must_use]
    pub fn custom(&self) -> Value {
        json!({ "counter": self.counter, "version": self.version })
    }

    /// Whether this target is this statement.
    #[must_use]
    pub fn is(&self, target: &Target) -> bool {
        document::matches(&self.bytes(), Some(target.length), &target.hashes)
            && counter_of(target) == Some(self.counter)
    }
}

/// The counter that the signer gave to a release.
#[must_use]
pub fn counter_of(target: &Target) -> Option<u64> {
    target.custom.get("counter").and_then(Value::as_u64)
}

/// The name of a channel's role.
#[must_use]
pub fn channel_role(channel: &str) -> String {
    format!("channel-{channel}")
}

/// The path under which a channel vouches for a release.
#[must_use]
pub fn release_path(channel: &str, release: &str, version: &str) -> String {
    format!("{channel}/{release}@{version}")
}
