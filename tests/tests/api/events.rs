//! Whoever watches the stream of changes sees each of them, also across a cut line and a killed server.

use muster_tests::events::{Event, Events};
use muster_tests::exchange::Payload;
use muster_tests::field::{Field, NAME};
use muster_tests::operator::{action_in, add_device, rollout_in};
use muster_tests::server::Server;
use serde_json::json;

/// The change of a rollout to this state.
fn is_rollout(event: &Event, id: &str, change: &str) -> bool {
    event.name == "rollout" && event.data["id"] == id && event.data["change"] == change
}

/// Lets one rollout to one device run from beginning to end; answers its id.
fn run_through(field: &Field, version: &str) -> String {
    let offer = field.running(version);
    let _ = field.device.report("deploymentBase", offer.action, ("closed", "success")).expect(200);
    let _ = rollout_in(field.admin(), &offer.rollout, "finished");
    offer.rollout
}

#[test]
fn a_rollout_and_its_actions_are_followed_to_the_end() {
    let field = Field::new();
    let mut events = Events::open(&field.server, "", None).unwrap();
    let rollout = run_through(&field, "1");
    let seen = events.read_until(|event| is_rollout(event, &rollout, "finished"));
    let ids: Vec<u64> = seen.iter().filter_map(|event| event.id).collect();
    assert_eq!(ids.len(), seen.len(), "{seen:#?}");
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    for event in &seen {
        assert_eq!(event.data["kind"], json!(event.name), "{event:?}");
        assert_eq!(event.data["sequence"].as_u64(), event.id, "{event:?}");
    }
    let changes: Vec<String> = seen
        .iter()
        .filter(|event| event.data["rollout"] == json!(rollout))
        .map(|event| format!("{} {}", event.name, event.data["change"].as_str().unwrap_or_default()))
        .collect();
    for change in ["rollout created", "rollout running", "action offered", "action running", "action finished"] {
        assert!(changes.iter().any(|seen| seen == change), "no {change} in {changes:?}");
    }
    for kind in ["artifact", "release"] {
        assert!(seen.iter().any(|event| event.name == kind), "no {kind} in {seen:#?}");
    }
}

#[test]
fn a_client_that_was_cut_off_misses_nothing() {
    let mut field = Field::new();
    let mut events = Events::open(&field.server, "", None).unwrap();
    let first = run_through(&field, "1");
    let seen = events.read_until(|event| is_rollout(event, &first, "running"));
    let last = seen.last().unwrap().id.unwrap();
    drop(events);
    let second = run_through(&field, "2");
    field.server.kill();
    field.server.restart();
    let resume = |after: u64| -> Vec<Event> {
        let mut events = Events::open(&field.server, "", Some(&after.to_string())).unwrap();
        events.read_until(|event| is_rollout(event, &second, "finished"))
    };
    let rest = resume(last);
    let ids: Vec<u64> = rest.iter().filter_map(|event| event.id).collect();
    assert_eq!(ids.first(), Some(&(last + 1)), "{rest:#?}");
    assert_eq!(ids.last().unwrap() - last, u64::try_from(ids.len()).unwrap(), "without gaps: {ids:?}");
    let whole = resume(0);
    assert_eq!(whole[..seen.len().min(whole.len())].last().unwrap().id, Some(u64::try_from(seen.len()).unwrap()));
    assert!(whole.ends_with(&rest), "the same events come again");
}

#[test]
fn a_client_sees_only_what_it_asked_for() {
    let field = Field::new();
    let (first, second) = (run_through(&field, "1"), run_through(&field, "2"));
    let mut of_second = Events::open(&field.server, &format!("?rollout={second}"), Some("0")).unwrap();
    let seen = of_second.read_until(|event| is_rollout(event, &second, "finished"));
    assert!(seen.iter().all(|event| event.data["rollout"] == json!(second)), "{seen:#?}");
    let mut of_actions = Events::open(&field.server, "?kind=action,artifact", Some("0")).unwrap();
    let is_last = |event: &Event| event.data["rollout"] == json!(second) && event.data["change"] == "finished";
    let seen = of_actions.read_until(is_last);
    assert!(seen.iter().all(|event| ["action", "artifact"].contains(&event.name.as_str())), "{seen:#?}");
    assert!(seen.iter().any(|event| event.data["rollout"] == json!(first)), "{seen:#?}");
}

#[test]
fn without_a_last_event_only_what_is_new_comes() {
    let field = Field::new();
    let old = run_through(&field, "1");
    let mut events = Events::open(&field.server, "", None).unwrap();
    let _ = add_device(field.admin(), "sn-2");
    let seen = events.read_until(|event| event.name == "device" && event.data["id"] == "sn-2");
    assert!(seen.iter().all(|event| event.data["rollout"] != json!(old)), "{seen:#?}");
}

#[test]
fn a_client_from_another_life_is_told_to_start_over() {
    let field = Field::new();
    for beyond in ["4711", "18446744073709551615"] {
        let mut events = Events::open(&field.server, "", Some(beyond)).unwrap();
        assert_eq!(events.read().unwrap().name, "reset");
        let name = format!("sn-{beyond}");
        let _ = add_device(field.admin(), &name);
        let _ = events.read_until(|event| event.data["id"] == json!(name));
    }
}

#[test]
fn what_is_no_event_id_or_no_kind_is_refused() {
    let server = Server::start();
    for id in ["x", "-1", "1.5"] {
        let refused = server.admin().send("GET", "/events", &[("last-event-id", id)], Payload::None).expect(400);
        assert_eq!(refused.code(), "bad_input", "{refused}");
    }
    for query in ["?kind=rolout", "?kind=action,", "?rollout=my-rollout", "?kinds=action"] {
        let refused = server.admin().get(&format!("/events{query}")).expect(400);
        assert_eq!(refused.code(), "bad_input", "{refused}");
    }
}

#[test]
fn a_device_seen_twice_is_followed_by_two_clients_alike() {
    let field = Field::new();
    let mut both = [(); 2].map(|()| Events::open(&field.server, "?kind=action", None).unwrap());
    let offer = field.offer("1", &json!({}));
    let _ = action_in(field.admin(), &offer.rollout, NAME, &["offered"]);
    let is_offered = |event: &Event| event.data["change"] == "offered";
    let seen = both.each_mut().map(|events| events.read_until(is_offered));
    assert_eq!(seen[0], seen[1]);
}
