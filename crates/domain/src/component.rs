//! Which components does a device say that it runs?
//!
//! The agent reports them as attributes: `component.app/web.version`, `component.app/web.digest`.

use std::collections::BTreeMap;

const PREFIX: &str = "component.";

/// One component as far as the device told about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed<'a> {
    pub version: Option<&'a str>,
    pub digest: Option<&'a str>,
}

/// By name.
#[must_use]
pub fn installed(attributes: &BTreeMap<String, String>) -> BTreeMap<&str, Installed<'_>> {
    let mut found: BTreeMap<&str, Installed<'_>> = BTreeMap::new();
    for (key, value) in attributes.range(PREFIX.to_owned()..) {
        let Some(rest) = key.strip_prefix(PREFIX) else { break };
        match rest.rsplit_once('.') {
            Some((name, "version")) if !name.is_empty() => found.entry(name).or_default().version = Some(value),
            Some((name, "digest")) if !name.is_empty() => found.entry(name).or_default().digest = Some(value),
            Some(_) | None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_read_from_their_attributes_and_others_are_passed_over() {
        let attributes = [
            ("board", "rev-c"),
            ("component.app/web.1.digest", "sha256:ab"),
            ("component.app/web.1.version", "2.0"),
            ("component.os.version", "5"),
            ("component..version", "x"),
            ("component.os", "x"),
            ("component.os.colour", "red"),
            ("componentx.version", "x"),
        ];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let expected = BTreeMap::from([
            ("app/web.1", Installed { version: Some("2.0"), digest: Some("sha256:ab") }),
            ("os", Installed { version: Some("5"), digest: None }),
        ]);
        assert_eq!(installed(&attributes), expected);
    }
}
