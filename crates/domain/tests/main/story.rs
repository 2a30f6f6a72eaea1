//! Stories: what people and devices do, line by line, and what Muster says to that (`>`).
//!
//! Devices are numbered in the order in which the first rollout takes them, so device 1 is always in its canary.
//! `UPDATE_STORIES=1 cargo test -p muster-domain stories` writes what is said now; the diff is what is reviewed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use muster_domain::action::{Action, ActionState, CancelSaid, EndReason, Input as ActionInput, Push, Said};
use muster_domain::rollout::spec::{Advance, OnError, Spec, Take, Threshold, WaveSpec};
use muster_domain::rollout::step::Input;
use muster_domain::rollout::{Person, spec, text};
use muster_domain::window::Window;
use muster_vocab::{DeviceId, ReleaseId, RolloutId, limit};

use crate::referee::check_devices;
use crate::world::{World, person};

struct Story {
    world: World,
    /// By the number that the story uses.
    numbered: Vec<DeviceId>,
    /// What each rollout said last.
    said: BTreeMap<RolloutId, String>,
}

#[test]
fn stories_are_told_as_they_are_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let update = std::env::var_os("UPDATE_STORIES").is_some();
    let mut told = 0;
    let mut wrong = String::new();
    for entry in std::fs::read_dir(&folder).expect("the stories lie beside the tests") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "story") {
            continue;
        }
        let written = std::fs::read_to_string(&path).expect("a story is text");
        let heard = tell(&written).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        if update {
            std::fs::write(&path, &heard).expect("the story can be written");
        } else if heard != written {
            writeln!(wrong, "--- {}\n{}", path.display(), difference(&written, &heard)).expect("text grows");
        }
        told += 1;
    }
    assert!(wrong.is_empty(), "{wrong}\nIf that is right now: UPDATE_STORIES=1, and review the diff.");
    assert!(told >= 10, "only {told} stories were found");
}

/// The story with what is said now after each line.
fn tell(written: &str) -> Result<String> {
    let mut story = Story { world: World::new(0, 7), numbered: Vec::new(), said: BTreeMap::new() };
    let mut heard = String::new();
    for (at, line) in written.lines().enumerate() {
        if line.starts_with('>') {
            continue;
        }
        writeln!(heard, "{line}")?;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for said in story.line(line).with_context(|| format!("line {}: {line}", at + 1))? {
            writeln!(heard, "> {said}")?;
        }
    }
    Ok(heard)
}

/// The first line that differs, with the one before it.
fn difference(written: &str, heard: &str) -> String {
    let at = written.lines().zip(heard.lines()).take_while(|(one, other)| one == other).count();
    let line = |text: &str, at: usize| text.lines().nth(at).unwrap_or("(the end)").to_owned();
    let before = at.checked_sub(1).map(|at| line(written, at)).unwrap_or_default();
    format!("line {}: {before}\n  written: {}\n  heard:   {}", at + 1, line(written, at), line(heard, at))
}

impl Story {
    fn line(&mut self, line: &str) -> Result<Vec<String>> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut said = match words.as_slice() {
            ["fleet", count, "devices"] => {
                self.world = World::new(count.parse()?, 7);
                self.numbered = self.world.devices.keys().copied().collect();
                Vec::new()
            }
            ["fleet", count, "blank", "devices"] => {
                self.world = World::new(0, 7);
                for _ in 0..count.parse()? {
                    self.world.add_device(None);
                }
                self.numbered = self.world.devices.keys().copied().collect();
                Vec::new()
            }
            ["start", "waves", ..] => self.start(line)?,
            ["after", time] => {
                self.world.pass(self.world.now.plus(duration(time)?));
                Vec::new()
            }
            ["new", "device"] => {
                let device = self.world.add_device(Some(ReleaseId(1)));
                self.numbered.push(device);
                self.world.join();
                Vec::new()
            }
            ["why", "device", number] => self.why(number)?,
            ["what", "runs"] => self.what_runs(),
            ["device" | "devices", numbers, does @ ..] => self.devices(numbers, &does.join(" "))?,
            _ => self.order(&words)?,
        };
        self.world.settle();
        check_devices(&self.world.actions, &self.world.rollouts);
        said.extend(self.news());
        Ok(said)
    }

    /// What rollouts say now and didn't before.
    fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        for (id, rollout) in &self.world.rollouts {
            let says = text::describe(rollout, self.world.now);
            if self.said.get(id) != Some(&says) {
                news.push(format!("{id}: {says}"));
                self.said.insert(*id, says);
            }
        }
        news
    }

    fn start(&mut self, line: &str) -> Result<Vec<String>> {
        let mut clauses = line.split(", ");
        let sizes = clauses.next().and_then(|first| first.strip_prefix("start waves ")).context("waves")?;
        let mut waves = Vec::new();
        for size in sizes.split(' ') {
            waves.push(plain_wave(match (size, size.strip_suffix('%')) {
                ("rest", _) => Take::Rest,
                (_, Some(percent)) => Take::Percent(percent.parse()?),
                (_, None) => Take::Count(size.parse()?),
            }));
        }
        let mut asked = spec_of(waves);
        let mut release = ReleaseId(2);
        for clause in clauses {
            read_clause(clause, &mut asked, &mut release)?;
        }
        asked.check()?;
        let id = self.world.add_rollout(release, asked, person(1, "ada"));
        self.world.settle();
        if id == RolloutId(1) {
            self.number();
        }
        Ok(Vec::new())
    }

    /// In the order of the first rollout's waves; devices keep their number as name.
    fn number(&mut self) {
        let mut parts: Vec<&Action> = self.world.actions.values().collect();
        parts.sort_by_key(|action| (action.wave, action.id));
        if parts.is_empty() {
            return;
        }
        self.numbered = parts.into_iter().map(|action| action.device).collect();
        for (at, device) in self.numbered.iter().enumerate() {
            self.world.devices.get_mut(device).expect("it has a part").name = format!("device {}", at + 1);
        }
    }

    fn device(&self, number: &str) -> Result<DeviceId> {
        let number: usize = number.parse()?;
        self.numbered.get(number.wrapping_sub(1)).copied().with_context(|| format!("no device {number}"))
    }

    fn why(&self, number: &str) -> Result<Vec<String>> {
        let reasons = self.world.explain(self.device(number)?);
        Ok(reasons.into_iter().map(|reason| format!("[{}] {}", reason.code, reason.text)).collect())
    }

    fn what_runs(&self) -> Vec<String> {
        let mut counts: BTreeMap<Option<ReleaseId>, u32> = BTreeMap::new();
        for device in self.world.devices.values() {
            *counts.entry(device.installed.map(|installed| installed.release)).or_default() += 1;
        }
        let line = |(release, count): (Option<ReleaseId>, u32)| match release {
            Some(release) => format!("{count} devices run fw@1.{}", release.0 - 1),
            None => format!("{count} devices run what nobody knows"),
        };
        counts.into_iter().map(line).collect()
    }

    fn devices(&mut self, numbers: &str, does: &str) -> Result<Vec<String>> {
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let (first, last): (usize, usize) = (first.parse()?, last.parse()?);
        ensure!(first <= last, "no devices {numbers}");
        let mut refusals = Vec::new();
        for number in first..=last {
            if let Err(refused) = self.device_does(&number.to_string(), does)? {
                refusals.push(format!("refused: {refused}"));
            }
        }
        refusals.dedup();
        Ok(refusals)
    }

    fn device_does(&mut self, number: &str, does: &str) -> Result<Result<Action, muster_domain::action::Refused>> {
        let device = self.device(number)?;
        let action = self.current(device).with_context(|| format!("device {number} has no action"))?;
        let id = action.id;
        let fetches = does.starts_with("fetch") && action.state == ActionState::Running;
        if (action.state == ActionState::Offered || fetches) && !does.starts_with("is") {
            self.world.fetch(id)?;
        }
        let (verb, words) = does.split_once(": ").unwrap_or((does, ""));
        Ok(match verb {
            "fetches" | "fetch" => Ok(action),
            "succeeds" | "succeed" => self.world.say(id, Said::Succeeded),
            "fails" | "fail" => self.world.say(id, Said::Failed { words: words.to_owned() }),
            "downloads" | "download" => self.world.say(id, Said::Downloaded),
            "works" | "work" => self.world.say(id, Said::Working),
            "stops" | "stop" => self.world.word(id, ActionInput::CancelReport(CancelSaid::Stopped)),
            "refuses to stop" => self.world.word(id, ActionInput::CancelReport(CancelSaid::Refused)),
            "consents" | "consent" => self.world.word(id, ActionInput::Confirm),
            "denies" | "deny" => self.world.word(id, ActionInput::Deny),
            "is canceled" => self.world.word(id, ActionInput::Cancel(EndReason::Operator(words.to_owned()))),
            _ => bail!("devices don't know how to do {verb:?}"),
        })
    }

    /// What the device would speak of: what holds it, else what it should stop, else what ended last.
    fn current(&self, device: DeviceId) -> Option<Action> {
        let rank = |action: &&Action| match action.state {
            state if state.holds_device() => (3, action.id),
            ActionState::Canceling => (2, action.id),
            ActionState::Lost | ActionState::Canceled => (1, action.id),
            _ => (0, action.id),
        };
        self.world.actions.values().filter(|action| action.device == device).max_by_key(rank).cloned()
    }

    /// `pause`, `resume r-1`, `approve by bob`.
    fn order(&mut self, words: &[&str]) -> Result<Vec<String>> {
        let newest = self.world.rollouts.keys().next_back().copied().context("no rollout yet")?;
        let named = words.iter().find_map(|word| word.parse::<RolloutId>().ok());
        let by = match words.iter().position(|word| *word == "by").and_then(|at| words.get(at + 1)) {
            Some(&"ada") | None => person(1, "ada"),
            Some(name) => Person { name: (*name).to_owned(), ..person(2, "") },
        };
        let input = match words {
            ["approve", ..] => Input::Approve { by: Some(by) },
            ["deny", ..] => Input::Deny { by },
            ["pause", ..] => Input::Pause { by },
            ["resume", ..] => Input::Resume,
            ["abort", ..] => Input::Abort { by },
            ["roll", "back", ..] => Input::RollBack { by },
            ["next", "wave", ..] => Input::NextWave,
            _ => bail!("nobody knows how to do that"),
        };
        let id = named.unwrap_or(newest);
        // Time passes after it, as it does on a server.
        let told = self.world.tell(id, input).and_then(|()| self.world.tell(id, Input::Tick));
        match told {
            Ok(()) => Ok(Vec::new()),
            Err(refused) => Ok(vec![format!("refused: {refused}")]),
        }
    }
}

fn read_clause(clause: &str, asked: &mut Spec, release: &mut ReleaseId) -> Result<()> {
    let words: Vec<&str> = clause.split(' ').collect();
    let threshold = |text: &str| -> Result<Threshold> {
        Ok(match text.strip_suffix('%') {
            Some(percent) => Threshold::Percent(percent.parse()?),
            None => Threshold::Count(text.parse()?),
        })
    };
    match words.as_slice() {
        ["allow", failures, "failures"] => {
            let errors = threshold(failures)?;
            asked.waves.iter_mut().for_each(|wave| wave.errors = errors);
        }
        ["need", successes] => {
            let success = threshold(successes)?;
            asked.waves.iter_mut().for_each(|wave| wave.success = success);
        }
        ["soak", time] => {
            let soak_s = u32::try_from(duration(time)?.as_secs())?;
            asked.waves.iter_mut().for_each(|wave| wave.soak_s = soak_s);
        }
        ["roll", "back", "on", "error"] => asked.waves.iter_mut().for_each(|wave| wave.on_error = OnError::RollBack),
        ["by", "hand"] => asked.waves.iter_mut().for_each(|wave| wave.advance = Advance::Manual),
        ["priority", priority] => asked.priority = priority.parse()?,
        ["release", version] => *release = ReleaseId(version.strip_prefix("1.").context("1.N")?.parse::<i64>()? + 1),
        ["silence", time] => asked.silence_s = u32::try_from(duration(time)?.as_secs())?,
        ["window", ..] => asked.window = Some(Window::parse(clause.trim_start_matches("window "))?),
        ["dynamic"] => asked.dynamic = true,
        ["with", "approval"] => asked.approval = true,
        ["with", "consent"] => asked.confirmation = true,
        ["download", "only"] => asked.push = Push::DownloadOnly,
        _ => bail!("nobody knows how to {clause:?}"),
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse()?;
    Ok(Duration::from_secs(match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        _ => bail!("no time: {text}"),
    }))
}

pub fn plain_wave(take: Take) -> WaveSpec {
    WaveSpec {
        take,
        success: spec::SUCCESS_DEFAULT,
        errors: spec::ERRORS_DEFAULT,
        on_error: OnError::Pause,
        soak_s: 0,
        advance: Advance::Auto,
    }
}

pub fn spec_of(waves: Vec<WaveSpec>) -> Spec {
    Spec {
        select: String::new(),
        waves,
        push: Push::Forced,
        start: true,
        start_at: None,
        window: None,
        approval: false,
        confirmation: false,
        priority: limit::PRIORITY_DEFAULT,
        dynamic: false,
        allow_downgrade: false,
        silence_s: u32::try_from(limit::ACTION_SILENCE_DEFAULT.as_secs()).expect("a day fits"),
    }
}
