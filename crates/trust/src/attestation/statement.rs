//! What does an in-toto statement say, and about which artifacts?

use std::collections::BTreeMap;

use muster_vocab::Sha256;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{BadAttestation, Said, SbomFormat, json, sbom};

const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(default)]
    subject: Vec<Subject>,
    predicate_type: String,
    #[serde(borrow)]
    predicate: &'a RawValue,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// SLSA v1 has the builder in `runDetails`, v0.2 beside the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provenance {
    run_details: Option<RunDetails>,
    builder: Option<Builder>,
}

#[derive(Deserialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Deserialize)]
struct Builder {
    id: String,
}

pub(super) fn read(payload: &[u8]) -> Result<(Vec<Sha256>, Said), BadAttestation> {
    let statement: Statement<'_> =
        serde_json::from_slice(payload).map_err(|bad| BadAttestation::Json(bad.to_string()))?;
    let told = |text: &str| text.chars().take(80).collect::<String>();
    if !TYPES.contains(&statement.kind.as_str()) {
        return Err(BadAttestation::StatementType(told(&statement.kind)));
    }
    let digests = statement.subject.iter().filter_map(|subject| subject.digest.get("sha256"));
    let subjects: Vec<Sha256> =
        digests.filter_map(|digest| format!("sha256:{}", digest.to_ascii_lowercase()).parse().ok()).collect();
    if subjects.is_empty() {
        return Err(BadAttestation::Subject);
    }
    let predicate = statement.predicate.get().as_bytes();
    let said = match statement.predicate_type.as_str() {
        "https://slsa.dev/provenance/v1" | "https://slsa.dev/provenance/v0.2" => provenance(predicate)?,
        kind if kind.starts_with("https://cyclonedx.org/bom") => sbom::of(SbomFormat::CycloneDx, predicate)?,
        kind if kind.starts_with("https://spdx.dev/Document") => sbom::of(SbomFormat::Spdx, predicate)?,
        other => return Err(BadAttestation::Predicate(told(other))),
    };
    Ok((subjects, said))
}

fn provenance(predicate: &[u8]) -> Result<Said, BadAttestation> {
    let read: Provenance = json(predicate)?;
    let builder = read.run_details.map(|details| details.builder).or(read.builder);
    let builder = builder.map(|builder| builder.id).filter(|id| !id.is_empty()).ok_or(BadAttestation::Builder)?;
    Ok(Said::Provenance { builder })
}
