use super::*;
use crate::workbench::Workbench;

fn rules(checks: Vec<Check>) -> Rules {
    Rules { policy: Policy::default(), checks, check_timeout: Duration::from_secs(60) }
}

fn words(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn metric(script: &str, min: Option<f64>, max: Option<f64>) -> Check {
    Check::Metric { command: words(script), min, max }
}

#[test]
fn a_new_version_that_passes_all_checks_is_not_complained_about() {
    let bench = Workbench::new();
    // A workbench's clock says 1970, so each file is from the future, and fresh.
    bench.write("alive", "");
    let checks = vec![
        Check::Command(words("exit 0")),
        Check::File { path: bench.path("alive"), seconds: 1 },
        metric("echo noise; echo 7", Some(7.0), Some(7.0)),
        metric("echo -3.5", None, Some(0.0)),
    ];
    assert_eq!(rules(checks).complaints(&bench), Vec::<String>::new());
    assert_eq!(rules(vec![]).complaints(&bench), Vec::<String>::new());
}

#[test]
fn each_failing_check_is_told_with_its_last_lines() {
    let bench = Workbench::new();
    let missing = bench.path("missing");
    let cases = [
        (Check::Command(words("echo one; echo two >&2; exit 3")), vec!["failed", "one", "two"]),
        (Check::Command(vec!["/no/such/program".into()]), vec!["failed", "/no/such/program: "]),
        (Check::File { path: missing.clone(), seconds: 60 }, vec!["missing: "]),
        (metric("echo 8", None, Some(7.0)), vec!["is 8, above 7"]),
        (metric("echo 8", Some(9.0), None), vec!["is 8, below 9"]),
        (metric("echo eight", None, None), vec!["did not print a number"]),
        (metric("echo NaN", Some(1.0), Some(2.0)), vec!["is no number"]),
        (metric("true", None, None), vec!["did not print a number"]),
        (metric("echo 1; exit 1", None, None), vec!["failed", "1"]),
        (Check::Http("http://127.0.0.1:1/".into()), vec!["did not answer"]),
    ];
    for (check, expected) in cases {
        let said = rules(vec![check.clone()]).complaints(&bench);
        assert_eq!(said.len(), expected.len(), "{check:?}: {said:?}");
        for (line, part) in said.iter().zip(expected) {
            assert!(line.contains(part), "{line} has no {part}");
        }
    }
}

#[test]
fn a_check_that_hangs_is_ended_and_told() {
    let hanging = Rules { check_timeout: Duration::from_millis(50), ..rules(vec![Check::Command(words("sleep 60"))]) };
    let said = hanging.complaints(&Workbench::new());
    assert!(said.iter().any(|line| line.starts_with("killed after")), "{said:?}");
}

#[test]
fn one_failing_check_does_not_hide_another() {
    let checks = ["exit 1", "exit 0", "exit 2"].map(|script| Check::Command(words(script))).to_vec();
    assert_eq!(rules(checks).complaints(&Workbench::new()).len(), 2);
}

#[test]
fn who_is_asked_may_put_an_update_off() {
    let bench = Workbench::new();
    let asking = |script: &str| {
        let policy = Policy { confirm: words(script), ..Policy::default() };
        Rules { policy, ..rules(vec![]) }.objection(&bench)
    };
    assert_eq!(asking("exit 0"), None);
    let why = asking("echo a patient is connected; exit 1").unwrap();
    assert!(why.ends_with("says no: a patient is connected"), "{why}");
}

#[test]
fn without_a_clock_hours_put_an_update_off() {
    let policy = Policy { hours: vec!["00:00-24:00".to_owned().try_into().unwrap()], ..Policy::default() };
    let why = Rules { policy, ..rules(vec![]) }.objection(&Workbench::new()).unwrap();
    assert!(why.contains("doesn't know the time yet"), "{why}");
}

#[test]
fn a_person_says_yes_or_no_or_nothing_yet() {
    let order = Deployment {
        action: muster_vocab::ActionId(7),
        release: "gateway".into(),
        version: "1.1".into(),
        downgrade: false,
        signed: vec![],
        terms: muster_wire::agent::Terms { download: false, install: false, forced: false },
        components: vec![],
    };
    let bench = Workbench::new();
    let asked = |consent: Vec<String>| {
        let policy = Policy { consent, ..Policy::default() };
        Rules { policy, ..rules(vec![]) }.consent(&bench, &order)
    };
    assert_eq!(asked(words("grep -q '\"version\":\"1.1\"'")), Consent::Given);
    assert_eq!(asked(words("echo later; exit 3")), Consent::Denied(vec!["later".into()]));
    assert_eq!(asked(words("exit 1")), Consent::NotYet);
    assert_eq!(asked(vec!["/no/such/program".into()]), Consent::NotYet);
    assert_eq!(asked(vec![]), Consent::NobodyToAsk);
}
