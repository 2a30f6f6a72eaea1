//! What is a release, and when may it be used?

use std::collections::BTreeMap;

use muster_vocab::{BadName, ModuleId, Name, ReleaseId, Sha256, Timestamp, limit};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    Draft,
    Published,
    Yanked,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    pub id: ReleaseId,
    pub name: Name,
    pub version: Name,
    pub state: ReleaseState,
    pub components: Vec<Component>,
    pub notes: String,
    pub created_at: Timestamp,
    pub created_by: String,
    pub published_at: Option<Timestamp>,
    pub revision: u64,
}

/// One updatable part in one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Numbered by the store at creation; DDI addresses artifacts by it.
    pub module: ModuleId,
    /// `os`, `app/web`, `firmware/radio`.
    pub name: String,
    pub version: Name,
    pub metadata: BTreeMap<String, String>,
    pub artifacts: Vec<ComponentArtifact>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ComponentArtifact {
    pub digest: Sha256,
    /// As devices see it.
    pub file_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRelease {
    #[error("component {0:?}: {1}")]
    Name(String, BadName),
    #[error("a component is named `kind` or `kind/name`, such as os, app/web or firmware/radio; not {0:?}")]
    ComponentName(String),
    #[error("component {0:?} appears twice; a release has one version of each")]
    Twice(String),
    #[error("a release has 1 to {max} components", max = limit::COMPONENTS_PER_RELEASE_MAX)]
    Components,
    #[error("component {0:?} has 1 to {max} artifacts", max = limit::ARTIFACTS_PER_COMPONENT_MAX)]
    Artifacts(String),
    #[error("two artifacts of component {0:?} are both called {1:?}")]
    SameFileName(String, String),
    #[error("{0:?} is not a file name: no folders, quotes or control characters, at most {max} characters", max = limit::FILE_NAME_CHARS_MAX)]
    FileName(String),
}

/// Is it a plain file name that is safe on every device?
pub fn check_file_name(name: &str) -> Result<(), BadRelease> {
    let plain = !name.is_empty()
        && name.chars().count() <= limit::FILE_NAME_CHARS_MAX
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c.is_control() || c == '/' || c == '\\' || c == '"');
    if plain { Ok(()) } else { Err(BadRelease::FileName(name.chars().take(80).collect())) }
}

/// What can be said about a release from its parts alone.
pub fn check(components: &[Component]) -> Result<(), BadRelease> {
    if components.is_empty() || components.len() > limit::COMPONENTS_PER_RELEASE_MAX {
        return Err(BadRelease::Components);
    }
    for (at, component) in components.iter().enumerate() {
        if components[..at].iter().any(|other| other.name == component.name) {
            return Err(BadRelease::Twice(component.name.clone()));
        }
        check_component(component)?;
    }
    Ok(())
}

fn check_component(component: &Component) -> Result<(), BadRelease> {
    let parts: Vec<&str> = component.name.split('/').collect();
    if parts.len() > 2 {
        return Err(BadRelease::ComponentName(component.name.clone()));
    }
    for part in parts {
        Name::parse(part).map_err(|bad| BadRelease::Name(component.name.chars().take(80).collect(), bad))?;
    }
    if component.artifacts.is_empty() || component.artifacts.len() > limit::ARTIFACTS_PER_COMPONENT_MAX {
        return Err(BadRelease::Artifacts(component.name.clone()));
    }
    for (at, artifact) in component.artifacts.iter().enumerate() {
        check_file_name(&artifact.file_name)?;
        if component.artifacts[..at].iter().any(|other| other.file_name == artifact.file_name) {
            return Err(BadRelease::SameFileName(component.name.clone(), artifact.file_name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, files: &[&str]) -> Component {
        Component {
            module: ModuleId(0),
            name: name.into(),
            version: Name::parse("1").unwrap(),
            metadata: BTreeMap::new(),
            artifacts: files
                .iter()
                .map(|file| ComponentArtifact { digest: Sha256([0; 32]), file_name: (*file).into() })
                .collect(),
        }
    }

    #[test]
    fn path_tricks_in_file_names_are_refused() {
        for name in ["../etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b", "a\nb", "a\"b"] {
            assert!(check_file_name(name).is_err(), "{name:?} was taken");
        }
        assert!(check_file_name("image-1.1 (final).swu").is_ok());
    }

    #[test]
    fn a_release_without_parts_or_with_a_part_twice_is_refused() {
        assert_eq!(check(&[]), Err(BadRelease::Components));
        let twice = [component("os", &["a"]), component("os", &["b"])];
        assert_eq!(check(&twice), Err(BadRelease::Twice("os".into())));
        assert!(check(&[component("os", &[])]).is_err());
        assert!(check(&[component("os", &["a", "a"])]).is_err());
        assert!(check(&[component("app/web", &["a"]), component("os", &["a"])]).is_ok());
    }
}
