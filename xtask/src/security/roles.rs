//! Does the one decision agree with counting it out, for any roles, devices, orders and filters?

use anyhow::Context;
use muster_domain::Permission;
use muster_domain::access::{Grant, Over, Reach, Rights};
use muster_sim::chance::Chance;
use muster_vocab::Timestamp;
use muster_vocab::selector::eval::Found;
use muster_vocab::selector::schema::DEVICE_SCHEMA;
use muster_vocab::selector::{Field, Selector};

use crate::figure::Figure;

const CASES: u64 = 1_000_000;
const SEED: u64 = 4;
const NOW: Timestamp = Timestamp(1_000_000);
const ROLES_MAX: u64 = 5;
const SITES: u64 = 3;
const LINES: u64 = 2;

/// Where a role holds: written as a selector, and as the model knows it.
struct Place {
    over: Over,
    select: Selector,
    holds: fn(Thing, u64, u64) -> bool,
    site: u64,
    line: u64,
}

/// A device with a site or none, standing in a line.
#[derive(Clone, Copy)]
struct Thing {
    site: Option<u64>,
    line: u64,
}

pub fn figures() -> anyhow::Result<Vec<Figure>> {
    let places = places()?;
    let mut chance = Chance::keyed(SEED, &[]);
    let mut mismatches = 0_u64;
    for _ in 0..CASES {
        mismatches += u64::from(!agrees(&places, &mut chance));
    }
    Ok(vec![Figure::new("role_cases", CASES as f64, ""), Figure::new("role_mismatches", mismatches as f64, "")])
}

fn places() -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    let mut add = |text: String, is_project: bool, holds: fn(Thing, u64, u64) -> bool, at: (u64, u64)| {
        let select = Selector::parse(&text, &DEVICE_SCHEMA).with_context(|| format!("reading {text:?}"))?;
        let over = if is_project { Over::Project } else { Over::Devices(select.clone()) };
        places.push(Place { over, select, holds, site: at.0, line: at.1 });
        anyhow::Ok(())
    };
    add("all".into(), true, |_, _, _| true, (0, 0))?;
    for site in 0..SITES {
        add(format!("label.site == s{site}"), false, |thing, site, _| thing.site == Some(site), (site, 0))?;
        add(format!("not label.site == s{site}"), false, |thing, site, _| thing.site != Some(site), (site, 0))?;
        for line in 0..LINES {
            let text = format!("label.site == s{site} and label.line == l{line}");
            add(text, false, |thing, site, line| thing.site == Some(site) && thing.line == line, (site, line))?;
        }
    }
    Ok(places)
}

/// One random case: does the product allow exactly what the model does?
fn agrees(places: &[Place], chance: &mut Chance) -> bool {
    let roles: Vec<(Vec<Permission>, &Place)> =
        (0..chance.below(ROLES_MAX)).map(|_| (permissions(chance), draw(places, chance))).collect();
    let cap = permissions(chance);
    let wanted = Permission::ALL[chance.below(Permission::ALL.len() as u64) as usize];
    let asked = draw(places, chance);
    let site = chance.below(SITES + 1);
    let thing = Thing { site: (site < SITES).then_some(site), line: chance.below(LINES) };

    let grants = roles.iter().map(|(had, place)| Grant {
        permissions: had.clone(),
        over: place.over.clone(),
        by: String::new(),
    });
    let rights = Rights::new(grants.collect()).capped(&cap);
    let effective = match rights.reach(wanted) {
        Reach::All => Some(asked.select.clone()),
        Reach::Some(selectors) => Some(asked.select.and_any_of(&selectors)),
        Reach::Nothing => None,
    };
    let touched = effective.is_some_and(|select| matches(&select, thing));

    let allowed = |list: &[Permission]| allows(list, wanted);
    let granted = roles.iter().any(|(had, place)| allowed(had) && (place.holds)(thing, place.site, place.line));
    let expected = allowed(&cap) && granted && (asked.holds)(thing, asked.site, asked.line);
    let everywhere = allowed(&cap) && roles.iter().any(|(had, place)| allowed(had) && place.over == Over::Project);
    touched == expected && rights.may(wanted) == everywhere
}

/// As the documentation says it: admin is everything, and whoever has anything may read.
fn allows(list: &[Permission], wanted: Permission) -> bool {
    list.contains(&Permission::Admin) || list.contains(&wanted) || (wanted == Permission::Read && !list.is_empty())
}

fn permissions(chance: &mut Chance) -> Vec<Permission> {
    let count = chance.below(4);
    (0..count).map(|_| Permission::ALL[chance.below(Permission::ALL.len() as u64) as usize]).collect()
}

fn draw<'p>(places: &'p [Place], chance: &mut Chance) -> &'p Place {
    &places[chance.below(places.len() as u64) as usize]
}

fn matches(select: &Selector, thing: Thing) -> bool {
    let (site, line) = (thing.site.map(|site| format!("s{site}")), format!("l{}", thing.line));
    select.matches(NOW, |field| match field {
        Field::Label(key) if key == "site" => site.as_deref().map(Found::Text),
        Field::Label(key) if key == "line" => Some(Found::Text(&line)),
        Field::Builtin(_) | Field::Label(_) | Field::Attribute(_) => None,
    })
}
