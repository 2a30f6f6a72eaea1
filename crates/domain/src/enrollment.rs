//! Who comes in by itself, who waits for a person, and who is turned away?
//!
//! The first rule that fits decides. Without one, proof lets in and nothing is refused: what a project does that has
//! never said anything about it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use muster_vocab::selector::pattern;
use muster_vocab::{Timestamp, limit};
use serde::{Deserialize, Serialize};

use crate::device::{BadLabels, patch_labels};

/// The label that `site` of a rule sets.
pub const SITE: &str = "site";

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
    /// A key in a TPM whose maker the project believes.
    Tpm,
    /// In a rule only: whatever it shows, if it came by EST.
    Est,
    /// In a rule only: whatever it shows.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Accept,
    Wait,
    Refuse,
}

/// One line of a project's enrolment policy: the first that fits decides. What is left out fits everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// For people, and for counting.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub shows: Shows,
    /// Devices by the name, labels and attributes that they come with. Empty: all.
    #[serde(default)]
    pub select: String,
    /// The device's name, with `*`, such as `SN-2026-*`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Where it calls from: addresses, or ranges such as `10.4.0.0/16`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who comes beyond it within an hour waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_hour_max: Option<u32>,
    pub then: Verdict,
    /// Given to the device that comes in by this rule, or waits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub site: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    #[error("an enrolment policy has at most {max} rules", max = limit::ENROLLMENT_RULES_MAX)]
    TooManyRules,
    #[error("rule {at}: {text:?} is no address and no range: write 10.4.0.7 or 10.4.0.0/16")]
    Address { at: usize, text: String },
    #[error("rule {at}: at most {max} address ranges", max = limit::ENROLLMENT_ADDRESSES_MAX)]
    TooManyAddresses { at: usize },
    #[error("rule {at}: it ends before it begins")]
    Times { at: usize },
    #[error("rule {at}: per_hour_max is at least 1; refuse whom you don't want")]
    Never { at: usize },
    #[error("rule {at}: {source}")]
    Labels { at: usize, source: BadLabels },
}

/// A device that wants to come in.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    pub shows: Shows,
    pub by_est: bool,
    pub name: &'a str,
    pub address: Option<IpAddr>,
    pub now: Timestamp,
}

/// What the policy says of a newcomer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// The rule that decided, counted from 0; none: no rule fitted.
    pub rule: Option<usize>,
    /// Its hour is full, so that the device waits.
    pub is_full: bool,
    pub labels: BTreeMap<String, String>,
}

pub fn check(rules: &[Rule]) -> Result<(), BadPolicy> {
    if rules.len() > limit::ENROLLMENT_RULES_MAX {
        return Err(BadPolicy::TooManyRules);
    }
    for (at, rule) in rules.iter().enumerate() {
        if rule.addresses.len() > limit::ENROLLMENT_ADDRESSES_MAX {
            return Err(BadPolicy::TooManyAddresses { at });
        }
        if let Some(text) = rule.addresses.iter().find(|text| range(text).is_none()) {
            return Err(BadPolicy::Address { at, text: text.clone() });
        }
        if rule.from.zip(rule.until).is_some_and(|(from, until)| until <= from) {
            return Err(BadPolicy::Times { at });
        }
        if rule.per_hour_max == Some(0) {
            return Err(BadPolicy::Never { at });
        }
        let patch = given(rule).into_iter().map(|(key, value)| (key, Some(value))).collect();
        patch_labels(&BTreeMap::new(), &patch).map_err(|source| BadPolicy::Labels { at, source })?;
    }
    Ok(())
}

/// What a rule is counted under: its name, or else its place.
#[must_use]
pub fn counted_as(rules: &[Rule], at: usize) -> String {
    match rules.get(at) {
        Some(rule) if !rule.name.is_empty() => rule.name.clone(),
        Some(_) | None => format!("#{at}"),
    }
}

/// `matches` tells whether a selector matches the device, `came` how many a rule has let in within the last hour.
pub fn decide<E>(
    rules: &[Rule],
    newcomer: &Newcomer<'_>,
    mut matches: impl FnMut(&str) -> Result<bool, E>,
    mut came: impl FnMut(&str) -> Result<u32, E>,
) -> Result<Decision, E> {
    for (at, rule) in rules.iter().enumerate() {
        if !fits(rule, newcomer) || !(rule.select.is_empty() || matches(&rule.select)?) {
            continue;
        }
        let is_full = match rule.per_hour_max {
            Some(max) if rule.then == Verdict::Accept => came(&counted_as(rules, at))? >= max,
            Some(_) | None => false,
        };
        let verdict = if is_full { Verdict::Wait } else { rule.then };
        return Ok(Decision { verdict, rule: Some(at), is_full, labels: given(rule) });
    }
    let verdict = match newcomer.shows {
        Shows::Token | Shows::Claim | Shows::Authority => Verdict::Accept,
        // A maker's word says which chip it is, and nothing about whose device.
        Shows::Tpm => Verdict::Wait,
        Shows::Nothing | Shows::Est | Shows::Any => Verdict::Refuse,
    };
    Ok(Decision { verdict, rule: None, is_full: false, labels: BTreeMap::new() })
}

fn fits(rule: &Rule, newcomer: &Newcomer<'_>) -> bool {
    let shows = match rule.shows {
        Shows::Any => true,
        Shows::Est => newcomer.by_est,
        shows => shows == newcomer.shows,
    };
    let is_from_there =
        || newcomer.address.is_some_and(|address| rule.addresses.iter().any(|text| lies_in(text, address)));
    shows
        && (rule.serial.is_empty() || pattern::matches(&rule.serial, newcomer.name))
        && (rule.addresses.is_empty() || is_from_there())
        && rule.from.is_none_or(|from| newcomer.now >= from)
        && rule.until.is_none_or(|until| newcomer.now < until)
}

fn given(rule: &Rule) -> BTreeMap<String, String> {
    let mut labels = rule.labels.clone();
    if !rule.site.is_empty() {
        labels.insert(SITE.to_owned(), rule.site.clone());
    }
    labels
}

/// The first address of a range and the bits that count.
fn range(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse().ok()?, Some(bits.parse::<u32>().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let most = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn lies_in(text: &str, address: IpAddr) -> bool {
    let Some((first, bits)) = range(text) else { return false };
    match (first, address.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            bits == 0 || (u32::from(first) ^ u32::from(address)) >> (32 - bits) == 0
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => {
            bits == 0 || (u128::from(first) ^ u128::from(address)) >> (128 - bits) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn rule(shows: Shows, select: &str, then: Verdict) -> Rule {
        Rule {
            name: String::new(),
            shows,
            select: select.into(),
            serial: String::new(),
            addresses: Vec::new(),
            from: None,
            until: None,
            per_hour_max: None,
            then,
            labels: BTreeMap::new(),
            site: String::new(),
        }
    }

    fn newcomer(shows: Shows) -> Newcomer<'static> {
        Newcomer { shows, by_est: false, name: "SN-2026-7", address: "10.4.7.1".parse().ok(), now: NOW }
    }

    fn decided(rules: &[Rule], shows: Shows) -> Verdict {
        says(rules, &newcomer(shows)).verdict
    }

    fn says(rules: &[Rule], newcomer: &Newcomer<'_>) -> Decision {
        decide::<()>(rules, newcomer, |select| Ok(select == "site = berlin"), |_| Ok(3)).unwrap()
    }

    #[test]
    fn without_rules_proof_lets_in_and_nothing_does_not() {
        assert_eq!(decided(&[], Shows::Token), Verdict::Accept);
        assert_eq!(decided(&[], Shows::Claim), Verdict::Accept);
        assert_eq!(decided(&[], Shows::Nothing), Verdict::Refuse);
        assert_eq!(decided(&[], Shows::Tpm), Verdict::Wait);
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
        assert_eq!(says(&rules, &newcomer(Shows::Token)).rule, Some(1));
    }

    #[test]
    fn each_condition_keeps_a_rule_from_fitting() {
        let refuse = || rule(Shows::Any, "", Verdict::Refuse);
        let fits = |rule: Rule| decided(&[rule], Shows::Token) == Verdict::Refuse;
        assert!(fits(refuse()));
        assert!(fits(Rule { serial: "SN-2026-*".into(), ..refuse() }));
        assert!(!fits(Rule { serial: "SN-2025-*".into(), ..refuse() }));
        assert!(fits(Rule { addresses: vec!["192.0.2.1".into(), "10.4.0.0/16".into()], ..refuse() }));
        assert!(!fits(Rule { addresses: vec!["10.5.0.0/16".into(), "::/0".into()], ..refuse() }));
        assert!(!fits(Rule { from: Some(Timestamp(NOW.0 + 1)), ..refuse() }));
        assert!(!fits(Rule { until: Some(NOW), ..refuse() }));
        assert!(!fits(Rule { shows: Shows::Est, ..refuse() }));
        let by_est = Newcomer { by_est: true, ..newcomer(Shows::Token) };
        assert_eq!(says(&[Rule { shows: Shows::Est, ..refuse() }], &by_est).verdict, Verdict::Refuse);
        let nowhere = Newcomer { address: None, ..newcomer(Shows::Token) };
        assert_eq!(says(&[Rule { addresses: vec!["0.0.0.0/0".into()], ..refuse() }], &nowhere).rule, None);
    }

    #[test]
    fn who_comes_when_the_hour_is_full_waits() {
        let accept = |max| Rule { per_hour_max: Some(max), ..rule(Shows::Token, "", Verdict::Accept) };
        assert_eq!(decided(&[accept(4)], Shows::Token), Verdict::Accept);
        let full = says(&[accept(3), rule(Shows::Any, "", Verdict::Accept)], &newcomer(Shows::Token));
        assert_eq!((full.verdict, full.is_full), (Verdict::Wait, true));
    }

    #[test]
    fn a_rule_gives_labels_and_a_site() {
        let labels = BTreeMap::from([("ring".to_owned(), "lab".to_owned())]);
        let rule = Rule { labels, site: "oslo".into(), ..rule(Shows::Token, "", Verdict::Accept) };
        let given = says(&[rule], &newcomer(Shows::Token)).labels;
        assert_eq!((given["ring"].as_str(), given[SITE].as_str()), ("lab", "oslo"));
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_rule() {
        let good = || rule(Shows::Any, "", Verdict::Accept);
        let bad = |rule: Rule| check(&[good(), rule]).unwrap_err();
        assert_eq!(
            bad(Rule { addresses: vec!["10.0.0.0/33".into()], ..good() }),
            BadPolicy::Address { at: 1, text: "10.0.0.0/33".into() }
        );
        assert_eq!(bad(Rule { from: Some(NOW), until: Some(NOW), ..good() }), BadPolicy::Times { at: 1 });
        assert_eq!(bad(Rule { per_hour_max: Some(0), ..good() }), BadPolicy::Never { at: 1 });
        let labels = BTreeMap::from([(String::new(), "x".to_owned())]);
        assert!(matches!(bad(Rule { labels, ..good() }), BadPolicy::Labels { at: 1, .. }));
        assert_eq!(check(&vec![good(); limit::ENROLLMENT_RULES_MAX + 1]), Err(BadPolicy::TooManyRules));
    }
}
