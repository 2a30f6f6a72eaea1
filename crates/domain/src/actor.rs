//! Who does it, and may they?

use muster_vocab::{AccountId, ProjectId};
use serde::{Deserialize, Serialize};

use crate::access::Rights;

/// What may be granted to an account or token. `Admin` includes all others; each write includes `Read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    Read,
    DevicesWrite,
    ArtifactsWrite,
    ReleasesWrite,
    RolloutsWrite,
    RolloutsApprove,
    RolloutsBreakGlass,
    CommandsWrite,
    SessionsWrite,
    SecretsWrite,
    Admin,
}

impl Permission {
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::DevicesWrite,
        Self::ArtifactsWrite,
        Self::ReleasesWrite,
        Self::RolloutsWrite,
        Self::RolloutsApprove,
        Self::RolloutsBreakGlass,
        Self::CommandsWrite,
        Self::SessionsWrite,
        Self::SecretsWrite,
        Self::Admin,
    ];
}

/// With what an account's request came, for the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// What was shown: `token:t-7`, `password`.
    pub shown: String,
    /// `X-Request-Id`.
    pub request: Option<String>,
    /// In the caller's own words.
    pub reason: Option<String>,
}

/// Who acts, inside which project.
#[derive(Debug, Clone, PartialEq)]
pub enum Actor {
    Account {
        id: AccountId,
        name: String,
        project: ProjectId,
        rights: Rights,
        origin: Origin,
    },
    Device {
        name: String,
        project: ProjectId,
    },
    /// Muster itself: workers and reconcilers.
    Muster {
        project: ProjectId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this needs the permission {0:?}, which the token does not have")]
pub struct NotAllowed(pub Permission);

impl Actor {
    #[must_use]
    pub fn project(&self) -> ProjectId {
        match self {
            Self::Account { project, .. } | Self::Device { project, .. } | Self::Muster { project } => *project,
        }
    }

    /// What a person or service may; devices and Muster itself are not bound by roles.
    #[must_use]
    pub fn rights(&self) -> Option<&Rights> {
        match self {
            Self::Account { rights, .. } => Some(rights),
            Self::Device { .. } | Self::Muster { .. } => None,
        }
    }

    /// By what right it acts, for the audit log: what it showed, and where its permissions come from.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Account { rights, origin, .. } => format!("{} by {}", origin.shown, rights.sources().join(", ")),
            Self::Device { .. } => "itself".to_owned(),
            Self::Muster { .. } => "server".to_owned(),
        }
    }

    /// With what its request came.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Account { origin, .. } => Some(origin),
            Self::Device { .. } | Self::Muster { .. } => None,
        }
    }

    /// Over the whole project. The one authorisation function: every flow that a person or token can call begins with it.
    pub fn may(&self, permission: Permission) -> Result<(), NotAllowed> {
        let allowed = match self {
            Self::Account { rights, .. } => rights.may(permission),
            Self::Device { .. } => false,
            Self::Muster { .. } => true,
        };
        if allowed { Ok(()) } else { Err(NotAllowed(permission)) }
    }
}

/// As the audit log names it: `account:ann`, `device:sn-1`, `muster`.
impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Account { name, .. } => write!(f, "account:{name}"),
            Self::Device { name, .. } => write!(f, "device:{name}"),
            Self::Muster { .. } => f.write_str("muster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(permissions: &[Permission]) -> Actor {
        Actor::Account {
            id: AccountId(1),
            name: "ann".into(),
            project: ProjectId(1),
            rights: Rights::over_project(permissions.to_vec()),
            origin: Origin { shown: "token:t-1".into(), ..Origin::default() },
        }
    }

    #[test]
    fn the_authority_tells_what_was_shown_and_where_the_right_comes_from() {
        assert_eq!(account(&[Permission::Admin]).authority(), "token:t-1 by own scopes");
        assert_eq!(Actor::Muster { project: ProjectId(1) }.authority(), "server");
    }

    #[test]
    fn admin_may_everything_and_nobody_may_without_a_permission() {
        assert!(account(&[Permission::Admin]).may(Permission::RolloutsApprove).is_ok());
        assert!(account(&[]).may(Permission::Read).is_err());
    }

    #[test]
    fn a_write_includes_reading_but_no_other_write() {
        let actor = account(&[Permission::DevicesWrite]);
        assert!(actor.may(Permission::Read).is_ok());
        assert_eq!(actor.may(Permission::RolloutsWrite), Err(NotAllowed(Permission::RolloutsWrite)));
    }

    #[test]
    fn a_device_may_nothing_that_people_may() {
        let device = Actor::Device { name: "sn-1".into(), project: ProjectId(1) };
        assert!(device.may(Permission::Read).is_err());
    }
}
