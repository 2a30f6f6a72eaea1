//! How are things numbered, so that two kinds of number can't be swapped?

use serde::{Deserialize, Serialize};

/// A text that was meant to be an id and is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct BadId {
    text: String,
    expected: &'static str,
}

macro_rules! id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;

            /// Takes the number with or without its prefix; zero and negative numbers are refused.
            fn from_str(text: &str) -> Result<Self, BadId> {
                let digits = text.strip_prefix($prefix).unwrap_or(text);
                match digits.parse::<i64>() {
                    Ok(number) if number > 0 && !digits.starts_with('+') => Ok(Self(number)),
                    _ => Err(BadId { text: text.to_owned(), expected: concat!("an id such as ", $prefix, "12") }),
                }
            }
        }
    };
}

id!(ProjectId, "p-", "A project: the wall between tenants. Every store function takes one.");
id!(DeviceId, "d-", "A device, inside the server; people and protocols use its name.");
id!(ReleaseId, "rel-", "A release, inside the server; people use `name@version`.");
id!(ModuleId, "m-", "A component version of a release; hawkBit's software module id.");
id!(RolloutId, "r-", "A rollout, shown as `r-12`.");
id!(ActionId, "", "An action: a plain decimal that fits a signed 32-bit integer, because DDI clients parse it as one.");
id!(TokenId, "t-", "An API token, shown as `t-3`; never the secret itself.");
id!(AccountId, "u-", "A person or service account.");
id!(RuleId, "ar-", "A rule of approval, shown as `ar-3`.");
id!(ReviewId, "rv-", "A review that somebody owes, shown as `rv-3`.");
id!(OutboxId, "o-", "An effect that waits to be carried out.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_with_and_without_its_prefix() {
        assert_eq!("r-12".parse(), Ok(RolloutId(12)));
        assert_eq!("12".parse(), Ok(RolloutId(12)));
        assert_eq!(RolloutId(12).to_string(), "r-12");
    }

    #[test]
    fn zero_negative_signed_and_foreign_ids_are_refused() {
        for text in ["0", "-1", "+1", "t-1", "", "r-", "99999999999999999999"] {
            assert!(text.parse::<RolloutId>().is_err(), "{text} was taken");
        }
    }
}
