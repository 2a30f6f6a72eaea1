//! What does a careful DDI client do next?
//!
//! A step takes what happened and says what to do; it knows no IO. After anything lost the device starts over with a
//! poll, because polls, reads and reports are all safe to repeat. What must survive a power cut is in [`Flash`].

mod offers;
mod update;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use muster_vocab::ActionId;

use crate::chance::Chance;
use crate::ddi::{Artifact, Offer};
use crate::faults::{Fate, Reboot};
use crate::flash::Flash;
use crate::journal::Install;
use crate::payload::Payload;
use crate::stats::Counter;
use crate::work::{Stage, Work};
use crate::world::{FACTORY_VERSION, World};

/// Assumed until the server has named its interval; hawkBit's default.
const INTERVAL_MS_DEFAULT: u64 = 300_000;

#[derive(Debug)]
pub struct Device {
    world: Arc<World>,
    index: u32,
    flash: Flash,
    /// The download of the last action survived a reboot.
    download_kept: bool,
    // All that follows is lost when the power is.
    asked: Asked,
    work: Option<Box<Work>>,
    denied: Option<ActionId>,
    interval_ms: u64,
    interval_known: bool,
    poll_at_ms: u64,
    /// Nothing is sent before: the server did not answer, or the device restarts.
    quiet_until_ms: u64,
    losses: u32,
    // What the simulation remembers, not the device.
    rebooted_in: Option<ActionId>,
    jitter: Chance,
}

#[derive(Debug)]
pub enum Event {
    Woke,
    Answered(Reply),
    /// No answer, or not all of it.
    Lost,
    Fetched(Fetched),
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Fetched {
    /// More is to come; fetch on.
    Some {
        received: u64,
    },
    /// All of it, and every hash is right.
    Whole(Payload),
    Cut,
    Refused(u16),
    Corrupt(String),
}

#[derive(Debug, PartialEq)]
pub enum Do {
    Wait {
        until_ms: u64,
    },
    Send(Call),
    Fetch(Order),
    Record(Install),
    /// The device is never heard of again.
    Vanish,
}

#[derive(Debug, PartialEq)]
pub struct Call {
    pub method: Method,
    pub url: String,
    pub body: Option<Bytes>,
    /// The first answer gets lost and the device asks again.
    pub answer_lost: bool,
}

/// An artifact to fetch, from where the last fetch of it stopped.
#[derive(Debug, PartialEq)]
pub struct Order {
    pub action: ActionId,
    pub artifact: Artifact,
    pub link_bytes_per_s: Option<u32>,
    /// Come back by then, even if more is to come.
    pub until_ms: u64,
}

/// The question whose answer the device waits for.
#[derive(Debug)]
enum Asked {
    Nothing,
    Root,
    Attributes { then: Option<Offer> },
    Deployment { action: ActionId, url: String },
    ConsentList,
    ConsentDetail { action: ActionId, url: String },
    Consent { action: ActionId, given: bool },
    Cancel { action: ActionId, url: String },
    CancelReport { accepted: bool },
    Report(Report),
}

/// Reports on a deployment; the numbers stand for them where lost answers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    Begun = 1,
    Progress,
    Downloaded,
    Final,
}

impl Device {
    pub fn new(world: Arc<World>, index: u32) -> Self {
        let jitter = Chance::keyed(world.seed, &[u64::from(index), 0x0071_77e2]);
        Self {
            interval_ms: world.poll_ms.unwrap_or(INTERVAL_MS_DEFAULT),
            interval_known: false,
            world,
            index,
            flash: Flash::new(FACTORY_VERSION),
            download_kept: false,
            asked: Asked::Nothing,
            work: None,
            denied: None,
            poll_at_ms: 0,
            quiet_until_ms: 0,
            losses: 0,
            rebooted_in: None,
            jitter,
        }
    }

    /// How often the device polls, once the server said so.
    pub fn interval_ms(&self) -> Option<u64> {
        self.interval_known.then_some(self.interval_ms)
    }

    /// False: nothing that was downloaded is of use any more.
    pub fn keeps_download(&self) -> bool {
        self.work.is_some() || self.download_kept
    }

    pub fn step(&mut self, now_ms: u64, event: Event) -> Do {
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        match event {
            Event::Woke => self.next(now_ms),
            Event::Lost => self.lost(now_ms),
            Event::Answered(reply) => self.answered(now_ms, asked, &reply),
            Event::Fetched(fetched) => self.fetched(now_ms, fetched),
        }
    }

    fn answered(&mut self, now_ms: u64, asked: Asked, reply: &Reply) -> Do {
        match asked {
            Asked::Nothing => unreachable!("an answer came to a device that asked nothing"),
            Asked::Root => self.polled(now_ms, reply),
            Asked::Attributes { then } => match self.wrote("configData", reply.status) {
                true => self.consider(now_ms, then),
                false => self.lost_counted(now_ms),
            },
            Asked::Deployment { action, url } => self.read_deployment(now_ms, action, url, reply),
            Asked::ConsentList => self.read_consents(now_ms, reply),
            Asked::ConsentDetail { action, url } => self.read_consent(now_ms, action, &url, reply),
            Asked::Consent { action, given } => self.consented(now_ms, action, given, reply.status),
            Asked::Cancel { action, url } => self.read_cancel(now_ms, action, &url, reply),
            Asked::CancelReport { accepted } => self.cancel_reported(now_ms, accepted, reply.status),
            Asked::Report(Report::Final) => self.reported_final(now_ms, reply.status),
            Asked::Report(report) => self.reported(now_ms, report, reply.status),
        }
    }

    /// What is due: the install first, for it needs no server; then the report that is owed, the poll, and the work.
    fn next(&mut self, now_ms: u64) -> Do {
        let stage = self.work.as_ref().map(|work| work.stage);
        let install_ends_ms = match stage {
            Some(Stage::Dark) => return Do::Vanish,
            Some(Stage::Installing { until_ms }) if until_ms <= now_ms => return self.finish_install(now_ms),
            Some(Stage::Installing { until_ms }) => until_ms,
            _ => u64::MAX,
        };
        if now_ms < self.quiet_until_ms {
            return Do::Wait { until_ms: self.quiet_until_ms.min(install_ends_ms) };
        }
        if let Some(action) = self.flash.pending().map(|ending| ending.action) {
            return match self.reboots(action, Reboot::BeforeReport) {
                true => self.reboot(now_ms, action),
                false => self.report_final(now_ms, action),
            };
        }
        if now_ms >= self.poll_at_ms {
            return self.ask(Asked::Root, Method::GET, self.world.root_url(self.index), None);
        }
        match stage {
            Some(Stage::Announcing) => self.report(now_ms, Report::Begun),
            Some(Stage::Downloading | Stage::Verified) => self.fetch_on(now_ms),
            Some(Stage::Staged | Stage::Installing { .. } | Stage::Dark) | None => {
                Do::Wait { until_ms: self.poll_at_ms.min(install_ends_ms) }
            }
        }
    }

    fn lost(&mut self, now_ms: u64) -> Do {
        self.world.stats.count(Counter::Errors);
        self.lost_counted(now_ms)
    }

    /// Backs off, then starts over with a poll.
    fn lost_counted(&mut self, now_ms: u64) -> Do {
        let first = (self.interval_ms / 4).clamp(5, 1000);
        let most = self.interval_ms.clamp(200, 30_000);
        let pause = first.saturating_mul(1 << self.losses.min(16)).min(most);
        self.losses = self.losses.saturating_add(1);
        self.quiet_until_ms = now_ms + pause / 2 + self.jitter.below(pause / 2 + 1);
        self.poll_at_ms = self.quiet_until_ms;
        self.next(now_ms)
    }

    fn reboots(&self, action: ActionId, when: Reboot) -> bool {
        self.rebooted_in != Some(action) && self.fate(action).reboot == Some(when)
    }

    fn reboot(&mut self, now_ms: u64, action: ActionId) -> Do {
        self.world.stats.count(Counter::Reboots);
        self.rebooted_in = Some(action);
        // Every other device downloads to a file, as RAUC does, and goes on after a restart; the others stream, as swupdate does.
        self.download_kept = self.work.is_some() && self.index.is_multiple_of(2);
        self.work = None;
        self.denied = None;
        self.losses = 0;
        self.quiet_until_ms = now_ms + self.interval_ms.min(2000) + self.jitter.below(100);
        self.poll_at_ms = self.quiet_until_ms;
        Do::Wait { until_ms: self.quiet_until_ms }
    }

    fn ask(&mut self, asked: Asked, method: Method, url: String, body: Option<Bytes>) -> Do {
        self.asked = asked;
        Do::Send(Call { method, url, body, answer_lost: false })
    }

    fn losing(&self, mut to_do: Do, action: ActionId, request: u64) -> Do {
        if let Do::Send(call) = &mut to_do {
            call.answer_lost = self.world.faults.answer_lost(self.world.seed, self.index, action, request);
        }
        to_do
    }

    fn fate(&self, action: ActionId) -> Fate {
        self.world.faults.fate(self.world.seed, self.index, action)
    }

    fn wrote(&self, what: &str, status: u16) -> bool {
        self.world.judge(self.index, |judge| judge.write_status(what, status));
        status == 200
    }

    fn read_well(&self, what: &str, status: u16) -> bool {
        self.world.judge(self.index, |judge| judge.read_status(what, status));
        status == 200
    }

    /// What the device believes the time is.
    fn device_time(&self, now_ms: u64) -> i64 {
        let skew_ms = self.world.faults.clock_skew_ms(self.world.seed, self.index);
        i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_add(skew_ms)
    }
}
