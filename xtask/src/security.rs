//! Does anybody get in, out or past? Attacks by name, carried out, and counted.
//!
//! Each function below gives the figures of one promise of docs/security.md. What is let through ends the run with an
//! error, whatever the figures say else.

mod audit;
mod roles;

use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use muster_trust::tuf::threats;
use muster_trust::tuf::threats::flips::bit_flips;

use crate::figure::{self, Figure};
use crate::{fuzz, process};

/// Carry out what attackers would, and print what was tried and what was let through.
#[derive(Debug, clap::Args)]
pub struct Security {
    /// Print each figure as one JSON line
    #[arg(long)]
    json: bool,
    /// How often an audit log is tampered with
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    tamperings: u32,
    /// Draws how
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only the audit log
    #[arg(long)]
    audit: bool,
    /// Throw bytes at every parser as well, for so many seconds each
    #[arg(long, value_name = "SECONDS")]
    fuzz: Option<u32>,
}

/// Figures that have to be zero.
const LET_THROUGH: [&str; 7] = [
    "audit_tamperings_missed",
    "tenant_leaks",
    "role_mismatches",
    "threats_let_through",
    "bit_flips_accepted",
    "secrets_found",
    fuzz::CRASHES,
];

impl Security {
    pub fn run(self) -> anyhow::Result<()> {
        let mut figures = Vec::new();
        eprintln!("an audit log tampered with");
        figures.extend(audit::tamperings(self.tamperings, self.seed)?);
        if !self.audit {
            eprintln!("attacks on signed metadata by their names, and every bit of it flipped");
            let mut threats = signed();
            eprintln!("rollouts started without the approvals they need");
            add(&mut threats, &approvals()?);
            figures.extend(threats);
            eprintln!("roles against a model that counts them out");
            figures.extend(roles::figures()?);
            eprintln!("every address from another project, as a viewer, and as nobody");
            figures.extend(tenancy()?);
            eprintln!("canaries in everything that is written, logged and answered");
            figures.extend(canaries()?);
        }
        if let Some(seconds) = self.fuzz {
            eprintln!("bytes at every parser");
            figures.extend(fuzz::figures(&[], seconds)?);
        }
        figure::print(&figures, self.json)?;
        let through =
            figures.iter().filter(|figure| LET_THROUGH.contains(&figure.figure.as_str()) && figure.value > 0.0);
        let through: Vec<&str> = through.map(|figure| figure.figure.as_str()).collect();
        ensure!(through.is_empty(), "let through: {}", through.join(", "));
        Ok(())
    }
}

/// Somebody has the repository, the server, or a stolen key: what does a device take?
fn signed() -> Vec<Figure> {
    let (tried, through) = threats::tried();
    for (threat, how) in &through {
        eprintln!("let through: {threat}: {how}");
    }
    let flips = bit_flips();
    vec![
        Figure::new("threats_tried", tried as f64, ""),
        Figure::new("threats_let_through", through.len() as f64, ""),
        Figure::new("bit_flips", flips.tried as f64, ""),
        Figure::new("bit_flips_accepted", flips.accepted as f64, ""),
    ]
}

/// By the tests that try them: they say how many, and fail if a rollout starts.
fn approvals() -> anyhow::Result<Vec<Figure>> {
    let text = tests("api::approvals", "a rollout starts without the approvals it needs")?;
    let figure = |name: &str| {
        let value = told(&text, name).with_context(|| format!("the tests of approvals don't say {name}"))?;
        Ok(Figure::new(name, value, ""))
    };
    ["threats_tried", "threats_let_through"].into_iter().map(figure).collect()
}

/// Figures of the same name are one.
fn add(figures: &mut [Figure], more: &[Figure]) {
    for figure in figures {
        figure.value += more.iter().filter(|other| other.figure == figure.figure).map(|other| other.value).sum::<f64>();
    }
}

/// By the tests that walk the OpenAPI document: they say how many addresses they asked, and fail at the first leak.
fn tenancy() -> anyhow::Result<Vec<Figure>> {
    let text = tests("api::tenancy", "a project or a role leaks")?;
    let asked = told(&text, "tenant_routes").context("the tests of tenancy don't say how many addresses they asked")?;
    Ok(vec![Figure::new("tenant_routes", asked, ""), Figure::new("tenant_leaks", 0.0, "")])
}

/// By the test that plants them: it says how many, and fails if one is found.
fn canaries() -> anyhow::Result<Vec<Figure>> {
    let text = tests("secrets::canaries", "a secret is found where it should not be")?;
    let figure = |name: &str| {
        let value = told(&text, name).with_context(|| format!("the test of canaries doesn't say {name}"))?;
        Ok(Figure::new(name, value, ""))
    };
    ["secrets_planted", "secrets_found"].into_iter().map(figure).collect()
}

/// What tests from outside print.
fn tests(which: &str, failed: &str) -> anyhow::Result<String> {
    let mut cargo = process::cargo(&["test", "--quiet", "--package", "muster-tests", "--"]);
    cargo.args([which, "--nocapture", "--test-threads", "1"]).stderr(Stdio::inherit());
    let said = cargo.output().with_context(|| format!("running the tests {which}"))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    if !said.status.success() {
        bail!("{failed}:\n{text}");
    }
    Ok(text)
}

/// The sum of what lines such as `figure tenant_routes 92` say.
fn told(text: &str, name: &str) -> Option<f64> {
    // The name of a test may stand in front on the same line.
    let values = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("figure ")?;
        let (found, value) = rest.split_once(' ')?;
        if found == name { value.trim().parse::<f64>().ok() } else { None }
    });
    let values: Vec<f64> = values.collect();
    if values.is_empty() { None } else { Some(values.iter().sum()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_same_name_are_added() {
        let mut figures = vec![Figure::new("tried", 3.0, ""), Figure::new("other", 1.0, "")];
        add(&mut figures, &[Figure::new("tried", 2.0, "")]);
        assert_eq!(figures.iter().map(|figure| figure.value).collect::<Vec<_>>(), [5.0, 1.0]);
    }

    #[test]
    fn what_tests_tell_is_found_and_added_up() {
        let text = "running 4 tests\nfigure tenant_routes 80\ntest a ... figure tenant_routes 12\nok\nfigure other 3\n";
        assert_eq!(told(text, "tenant_routes"), Some(92.0));
        assert_eq!(told(text, "nothing"), None);
    }
}
