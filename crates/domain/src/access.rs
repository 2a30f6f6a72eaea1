//! What may somebody do, and to which devices?
//!
//! Rights are grants: permissions, over a whole project or over the devices that a selector matches. The right on a
//! device is the union of the grants that select that device, and of no others. Nothing is allowed that no grant names.

use muster_vocab::selector::{Expr, Field, Selector};
use serde::{Deserialize, Serialize};

use crate::actor::Permission;

/// Roles that every project has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuiltinRole {
    Viewer,
    Operator,
    ReleaseManager,
    SecurityOfficer,
    Admin,
}

impl BuiltinRole {
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::ReleaseManager, Self::SecurityOfficer, Self::Admin];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::ReleaseManager => "release-manager",
            Self::SecurityOfficer => "security-officer",
            Self::Admin => "admin",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Self::Viewer => &[P::Read],
            Self::Operator => &[P::Read, P::DevicesWrite, P::CommandsWrite, P::SessionsWrite, P::RolloutsWrite],
            Self::ReleaseManager => &[P::Read, P::ArtifactsWrite, P::ReleasesWrite, P::RolloutsWrite],
            Self::SecurityOfficer => &[P::Read, P::RolloutsApprove],
            Self::Admin => &[P::Admin],
        }
    }
}

/// What a grant is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// Everything in the project.
    Project,
    /// Devices, and nothing else.
    Devices(Selector),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub permissions: Vec<Permission>,
    pub over: Over,
    /// What it comes from, for the audit log: `role:operator`.
    pub by: String,
}

/// Where a grant comes from that no role gave: the account itself was made with it.
pub const OWN_SCOPES: &str = "own scopes";

/// All that somebody may.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rights {
    grants: Vec<Grant>,
}

/// The devices to which a permission reaches.
#[derive(Debug, Clone, PartialEq)]
pub enum Reach {
    All,
    /// Those that any of these selects.
    Some(Vec<Selector>),
    Nothing,
}

/// Does having one permission mean having the other?
#[must_use]
pub fn includes(had: Permission, wanted: Permission) -> bool {
    had == wanted || had == Permission::Admin || wanted == Permission::Read
}

impl Rights {
    #[must_use]
    pub fn new(grants: Vec<Grant>) -> Self {
        Self { grants }
    }

    /// These permissions over the whole project.
    #[must_use]
    pub fn over_project(permissions: Vec<Permission>) -> Self {
        Self { grants: vec![Grant { permissions, over: Over::Project, by: OWN_SCOPES.to_owned() }] }
    }

    /// Over the whole project.
    #[must_use]
    pub fn may(&self, wanted: Permission) -> bool {
        self.reach(wanted) == Reach::All
    }

    /// Over anything at all: who may nothing hears so before he hears what there is.
    #[must_use]
    pub fn may_somewhere(&self, wanted: Permission) -> bool {
        self.reach(wanted) != Reach::Nothing
    }

    #[must_use]
    pub fn reach(&self, wanted: Permission) -> Reach {
        let mut selectors = Vec::new();
        for grant in &self.grants {
            if !grant.permissions.iter().any(|had| includes(*had, wanted)) {
                continue;
            }
            match &grant.over {
                Over::Project => return Reach::All,
                Over::Devices(select) => selectors.push(select.clone()),
            }
        }
        if selectors.is_empty() { Reach::Nothing } else { Reach::Some(selectors) }
    }

    /// No more than a token allows: what both include.
    #[must_use]
    pub fn capped(&self, cap: &[Permission]) -> Self {
        let within = |grant: &Grant| {
            let both = |wanted: &Permission| {
                [&grant.permissions[..], cap].iter().all(|list| list.iter().any(|had| includes(*had, *wanted)))
            };
            let permissions: Vec<Permission> = Permission::ALL.into_iter().filter(both).collect();
            Grant { permissions, over: grant.over.clone(), by: grant.by.clone() }
        };
        Self { grants: self.grants.iter().map(within).filter(|grant| !grant.permissions.is_empty()).collect() }
    }

    /// Where they come from, each once.
    #[must_use]
    pub fn sources(&self) -> Vec<&str> {
        let mut sources: Vec<&str> = self.grants.iter().map(|grant| grant.by.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// What may be done over the whole project, for showing.
    #[must_use]
    pub fn project_permissions(&self) -> Vec<Permission> {
        Permission::ALL.into_iter().filter(|wanted| self.may(*wanted)).collect()
    }
}

/// Devices say of themselves what attributes they have, so that a device could put itself under somebody's hands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a role is bound to devices by name, state and labels, which people give; attribute.{0} is what a device says of itself"
)]
pub struct SaysOfItself(pub String);

/// May roles be bound by this selector?
pub fn check_scope(select: &Selector) -> Result<(), SaysOfItself> {
    check_expr(select.expr())
}

fn check_expr(expr: &Expr) -> Result<(), SaysOfItself> {
    match expr {
        Expr::All => Ok(()),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().try_for_each(check_expr),
        Expr::Not(part) => check_expr(part),
        Expr::Compare { field: Field::Attribute(key), .. } => Err(SaysOfItself(key.clone())),
        Expr::Compare { field: Field::Builtin(_) | Field::Label(_), .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use muster_vocab::selector::schema::DEVICE_SCHEMA;

    use super::*;

    fn select(text: &str) -> Selector {
        Selector::parse(text, &DEVICE_SCHEMA).unwrap()
    }

    fn over(text: &str, permissions: &[Permission]) -> Grant {
        Grant { permissions: permissions.to_vec(), over: Over::Devices(select(text)), by: String::new() }
    }

    #[test]
    fn a_grant_over_devices_says_nothing_about_the_project() {
        let rights = Rights::new(vec![over("label.site == berlin", &[Permission::DevicesWrite])]);
        assert!(!rights.may(Permission::DevicesWrite) && !rights.may(Permission::Read));
        assert!(rights.may_somewhere(Permission::Read));
        assert_eq!(rights.reach(Permission::DevicesWrite), Reach::Some(vec![select("label.site == berlin")]));
        assert_eq!(rights.reach(Permission::CommandsWrite), Reach::Nothing);
        assert_eq!(Rights::default().reach(Permission::Read), Reach::Nothing);
    }

    #[test]
    fn a_token_never_has_more_than_its_owner_nor_its_owner_more_than_the_token() {
        let admin = Rights::over_project(vec![Permission::Admin]);
        let capped = admin.capped(&[Permission::DevicesWrite]);
        assert_eq!(capped.project_permissions(), [Permission::Read, Permission::DevicesWrite]);
        let viewer = Rights::over_project(vec![Permission::Read]);
        assert_eq!(viewer.capped(&[Permission::Admin]).project_permissions(), [Permission::Read]);
        assert_eq!(admin.capped(&[]), Rights::default());
    }

    #[test]
    fn devices_cannot_say_themselves_whose_they_are() {
        assert!(check_scope(&select("label.site == berlin and not name like lab-*")).is_ok());
        assert_eq!(check_scope(&select("all and not attribute.site == x")), Err(SaysOfItself("site".into())));
    }
}
