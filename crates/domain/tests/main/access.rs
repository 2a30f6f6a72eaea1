//! Does the one decision agree with counting it out?

use muster_domain::Permission;
use muster_domain::access::{Grant, Over, Reach, Rights};
use muster_vocab::Timestamp;
use muster_vocab::selector::Field;
use muster_vocab::selector::Selector;
use muster_vocab::selector::eval::Found;
use muster_vocab::selector::schema::DEVICE_SCHEMA;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000);

/// A device of the model: the label `site` and a line it stands in.
#[derive(Debug, Clone, Copy)]
struct Thing {
    site: Option<u8>,
    line: u8,
}

/// Where a grant of the model holds, and how the product writes the same.
#[derive(Debug, Clone, Copy)]
enum Place {
    Everywhere,
    Site(u8),
    NotSite(u8),
    SiteAndLine(u8, u8),
}

impl Place {
    fn holds(self, thing: Thing) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Site(site) => thing.site == Some(site),
            Self::NotSite(site) => thing.site != Some(site),
            Self::SiteAndLine(site, line) => thing.site == Some(site) && thing.line == line,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Everywhere => "all".into(),
            Self::Site(site) => format!("label.site == s{site}"),
            Self::NotSite(site) => format!("label.site != s{site}"),
            Self::SiteAndLine(site, line) => format!("label.site == s{site} and label.line == l{line}"),
        }
    }

    fn over(self) -> Over {
        match self {
            Self::Everywhere => Over::Project,
            Self::Site(_) | Self::NotSite(_) | Self::SiteAndLine(..) => Over::Devices(select(&self.text())),
        }
    }
}

fn select(text: &str) -> Selector {
    Selector::parse(text, &DEVICE_SCHEMA).expect("the model writes selectors that parse")
}

fn matches(select: &Selector, thing: Thing) -> bool {
    let (site, line) = (thing.site.map(|site| format!("s{site}")), format!("l{}", thing.line));
    select.matches(NOW, |field| match field {
        Field::Label(key) if key == "site" => site.as_deref().map(Found::Text),
        Field::Label(key) if key == "line" => Some(Found::Text(&line)),
        _ => None,
    })
}

/// One bit per permission, as the model counts: what a list lets its holder do.
fn bits(permissions: &[Permission]) -> u16 {
    let mut all = 0;
    for (at, permission) in Permission::ALL.iter().enumerate() {
        if permissions.contains(permission) {
            all |= 1 << at;
        }
    }
    // The last is admin, the first is reading.
    let (admin, everything) = (1 << (Permission::ALL.len() - 1), (1 << Permission::ALL.len()) - 1);
    match all {
        0 => 0,
        all if all & admin != 0 => everything,
        all => all | 1,
    }
}

fn permissions() -> impl Strategy<Value = Vec<Permission>> {
    prop::collection::vec(prop::sample::select(Permission::ALL.to_vec()), 0..4)
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        1 => Just(Place::Everywhere),
        3 => (0_u8..3).prop_map(Place::Site),
        1 => (0_u8..3).prop_map(Place::NotSite),
        2 => (0_u8..3, 0_u8..2).prop_map(|(site, line)| Place::SiteAndLine(site, line)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// For every device: an order to many touches it exactly if it is asked for and some role that selects it grants it.
    #[test]
    fn a_bulk_action_touches_exactly_the_devices_that_a_role_selects(
        ceiling in permissions(),
        roles in prop::collection::vec((permissions(), place()), 0..5),
        wanted in 0..Permission::ALL.len(),
        asked in place(),
    ) {
        let grants = roles.iter().map(|(had, place)| Grant { permissions: had.clone(), over: place.over(), by: String::new() });
        let rights = Rights::new(grants.collect()).capped(&ceiling);
        let (wanted, bit) = (Permission::ALL[wanted], 1 << wanted);
        let lets_through = bits(&ceiling) & bit != 0;
        let is_project_wide = lets_through
            && roles.iter().any(|(had, place)| bits(had) & bit != 0 && matches!(place, Place::Everywhere));
        prop_assert_eq!(rights.may(wanted), is_project_wide);
        let asked_for = select(&asked.text());
        let effective = match rights.reach(wanted) {
            Reach::All => Some(asked_for),
            Reach::Some(selectors) => Some(asked_for.and_any_of(&selectors)),
            Reach::Nothing => None,
        };
        for thing in [None, Some(0), Some(1), Some(2)].into_iter().flat_map(|site| (0..2).map(move |line| Thing { site, line })) {
            let granted = roles.iter().any(|(had, place)| bits(had) & bit != 0 && place.holds(thing));
            let expected = lets_through && granted && asked.holds(thing);
            let touched = effective.as_ref().is_some_and(|select| matches(select, thing));
            prop_assert_eq!(touched, expected, "{:?} on {:?}", wanted, thing);
            // What is shown is read back as the same.
            let reread = effective.as_ref().map(|effective| select(effective.as_str()));
            prop_assert_eq!(reread.is_some_and(|select| matches(&select, thing)), expected);
        }
    }
}
