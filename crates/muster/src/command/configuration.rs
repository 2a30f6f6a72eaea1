//! `configuration …`: files on devices, from templates.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use muster_wire::configuration::{
    Configuration, ConfigurationFile, ConfigurationPreview, ConfigurationPreviewed, ConfigurationPut,
};
use serde::Deserialize;

use super::Here;
use super::kind::confirm;
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format, clean};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  muster configuration apply -f app.yaml
  muster configuration preview -f app.yaml --device sn-0001
  muster configuration list

A file such as:
  name: app
  select: label.site == berlin
  files:
    - path: /etc/app.conf
      content: |
        server = {{ attribute.board }}.{{ site }}.example
      mode: \"0644\"
      owner: root:app
      validate: [app, --check, \"{}\"]
      reload: [systemctl, reload, app]
Instead of content, template names a file beside it. The template language is told in docs/configuration.md.")]
pub enum ConfigurationCommand {
    /// Make or replace a configuration.
    Apply {
        /// YAML or JSON.
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
    },
    /// All configurations.
    List,
    /// One configuration, with its templates.
    Show { name: String },
    /// Delete a configuration; its files are no longer desired on any device.
    Delete {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// What would a device get? Nothing is saved.
    Preview {
        #[arg(long, value_name = "NAME")]
        device: String,
        /// As if this had been applied.
        #[arg(long, short, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// As people write it down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    select: String,
    #[serde(default)]
    priority: Option<u16>,
    files: Vec<WrittenFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    path: String,
    #[serde(default)]
    content: Option<String>,
    /// Relative to the file that names it.
    #[serde(default)]
    template: Option<PathBuf>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    validate: Vec<String>,
    #[serde(default)]
    reload: Vec<String>,
}

pub fn run(here: &Here, command: ConfigurationCommand) -> Outcome<()> {
    match command {
        ConfigurationCommand::Apply { file } => {
            let (name, put) = read(&file)?;
            let saved: Configuration = here.client.put(&path(&name), &put)?;
            output::one(here.format, &saved)
        }
        ConfigurationCommand::List => {
            let all: Vec<Configuration> = here.client.list("/configurations", None, None)?;
            output::rows(here.format, &all)
        }
        ConfigurationCommand::Show { name } => {
            let format = if here.format == Format::Table { Format::Yaml } else { here.format };
            output::one(format, &here.client.get::<Configuration>(&path(&name))?)
        }
        ConfigurationCommand::Delete { name, yes } => {
            if !yes {
                confirm(&format!("Delete configuration {name}? Its files are no longer desired on any device."))?;
            }
            here.client.delete(&path(&name))?;
            eprintln!("Deleted {name}.");
            Ok(())
        }
        ConfigurationCommand::Preview { device, file } => preview(here, device, file.as_deref()),
    }
}

fn path(name: &str) -> String {
    format!("/configurations/{}", part(name))
}

fn preview(here: &Here, device: String, file: Option<&Path>) -> Outcome<()> {
    let (name, configuration) = file.map(read).transpose()?.unzip();
    let asked = ConfigurationPreview { device, name, configuration };
    let shown: ConfigurationPreviewed = here.client.post("/configurations:preview", &asked)?;
    if here.format != Format::Table {
        return output::document(here.format, &shown);
    }
    if let Some(error) = shown.error {
        return Err(Failed::Other(anyhow!("{} would get nothing: {error}", shown.device)));
    }
    if shown.files.is_empty() {
        eprintln!("No configuration matches {}.", shown.device);
    }
    output::print(&shown.files.iter().map(file_text).collect::<String>())
}

/// A file as people read it: what it is, and its content.
pub fn file_text(file: &ConfigurationFile) -> String {
    let about: Vec<&str> = [file.mode.as_deref(), file.owner.as_deref()].into_iter().flatten().collect();
    let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(" ")) };
    let lines = file.content.lines().map(|line| format!("  {}\n", clean(line)));
    format!("{}{about}\n{}", clean(&file.path), lines.collect::<String>())
}

fn read(file: &Path) -> Outcome<(String, ConfigurationPut)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let wrong = |what: String| Failed::Usage(format!("{}: {what}", file.display()));
    let written: Written = serde_saphyr::from_str(&text).map_err(|bad| wrong(bad.to_string()))?;
    let mut files = Vec::new();
    for one in written.files {
        let content = match (one.content, one.template) {
            (Some(content), None) => content,
            (None, Some(template)) => {
                let from = folder.join(template);
                std::fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?
            }
            _ => return Err(wrong(format!("{}: give either content or template", one.path))),
        };
        let WrittenFile { path, mode, owner, validate, reload, .. } =
            WrittenFile { content: None, template: None, ..one };
        files.push(ConfigurationFile { path, content, mode, owner, validate, reload });
    }
    Ok((written.name, ConfigurationPut { select: written.select, priority: written.priority, files }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Outcome<(String, ConfigurationPut)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.yaml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("app.conf"), "from a file\n").unwrap();
        read(&file)
    }

    #[test]
    fn a_configuration_is_read_from_yaml_with_its_templates() {
        let (name, put) = written(
            "name: app\nselect: all\npriority: 7\nfiles:\n  - path: /etc/a\n    content: |\n      a={{ site }}\n    \
             mode: \"0640\"\n    reload: [systemctl, reload, app]\n  - path: /etc/b\n    template: app.conf\n",
        )
        .unwrap();
        assert_eq!((name.as_str(), put.priority, put.files.len()), ("app", Some(7), 2));
        assert_eq!((put.files[0].content.as_str(), put.files[0].mode.as_deref()), ("a={{ site }}\n", Some("0640")));
        assert_eq!(put.files[0].reload, ["systemctl", "reload", "app"]);
        assert_eq!(put.files[1].content, "from a file\n");
    }

    #[test]
    fn what_is_no_configuration_is_a_usage_error_that_names_the_file() {
        for text in [
            "",
            "name: app\n",
            "name: app\nselect: all\nfiles:\n  - path: /etc/a\n",
            "name: app\nselect: all\nfiles:\n  - path: /etc/a\n    content: x\n    template: app.conf\n",
            "name: app\nselect: all\ncolour: red\nfiles: []\n",
        ] {
            let failed = written(text).unwrap_err();
            assert_eq!(failed.code(), 2, "{text}: {failed}");
            assert!(failed.to_string().contains("app.yaml"), "{failed}");
        }
    }
}
