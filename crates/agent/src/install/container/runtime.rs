//! What do podman, docker, a compose program and systemd have to be told?

use std::collections::BTreeMap;
use std::time::Duration;

use crate::install::InstallError;
use crate::world::{Ran, Run, World};

const OUTPUT_BYTES_MAX: usize = 256 * 1024;
const LINES_TOLD: usize = 10;
/// Looking at things, and giving them names.
const LOOK_TIMEOUT: Duration = Duration::from_secs(120);
/// Tells containers that are listed from warnings between them.
const LISTED: &str = "container ";
/// In what podman and docker say if there is no such image or container, in small letters.
const MISSING: [&str; 2] = ["no such ", "not known"];
/// Of an image: SHA-256 in hex.
const ID_DIGITS: usize = 64;
/// How compose programs mark what belongs to a project; podman-compose does it too.
const PROJECT_LABEL: &str = "com.docker.compose.project";

/// An image by the name that descriptions use, and by what it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    pub name: String,
    pub id: String,
}

/// How the only image of a component runs, as the device's owner wants it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// As behind `--publish`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// As behind `--volume`.
    #[serde(default)]
    pub volumes: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// As behind `--restart`.
    #[serde(default = "restart_default")]
    pub restart: String,
    /// More words before the image, such as `--read-only`.
    #[serde(default)]
    pub options: Vec<String>,
    /// In place of the image's own.
    #[serde(default)]
    pub command: Vec<String>,
}

fn restart_default() -> String {
    "always".into()
}

impl RunSettings {
    /// Of the command that starts it.
    fn words(&self, name: &str, image: &str) -> Vec<String> {
        let mut words = ["run", "--detach", "--pull=never", "--name", name].map(str::to_owned).to_vec();
        words.push(format!("--restart={}", self.restart));
        words.extend(self.ports.iter().map(|port| format!("--publish={port}")));
        words.extend(self.volumes.iter().map(|volume| format!("--volume={volume}")));
        words.extend(self.env.iter().map(|(key, value)| format!("--env={key}={value}")));
        words.extend(self.options.iter().cloned());
        words.push(image.to_owned());
        words.extend(self.command.iter().cloned());
        words
    }
}

/// The first podman whose systemd generator takes this kind of file: its release notes.
const QUADLET_SINCE: [(&str, (u32, u32)); 3] = [("image", (4, 8)), ("pod", (5, 0)), ("build", (5, 2))];
const QUADLET_FIRST: (u32, u32) = (4, 4);

const PODMAN: &str = "podman version ";

/// By what the engine says of its version, with warnings before it.
fn is_docker(said: &str) -> bool {
    said.lines().any(|line| line.starts_with("Docker version "))
}

/// May a file with this ending be given to the engine that says this version? The error says what to do.
pub fn takes_quadlet(said: &str, ending: &str) -> Result<(), String> {
    if is_docker(said) {
        let said = said.trim();
        return Err(format!(".{ending} files are for podman, and this is {said}: send a compose.yaml instead"));
    }
    // One that doesn't say its version in podman's words is somebody's own, who knows.
    let Some((said, version)) = said.lines().find_map(|line| Some((line.trim(), line.trim().strip_prefix(PODMAN)?)))
    else {
        return Ok(());
    };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let has = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let needs = QUADLET_SINCE.iter().find(|(kind, _)| *kind == ending).map_or(QUADLET_FIRST, |(_, since)| *since);
    if has >= needs {
        return Ok(());
    }
    let (major, minor) = needs;
    Err(format!(
        ".{ending} files need podman {major}.{minor}, and this is {said}: update it, or send a compose.yaml instead"
    ))
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

    /// Is the program there, and what does it answer?
    pub fn answers(&self, world: &dyn World, program: &[String], asked: &str) -> Result<String, InstallError> {
        let name = program.join(" ");
        let missing = |why: String| {
            InstallError::Refused(format!(
                "{name} does not answer; install it, or name another in the agent's file: {why}"
            ))
        };
        match self.run(world, program, &[asked], LOOK_TIMEOUT) {
            Ok(ran) if ran.succeeded() => Ok(String::from_utf8_lossy(&ran.output).into_owned()),
            Ok(ran) => Err(missing(ran.last_lines(1).join(""))),
            Err(error) => Err(missing(error.sentence())),
        }
    }

    pub fn load(&self, world: &dyn World, archive: &str) -> Result<(), InstallError> {
        self.done(world, &self.engine, &["load", "--input", archive]).map(|_| ())
    }

    /// What the engine says of an image or a container; none: it has none. Not to get an answer is an error: what can't be
    /// seen isn't gone.
    fn inspect(&self, world: &dyn World, words: [&str; 2], format: &str) -> Result<Option<String>, InstallError> {
        let [kind, name] = words;
        let words = [kind, "inspect", "--format", format, name];
        let ran = self.run(world, &self.engine, &words, LOOK_TIMEOUT)?;
        let text = String::from_utf8_lossy(&ran.output).into_owned();
        if ran.succeeded() {
            return Ok(Some(text));
        }
        let said = text.to_lowercase();
        if ran.exit_code.is_some() && MISSING.iter().any(|missing| said.contains(missing)) {
            return Ok(None);
        }
        let what = format!("{} {}", self.engine.join(" "), words.join(" "));
        Err(InstallError::Program { what, lines: ran.last_lines(LINES_TOLD) })
    }

    /// What an image is, by name or by what it is; none: it isn't there.
    pub fn id(&self, world: &dyn World, image: &str) -> Result<Option<String>, InstallError> {
        let Some(text) = self.inspect(world, ["image", image], "{{.Id}}")? else { return Ok(None) };
        // Warnings come before it.
        let found = text.lines().map(|line| line.trim().trim_start_matches("sha256:")).find(|line| is_id(line));
        let odd = || InstallError::Refused(format!("the engine says of image {image}: {:?}", text.trim()));
        found.map(|id| Some(id.to_owned())).ok_or_else(odd)
    }

    /// Names move: each start gives them to the images that this version came with.
    pub fn tag(&self, world: &dyn World, image: &Image) -> Result<(), InstallError> {
        self.done(world, &self.engine, &["tag", &image.id, &image.name]).map(|_| ())
    }

    /// Is it gone? One that is in use stays; that is said and no failure.
    pub fn forget(&self, world: &dyn World, id: &str) -> bool {
        let why = match self.run(world, &self.engine, &["rmi", id], LOOK_TIMEOUT) {
            Ok(ran) if ran.succeeded() => return true,
            Ok(ran) => ran.last_lines(1).join(""),
            Err(error) => error.sentence(),
        };
        world.host().log(&format!("image {id} stays: {why}"));
        false
    }

    /// Are its ids the digests of what the archives hold? Docker's are, unless containerd keeps its images.
    pub fn names_by_content(&self, world: &dyn World) -> Result<bool, InstallError> {
        Ok(!is_docker(&self.answers(world, &self.engine, "--version")?))
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
        let format = format!("{LISTED}{{{{.Names}}}}: {{{{.Status}}}}");
        let listed = self.done(world, &self.engine, &["ps", "--all", "--filter", &label, "--format", &format])?;
        let listed = String::from_utf8_lossy(&listed);
        let states: Vec<&str> = listed.lines().filter_map(|line| line.trim().strip_prefix(LISTED)).collect();
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

    /// Replaces the container of this name by one that runs the image.
    pub fn start(&self, world: &dyn World, name: &str, image: &str, run: &RunSettings) -> Result<(), InstallError> {
        self.stop(world, name)?;
        let words = run.words(name, image);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.done(world, &self.engine, &words)?;
        let format = "{{.State.Status}} ({{.State.ExitCode}})";
        let state = self.inspect(world, ["container", name], format)?.unwrap_or_else(|| "gone".into());
        // Warnings come before it.
        let state = state.lines().last().map(str::trim).unwrap_or_default();
        if state.starts_with("running") || state == "exited (0)" {
            return Ok(());
        }
        let what = format!("{} {}", self.engine.join(" "), words.join(" "));
        Err(InstallError::Program { what, lines: vec![format!("{name}: {state}")] })
    }

    /// One that isn't there needs nothing.
    pub fn stop(&self, world: &dyn World, name: &str) -> Result<(), InstallError> {
        if self.inspect(world, ["container", name], "{{.Id}}")?.is_none() {
            return Ok(());
        }
        self.done(world, &self.engine, &["rm", "--force", name]).map(|_| ())
    }

    /// Does systemd have a unit of this name, whoever made it?
    pub fn has_unit(&self, world: &dyn World, unit: &str) -> Result<bool, InstallError> {
        Ok(self.run(world, &self.systemctl, &["cat", unit], LOOK_TIMEOUT)?.succeeded())
    }

    pub fn systemctl(&self, world: &dyn World, words: &[&str]) -> Result<(), InstallError> {
        self.done(world, &self.systemctl, words).map(|_| ())
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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

    #[test]
    fn quadlet_files_are_refused_where_nothing_would_start_them() {
        for (said, ending) in [
            ("podman version 4.4.0\n", "container"),
            ("WARN[0000] slow disk\npodman version 5.0.0-dev\n", "pod"),
            ("podman version 10.0.1", "build"),
            ("our engine 1", "container"),
        ] {
            takes_quadlet(said, ending).unwrap();
        }
        for (said, ending, why) in [
            ("podman version 4.3.1\n", "container", "need podman 4.4, and this is podman version 4.3.1"),
            ("podman version 4.9.4", "pod", "need podman 5.0"),
            ("Docker version 28.2.2, build e6534b4", "volume", "are for podman"),
        ] {
            let refused = takes_quadlet(said, ending).unwrap_err();
            assert!(refused.contains(why) && refused.ends_with("send a compose.yaml instead"), "{refused}");
        }
    }
}
