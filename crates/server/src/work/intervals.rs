//! Does each device keep the polling interval that the overrides give it?

use muster_domain::project::PollOverride;
use muster_store::projects::Project;
use muster_vocab::limit;
use tracing::error;

use crate::flow::devices;
use crate::flow::error::FlowError;
use crate::{App, clock};

/// How many devices got another interval.
pub async fn settle_intervals(app: &App) -> usize {
    match settle_once(app).await {
        Ok(settled) => settled,
        Err(failed) => {
            error!(error = &failed as &dyn std::error::Error, "polling intervals could not be settled: {failed}");
            0
        }
    }
}

async fn settle_once(app: &App) -> Result<usize, FlowError> {
    let mut settled = 0;
    for project in app.read(|view| view.projects()).await? {
        for (select, interval_s) in wanted(&project.settings.poll_overrides) {
            settled += settle(app, &project, select, interval_s).await?;
        }
    }
    Ok(settled)
}

/// Selectors that don't overlap, each with the interval of the devices it matches: the first override wins.
fn wanted(overrides: &[PollOverride]) -> Vec<(String, u32)> {
    let mut before = String::from("all");
    let mut wanted = Vec::new();
    for over in overrides {
        wanted.push((format!("{before} and ({})", over.select), over.interval_s));
        before = format!("{before} and not ({})", over.select);
    }
    wanted.push((before, 0));
    wanted
}

async fn settle(app: &App, project: &Project, select: String, interval_s: u32) -> Result<usize, FlowError> {
    let (id, now) = (project.id, clock::now());
    let mut settled = 0;
    loop {
        let text = select.clone();
        let differing = app
            .read(move |view| {
                let select = crate::flow::rollouts::device_selector("poll_overrides", &text)?;
                Ok::<_, FlowError>(view.devices_of_other_interval(
                    id,
                    (&select, interval_s),
                    limit::WORK_BATCH_ACTIONS,
                    now,
                )?)
            })
            .await?;
        if differing.is_empty() {
            return Ok(settled);
        }
        settled += differing.len();
        app.write::<_, FlowError>(move |tx| {
            for device in differing {
                let device = tx.device_by_id(id, device)?;
                devices::settle_interval(tx, now, id, &device)?;
            }
            Ok(())
        })
        .await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_override_that_matches_wins() {
        let over = |select: &str, interval_s| PollOverride { select: select.into(), interval_s };
        let texts = wanted(&[over("label.a == 1", 10), over("label.b == 1", 20)]);
        assert_eq!(
            texts,
            [
                ("all and (label.a == 1)".to_owned(), 10),
                ("all and not (label.a == 1) and (label.b == 1)".to_owned(), 20),
                ("all and not (label.a == 1) and not (label.b == 1)".to_owned(), 0),
            ]
        );
    }
}
