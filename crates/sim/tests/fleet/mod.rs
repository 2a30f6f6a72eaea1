//! Does a simulated device talk as a real one does? Against a small DDI server of this test's own.

use std::path::Path;
use std::sync::Arc;

use muster_sim::{Faults, Fleet, Outcome, Payload, Report, Stats, journal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::peer::{Offered, Peer, State};

fn good(version: &str) -> Payload {
    Payload { version: Some(version.into()), ..Payload::default() }
}

fn offering(payload: &Payload, size_bytes: usize) -> State {
    State { action: Some(Offered::forced(7)), artifact: payload.artifact(size_bytes), ..State::default() }
}

fn fleet(peer: &Peer) -> Fleet {
    Fleet { server: peer.url.clone(), poll_ms: Some(5), ..Fleet::default() }
}

struct Running {
    stop: watch::Sender<bool>,
    stats: Arc<Stats>,
    fleet: JoinHandle<Report>,
}

fn start(fleet: Fleet) -> Running {
    let (stop, stopped) = watch::channel(false);
    let stats = Arc::new(Stats::default());
    let seen = Arc::clone(&stats);
    let fleet = tokio::spawn(async move { fleet.run(seen, stopped).await.unwrap() });
    Running { stop, stats, fleet }
}

impl Running {
    async fn stop(self) -> Report {
        self.stop.send(true).unwrap();
        self.fleet.await.unwrap()
    }
}

fn clean(report: &Report) {
    assert_eq!(report.stats.breach_samples, Vec::<String>::new());
    assert_eq!(report.stats.contract_breaches, 0);
}

fn pairs(feedback: &[(&str, &str)]) -> Vec<(String, String)> {
    feedback.iter().map(|(execution, finished)| ((*execution).to_owned(), (*finished).to_owned())).collect()
}

#[tokio::test]
async fn an_update_is_downloaded_verified_installed_and_reported() {
    let peer = Peer::start(State { wants_attributes: true, ..offering(&good("1.1"), 20_000) }).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let running = start(Fleet {
        gateway_token: Some("key".into()),
        sites: vec!["berlin".into()],
        journal: Some(path.clone()),
        ..fleet(&peer)
    });
    peer.until("the final report", |state| state.finals() == 1).await;
    peer.state().wants_attributes = true;
    peer.until("the attributes afterwards", |state| !state.wants_attributes).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!(report.stats.versions, [("1.1".to_owned(), 1)].into());
    assert_eq!((report.stats.installs, report.stats.downloads, report.stats.bytes), (1, 1, 20_000));
    let installs = journal::read(&path).unwrap();
    assert_eq!(installs.len(), 1);
    assert_eq!((installs[0].device.as_str(), installs[0].action.0), ("sim-00001", 7));
    assert_eq!((installs[0].version.as_str(), installs[0].outcome), ("1.1", Outcome::Installed));

    let state = peer.state();
    let feedback = state.feedback();
    assert_eq!(feedback.first(), Some(&("proceeding".into(), "none".into())));
    assert_eq!(feedback[feedback.len() - 2..], pairs(&[("downloaded", "none"), ("closed", "success")]));
    assert!(state.seen.iter().all(|seen| seen.authorization.as_deref() == Some("GatewayToken key")));
    let attributes = state.seen.iter().filter(|seen| seen.path == "configData").collect::<Vec<_>>();
    assert_eq!(attributes[0].body["mode"], "merge");
    assert_eq!(attributes[0].body["data"]["version"], "1.0");
    assert_eq!(attributes[0].body["data"]["site"], "berlin");
    assert_eq!(attributes[1].body["data"]["version"], "1.1");
    let image = state.seen.iter().filter(|seen| seen.path.ends_with("/image")).map(|seen| seen.method.as_str());
    assert_eq!(image.collect::<Vec<_>>(), ["HEAD", "GET"]);
}

#[tokio::test]
async fn a_bad_update_is_reported_and_leaves_the_old_version() {
    let peer = Peer::start(offering(&Payload { fail_share: 1.0, ..good("1.2") }, 0)).await;
    let running = start(fleet(&peer));
    peer.until("the final report", |state| state.finals() == 1).await;
    let polls = peer.state().polls();
    peer.until("more polls", |state| state.polls() > polls + 3).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!(report.stats.versions, [("1.0".to_owned(), 1)].into());
    assert_eq!((report.stats.failures, report.stats.installs), (1, 0));
    let state = peer.state();
    let last = state.seen.iter().find(|seen| seen.is_final()).unwrap();
    assert_eq!(last.finished(), "failure");
    assert!(last.body["status"]["details"][0].as_str().unwrap().starts_with("boot check failed"));
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let peer = Peer::start(State { cuts: [5_000, 3_000].into(), ..offering(&good("1.1"), 100_000) }).await;
    let running = start(fleet(&peer));
    peer.until("the final report", |state| state.finals() == 1).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.resumes, report.stats.bytes, report.stats.installs), (2, 100_000, 1));
    let state = peer.state();
    let ranges = state.seen.iter().filter_map(|seen| seen.range.as_deref()).collect::<Vec<_>>();
    assert_eq!(ranges, ["bytes=5000-", "bytes=8000-"]);
}

#[tokio::test]
async fn a_cancel_during_a_slow_download_stops_it() {
    let peer = Peer::start(offering(&good("1.1"), 100_000)).await;
    let faults = Faults { slow_link_share: 1.0, slow_link_bytes_per_s: 10, ..Faults::default() };
    let running = start(Fleet { faults, ..fleet(&peer) });
    peer.until("the download", |state| state.seen.iter().any(|seen| seen.path.ends_with("/image"))).await;
    peer.state().action = Some(Offered { canceling: true, ..Offered::forced(7) });
    let canceled = |state: &State| state.seen.iter().any(|seen| seen.path == "cancelAction/7/feedback");
    peer.until("the cancel to be taken", canceled).await;
    let polls = peer.state().polls();
    peer.until("more polls", |state| state.polls() > polls + 3).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.cancels, report.stats.installs), (1, 0));
    assert_eq!(peer.state().feedback().last(), Some(&("closed".into(), "success".into())));
}

#[tokio::test]
async fn a_cancel_during_the_install_is_rejected_and_the_install_ends() {
    let peer = Peer::start(offering(&Payload { install_ms: 300, ..good("1.1") }, 0)).await;
    let running = start(fleet(&peer));
    peer.until("the download", |state| state.feedback().contains(&("downloaded".into(), "none".into()))).await;
    peer.state().action = Some(Offered { canceling: true, ..Offered::forced(7) });
    peer.until("the final report", |state| state.finals() == 1).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.cancels_refused, report.stats.cancels, report.stats.installs), (1, 0, 1));
    let feedback = peer.state().feedback();
    assert_eq!(feedback[feedback.len() - 2..], pairs(&[("rejected", "none"), ("closed", "success")]));
}

#[tokio::test]
async fn consent_is_given_before_the_update_begins() {
    let mut state = offering(&good("1.1"), 0);
    state.action = Some(Offered { needs_consent: true, ..Offered::forced(7) });
    let peer = Peer::start(state).await;
    let running = start(fleet(&peer));
    peer.until("the final report", |state| state.finals() == 1).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.consents, report.stats.installs), (1, 1));
    let state = peer.state();
    let first = state.seen.iter().find(|seen| seen.path.ends_with("/feedback")).unwrap();
    assert_eq!(
        (first.path.as_str(), &first.body["confirmation"]),
        ("confirmationBase/7/feedback", &"confirmed".into())
    );
}

#[tokio::test]
async fn refused_consent_is_said_once_and_nothing_is_installed() {
    let mut state = offering(&good("1.1"), 0);
    state.action = Some(Offered { needs_consent: true, ..Offered::forced(7) });
    let peer = Peer::start(state).await;
    let running = start(Fleet { faults: Faults { denied_share: 1.0, ..Faults::default() }, ..fleet(&peer) });
    peer.until("some polls", |state| state.polls() > 10).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.consents, report.stats.installs), (1, 0));
}

#[tokio::test]
async fn what_may_not_be_installed_yet_is_downloaded_and_installed_once_allowed() {
    let mut state = offering(&good("1.1"), 0);
    state.action = Some(Offered { update: "skip", ..Offered::forced(7) });
    let peer = Peer::start(state).await;
    let running = start(fleet(&peer));
    peer.until("the download", |state| state.feedback().contains(&("downloaded".into(), "success".into()))).await;
    let polls = peer.state().polls();
    peer.until("more polls", |state| state.polls() > polls + 3).await;
    assert_eq!(running.stats.snapshot().installs, 0);
    peer.state().action = Some(Offered { revision: 2, ..Offered::forced(7) });
    peer.until("the final report", |state| state.finals() == 1).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.downloads, report.stats.installs), (1, 1));
}

#[tokio::test]
async fn a_final_report_survives_reboots_and_is_sent_until_it_is_taken() {
    let state = State { final_statuses: [500, 503, 429].into(), ..offering(&good("1.1"), 0) };
    let peer = Peer::start(state).await;
    let faults = Faults { reboot_share: 1.0, ..Faults::default() };
    let running = start(Fleet { devices: 8, faults, ..fleet(&peer) });
    peer.until("all final reports", |state| state.finals() == 11).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.reboots, report.stats.installs), (8, 8));
    assert!(report.stats.downloads > 8, "some reboots fall into the download");
    let state = peer.state();
    let asked_at_the_end = format!("bytes={}-", state.artifact.len());
    let kept = state.seen.iter().filter(|seen| seen.range.as_ref() == Some(&asked_at_the_end)).count();
    assert!(kept > 0, "some devices keep their download and ask whether there is more");
    assert_eq!(report.stats.versions, [("1.1".to_owned(), 8)].into());
}

#[tokio::test]
async fn a_device_that_missed_the_answer_sends_its_report_again_and_takes_410_for_delivered() {
    let peer = Peer::start(offering(&good("1.1"), 0)).await;
    let faults = Faults { lost_response_share: 1.0, ..Faults::default() };
    let running = start(Fleet { faults, ..fleet(&peer) });
    peer.until("the report twice", |state| state.finals() == 2).await;
    let polls = peer.state().polls();
    peer.until("more polls", |state| state.polls() > polls + 3).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!((report.stats.installs, report.stats.reports, report.stats.pending_reports), (1, 1, 0));
}

#[tokio::test]
async fn an_action_offered_again_is_not_installed_twice_and_counts_as_a_breach() {
    let peer = Peer::start(offering(&good("1.1"), 0)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let running = start(Fleet { journal: Some(path.clone()), ..fleet(&peer) });
    peer.until("the final report", |state| state.finals() == 1).await;
    peer.state().forget_endings();
    peer.until("the report again", |state| state.finals() == 2).await;
    let report = running.stop().await;
    assert_eq!(report.stats.contract_breaches, 1);
    assert!(report.stats.breach_samples[0].contains("offered again"), "{:?}", report.stats.breach_samples);
    assert_eq!(journal::read(&path).unwrap().len(), 1);
}

#[tokio::test]
async fn corrupt_bytes_are_not_installed() {
    let peer = Peer::start(State { corrupt: true, ..offering(&good("1.1"), 1000) }).await;
    let running = start(fleet(&peer));
    peer.until("the final report", |state| state.finals() == 1).await;
    let report = running.stop().await;
    assert_eq!((report.stats.installs, report.stats.failures, report.stats.contract_breaches), (0, 1, 1));
    assert!(report.stats.breach_samples[0].contains("sha1 of"), "{:?}", report.stats.breach_samples);
}

#[tokio::test]
async fn writes_that_are_not_answered_by_200_and_a_missing_sleep_are_breaches() {
    let state = State { without_sleep: true, final_statuses: [204].into(), ..offering(&good("1.1"), 0) };
    let peer = Peer::start(state).await;
    let running = start(fleet(&peer));
    peer.until("the report again", |state| state.finals() == 2).await;
    let report = running.stop().await;
    let said = |text: &str| report.stats.breach_samples.iter().any(|sample| sample.contains(text));
    assert!(said("final feedback was answered 204") && said("sleep is missing"), "{:?}", report.stats.breach_samples);
}

#[tokio::test]
async fn a_silenced_device_is_never_heard_of_again() {
    let peer = Peer::start(offering(&good("1.1"), 0)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let faults = Faults { silent_share: 0.5, ..Faults::default() };
    let running = start(Fleet { devices: 40, faults, journal: Some(path.clone()), ..fleet(&peer) });
    let ended = |stats: &Stats| stats.snapshot().silences + stats.snapshot().reports;
    let stats = Arc::clone(&running.stats);
    peer.until("all devices", |_| ended(&stats) == 40).await;
    let report = running.stop().await;
    clean(&report);
    assert!((10..30).contains(&report.stats.silences), "{} of 40", report.stats.silences);
    let silent = journal::read(&path).unwrap().into_iter().filter(|install| install.outcome == Outcome::Silent);
    assert_eq!(silent.count() as u64, report.stats.silences);
}

async fn outcomes(seed: u64, poll_ms: u64, path: &Path) -> Vec<(String, Outcome)> {
    let bad = Payload { fail_share: 0.3, ..good("1.2") };
    let peer = Peer::start(offering(&bad, 2000)).await;
    let faults = Faults {
        install_failure_share: 0.2,
        reboot_share: 0.3,
        lost_response_share: 0.3,
        silent_share: 0.2,
        ..Faults::default()
    };
    let journal = Some(path.to_owned());
    let running = start(Fleet { devices: 60, seed, faults, poll_ms: Some(poll_ms), journal, ..fleet(&peer) });
    let stats = Arc::clone(&running.stats);
    let ended = || stats.snapshot().silences + stats.snapshot().reports;
    peer.until("all devices", |_| ended() == 60).await;
    clean(&running.stop().await);
    let mut outcomes =
        journal::read(path).unwrap().into_iter().map(|install| (install.device, install.outcome)).collect::<Vec<_>>();
    outcomes.sort_by(|a, b| a.0.cmp(&b.0));
    outcomes
}

#[tokio::test]
async fn the_same_seed_gives_the_same_outcomes_whatever_the_timing() {
    let folder = tempfile::tempdir().unwrap();
    let first = outcomes(3, 5, &folder.path().join("first")).await;
    let slower = outcomes(3, 23, &folder.path().join("slower")).await;
    let other = outcomes(4, 5, &folder.path().join("other")).await;
    assert_eq!(first.len(), 60);
    assert_eq!(first, slower);
    assert_ne!(first, other);
}

#[tokio::test]
async fn devices_wait_for_a_server_that_is_not_there_yet() {
    let state = offering(&good("1.1"), 0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let running =
        start(Fleet { server: format!("http://{address}"), devices: 5, poll_ms: Some(5), ..Fleet::default() });
    let stats = Arc::clone(&running.stats);
    let errors = async {
        while stats.snapshot().errors < 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), errors).await.unwrap();
    let peer = Peer::start_at(address, state).await;
    peer.until("all final reports", |state| state.finals() == 5).await;
    let report = running.stop().await;
    clean(&report);
    assert_eq!(report.stats.installs, 5);
}

#[tokio::test]
async fn a_range_answered_by_the_whole_file_is_a_breach_and_does_no_harm() {
    let state = State { cuts: [5_000].into(), ignores_ranges: true, ..offering(&good("1.1"), 100_000) };
    let peer = Peer::start(state).await;
    let running = start(fleet(&peer));
    peer.until("the final report", |state| state.finals() == 1).await;
    let report = running.stop().await;
    assert_eq!((report.stats.installs, report.stats.contract_breaches), (1, 1));
    assert!(report.stats.breach_samples[0].contains("a range was answered 200"), "{:?}", report.stats.breach_samples);
}

#[tokio::test]
async fn every_device_installs_exactly_once_while_the_server_is_killed_again_and_again() {
    const DEVICES: u32 = 200;
    let mut peer = Peer::start(offering(&good("1.1"), 30_000)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let faults = Faults { lost_response_share: 0.2, reboot_share: 0.2, ..Faults::default() };
    let poll_ms = Some(50);
    let running = start(Fleet { devices: DEVICES, faults, poll_ms, journal: Some(path.clone()), ..fleet(&peer) });
    for kill in 1..=12 {
        peer.until("more requests", |state| state.seen.len() > kill * 120).await;
        peer.restart().await;
    }
    let stats = Arc::clone(&running.stats);
    peer.until("all final reports", |_| stats.snapshot().reports == u64::from(DEVICES)).await;
    let report = running.stop().await;
    clean(&report);
    assert!(report.stats.errors > 0, "no kill was noticed");
    assert_eq!((report.stats.installs, report.stats.pending_reports), (u64::from(DEVICES), 0));
    let mut devices = journal::read(&path).unwrap().into_iter().map(|install| install.device).collect::<Vec<_>>();
    assert_eq!(devices.len(), DEVICES as usize);
    devices.sort();
    devices.dedup();
    assert_eq!(devices.len(), DEVICES as usize);
}

#[tokio::test]
async fn an_address_that_is_no_plain_http_origin_is_refused() {
    for server in ["", "127.0.0.1:8080", "https://127.0.0.1", "http://", "http://host/path", "http://a b"] {
        let (_stop, stopped) = watch::channel(true);
        let fleet = Fleet { server: server.into(), ..Fleet::default() };
        let refused = fleet.run(Arc::new(Stats::default()), stopped).await.unwrap_err();
        assert!(refused.to_string().contains("http://host:port"), "{server:?}: {refused}");
    }
}
