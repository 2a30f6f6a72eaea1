//! Programs of the device's maker: how do they install what no installer of ours knows?
//!
//! A folder holds one program per verb; what each is told, may answer, and has to bear is in docs/installers.md.

use std::path::PathBuf;
use std::time::Duration;

use muster_vocab::Sha256;
use serde::Serialize;

use super::{InstallError, Installer, Job, Place, Running, Takes};
use crate::disk::Kind;
use crate::world::{Ran, Run, World};

/// `check` and `running` only look; who needs longer is stuck.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of a program's output that are told.
const LINES_TOLD: usize = 20;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// A note is stored with the device's state.
const NOTE_BYTES_MAX: usize = 4096;

const DONE: i32 = 0;
const RESTART_NEEDED: i32 = 10;
const REFUSED_FOR_GOOD: i32 = 20;

#[derive(Debug, Clone)]
pub struct Hook {
    /// With the programs `check`, `stage`, `activate`, `running`, `commit` and `revert`.
    pub folder: PathBuf,
    /// Where artifacts are put for it.
    pub downloads: PathBuf,
    /// For each of `stage`, `activate`, `commit` and `revert`.
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Check,
    Stage,
    Activate,
    Running,
    Commit,
    Revert,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Stage => "stage",
            Self::Activate => "activate",
            Self::Running => "running",
            Self::Commit => "commit",
            Self::Revert => "revert",
        }
    }

    /// Without these there is no way there, or none back.
    fn is_needed(self) -> bool {
        match self {
            Self::Activate | Self::Running | Self::Revert => true,
            Self::Check | Self::Stage | Self::Commit => false,
        }
    }
}

/// What a program reads on its standard input.
#[derive(Debug, Serialize)]
struct Told<'a> {
    verb: &'a str,
    component: &'a str,
    version: &'a str,
    metadata: &'a std::collections::BTreeMap<String, String>,
    artifacts: Vec<ToldArtifact<'a>>,
    previous: Option<&'a crate::state::Installed>,
    note: &'a str,
}

#[derive(Debug, Serialize)]
struct ToldArtifact<'a> {
    file_name: &'a str,
    size: u64,
    digest: Sha256,
    path: PathBuf,
}

impl Hook {
    fn download(&self, digest: Sha256) -> PathBuf {
        self.downloads.join(digest.hex())
    }

    /// Is there a program for it?
    fn has(&self, world: &dyn World, verb: Verb) -> Result<bool, InstallError> {
        let path = self.folder.join(verb.name());
        let kind = world.disk().kind(&path).map_err(InstallError::disk(format!("looking for {}", path.display())))?;
        match kind {
            Some(Kind::File | Kind::Link) => Ok(true),
            Some(Kind::Folder | Kind::Device) => {
                Err(InstallError::Refused(format!("{} is no program", path.display())))
            }
            None if verb.is_needed() => Err(InstallError::Refused(format!("{} is missing", path.display()))),
            None => Ok(false),
        }
    }

    fn told(&self, verb: Verb, job: Job<'_>) -> Vec<u8> {
        let artifacts = job.component.artifacts.iter();
        let told = Told {
            verb: verb.name(),
            component: &job.component.name,
            version: &job.component.version,
            metadata: &job.component.metadata,
            artifacts: artifacts
                .map(|artifact| ToldArtifact {
                    file_name: &artifact.file_name,
                    size: artifact.size,
                    digest: artifact.digest,
                    path: self.download(artifact.digest),
                })
                .collect(),
            previous: job.previous,
            note: job.note,
        };
        serde_json::to_vec(&told).expect("texts and numbers are JSON; there are no maps by anything but text")
    }

    /// Runs the program if there is one. Its lines go to the device's log, and, if it fails, to the report.
    fn run(&self, world: &dyn World, verb: Verb, job: Job<'_>) -> Result<Ran, InstallError> {
        if !self.has(world, verb)? {
            return Ok(Ran { exit_code: Some(DONE), output: Vec::new() });
        }
        let program = self.folder.join(verb.name());
        let what = format!("{} for {} {}", program.display(), job.component.name, job.component.version);
        let timeout = match verb {
            Verb::Check | Verb::Running => LOOK_TIMEOUT.min(self.timeout),
            Verb::Stage | Verb::Activate | Verb::Commit | Verb::Revert => self.timeout,
        };
        let words = [program.to_string_lossy().into_owned(), verb.name().to_owned()];
        let told = self.told(verb, job);
        let run = Run { words: &words, stdin: &told, timeout, output_bytes_max: OUTPUT_BYTES_MAX };
        let ran = world.host().run(&run).map_err(InstallError::disk(format!("starting {what}")))?;
        let mut lines = ran.last_lines(LINES_TOLD);
        for line in &lines {
            world.host().log(&format!("{}: {line}", verb.name()));
        }
        let may_restart = matches!(verb, Verb::Activate | Verb::Revert);
        match ran.exit_code {
            Some(DONE) => Ok(ran),
            Some(RESTART_NEEDED) if may_restart => Ok(ran),
            Some(REFUSED_FOR_GOOD) => {
                lines.insert(0, format!("{what} refused it"));
                Err(InstallError::Refused(lines.join("; ")))
            }
            Some(code) => {
                lines.insert(0, format!("it ended with {code}"));
                Err(InstallError::Program { what, lines })
            }
            None => {
                lines.insert(0, format!("it was killed; it has {} s", timeout.as_secs_f32()));
                Err(InstallError::Program { what, lines })
            }
        }
    }

    fn switch(&self, world: &dyn World, verb: Verb, job: Job<'_>) -> Result<Takes, InstallError> {
        let ran = self.run(world, verb, job)?;
        Ok(if ran.exit_code == Some(RESTART_NEEDED) { Takes::Restart } else { Takes::Effect })
    }

    /// The program is done with them.
    fn remove_downloads(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        for artifact in &job.component.artifacts {
            let path = self.download(artifact.digest);
            world.disk().remove(&path).map_err(InstallError::disk(format!("removing {}", path.display())))?;
        }
        Ok(())
    }
}

impl Installer for Hook {
    fn name(&self) -> &'static str {
        "hook"
    }

    /// The note is what `check` said after `note:` last.
    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError> {
        for verb in [Verb::Activate, Verb::Running, Verb::Revert] {
            self.has(world, verb)?;
        }
        let ran = self.run(world, Verb::Check, job)?;
        let text = String::from_utf8_lossy(&ran.output).into_owned();
        let note = text.lines().rev().find_map(|line| line.strip_prefix("note:")).unwrap_or_default().trim();
        if note.len() > NOTE_BYTES_MAX {
            return Err(InstallError::Refused(format!("check wrote a note of more than {NOTE_BYTES_MAX} bytes")));
        }
        Ok(note.to_owned())
    }

    fn place(&self, world: &dyn World, job: Job<'_>, artifact: usize) -> Result<Place, InstallError> {
        let folder = &self.downloads;
        let making = InstallError::disk(format!("making {}", folder.display()));
        world.disk().make_folder(folder).map_err(making)?;
        let artifact = &job.component.artifacts[artifact];
        Ok(Place { path: self.download(artifact.digest), bytes_max: artifact.size, base: None })
    }

    fn stage(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        self.run(world, Verb::Stage, job).map(drop)
    }

    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        self.switch(world, Verb::Activate, job)
    }

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError> {
        let ran = self.run(world, Verb::Running, job)?;
        let lines = ran.last_lines(1);
        match lines.first().map(|line| line.trim()) {
            Some("new") => Ok(Running::New),
            Some("old") => Ok(Running::Old),
            Some(_) | None => {
                let what = format!("{} says neither new nor old", self.folder.join("running").display());
                Err(InstallError::Program { what, lines })
            }
        }
    }

    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        self.run(world, Verb::Commit, job)?;
        self.remove_downloads(world, job)
    }

    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let takes = self.switch(world, Verb::Revert, job)?;
        self.remove_downloads(world, job)?;
        Ok(takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Installed;
    use crate::workbench::{Workbench, component, digest};

    fn bench(programs: &[(&str, &str)]) -> (Workbench, Hook) {
        let bench = Workbench::new();
        for (verb, script) in programs {
            bench.write_program(&format!("hook/{verb}"), script);
        }
        let timeout = Duration::from_secs(60);
        let hook = Hook { folder: bench.path("hook"), downloads: bench.path("down/loads"), timeout };
        (bench, hook)
    }

    /// A radio whose firmware is a file.
    const RADIO: [(&str, &str); 6] = [
        ("check", r#"cd "$(dirname "$0")/.."; echo looking; echo "note: $(cat radio)""#),
        ("stage", r#"cd "$(dirname "$0")/.."; cp down/loads/* staged"#),
        ("activate", r#"cd "$(dirname "$0")/.."; cat > told; mv staged radio; exit 10"#),
        ("running", r#"cd "$(dirname "$0")/.."; if [ "$(cat radio)" = two ]; then echo new; else echo old; fi"#),
        ("commit", r#"cd "$(dirname "$0")/.."; echo done > committed"#),
        ("revert", r#"cd "$(dirname "$0")/.."; echo one > radio; rm -f staged; echo back"#),
    ];

    #[test]
    fn a_component_goes_all_the_way_through_its_programs() {
        let (bench, hook) = bench(&RADIO);
        bench.write("radio", "one\n");
        let radio = component("firmware/radio", "radio.bin", b"two");
        let previous = Installed { version: "0.9".into(), digests: vec![digest(b"one")] };
        let note = hook.plan(&bench, Job { component: &radio, previous: Some(&previous), note: "" }).unwrap();
        assert_eq!(note, "one");
        let job = Job { component: &radio, previous: Some(&previous), note: &note };
        bench.deliver(&hook, job, b"two");
        hook.stage(&bench, job).unwrap();
        assert_eq!(hook.running(&bench, job).unwrap(), Running::Old);
        assert_eq!(hook.activate(&bench, job).unwrap(), Takes::Restart);
        assert_eq!(hook.running(&bench, job).unwrap(), Running::New);
        let told: serde_json::Value = serde_json::from_slice(&bench.read("told")).unwrap();
        let artifact = serde_json::json!({
            "file_name": "radio.bin", "size": 3, "digest": digest(b"two"),
            "path": bench.path("down/loads").join(digest(b"two").hex()),
        });
        assert_eq!(
            told,
            serde_json::json!({
                "verb": "activate", "component": "firmware/radio", "version": "1.0", "metadata": {},
                "artifacts": [artifact], "note": "one",
                "previous": { "version": "0.9", "digests": [digest(b"one")] },
            })
        );
        hook.commit(&bench, job).unwrap();
        assert_eq!((bench.text("committed").as_str(), bench.names("down/loads")), ("done\n", vec![]));
        assert_eq!(hook.revert(&bench, job).unwrap(), Takes::Effect);
        assert_eq!(hook.running(&bench, job).unwrap(), Running::Old);
        assert!(bench.log_lines().contains(&"revert: back".to_owned()));
    }

    #[test]
    fn programs_that_only_look_or_tidy_up_may_be_missing_and_the_others_may_not() {
        let radio = component("radio", "radio.bin", b"two");
        let job = Job { component: &radio, previous: None, note: "" };
        let needed = [RADIO[2], RADIO[3], RADIO[5]];
        let (bench, hook) = bench(&needed);
        assert_eq!(hook.plan(&bench, job).unwrap(), "");
        hook.stage(&bench, job).unwrap();
        hook.commit(&bench, job).unwrap();
        for (verb, _) in needed {
            std::fs::rename(bench.path(&format!("hook/{verb}")), bench.path("away")).unwrap();
            let error = hook.plan(&bench, job).unwrap_err().to_string();
            assert!(error.ends_with(&format!("{verb} is missing")), "{error}");
            std::fs::rename(bench.path("away"), bench.path(&format!("hook/{verb}"))).unwrap();
        }
    }

    fn failure(stage: &str, timeout: Duration) -> InstallError {
        let radio = component("radio", "radio.bin", b"two");
        let (bench, hook) = bench(&[("stage", stage)]);
        Hook { timeout, ..hook }.stage(&bench, Job { component: &radio, previous: None, note: "" }).unwrap_err()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn exit_codes_tell_a_refusal_from_a_failure_and_lines_go_along() {
        let refusal = failure("echo 'wrong board'; exit 20", LONG);
        assert!(
            matches!(&refusal, InstallError::Refused(why) if why.ends_with("refused it; wrong board")),
            "{refusal}"
        );
        let failed = failure("echo one; echo two >&2; exit 3", LONG);
        assert!(matches!(&failed, InstallError::Program { lines, .. } if *lines == ["it ended with 3", "one", "two"]));
        // Only a switch can need a restart.
        let restart = failure("exit 10", LONG);
        assert!(matches!(&restart, InstallError::Program { lines, .. } if *lines == ["it ended with 10"]));
        let slow = failure("echo begun; sleep 1000", Duration::from_millis(200));
        assert!(
            matches!(&slow, InstallError::Program { lines, .. } if lines[0].starts_with("it was killed") && lines[1] == "begun"),
            "{slow}"
        );
    }

    #[test]
    fn a_program_that_says_neither_new_nor_old_is_told_so() {
        let radio = component("radio", "radio.bin", b"two");
        let (bench, hook) = bench(&[("running", "echo perhaps")]);
        let error = hook.running(&bench, Job { component: &radio, previous: None, note: "" }).unwrap_err().to_string();
        assert!(error.ends_with("running says neither new nor old: perhaps"), "{error}");
    }
}
