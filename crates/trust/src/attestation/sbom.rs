//! Which packages are in an artifact, by its bill of materials?

use serde::Deserialize;

use super::{BadAttestation, PACKAGES_MAX, Package, Said, SbomFormat, json};

/// Nested components are walked to this depth: deeper ones are a bomb.
const DEPTH_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    bom_format: Option<String>,
    spdx_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CycloneDx {
    #[serde(default)]
    spec_version: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    purl: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spdx {
    spdx_version: String,
    #[serde(default)]
    packages: Vec<SpdxPackage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version_info: String,
    #[serde(default)]
    external_refs: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default)]
    reference_type: String,
    #[serde(default)]
    reference_locator: String,
}

/// A bill as it is, without envelope.
pub(super) fn read(bytes: &[u8]) -> Result<Said, BadAttestation> {
    let kind: Kind = json(bytes)?;
    match (kind.bom_format.as_deref(), kind.spdx_version) {
        (Some("CycloneDX"), _) => of(SbomFormat::CycloneDx, bytes),
        (None, Some(_)) => of(SbomFormat::Spdx, bytes),
        _ => Err(BadAttestation::Unknown),
    }
}

pub(super) fn of(format: SbomFormat, bytes: &[u8]) -> Result<Said, BadAttestation> {
    let packages = match format {
        SbomFormat::CycloneDx => cyclone_dx(json(bytes)?)?,
        SbomFormat::Spdx => spdx(json(bytes)?)?,
    };
    Ok(Said::Sbom { format, packages })
}

fn cyclone_dx(bill: CycloneDx) -> Result<Vec<Package>, BadAttestation> {
    let minor = bill.spec_version.strip_prefix("1.").and_then(|minor| minor.parse::<u8>().ok());
    if !minor.is_some_and(|minor| (2..=7).contains(&minor)) {
        return Err(BadAttestation::Version(format!("CycloneDX {:.20}", bill.spec_version)));
    }
    let mut packages = Vec::new();
    let mut waiting: Vec<(Component, usize)> = bill.components.into_iter().map(|one| (one, 0)).collect();
    while let Some((component, depth)) = waiting.pop() {
        let Component { name, version, purl, components } = component;
        add(&mut packages, Package { name, version, purl })?;
        if depth < DEPTH_MAX {
            waiting.extend(components.into_iter().map(|one| (one, depth + 1)));
        }
    }
    packages.reverse();
    Ok(packages)
}

fn spdx(bill: Spdx) -> Result<Vec<Package>, BadAttestation> {
    if !["SPDX-2.2", "SPDX-2.3"].contains(&bill.spdx_version.as_str()) {
        return Err(BadAttestation::Version(format!("{:.20}", bill.spdx_version)));
    }
    let mut packages = Vec::new();
    for package in bill.packages {
        let purl = package.external_refs.into_iter().find(|one| one.reference_type == "purl");
        let purl = purl.map(|one| one.reference_locator).unwrap_or_default();
        add(&mut packages, Package { name: package.name, version: package.version_info, purl })?;
    }
    Ok(packages)
}

/// Names are kept as they are, but not longer than anybody means them.
fn add(packages: &mut Vec<Package>, package: Package) -> Result<(), BadAttestation> {
    const CHARS_MAX: usize = 512;
    if packages.len() >= PACKAGES_MAX {
        return Err(BadAttestation::TooMany);
    }
    if package.name.is_empty() {
        return Ok(());
    }
    let cut = |text: String| if text.len() > CHARS_MAX { text.chars().take(CHARS_MAX).collect() } else { text };
    let Package { name, version, purl } = package;
    packages.push(Package { name: cut(name), version: cut(version), purl: cut(purl) });
    Ok(())
}
