//! What would a project's enrolment policy say of a device?

use std::collections::BTreeMap;
use std::net::IpAddr;

use muster_domain::device::{Device, DeviceState};
use muster_domain::enrollment::{Decision, Newcomer, Rule, Shows, decide};
use muster_domain::{Actor, Permission};
use muster_store::View;
use muster_vocab::{DeviceId, Timestamp};

use super::devices::matches;
use super::error::FlowError;
use super::join::HOUR;
use super::rollouts::device_selector;

/// A device that nobody knows, as somebody imagines it.
#[derive(Debug, Clone)]
pub struct Imagined {
    pub name: String,
    pub shows: Shows,
    pub by_est: bool,
    pub address: Option<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
    pub at: Timestamp,
}

/// By these rules, or by the project's own. Nothing is changed.
pub fn test(
    view: &View<'_>,
    actor: &Actor,
    imagined: Imagined,
    rules: Option<Vec<Rule>>,
) -> Result<(Decision, String), FlowError> {
    actor.may(Permission::Read)?;
    let project = actor.project();
    let rules = match rules {
        Some(rules) => rules,
        None => view.project(project)?.settings.enrollment,
    };
    let Imagined { name, shows, by_est, address, labels, attributes, at } = imagined;
    let device = Device {
        id: DeviceId(0),
        name,
        state: DeviceState::Pending,
        labels,
        attributes,
        installed: None,
        attributes_requested: true,
        auto_confirm: None,
        poll_interval_s: 0,
        last_seen: None,
        created_at: at,
        revision: 1,
    };
    let newcomer = Newcomer { shows, by_est, name: &device.name, address, now: at };
    let selects = |select: &str| Ok::<_, FlowError>(matches(&device_selector("enrollment", select)?, &device, at));
    let came = |rule: &str| Ok(view.count_enrolled(project, rule, at.minus(HOUR))?);
    let decision = decide(&rules, &newcomer, selects, came)?;
    let name = decision.rule.and_then(|at| rules.get(at)).map(|rule| rule.name.clone()).unwrap_or_default();
    Ok((decision, name))
}
