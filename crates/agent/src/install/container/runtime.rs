//! What do podman, docker, a compose program and systemd have to be told?

use std::time::Duration;

use crate::install::InstallError;
use crate::world::{Ran, Run, World};

const OUTPUT_BYTES_MAX: usize = 256 * 1024;
const LINES_TOLD: usize = 10;
/// Looking at things, and giving them names.
const LOOK_TIMEOUT: Duration = Duration::from_secs(120);
/// How compose programs mark what belongs to a project; podman-compose does it too.
const PROJECT_LABEL: &str = "com.docker.compose.project";

/// An image by the name that descriptions use, and by what it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    pub name: String,
    pub id: String,
}

/// The programs, each as the words that begin its commands.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub engine: Vec<String>,
    pub compose: Vec<String>,
    pub systemctl: Vec<String>,
    /// Loading images, starting and stopping.
    pub timeout: Duration,
}

impl Runtime {
    fn run(
        &self,
        world: &dyn World,
        program: &[String],
        words: &[&str],
        timeout: Duration,
    ) -> Result<Ran, InstallError> {
        let words: Vec<String> = program.iter().cloned().chain(words.iter().map(|&word| word.to_owned())).collect();
        let run = Run { words: &words, stdin: b"", timeout, output_bytes_max: OUTPUT_BYTES_MAX };
        world.host().run(&run).map_err(InstallError::disk(format!("running {}", words.join(" "))))
    }

    fn done(&self, world: &dyn World, program: &[String], words: &[&str]) -> Result<Vec<u8>, InstallError> {
        let ran = self.run(world, program, words, self.timeout)?;
        if ran.succeeded() {
            return Ok(ran.output);
        }
        let what = program.iter().map(String::as_str).chain(words.iter().copied()).collect::<Vec<_>>().join(" ");
        Err(InstallError::Program { what, lines: ran.last_lines(LINES_TOLD) })
    }

    /// Is the program there, and does it answer?
    pub fn answers(&self, world: &dyn World, program: &[String], asked: &str) -> Result<(), InstallError> {
        let name = program.join(" ");
        let missing = |why: String| {
            InstallError::Refused(format!(
                "{name} does not answer; install it, or name another in the agent's file: {why}"
            ))
        };
        match self.run(world, program, &[asked], LOOK_TIMEOUT) {
            Ok(ran) if ran.succeeded() => Ok(()),
            Ok(ran) => Err(missing(ran.last_lines(1).join(""))),
            Err(error) => Err(missing(error.sentence())),
        }
    }

    pub fn load(&self, world: &dyn World, archive: &str) -> Result<(), InstallError> {
        self.done(world, &self.engine, &["load", "--input", archive]).map(|_| ())
    }

    /// What an image is, by name or by what it is; none: it isn't there.
    pub fn id(&self, world: &dyn World, image: &str) -> Result<Option<String>, InstallError> {
        let ran = self.run(world, &self.engine, &["image", "inspect", "--format", "{{.Id}}", image], LOOK_TIMEOUT)?;
        let text = String::from_utf8_lossy(&ran.output);
        let id = text.trim().trim_start_matches("sha256:");
        let is_id = ran.succeeded() && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(is_id.then(|| id.to_owned()))
    }

    /// Names move: each start gives them to the images that this version came with.
    pub fn tag(&self, world: &dyn World, image: &Image) -> Result<(), InstallError> {
        self.done(world, &self.engine, &["tag", &image.id, &image.name]).map(|_| ())
    }

    /// One that somebody else uses too stays; that is said and no failure.
    pub fn forget(&self, world: &dyn World, id: &str) {
        match self.run(world, &self.engine, &["rmi", id], LOOK_TIMEOUT) {
            Ok(ran) if ran.succeeded() => {}
            Ok(ran) => world.host().log(&format!("image {id} stays: {}", ran.last_lines(1).join(""))),
            Err(error) => world.host().log(&format!("image {id} stays: {}", error.sentence())),
        }
    }

    /// Is it a description that the compose program understands?
    pub fn check_compose(&self, world: &dyn World, project: &str, file: &str) -> Result<(), InstallError> {
        let checked = self.done(world, &self.compose, &["-p", project, "-f", file, "config"]);
        match checked {
            // podman-compose before 1.0.6 can't tell before the start.
            Err(InstallError::Program { lines, .. })
                if lines.iter().any(|line| line.contains("invalid choice: 'config'")) =>
            {
                Ok(())
            }
            checked => checked.map(|_| ()),
        }
    }

    pub fn compose_up(&self, world: &dyn World, project: &str, file: &str) -> Result<(), InstallError> {
        let words = ["-p", project, "-f", file, "up", "-d", "--remove-orphans", "--force-recreate"];
        let said = self.done(world, &self.compose, &words)?;
        // Not each compose program fails if a container does.
        let label = format!("label={PROJECT_LABEL}={project}");
        let format = "{{.Names}}: {{.Status}}";
        let listed = self.done(world, &self.engine, &["ps", "--all", "--filter", &label, "--format", format])?;
        let listed = String::from_utf8_lossy(&listed);
        let states: Vec<&str> = listed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let down: Vec<String> = states.iter().filter(|line| !is_well(line)).map(|line| (*line).to_owned()).collect();
        if !states.is_empty() && down.is_empty() {
            return Ok(());
        }
        let what = format!("{} {}", self.compose.join(" "), words.join(" "));
        let said = Ran { exit_code: Some(0), output: said }.last_lines(LINES_TOLD);
        let lines = if states.is_empty() { vec!["it started no container".to_owned()] } else { down };
        Err(InstallError::Program { what, lines: said.into_iter().chain(lines).collect() })
    }

    pub fn compose_down(&self, world: &dyn World, project: &str, file: &str) -> Result<(), InstallError> {
        self.done(world, &self.compose, &["-p", project, "-f", file, "down"]).map(|_| ())
    }

    pub fn systemctl(&self, world: &dyn World, words: &[&str]) -> Result<(), InstallError> {
        self.done(world, &self.systemctl, words).map(|_| ())
    }
}

/// By a line `NAME: STATUS`. One that ended well has done its work.
fn is_well(line: &str) -> bool {
    let status = line.split_once(": ").map_or("", |(_, status)| status);
    ["Up", "running", "Exited (0)", "Restarting (0)"].iter().any(|good| status.starts_with(good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_well_while_it_runs_or_once_it_ended_well() {
        for line in ["web: Up 3 seconds", "web: running", "once: Exited (0) 1 second ago"] {
            assert!(is_well(line), "{line}");
        }
        for line in ["web: Exited (1) 1 second ago", "web: Created", "web: Restarting (1) 1 second ago", "web:"] {
            assert!(!is_well(line), "{line}");
        }
    }
}
