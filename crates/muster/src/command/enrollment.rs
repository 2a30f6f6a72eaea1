//! `enrollment policy …`: who comes in by itself?

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use muster_wire::identity::{EnrollmentPolicy, EnrollmentTest, EnrollmentTested};

use super::Here;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};

#[derive(Debug, Subcommand)]
pub enum EnrollmentCommand {
    /// The rules by which devices come in, wait or are refused: the first that fits decides.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// As `set` takes it.
    Show,
    /// Replace it by a file (YAML or JSON).
    #[command(after_help = "Examples:
  muster enrollment policy show > policy.yaml
  muster enrollment policy set -f policy.yaml

The file, with all that a rule may say:
  rules:
    - name: line-3
      shows: token              # token, claim, authority, nothing, tpm, est or any
      serial: SN-2026-*
      addresses: [10.4.0.0/16]
      from: 2026-11-01T00:00:00Z
      until: 2026-12-31T00:00:00Z
      select: attribute.hw == box-2
      per_hour_max: 50          # whoever comes beyond it waits
      then: accept              # accept, wait or refuse
      labels: {ring: lab}
      site: oslo
    - {shows: any, then: wait}")]
    Set {
        #[arg(long, short = 'f', value_name = "FILE")]
        file: PathBuf,
        /// Only if it is still the one that was read.
        #[arg(long, hide = true)]
        revision: Option<u64>,
    },
    /// What would it say of such a device? Changes nothing.
    #[command(after_help = "Examples:
  muster enrollment policy test --device 'name=SN-2026-7 shows=token address=10.4.0.9'
  muster enrollment policy test --device 'name=x shows=nothing attribute.hw=box-2' -f policy.yaml")]
    Test {
        /// Facts, with spaces between: name=… shows=… est=true address=… at=… label.KEY=… attribute.KEY=…
        #[arg(long, value_name = "FACTS")]
        device: String,
        /// By this policy instead of the project's own.
        #[arg(long, short = 'f', value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub fn run(here: &Here, command: EnrollmentCommand) -> Outcome<()> {
    let EnrollmentCommand::Policy(command) = command;
    let format = if here.format == Format::Table { Format::Yaml } else { here.format };
    match command {
        PolicyCommand::Show => output::document(format, &here.client.get::<EnrollmentPolicy>("/enrollment-policy")?),
        PolicyCommand::Set { file, revision: _ } => {
            let policy = read(&file)?;
            let set: EnrollmentPolicy = here.client.put("/enrollment-policy", &policy)?;
            eprintln!("The policy has {} rules now.", set.rules.len());
            Ok(())
        }
        PolicyCommand::Test { device, file } => {
            let mut test = facts(&device).map_err(Failed::Usage)?;
            test.rules = file.as_ref().map(read).transpose()?.map(|policy| policy.rules);
            let said: EnrollmentTested = here.client.post("/enrollment-policy/test", &test)?;
            output::document(format, &said)
        }
    }
}

fn read(file: &PathBuf) -> Outcome<EnrollmentPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    // JSON is YAML, too.
    serde_saphyr::from_str(&text).map_err(|bad| Failed::Usage(format!("{}: {bad}", file.display())))
}

/// `name=SN-7 shows=token label.site=oslo`.
fn facts(text: &str) -> Result<EnrollmentTest, String> {
    let mut all = serde_json::Map::new();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is no fact: write key=value"))?;
        let group = [("label.", "labels"), ("attribute.", "attributes")];
        let found = group.iter().find_map(|(prefix, group)| Some((key.strip_prefix(prefix)?, *group)));
        match found {
            Some((key, group)) => {
                all.entry(group).or_insert_with(|| serde_json::json!({}))[key] = value.into();
            }
            None if key == "est" => drop(all.insert(key.into(), (value == "true").into())),
            None => drop(all.insert(key.into(), value.into())),
        }
    }
    serde_json::from_value(all.into()).map_err(|bad| format!("the facts about the device: {bad}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_one_line() {
        let test = facts("name=SN-7 shows=token est=true address=10.0.0.1 label.site=oslo attribute.hw=b").unwrap();
        assert_eq!((test.name.as_str(), test.est, test.labels["site"].as_str()), ("SN-7", true, "oslo"));
        assert_eq!(test.attributes["hw"], "b");
        for bad in ["name", "name=x", "name=x shows=smile", "name=x shows=token adress=1"] {
            assert!(facts(bad).is_err(), "{bad}");
        }
    }
}
