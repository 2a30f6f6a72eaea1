//! Was somebody refused, and is it worth a record?
//!
//! Refusals cost whoever provokes them nothing, so they must not fill the audit log: the first of a kind about a target
//! gets a record, its repetitions within a while are counted and told with the next one.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::Actor;
use muster_vocab::{ProjectId, Timestamp, limit};
use parking_lot::Mutex;
use serde_json::json;
use tracing::warn;

use crate::App;
use crate::flow::audit;

/// What refusals are remembered of.
#[derive(Debug, Default)]
pub struct Noticed {
    targets: Mutex<HashMap<(ProjectId, String), Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    recorded_at: Timestamp,
    since: u64,
}

/// Who was refused, and why.
#[derive(Debug)]
pub struct Refused {
    pub project: ProjectId,
    /// `device.refused`.
    pub action: &'static str,
    /// `device:sn-1`.
    pub target: String,
    pub why: &'static str,
}

impl Noticed {
    /// How often it was refused since its last record, if it is time for the next; counts it otherwise.
    ///
    /// More targets than are remembered share one place, so that names made up to fill the log share its records.
    fn due(&self, refused: &Refused, now: Timestamp) -> Option<(String, u64)> {
        let mut targets = self.targets.lock();
        let mut key = (refused.project, format!("{} {}", refused.action, refused.target));
        let mut target = refused.target.clone();
        if targets.len() >= limit::REFUSED_REMEMBERED && !targets.contains_key(&key) {
            targets.retain(|_, seen| now.since(seen.recorded_at) < limit::REFUSED_RECORDED_EVERY);
            if targets.len() >= limit::REFUSED_REMEMBERED {
                let kind = refused.target.split(':').next().unwrap_or_default();
                target = format!("{kind}:*");
                key = (refused.project, format!("{} {target}", refused.action));
            }
        }
        match targets.get_mut(&key) {
            // A clock that was set back makes one record more, and keeps none away.
            Some(seen) if now >= seen.recorded_at && now.since(seen.recorded_at) < limit::REFUSED_RECORDED_EVERY => {
                seen.since += 1;
                None
            }
            known => {
                let since = known.map_or(0, |seen| seen.since);
                targets.insert(key, Seen { recorded_at: now, since: 0 });
                Some((target, since))
            }
        }
    }
}

/// Leaves a record if one is due. Whoever was refused doesn't wait for it.
pub fn notice(app: &Arc<App>, refused: &Refused) {
    let now = app.now();
    let Some((target, repeated)) = app.noticed.due(refused, now) else { return };
    let (project, action, why, app) = (refused.project, refused.action, refused.why, app.clone());
    tokio::spawn(async move {
        let detail = json!({ "why": why, "repeated": repeated });
        let recorded =
            app.write(move |tx| audit::record(tx, now, &Actor::Muster { project }, (action, target), &detail)).await;
        if let Err(failed) = recorded {
            warn!(error = &failed as &dyn std::error::Error, "a refusal left no record: {failed}");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn refused(target: &str) -> Refused {
        Refused { project: ProjectId(1), action: "device.refused", target: target.into(), why: "wrong token" }
    }

    #[test]
    fn the_first_refusal_gets_a_record_and_the_next_one_tells_how_many_there_were_between() {
        let noticed = Noticed::default();
        let later = NOW.plus(limit::REFUSED_RECORDED_EVERY);
        assert_eq!(noticed.due(&refused("device:a"), NOW), Some(("device:a".into(), 0)));
        assert_eq!(noticed.due(&refused("device:a"), NOW.plus(Duration::from_secs(1))), None);
        assert_eq!(noticed.due(&refused("device:b"), NOW), Some(("device:b".into(), 0)));
        assert_eq!(noticed.due(&refused("device:a"), later), Some(("device:a".into(), 1)));
    }

    #[test]
    fn names_made_up_to_fill_the_log_share_a_record() {
        let noticed = Noticed::default();
        let made =
            (0..limit::REFUSED_REMEMBERED * 2).filter_map(|n| noticed.due(&refused(&format!("device:{n}")), NOW));
        let made: Vec<(String, u64)> = made.collect();
        assert_eq!(made.len(), limit::REFUSED_REMEMBERED + 1);
        assert_eq!(made.last(), Some(&("device:*".into(), 0)));
    }
}
