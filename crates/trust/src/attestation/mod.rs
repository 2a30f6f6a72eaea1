//! What does a document say of an artifact, and who signed it?
//!
//! Bills of materials (CycloneDX and SPDX, JSON) as they are or signed, and provenance (SLSA), always signed: a DSSE
//! envelope around an in-toto statement. Nothing here says what is required; that is a project's policy.

pub mod dsse;
mod sbom;
mod statement;
#[cfg(test)]
mod tests;

use muster_vocab::Sha256;

use self::dsse::Envelope;

/// Packages that are read from one bill: a whole distribution, several times over.
pub const PACKAGES_MAX: usize = 50_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAttestation {
    #[error("it is not JSON: {0}")]
    Json(String),
    #[error(
        "it is neither a DSSE envelope nor a bill of materials: CycloneDX JSON has bomFormat, SPDX JSON spdxVersion"
    )]
    Unknown,
    #[error("the envelope's payload is not base64")]
    Payload,
    #[error("the envelope holds {0}; only application/vnd.in-toto+json is known")]
    PayloadType(String),
    #[error("the statement is of type {0}; in-toto statements v0.1 and v1 are known")]
    StatementType(String),
    #[error("the statement says {0}; SLSA provenance, CycloneDX and SPDX are known")]
    Predicate(String),
    #[error("the statement is about nothing that has a SHA-256")]
    Subject,
    #[error("the provenance names no builder")]
    Builder,
    #[error("{0} is not known; CycloneDX 1.2 to 1.7 and SPDX 2.2 and 2.3 are")]
    Version(String),
    #[error("it lists more than {PACKAGES_MAX} packages")]
    TooMany,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SbomFormat {
    CycloneDx,
    Spdx,
}

/// A part of an artifact, as far as a scanner needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// Package URL; empty if there is none.
    pub purl: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Sbom {
        format: SbomFormat,
        packages: Vec<Package>,
    },
    /// Who built it.
    Provenance {
        builder: String,
    },
}

/// A document, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    pub said: Said,
    /// The artifacts it names. A bill that is not in an envelope names none.
    pub subjects: Vec<Sha256>,
    /// None: it is not signed.
    pub envelope: Option<Envelope>,
}

impl Attestation {
    pub fn read(bytes: &[u8]) -> Result<Self, BadAttestation> {
        match dsse::read(bytes)? {
            Some((envelope, payload)) => {
                let (subjects, said) = statement::read(&payload)?;
                Ok(Self { said, subjects, envelope: Some(envelope) })
            }
            None => Ok(Self { said: sbom::read(bytes)?, subjects: Vec::new(), envelope: None }),
        }
    }
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, BadAttestation> {
    serde_json::from_slice(bytes).map_err(|bad| BadAttestation::Json(bad.to_string()))
}
