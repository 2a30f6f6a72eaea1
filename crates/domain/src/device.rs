//! What is a device, and how do its attributes change?

use std::collections::BTreeMap;

use muster_vocab::{ActionId, DeviceId, ReleaseId, Timestamp, limit};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// Registered itself and waits for a person.
    Pending,
    Accepted,
    Rejected,
    /// Kept out by Muster, because something is wrong with its identity; a person decides.
    Quarantined,
    /// Decommissioned; its credentials open nothing but the order to destroy its data.
    Retiring,
    /// Decommissioned for good; its history stays.
    Retired,
    /// It belongs to another project now; what happened here stays here.
    Transferred,
}

impl DeviceState {
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Accepted,
        Self::Rejected,
        Self::Quarantined,
        Self::Retiring,
        Self::Retired,
        Self::Transferred,
    ];

    /// It has left, and nothing but being deleted changes that.
    #[must_use]
    pub fn has_left(self) -> bool {
        matches!(self, Self::Retiring | Self::Retired | Self::Transferred)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: DeviceId,
    pub name: String,
    pub state: DeviceState,
    pub labels: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
    /// What it runs, as far as Muster installed it.
    pub installed: Option<Installed>,
    /// Ask for its attributes at the next poll.
    pub attributes_requested: bool,
    pub auto_confirm: Option<AutoConfirm>,
    pub poll_interval_s: u32,
    pub last_seen: Option<Timestamp>,
    pub created_at: Timestamp,
    pub revision: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    pub release: ReleaseId,
    pub action: ActionId,
}

/// A standing consent to every update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoConfirm {
    pub initiator: String,
    pub remark: String,
    pub activated_at: Timestamp,
}

/// How reported attributes meet the known ones (DDI configData modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeMode {
    Merge,
    Replace,
    /// The keys are taken away, the values ignored.
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAttributes {
    #[error("attribute key {0:?}… is longer than {max} characters", max = limit::ATTRIBUTE_KEY_CHARS_MAX)]
    KeyTooLong(String),
    #[error("an attribute key can't be empty")]
    KeyEmpty,
    #[error("the value of attribute {0:?} is longer than {max} characters", max = limit::ATTRIBUTE_VALUE_CHARS_MAX)]
    ValueTooLong(String),
    #[error("a device has at most {max} attributes; this would make {0}", max = limit::ATTRIBUTES_PER_DEVICE_MAX)]
    TooMany(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLabels {
    #[error("label key {0:?} is not 1 to {max} characters", max = limit::LABEL_KEY_CHARS_MAX)]
    Key(String),
    #[error("the value of label {0:?} is longer than {max} characters", max = limit::LABEL_VALUE_CHARS_MAX)]
    ValueTooLong(String),
    #[error("a device has at most {max} labels; this would make {0}", max = limit::LABELS_PER_DEVICE_MAX)]
    TooMany(usize),
}

/// The attributes after a report; a refusal changes nothing.
pub fn report_attributes(
    known: &BTreeMap<String, String>,
    mode: AttributeMode,
    reported: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, BadAttributes> {
    if reported.len() > limit::ATTRIBUTES_PER_DEVICE_MAX {
        return Err(BadAttributes::TooMany(reported.len()));
    }
    for (key, value) in reported {
        check_attribute(key, value)?;
    }
    let mut after = match mode {
        AttributeMode::Merge | AttributeMode::Remove => known.clone(),
        AttributeMode::Replace => BTreeMap::new(),
    };
    for (key, value) in reported {
        match mode {
            AttributeMode::Merge | AttributeMode::Replace => after.insert(key.clone(), value.clone()),
            AttributeMode::Remove => after.remove(key),
        };
    }
    if after.len() > limit::ATTRIBUTES_PER_DEVICE_MAX {
        return Err(BadAttributes::TooMany(after.len()));
    }
    Ok(after)
}

fn check_attribute(key: &str, value: &str) -> Result<(), BadAttributes> {
    if key.is_empty() {
        return Err(BadAttributes::KeyEmpty);
    }
    if key.chars().count() > limit::ATTRIBUTE_KEY_CHARS_MAX {
        return Err(BadAttributes::KeyTooLong(key.chars().take(20).collect()));
    }
    if value.chars().count() > limit::ATTRIBUTE_VALUE_CHARS_MAX {
        return Err(BadAttributes::ValueTooLong(key.to_owned()));
    }
    Ok(())
}

/// The labels after a merge patch (RFC 7396): `None` takes a label away.
pub fn patch_labels(
    known: &BTreeMap<String, String>,
    patch: &BTreeMap<String, Option<String>>,
) -> Result<BTreeMap<String, String>, BadLabels> {
    let mut after = known.clone();
    for (key, value) in patch {
        let Some(value) = value else {
            after.remove(key);
            continue;
        };
        if key.is_empty() || key.chars().count() > limit::LABEL_KEY_CHARS_MAX || key.chars().any(char::is_control) {
            return Err(BadLabels::Key(key.chars().take(80).collect()));
        }
        if value.chars().count() > limit::LABEL_VALUE_CHARS_MAX {
            return Err(BadLabels::ValueTooLong(key.clone()));
        }
        after.insert(key.clone(), value.clone());
    }
    if after.len() > limit::LABELS_PER_DEVICE_MAX {
        return Err(BadLabels::TooMany(after.len()));
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn merge_replace_and_remove_do_what_they_say() {
        let known = map(&[("a", "1"), ("b", "2")]);
        let reported = map(&[("b", "3"), ("c", "4")]);
        let after = |mode| report_attributes(&known, mode, &reported).unwrap();
        assert_eq!(after(AttributeMode::Merge), map(&[("a", "1"), ("b", "3"), ("c", "4")]));
        assert_eq!(after(AttributeMode::Replace), reported);
        assert_eq!(after(AttributeMode::Remove), map(&[("a", "1")]));
    }

    #[test]
    fn ten_thousand_attributes_are_refused() {
        let many = (0..10_000).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(
            report_attributes(&BTreeMap::new(), AttributeMode::Replace, &many),
            Err(BadAttributes::TooMany(10_000))
        );
    }

    #[test]
    fn merging_past_the_limit_is_refused_too() {
        let known = (0..limit::ATTRIBUTES_PER_DEVICE_MAX).map(|i| (format!("k{i}"), String::new())).collect();
        assert!(report_attributes(&known, AttributeMode::Merge, &map(&[("new", "")])).is_err());
    }

    #[test]
    fn a_label_set_to_nothing_is_removed() {
        let patch = BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), Some("2".to_owned()))]);
        assert_eq!(patch_labels(&map(&[("a", "1")]), &patch).unwrap(), map(&[("b", "2")]));
    }
}
