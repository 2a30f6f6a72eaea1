use super::*;
use crate::workbench::Workbench;

const NOW: Timestamp = Timestamp(1_000_000);

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn command(what: CommandKind) -> Command {
    Command { id: 5, deadline: NOW.plus(Duration::from_secs(60)), what }
}

fn script(name: &str, arguments: &[&str]) -> Command {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    command(CommandKind::RunScript { script: name.into(), arguments })
}

fn logs(unit: Option<&str>, lines: u32) -> Command {
    command(CommandKind::CollectLogs { unit: unit.map(str::to_owned), lines })
}

fn settings() -> CommandSettings {
    let scripts = [("echo", "printf [%s]"), ("fail", "false"), ("sleep", "sleep 1000"), ("gone", "/no/such/program")];
    let mut scripts: BTreeMap<String, Vec<String>> = scripts.map(|(name, text)| (name.into(), words(text))).into();
    scripts.insert(
        "tell".into(),
        ["sh", "-c", "echo password=hunter2; yes | head -c 400000; echo end"].map(str::to_owned).into(),
    );
    CommandSettings { scripts, ..CommandSettings::default() }
}

fn said(outcome: CommandOutcome) -> CommandSaid {
    match outcome {
        CommandOutcome::Said(said) => said,
        CommandOutcome::Reboot | CommandOutcome::OpenSession { .. } => panic!("{outcome:?}"),
    }
}

fn run(settings: &CommandSettings, command: &Command) -> CommandSaid {
    said(begin(&Workbench::new(), settings, command, NOW))
}

#[test]
fn without_settings_everything_is_refused_and_the_reason_says_what_to_set() {
    let open = |kind| CommandKind::OpenSession { session: "s".into(), kind, seconds_max: 60 };
    for (what, set) in [
        (CommandKind::Reboot, "`reboot = true`"),
        (CommandKind::CollectLogs { unit: None, lines: 5 }, "`logs`"),
        (CommandKind::RunScript { script: "x".into(), arguments: vec![] }, "[commands.scripts]"),
        (open(SessionKind::Shell), "`shell = true`"),
        (
            open(SessionKind::Forward { host: "localhost".into(), port: 80 }),
            "localhost:80 is not allowed; add it to `forward`",
        ),
    ] {
        let said = run(&CommandSettings::default(), &command(what));
        assert_eq!((said.command, said.state), (5, CommandState::Refused));
        assert!(said.output.contains(set) && said.output.contains("agent's file"), "{said:?}");
    }
}

#[test]
fn what_is_allowed_is_begun() {
    let settings = CommandSettings { reboot: true, shell: true, forward: vec!["localhost:80".into()], ..settings() };
    let begun = |what| begin(&Workbench::new(), &settings, &command(what), NOW);
    assert_eq!(begun(CommandKind::Reboot), CommandOutcome::Reboot);
    for kind in [SessionKind::Shell, SessionKind::Forward { host: "localhost".into(), port: 80 }] {
        let what = CommandKind::OpenSession { session: "s".into(), kind: kind.clone(), seconds_max: 60 };
        assert_eq!(begun(what), CommandOutcome::OpenSession { session: "s".into(), kind, seconds_max: 60 });
    }
}

#[test]
fn a_command_whose_deadline_has_passed_is_not_begun() {
    let late = begin(&Workbench::new(), &settings(), &script("fail", &[]), NOW.plus(Duration::from_secs(61)));
    assert_eq!(said(late).state, CommandState::Late);
}

#[test]
fn arguments_reach_a_script_as_they_are() {
    let said = run(&settings(), &script("echo", &["a b", "$(id)", "; true", ""]));
    assert_eq!((said.state, said.exit_code), (CommandState::Succeeded, Some(0)));
    assert_eq!(said.output, "[a b][$(id)][; true][]");
    for arguments in [vec!["a\0b"], vec!["x"; 65], vec![&*"x".repeat(5000)]] {
        assert_eq!(run(&settings(), &script("echo", &arguments)).state, CommandState::Refused);
    }
}

#[test]
fn a_script_that_fails_hangs_or_is_missing_is_told_as_such() {
    let failed = run(&settings(), &script("fail", &[]));
    assert_eq!((failed.state, failed.exit_code), (CommandState::Failed, Some(1)));
    let gone = run(&settings(), &script("gone", &[]));
    assert!(
        gone.state == CommandState::Failed && gone.output.contains("/no/such/program could not be run"),
        "{gone:?}"
    );
    let soon = Command { deadline: Timestamp(NOW.0 + 50), ..script("sleep", &[]) };
    let hung = run(&settings(), &soon);
    assert_eq!((hung.state, hung.exit_code), (CommandState::Failed, None));
    assert!(hung.output.contains("killed"), "{hung:?}");
}

#[test]
fn output_is_bounded_and_without_secrets() {
    let said = run(&settings(), &script("tell", &[]));
    assert!(
        said.output.len() <= limit::COMMAND_OUTPUT_BYTES_MAX && said.output.len() > limit::COMMAND_OUTPUT_BYTES_MAX / 2
    );
    assert!(said.output.ends_with("y\nend\n"), "the end is what counts");
    let mut short = settings();
    short
        .scripts
        .insert("tell".into(), ["sh", "-c", "printf 'password=hunter2\\n\\033[1mbold'"].map(str::to_owned).into());
    assert_eq!(run(&short, &script("tell", &[])).output, "password=[redacted]\n[1mbold");
}

#[test]
fn the_last_lines_of_the_files_that_are_named_are_sent() {
    let bench = Workbench::new();
    bench.write("app.log", "one\ntwo token=abc\nthree\n");
    bench.write("big.log", "0123456789\n".repeat(100_000));
    let files = ["app.log", "big.log", "missing.log"].map(|name| bench.path(name)).to_vec();
    let settings = CommandSettings { logs: Logs::Files(files), ..CommandSettings::default() };
    let collect = |unit, lines| said(begin(&bench, &settings, &logs(unit, lines), NOW));
    assert_eq!(collect(Some("app.log"), 2).output, "two token=[redacted]\nthree\n");
    let big = collect(Some("big.log"), 1_000_000).output;
    assert!(
        big.len() <= limit::COMMAND_OUTPUT_BYTES_MAX && big.lines().all(|line| line == "0123456789"),
        "{} bytes",
        big.len()
    );
    let all = collect(None, 1).output;
    assert!(all.contains("app.log <==\nthree\n") && all.contains("missing.log can't be read"), "{all}");
    assert_eq!(collect(Some("shadow"), 1).state, CommandState::Refused);
}

#[test]
fn a_unit_is_a_name_and_never_an_option() {
    let words = journal_words(Some("app@1.service"), 50).unwrap().join(" ");
    assert_eq!(words, "journalctl --no-pager --quiet --output=short-iso --lines 50 --unit app@1.service");
    for unit in ["", "--root=/", "a b", "a;b"] {
        assert!(journal_words(Some(unit), 1).is_err(), "{unit}");
    }
}

#[test]
fn a_restart_and_a_stop_in_the_middle_are_told_afterwards() {
    assert_eq!(rebooted(5).state, CommandState::Succeeded);
    assert_eq!((interrupted(5).state, interrupted(5).exit_code), (CommandState::Failed, None));
}
