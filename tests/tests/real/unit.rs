//! The units, as systemd itself judges them.

use std::path::PathBuf;
use std::process::{Command, Output};

use muster_tests::server::program;

fn unit(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../integrations/systemd")).join(name)
}

fn analyze(words: &[&str], unit: &std::path::Path) -> Output {
    Command::new("systemd-analyze").args(words).arg(unit).output().unwrap()
}

fn exposure(name: &str) -> f64 {
    let said = analyze(&["security", "--offline=true", "--no-pager"], &unit(name));
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let last = text.lines().rev().find(|line| line.contains("Overall exposure level")).unwrap_or_default();
    let (_, score) = last.split_once(": ").unwrap_or_else(|| panic!("no score: {text}"));
    score.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_servers_unit_leaves_an_intruder_little() {
    let score = exposure("muster.service");
    println!("muster.service {score}");
    assert!(score < 2.0, "systemd-analyze security says {score}");
}

#[test]
fn the_units_are_understood() {
    for (name, installed) in [("muster.service", "muster"), ("muster-agent.service", "muster-agent")] {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(unit(name)).unwrap();
        let built = program(installed).unwrap().display().to_string();
        let file = folder.path().join(name);
        std::fs::write(&file, text.replace(&format!("/usr/bin/{installed} "), &format!("{built} "))).unwrap();
        let said = analyze(&["verify"], &file);
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && told.trim().is_empty(), "{name}: {told}");
    }
}
