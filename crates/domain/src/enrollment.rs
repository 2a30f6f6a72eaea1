//! Who comes in by itself, who waits for a person, and who is turned away?

use muster_vocab::limit;
use serde::{Deserialize, Serialize};

/// What a new device shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// A join token.
    Token,
    /// A key that was told in advance, burnt in at the factory.
    Claim,
    /// A certificate of an authority that the project has registered.
    Authority,
    /// Nothing but its own key.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Accept,
    Wait,
    Refuse,
}

/// One line of a project's enrolment policy: the first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub shows: Shows,
    /// Devices by the name, labels and attributes that they come with. Empty: all.
    #[serde(default)]
    pub select: String,
    pub then: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an enrolment policy has at most {max} rules", max = limit::ENROLLMENT_RULES_MAX)]
pub struct TooManyRules;

pub fn check(rules: &[Rule]) -> Result<(), TooManyRules> {
    if rules.len() > limit::ENROLLMENT_RULES_MAX { Err(TooManyRules) } else { Ok(()) }
}

/// `matches` tells whether a selector matches the device.
///
/// Without a rule that fits, proof lets in, and who shows nothing is refused.
pub fn decide<E>(rules: &[Rule], shows: Shows, mut matches: impl FnMut(&str) -> Result<bool, E>) -> Result<Verdict, E> {
    for rule in rules.iter().filter(|rule| rule.shows == shows) {
        if rule.select.is_empty() || matches(&rule.select)? {
            return Ok(rule.then);
        }
    }
    Ok(match shows {
        Shows::Token | Shows::Claim | Shows::Authority => Verdict::Accept,
        Shows::Nothing => Verdict::Refuse,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(shows: Shows, select: &str, then: Verdict) -> Rule {
        Rule { shows, select: select.into(), then }
    }

    fn decided(rules: &[Rule], shows: Shows) -> Verdict {
        decide::<()>(rules, shows, |select| Ok(select == "site = berlin")).unwrap()
    }

    #[test]
    fn without_rules_proof_lets_in_and_nothing_does_not() {
        assert_eq!(decided(&[], Shows::Token), Verdict::Accept);
        assert_eq!(decided(&[], Shows::Claim), Verdict::Accept);
        assert_eq!(decided(&[], Shows::Nothing), Verdict::Refuse);
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = [
            rule(Shows::Token, "site = paris", Verdict::Refuse),
            rule(Shows::Token, "site = berlin", Verdict::Wait),
            rule(Shows::Token, "", Verdict::Accept),
            rule(Shows::Nothing, "", Verdict::Wait),
        ];
        assert_eq!(decided(&rules, Shows::Token), Verdict::Wait);
        assert_eq!(decided(&rules, Shows::Nothing), Verdict::Wait);
        assert_eq!(decided(&rules, Shows::Claim), Verdict::Accept);
    }
}
