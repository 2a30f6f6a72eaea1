//! How does the device carry an action out: read, download, report, install, report?

use http::Method;
use muster_vocab::{ActionId, Timestamp};

use super::{Asked, Device, Do, Fetched, Order, Reply, Report};
use crate::ddi::{self, Deployment, Execution, Finished, Handling};
use crate::faults::Reboot;
use crate::journal::{Install, Outcome};
use crate::stats::Counter;
use crate::work::{PROGRESS_PARTS, Stage, Work};

/// Refusals in a row after which a device gives an artifact up.
const REFUSALS_MAX: u32 = 5;

impl Device {
    pub(super) fn read_deployment(&mut self, now_ms: u64, action: ActionId, url: String, reply: &Reply) -> Do {
        if reply.status == 404 {
            // It was canceled since the poll; the next poll says so.
            self.work = None;
            return self.next(now_ms);
        }
        if !self.read_well("deploymentBase", reply.status) {
            return self.lost_counted(now_ms);
        }
        let read = self.world.judge(self.index, |judge| judge.deployment(action, &reply.body, "deployment"));
        let Some(deployment) = read else { return self.lost(now_ms) };
        match self.work.take() {
            Some(work) => self.go_on_with(now_ms, work, url, deployment),
            None if deployment.download == Handling::Skip => self.next(now_ms),
            None => {
                self.work = Some(Box::new(Work::new(action, url, deployment, self.fate(action))));
                self.next(now_ms)
            }
        }
    }

    /// The deployment was read again while the device works on it.
    pub(super) fn go_on_with(&mut self, now_ms: u64, mut work: Box<Work>, url: String, deployment: Deployment) -> Do {
        let digests = |deployment: &Deployment| {
            deployment.artifacts.iter().map(|artifact| artifact.sha256.clone()).collect::<Vec<_>>()
        };
        if digests(&work.deployment) != digests(&deployment) {
            let text = format!("the artifacts of action {} changed while it ran", work.action);
            self.world.judge(self.index, |judge| judge.breach(&text));
            return self.next(now_ms);
        }
        work.url = url;
        work.deployment = deployment;
        let installs_now = work.stage == Stage::Staged && work.may_install();
        self.work = Some(work);
        if installs_now { self.begin_install(now_ms) } else { self.next(now_ms) }
    }

    pub(super) fn fetch_on(&mut self, now_ms: u64) -> Do {
        let until_ms = self.poll_at_ms;
        let work = self.work.as_mut().expect("only a device that works on something fetches");
        if let Some(artifact) = work.next_artifact() {
            let (action, link_bytes_per_s) = (work.action, work.fate.link_bytes_per_s);
            return Do::Fetch(Order { action, artifact: artifact.clone(), link_bytes_per_s, until_ms });
        }
        work.stage = Stage::Verified;
        self.report(now_ms, Report::Downloaded)
    }

    pub(super) fn fetched(&mut self, now_ms: u64, fetched: Fetched) -> Do {
        let work = self.work.as_mut().expect("only a device that works on something fetches");
        let action = work.action;
        let received = match fetched {
            Fetched::Cut => return self.lost(now_ms),
            Fetched::Refused(status) => return self.refused(now_ms, status),
            Fetched::Corrupt(reason) => {
                self.end(action, None, vec![reason]);
                return self.next(now_ms);
            }
            Fetched::Some { received } => received,
            Fetched::Whole(payload) => {
                self.world.stats.count(Counter::Downloads);
                work.payloads.push(payload);
                0
            }
        };
        work.refusals = 0;
        let parts = work.parts_done(received);
        let tells = parts > work.parts_reported && parts < PROGRESS_PARTS;
        work.parts_reported = work.parts_reported.max(parts);
        self.losses = 0;
        if parts * 2 >= PROGRESS_PARTS && self.reboots(action, Reboot::WhileDownloading) {
            return self.reboot(now_ms, action);
        }
        if tells { self.report(now_ms, Report::Progress) } else { self.next(now_ms) }
    }

    pub(super) fn refused(&mut self, now_ms: u64, status: u16) -> Do {
        let work = self.work.as_mut().expect("only a device that works on something fetches");
        work.refusals += 1;
        if work.refusals < REFUSALS_MAX {
            return self.lost(now_ms);
        }
        let action = work.action;
        self.world.stats.count(Counter::Errors);
        self.end(action, None, vec![format!("the artifact could not be had: the server answered {status}")]);
        self.next(now_ms)
    }

    pub(super) fn report(&mut self, now_ms: u64, report: Report) -> Do {
        let work = self.work.as_ref().expect("only a device that works on something reports on it");
        let progress = Some((work.parts_reported, PROGRESS_PARTS));
        let (execution, finished, detail) = match report {
            Report::Begun => (Execution::Proceeding, Finished::None, format!("update to {} begun", work.version())),
            Report::Progress => (Execution::Download, Finished::None, "downloading".to_owned()),
            // As RAUC does it: what is not to be installed now is done when it is downloaded.
            Report::Downloaded if !work.may_install() => {
                (Execution::Downloaded, Finished::Success, "downloaded and verified".to_owned())
            }
            Report::Downloaded => (Execution::Downloaded, Finished::None, "downloaded and verified".to_owned()),
            Report::Final => unreachable!("final reports come from flash"),
        };
        let (action, url) = (work.action, ddi::feedback_url(&work.url));
        let body = ddi::feedback(self.device_time(now_ms), execution, finished, progress, &[detail]);
        let call = self.ask(Asked::Report(report), Method::POST, url, Some(body));
        self.losing(call, action, report as u64)
    }

    pub(super) fn reported(&mut self, now_ms: u64, report: Report, status: u16) -> Do {
        if !self.wrote("feedback", status) {
            if matches!(status, 404 | 410) {
                // The action is over for the server, so it is for the device.
                self.work = None;
            }
            return self.lost_counted(now_ms);
        }
        self.losses = 0;
        let work = self.work.as_mut().expect("work is only dropped between question and answer here");
        match report {
            Report::Begun => work.stage = Stage::Downloading,
            Report::Downloaded if work.may_install() => return self.begin_install(now_ms),
            Report::Downloaded => work.stage = Stage::Staged,
            Report::Progress | Report::Final => (),
        }
        self.next(now_ms)
    }

    pub(super) fn begin_install(&mut self, now_ms: u64) -> Do {
        let (seed, index) = (self.world.seed, self.index);
        let work = self.work.as_mut().expect("only a device that works on something installs it");
        if work.silences(seed, index) {
            work.stage = Stage::Dark;
            self.world.stats.count(Counter::Silences);
            let (action, version) = (work.action, work.version());
            return self.record(now_ms, action, version, Outcome::Silent);
        }
        work.stage = Stage::Installing { until_ms: now_ms.saturating_add(work.install_ms()) };
        self.next(now_ms)
    }

    pub(super) fn finish_install(&mut self, now_ms: u64) -> Do {
        let work = self.work.take().expect("only a device that works on something installs it");
        let version = work.version();
        if work.fails(self.world.seed, self.index) {
            let kept = format!("back on {}", self.flash.version());
            let reason = "boot check failed: service `app` did not become healthy".to_owned();
            self.end(work.action, None, vec![reason, kept]);
            return self.record(now_ms, work.action, version, Outcome::Failed);
        }
        self.world.stats.moved(Some(self.flash.version()), &version);
        self.end(work.action, Some(&version), vec![format!("installed {version}"), "boot check passed".to_owned()]);
        self.record(now_ms, work.action, version, Outcome::Installed)
    }

    /// Writes to flash how the action ended; from then on the server is owed a report.
    pub(super) fn end(&mut self, action: ActionId, installed: Option<&str>, details: Vec<String>) {
        let counter = if installed.is_some() { Counter::Installs } else { Counter::Failures };
        self.world.stats.count(counter);
        self.world.stats.count(Counter::PendingReports);
        self.flash.end(action, installed, details);
        self.download_kept = false;
        self.work = None;
    }

    pub(super) fn record(&self, now_ms: u64, action: ActionId, version: String, outcome: Outcome) -> Do {
        let at = Timestamp(i64::try_from(now_ms).unwrap_or(i64::MAX));
        Do::Record(Install { device: self.world.device_name(self.index), action, version, outcome, at })
    }

    pub(super) fn report_final(&mut self, now_ms: u64, action: ActionId) -> Do {
        let ending = self.flash.ending(action).expect("a pending report is of a remembered action");
        let finished = if ending.success { Finished::Success } else { Finished::Failure };
        let body = ddi::feedback(self.device_time(now_ms), Execution::Closed, finished, None, &ending.details);
        let url = format!("{}/deploymentBase/{action}/feedback", self.world.root_url(self.index));
        let call = self.ask(Asked::Report(Report::Final), Method::POST, url, Some(body));
        self.losing(call, action, Report::Final as u64)
    }

    pub(super) fn reported_final(&mut self, now_ms: u64, status: u16) -> Do {
        let taken = self.wrote("final feedback", status);
        if !taken && !matches!(status, 404 | 410) {
            return self.lost_counted(now_ms);
        }
        self.losses = 0;
        let action = self.flash.pending().expect("a final report was sent for it").action;
        // 410: the server had it already; 404: it does not want it.
        self.flash.delivered(action, status != 404);
        self.world.stats.count(Counter::Reports);
        self.world.stats.subtract(Counter::PendingReports, 1);
        self.next(now_ms)
    }
}
