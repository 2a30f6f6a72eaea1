//! What has to be said of a release, and by whom, before it is published?

use muster_vocab::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttestationKind {
    CycloneDx,
    Spdx,
    Provenance,
}

impl AttestationKind {
    #[must_use]
    pub fn is_sbom(self) -> bool {
        matches!(self, Self::CycloneDx | Self::Spdx)
    }
}

/// What a document says of one artifact of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    pub id: i64,
    pub artifact: Sha256,
    /// The document, itself an artifact.
    pub document: Sha256,
    pub kind: AttestationKind,
    /// It has signatures; whether one of them counts, says `signer`.
    pub is_signed: bool,
    /// The key of the project's ring that signed it.
    pub signer: Option<String>,
    pub builder: Option<String>,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// What a project demands of its releases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleasePolicy {
    /// A bill of materials of each artifact.
    pub sbom: bool,
    /// It has to be signed by a key of the ring.
    pub signed_sbom: bool,
    /// Provenance of each artifact, signed by a key of the ring.
    pub provenance: bool,
    /// Who may have built it; empty: anybody whose signature counts.
    pub builders: Vec<String>,
    /// Images of a kind that has signatures of its own (SWUpdate, RAUC, Mender, OCI) are signed by a key of the ring.
    pub inner_signature: bool,
}

/// Why a release can't be published, by its artifact's file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error("{0}: no bill of materials")]
    Sbom(String),
    #[error("{0}: no bill of materials that a key of the ring has signed")]
    SignedSbom(String),
    #[error("{0}: no provenance that a key of the ring has signed")]
    Provenance(String),
    #[error("{file}: built by {builder}, which the policy does not name")]
    Builder { file: String, builder: String },
    /// Whatever the policy is: a signature is there to be believed.
    #[error("{0}: a document whose signature is by no key of the ring; add the key and attach it again, or detach it")]
    Signature(String),
    #[error("{0}: an image without a signature of its own, which clients that see no signed metadata rely on")]
    InnerUnsigned(String),
    /// Once the ring has a key: devices would refuse it, or take what nobody of the project signed.
    #[error("{file}: the signature inside of the image is not to be believed: {why}")]
    Inner { file: String, why: String },
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerSignature {
    /// It is of no kind that has one.
    NotThisKind,
    Unsigned,
    /// By the ring's key of this name.
    Verified(String),
    Refused(String),
}

/// One artifact's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    pub artifact: Sha256,
    pub signature: InnerSignature,
}

impl ReleasePolicy {
    /// All that is missing. `artifacts`: digests and file names.
    #[must_use]
    pub fn missing(&self, artifacts: &[(Sha256, String)], said: &[Attestation]) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (digest, file) in artifacts {
            let about: Vec<&Attestation> = said.iter().filter(|one| one.artifact == *digest).collect();
            self.missing_of(file, &about, &mut missing);
        }
        missing
    }

    /// What is wrong with the images themselves. `has_ring`: somebody said whose signatures count. An artifact that
    /// nobody looked at is no reason to let it pass.
    #[must_use]
    pub fn wrong_inside(&self, artifacts: &[(Sha256, String)], inner: &[Inner], has_ring: bool) -> Vec<Missing> {
        let mut wrong = Vec::new();
        for (digest, file) in artifacts.iter().filter(|_| has_ring || self.inner_signature) {
            let found = inner.iter().find(|one| one.artifact == *digest).map(|one| &one.signature);
            match found {
                Some(InnerSignature::NotThisKind | InnerSignature::Verified(_)) => {}
                Some(InnerSignature::Unsigned) if !self.inner_signature => {}
                Some(InnerSignature::Unsigned) => wrong.push(Missing::InnerUnsigned(file.clone())),
                Some(InnerSignature::Refused(why)) => {
                    wrong.push(Missing::Inner { file: file.clone(), why: why.clone() });
                }
                None => wrong.push(Missing::Inner { file: file.clone(), why: "it was not looked at".to_owned() }),
            }
        }
        wrong
    }

    fn missing_of(&self, file: &str, about: &[&Attestation], missing: &mut Vec<Missing>) {
        let name = || file.to_owned();
        if about.iter().any(|one| one.is_signed && one.signer.is_none()) {
            missing.push(Missing::Signature(name()));
        }
        let mut sboms = about.iter().filter(|one| one.kind.is_sbom());
        if self.signed_sbom {
            if !sboms.any(|one| one.signer.is_some()) {
                missing.push(Missing::SignedSbom(name()));
            }
        } else if self.sbom && sboms.next().is_none() {
            missing.push(Missing::Sbom(name()));
        }
        let built = about.iter().filter(|one| one.kind == AttestationKind::Provenance && one.signer.is_some());
        let builders: Vec<&str> = built.filter_map(|one| one.builder.as_deref()).collect();
        if (self.provenance || !self.builders.is_empty()) && builders.is_empty() {
            missing.push(Missing::Provenance(name()));
        }
        // One that may not have built it is wrong, also beside one that may.
        let wrong = builders.iter().find(|builder| !self.builders.iter().any(|allowed| allowed == *builder));
        if let Some(builder) = wrong.filter(|_| !self.builders.is_empty()) {
            missing.push(Missing::Builder { file: name(), builder: (*builder).to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Sha256 = Sha256([1; 32]);

    fn said(kind: AttestationKind, signer: Option<&str>) -> Attestation {
        Attestation {
            id: 1,
            artifact: IMAGE,
            document: Sha256([9; 32]),
            kind,
            is_signed: signer.is_some() || kind == AttestationKind::Provenance,
            signer: signer.map(str::to_owned),
            builder: (kind == AttestationKind::Provenance).then(|| "ci".to_owned()),
            created_at: Timestamp(0),
            created_by: "ann".into(),
        }
    }

    fn missing(policy: &ReleasePolicy, said: &[Attestation]) -> Vec<Missing> {
        policy.missing(&[(IMAGE, "os.img".into())], said)
    }

    #[test]
    fn without_a_policy_nothing_is_missing_but_a_bad_signature_is() {
        let none = ReleasePolicy::default();
        assert_eq!(missing(&none, &[]), []);
        assert_eq!(missing(&none, &[said(AttestationKind::Spdx, None)]), []);
        let unsigned = said(AttestationKind::Provenance, None);
        assert_eq!(missing(&none, &[unsigned]), [Missing::Signature("os.img".into())]);
    }

    #[test]
    fn images_are_looked_into_once_somebody_said_whose_signatures_count() {
        let files = [(IMAGE, "os.swu".to_owned())];
        let inner = |signature| vec![Inner { artifact: IMAGE, signature }];
        let (none, strict) = (ReleasePolicy::default(), ReleasePolicy { inner_signature: true, ..Default::default() });
        let wrong =
            |policy: &ReleasePolicy, inner: &[Inner], has_ring| policy.wrong_inside(&files, inner, has_ring).len();
        for good in [InnerSignature::NotThisKind, InnerSignature::Verified("ci".into())] {
            assert_eq!(wrong(&strict, &inner(good), true), 0);
        }
        let (unsigned, refused) = (inner(InnerSignature::Unsigned), inner(InnerSignature::Refused("changed".into())));
        assert_eq!((wrong(&none, &unsigned, true), wrong(&strict, &unsigned, true)), (0, 1));
        assert_eq!((wrong(&none, &refused, false), wrong(&none, &refused, true)), (0, 1));
        assert_eq!((wrong(&strict, &refused, false), wrong(&none, &[], true)), (1, 1));
    }

    #[test]
    fn each_artifact_needs_its_own_documents() {
        let policy = ReleasePolicy { sbom: true, provenance: true, ..ReleasePolicy::default() };
        let all = [said(AttestationKind::Spdx, None), said(AttestationKind::Provenance, Some("ci"))];
        assert_eq!(missing(&policy, &all), []);
        let two = [(IMAGE, "os.img".into()), (Sha256([2; 32]), "app.tar".into())];
        let expected = [Missing::Sbom("app.tar".into()), Missing::Provenance("app.tar".into())];
        assert_eq!(policy.missing(&two, &all), expected);
    }

    #[test]
    fn a_signature_counts_only_by_the_ring_and_a_builder_only_by_the_policy() {
        let signed = ReleasePolicy { signed_sbom: true, ..ReleasePolicy::default() };
        let plain = said(AttestationKind::CycloneDx, None);
        assert_eq!(missing(&signed, std::slice::from_ref(&plain)), [Missing::SignedSbom("os.img".into())]);
        assert_eq!(missing(&signed, &[plain, said(AttestationKind::Spdx, Some("ci"))]), []);
        let builders = |names: &[&str]| ReleasePolicy {
            builders: names.iter().map(|name| (*name).to_owned()).collect(),
            ..ReleasePolicy::default()
        };
        let built = [said(AttestationKind::Provenance, Some("ring"))];
        assert_eq!(missing(&builders(&["ci"]), &built), []);
        let wrong = Missing::Builder { file: "os.img".into(), builder: "ci".into() };
        assert_eq!(missing(&builders(&["other"]), &built), [wrong]);
        assert_eq!(missing(&builders(&["ci"]), &[]), [Missing::Provenance("os.img".into())]);
    }
}
