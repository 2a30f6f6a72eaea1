//! What do all devices of a fleet share?

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::chance::Chance;
use crate::ddi::Judge;
use crate::faults::Faults;
use crate::stats::Stats;

/// The version that devices leave the factory with.
pub const FACTORY_VERSION: &str = "1.0";

const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const HARDWARE: [&str; 3] = ["gateway-arm64-r2", "gateway-arm64-r3", "panel-armv7-r1"];

#[derive(Debug)]
pub struct World {
    /// `http://host:port`.
    pub origin: String,
    pub project: String,
    pub seed: u64,
    pub name_prefix: String,
    pub sites: Vec<String>,
    pub poll_ms: Option<u64>,
    pub faults: Faults,
    pub stats: Arc<Stats>,
}

impl World {
    pub fn device_name(&self, index: u32) -> String {
        format!("{}{:05}", self.name_prefix, index + 1)
    }

    pub fn root_url(&self, index: u32) -> String {
        let project = utf8_percent_encode(&self.project, PATH_PART);
        let name = self.device_name(index);
        format!("{}/{project}/controller/v1/{}", self.origin, utf8_percent_encode(&name, PATH_PART))
    }

    /// Runs `check` with the judge of one device's conversation.
    pub fn judge<T>(&self, index: u32, check: impl FnOnce(Judge<'_>) -> T) -> T {
        let device = self.device_name(index);
        check(Judge { stats: &self.stats, device: &device, origin: &self.origin })
    }

    /// What a device says about itself.
    pub fn attributes(&self, index: u32, version: &str) -> Vec<(&'static str, String)> {
        let serial = Chance::keyed(self.seed, &[u64::from(index), 0x5e71a1]).draw() >> 24;
        let mut attributes = vec![
            ("version", version.to_owned()),
            ("hw", HARDWARE[index as usize % HARDWARE.len()].to_owned()),
            ("serial", format!("SN-{serial:010X}")),
            ("os", format!("muster-sim {version} (Linux 6.12)")),
        ];
        if !self.sites.is_empty() {
            attributes.push(("site", self.sites[index as usize % self.sites.len()].clone()));
        }
        attributes
    }
}
