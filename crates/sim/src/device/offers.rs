//! What does the device make of what the server offers: attributes, a cancel, a question for consent, a deployment?

use http::Method;
use muster_vocab::ActionId;

use super::{Asked, Device, Do, Reply};
use crate::ddi::{self, Execution, Finished, Offer};
use crate::stats::Counter;
use crate::work::{Stage, Work};

const LOST_CANCEL_REPORT: u64 = 10;
const LOST_CONSENT: u64 = 11;
const LOST_ATTRIBUTES: u64 = 12;

impl Device {
    pub(super) fn polled(&mut self, now_ms: u64, reply: &Reply) -> Do {
        self.world.stats.count(Counter::Polls);
        if !self.read_well("root", reply.status) {
            return self.lost_counted(now_ms);
        }
        self.losses = 0;
        let root = self.world.judge(self.index, |judge| judge.root(&reply.body));
        let told_ms = root.sleep.map(|sleep| u64::try_from(sleep.as_millis()).unwrap_or(u64::MAX));
        self.interval_ms = self.world.poll_ms.or(told_ms).unwrap_or(self.interval_ms).max(1);
        self.interval_known = true;
        self.poll_at_ms = now_ms + self.interval_ms + self.jitter.below(self.interval_ms / 10 + 1);
        let Some(url) = root.config_data else { return self.consider(now_ms, root.offer) };
        let body = ddi::config_data(&self.world.attributes(self.index, self.flash.version()));
        let call = self.ask(Asked::Attributes { then: root.offer }, Method::PUT, url, Some(body));
        self.losing(call, self.flash.last_action(), LOST_ATTRIBUTES)
    }

    pub(super) fn consider(&mut self, now_ms: u64, offer: Option<Offer>) -> Do {
        let installing = self.work.as_ref().is_some_and(|work| work.is_installing());
        match offer {
            Some(Offer::Cancel { action, url }) => {
                self.ask(Asked::Cancel { action, url: url.clone() }, Method::GET, url, None)
            }
            None | Some(_) if installing => self.next(now_ms),
            None => {
                self.download_kept = false;
                self.work = None;
                self.next(now_ms)
            }
            Some(Offer::Deployment { action, url }) => self.consider_deployment(now_ms, action, url),
            Some(Offer::Confirmation { action: None, url }) => self.ask(Asked::ConsentList, Method::GET, url, None),
            Some(Offer::Confirmation { action: Some(action), .. }) if self.denied == Some(action) => self.next(now_ms),
            Some(Offer::Confirmation { action: Some(action), url }) => {
                self.ask(Asked::ConsentDetail { action, url: url.clone() }, Method::GET, url, None)
            }
        }
    }

    pub(super) fn consider_deployment(&mut self, now_ms: u64, action: ActionId, url: String) -> Do {
        if let Some(ending) = self.flash.ending(action) {
            if ending.acknowledged {
                let text = format!("action {action} is offered again after its final report was acknowledged");
                self.world.judge(self.index, |judge| judge.breach(&text));
            }
            self.flash.report_again(action);
            self.world.stats.count(Counter::PendingReports);
            return self.next(now_ms);
        }
        if self.work.as_ref().is_some_and(|work| work.action != action) {
            self.work = None;
        }
        // A staged update is read at each poll: it waits for a window, and only the answer says that it opened.
        let known = |work: &Work| work.url == url && work.stage != Stage::Staged;
        if self.work.as_deref().is_some_and(known) {
            return self.next(now_ms);
        }
        self.ask(Asked::Deployment { action, url: url.clone() }, Method::GET, url, None)
    }

    pub(super) fn read_consents(&mut self, now_ms: u64, reply: &Reply) -> Do {
        if !self.read_well("confirmationBase", reply.status) {
            return self.lost_counted(now_ms);
        }
        match self.world.judge(self.index, |judge| judge.confirmation_link(&reply.body)) {
            Some((action, _)) if self.denied == Some(action) => self.next(now_ms),
            Some((action, url)) => self.ask(Asked::ConsentDetail { action, url: url.clone() }, Method::GET, url, None),
            None => self.next(now_ms),
        }
    }

    pub(super) fn read_consent(&mut self, now_ms: u64, action: ActionId, url: &str, reply: &Reply) -> Do {
        if reply.status == 404 {
            return self.next(now_ms);
        }
        if !self.read_well("confirmationBase", reply.status) {
            return self.lost_counted(now_ms);
        }
        let read = self.world.judge(self.index, |judge| judge.deployment(action, &reply.body, "confirmation"));
        if read.is_none() {
            return self.lost(now_ms);
        }
        let given = !self.fate(action).denied;
        let call =
            self.ask(Asked::Consent { action, given }, Method::POST, ddi::feedback_url(url), Some(ddi::consent(given)));
        self.losing(call, action, LOST_CONSENT)
    }

    pub(super) fn consented(&mut self, now_ms: u64, action: ActionId, given: bool, status: u16) -> Do {
        // 404: an answer that got lost had been taken, and nothing waits any more.
        if !self.wrote("consent", status) && !matches!(status, 404 | 410) {
            return self.lost_counted(now_ms);
        }
        match given {
            // What was waiting is offered at once.
            true => self.poll_at_ms = now_ms,
            false => self.denied = Some(action),
        }
        self.world.stats.count(Counter::Consents);
        self.next(now_ms)
    }

    pub(super) fn read_cancel(&mut self, now_ms: u64, action: ActionId, url: &str, reply: &Reply) -> Do {
        if reply.status == 404 {
            return self.next(now_ms);
        }
        if !self.read_well("cancelAction", reply.status) {
            return self.lost_counted(now_ms);
        }
        self.world.judge(self.index, |judge| judge.cancel(action, &reply.body));
        let installing = self.work.as_ref().is_some_and(|work| work.action == action && work.is_installing());
        let accepted = !installing && self.flash.ending(action).is_none();
        if self.work.as_ref().is_some_and(|work| accepted && work.action == action) {
            self.work = None;
        }
        let (execution, finished, detail) = match accepted {
            true => (Execution::Closed, Finished::Success, "canceled before the install began"),
            false => (Execution::Rejected, Finished::None, "too late: the install has begun"),
        };
        let body = ddi::feedback(self.device_time(now_ms), execution, finished, None, &[detail.to_owned()]);
        let call = self.ask(Asked::CancelReport { accepted }, Method::POST, ddi::feedback_url(url), Some(body));
        self.losing(call, action, LOST_CANCEL_REPORT)
    }

    pub(super) fn cancel_reported(&mut self, now_ms: u64, accepted: bool, status: u16) -> Do {
        if !self.wrote("cancel feedback", status) && !matches!(status, 404 | 410) {
            return self.lost_counted(now_ms);
        }
        let counter = if accepted { Counter::Cancels } else { Counter::CancelsRefused };
        self.world.stats.count(counter);
        self.next(now_ms)
    }
}
