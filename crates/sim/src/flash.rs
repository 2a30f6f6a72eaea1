//! What does a device still know after its power was cut?

use muster_vocab::ActionId;

/// Actions a device remembers: enough to notice one that is offered again while others came between.
const REMEMBERED_ACTIONS_MAX: usize = 8;

/// How an action ended on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub action: ActionId,
    pub success: bool,
    pub details: Vec<String>,
    /// The server said that it took the final report.
    pub acknowledged: bool,
    /// The final report still has to be sent.
    pub pending: bool,
}

/// Two slots and a little memory: the version that runs, and how the last actions ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    version: String,
    endings: Vec<Ending>,
}

impl Flash {
    pub fn new(version: &str) -> Self {
        Self { version: version.to_owned(), endings: Vec::new() }
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// Ends an action for good; with a version, that one runs from now on.
    pub fn end(&mut self, action: ActionId, installed: Option<&str>, details: Vec<String>) {
        assert!(self.ending(action).is_none(), "action {action} ended twice on one device");
        if self.endings.len() == REMEMBERED_ACTIONS_MAX {
            self.endings.remove(0);
        }
        if let Some(version) = installed {
            version.clone_into(&mut self.version);
        }
        let success = installed.is_some();
        self.endings.push(Ending { action, success, details, acknowledged: false, pending: true });
        self.endings.shrink_to_fit();
    }

    pub fn ending(&self, action: ActionId) -> Option<&Ending> {
        self.endings.iter().find(|ending| ending.action == action)
    }

    /// The action that ended last; 0 before any did.
    pub fn last_action(&self) -> ActionId {
        self.endings.last().map_or(ActionId(0), |ending| ending.action)
    }

    pub fn pending(&self) -> Option<&Ending> {
        self.endings.iter().find(|ending| ending.pending)
    }

    /// The server has the final report, or does not want it.
    pub fn delivered(&mut self, action: ActionId, acknowledged: bool) {
        if let Some(ending) = self.endings.iter_mut().find(|ending| ending.action == action) {
            ending.pending = false;
            ending.acknowledged = acknowledged;
        }
    }

    /// The server asks for an action that is over: say again how it ended.
    pub fn report_again(&mut self, action: ActionId) {
        if let Some(ending) = self.endings.iter_mut().find(|ending| ending.action == action) {
            ending.pending = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_action_leaves_the_version_and_waits_to_be_reported() {
        let mut flash = Flash::new("1.0");
        flash.end(ActionId(5), None, vec!["no boot".into()]);
        assert_eq!(flash.version(), "1.0");
        assert_eq!(flash.pending().unwrap().action, ActionId(5));
        flash.delivered(ActionId(5), true);
        assert_eq!(flash.pending(), None);
        assert!(flash.ending(ActionId(5)).unwrap().acknowledged);
    }

    #[test]
    fn memory_is_bounded() {
        let mut flash = Flash::new("1.0");
        for action in 1..100 {
            flash.end(ActionId(action), Some("1.1"), Vec::new());
            flash.delivered(ActionId(action), true);
        }
        assert_eq!(flash.endings.len(), REMEMBERED_ACTIONS_MAX);
        assert!(flash.ending(ActionId(99)).is_some());
    }
}
