//! Does what protects hold when somebody tries?
//!
//! One function per kind of attack; each answers its figures, how often it was tried and how often that went unseen.

mod audit;

use anyhow::ensure;

use crate::figure::{self, Figure};

/// Attack what protects again and again, and count what went unseen.
#[derive(Debug, clap::Args)]
pub struct Security {
    /// Print each figure as one JSON line
    #[arg(long)]
    json: bool,
    /// How often an audit log is tampered with
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    tamperings: u32,
    /// Draws what is done
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Security {
    pub fn run(&self) -> anyhow::Result<()> {
        let mut figures = Vec::new();
        figures.extend(audit::tamperings(self.tamperings, self.seed)?);
        figure::print(&figures, self.json)?;
        let unseen: Vec<&Figure> =
            figures.iter().filter(|figure| figure.figure.ends_with("_missed") && figure.value > 0.0).collect();
        ensure!(unseen.is_empty(), "went unseen: {unseen:?}");
        Ok(())
    }
}
