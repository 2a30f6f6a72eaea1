//! Do the server's books agree with each other and with the devices' own?

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::world::World;

const TERMINAL: [&str; 5] = ["finished", "downloaded", "failed", "lost", "canceled"];

/// What does not agree, in words.
#[derive(Debug, Default)]
pub struct Books {
    pub lost: Vec<String>,
    pub twice: Vec<String>,
}

impl Books {
    pub fn compare(world: &World, report: &Value) -> anyhow::Result<Self> {
        let mut books = Self::default();
        let actions = world.all("/actions", "rollout == faults")?;
        books.each_device_has_one_end(world, &actions);
        books.counts_equal_a_recount(world, &actions)?;
        books.journal_agrees(world, &actions)?;
        books.nothing_was_offered_again(report);
        let audit = world.call("GET", "/audit/verify", None)?;
        if audit["intact"] != true {
            books.lost.push(format!("the audit log is broken: {audit}"));
        }
        Ok(books)
    }

    fn each_device_has_one_end(&mut self, world: &World, actions: &[Value]) {
        let mut by_device: BTreeMap<&str, u32> = BTreeMap::new();
        for action in actions {
            let (device, state) = (action["device"].as_str().unwrap_or_default(), action["state"].as_str());
            *by_device.entry(device).or_default() += 1;
            if !state.is_some_and(|state| TERMINAL.contains(&state)) {
                self.lost.push(format!("action {} of {device} ended as {state:?}", action["id"]));
            }
        }
        for (device, count) in &by_device {
            if *count != 1 {
                self.lost.push(format!("{device} has {count} actions"));
            }
        }
        if by_device.len() != world.devices as usize {
            self.lost.push(format!("{} of {} devices have an action", by_device.len(), world.devices));
        }
    }

    fn counts_equal_a_recount(&mut self, world: &World, actions: &[Value]) -> anyhow::Result<()> {
        let rollout = world.call("GET", "/rollouts/faults", None)?;
        for wave in rollout["waves"].as_array().context("a rollout has waves")? {
            let of_wave: Vec<&Value> = actions.iter().filter(|action| action["wave"] == wave["number"]).collect();
            for state in TERMINAL {
                let counted = wave["counts"][state].as_u64().unwrap_or(0);
                let recounted = of_wave.iter().filter(|action| action["state"] == state).count() as u64;
                if counted != recounted {
                    self.lost.push(format!("wave {}: {counted} {state} counted, {recounted} found", wave["number"]));
                }
            }
        }
        Ok(())
    }

    /// Who installed says so in his journal before he tells the server.
    fn journal_agrees(&mut self, world: &World, actions: &[Value]) -> anyhow::Result<()> {
        let journal = std::fs::read_to_string(world.journal()).context("reading the devices' journal")?;
        let mut installed = BTreeSet::new();
        for line in journal.lines() {
            let entry: Value = serde_json::from_str(line).context("a line of the journal")?;
            let action = entry["action"].as_i64().or_else(|| entry["action"].as_str()?.parse().ok());
            let key = (entry["device"].as_str().unwrap_or_default().to_owned(), action);
            if !installed.insert(key.clone()) {
                self.twice.push(format!("{} installed action {:?} twice", key.0, key.1));
            }
        }
        ensure!(!installed.is_empty(), "no device installed anything");
        for action in actions.iter().filter(|action| action["state"] == "finished") {
            let key = (action["device"].as_str().unwrap_or_default().to_owned(), action["id"].as_i64());
            if !installed.contains(&key) {
                self.lost.push(format!("action {:?} is finished and {} never installed it", key.1, key.0));
            }
        }
        Ok(())
    }

    /// An answer of 200 to a final report that was forgotten shows as the same action offered again.
    fn nothing_was_offered_again(&mut self, report: &Value) {
        let samples = report["stats"]["breach_samples"].as_array().cloned().unwrap_or_default();
        let count = report["stats"]["contract_breaches"].as_u64().unwrap_or(0);
        if count > 0 {
            let said: Vec<String> = samples.iter().take(5).map(ToString::to_string).collect();
            self.lost.push(format!("{count} breaches of contract: {}", said.join("; ")));
        }
    }
}
