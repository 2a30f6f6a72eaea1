//! Lists are walked from page to page, and no row is left out or shown twice.

use std::collections::BTreeSet;

use muster_tests::api::Api;
use muster_tests::field::{CONTENT, FILE};
use muster_tests::operator::{add_device, publish, roll_out, rollout_in, upload};
use muster_tests::server::Server;
use serde_json::{Value, json};

/// Every list, and the members that together name one of its rows.
const LISTS: [(&str, &[&str]); 9] = [
    ("/devices", &["/name"]),
    ("/artifacts", &["/digest"]),
    ("/releases", &["/name", "/version"]),
    ("/channels", &["/name"]),
    ("/rollouts", &["/id"]),
    ("/actions", &["/id"]),
    ("/tokens", &["/id"]),
    ("/accounts", &["/name"]),
    ("/audit", &["/sequence"]),
];

/// Rows of each list; odd, so that pages of two end with a short one.
const ROWS: usize = 5;

/// A server whose lists all have [`ROWS`] rows or more.
fn full() -> Server {
    let server = Server::start();
    let admin = server.admin();
    for number in 1..=ROWS {
        let _ = add_device(admin, &format!("sn-{number}"));
        let _ = upload(admin, &format!("{number}.swu"), format!("image {number}").as_bytes());
        let account = json!({ "name": format!("service-{number}"), "scopes": ["read"] });
        let _ = admin.post("/accounts", &account).expect(201);
        let token = json!({ "name": format!("ci-{number}"), "scopes": ["read"], "life_s": 3600 });
        let _ = admin.post("/tokens", &token).expect(201);
        let release = publish(admin, "os", &number.to_string(), (FILE, CONTENT));
        let _ = admin.put(&format!("/channels/channel-{number}"), &json!({ "release": release })).expect(200);
        let rollout = roll_out(admin, &release, &format!("sn-{number}"), &json!({}));
        let _ = rollout_in(admin, &rollout, "running");
    }
    server
}

/// All rows by pages of this size, in order.
fn walk(admin: &Api, list: &str, limit: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut path = format!("{list}?limit={limit}");
    loop {
        let page = admin.get(&path).expect(200);
        let items = page.at("/items").as_array().cloned().unwrap();
        assert!(items.len() <= limit, "{page}");
        rows.extend(items);
        match page.at("/next").as_str() {
            Some(next) => {
                assert_eq!(rows.len() % limit, 0, "only the last page is short: {page}");
                path = format!("{list}?limit={limit}&cursor={next}");
            }
            None => return rows,
        }
    }
}

fn name(row: &Value, members: &[&str]) -> String {
    let values = members.iter().map(|member| row.pointer(member).unwrap_or_else(|| panic!("{member} of {row}")));
    values.map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn pages_of_every_size_hold_every_row_exactly_once_and_in_the_same_order() {
    let server = full();
    let admin = server.admin();
    for (list, members) in LISTS {
        let names = |limit| -> Vec<String> { walk(admin, list, limit).iter().map(|row| name(row, members)).collect() };
        let whole = names(500);
        assert!(whole.len() >= ROWS, "{list}: {whole:?}");
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), whole.len(), "{list} shows a row twice: {whole:?}");
        for limit in [1, 2, 5] {
            assert_eq!(names(limit), whole, "{list} by pages of {limit}");
        }
    }
}

#[test]
fn a_page_takes_between_1_and_500_rows_and_50_if_nothing_is_said() {
    let server = Server::start();
    for number in 0..52 {
        let _ = add_device(server.admin(), &format!("sn-{number}"));
    }
    for (list, _) in LISTS {
        for limit in ["0", "501", "-1", "two", "1.5", "99999999999999999999", ""] {
            let refused = server.admin().get(&format!("{list}?limit={limit}")).expect(400);
            assert_eq!(refused.code(), "bad_input", "{refused}");
        }
    }
    let page = server.admin().get("/devices").expect(200);
    assert_eq!(page.at("/items").as_array().unwrap().len(), 50);
    assert!(page.at("/next").is_string(), "{page}");
}

#[test]
fn a_made_up_cursor_is_refused() {
    let server = Server::start();
    for (list, _) in LISTS {
        for cursor in ["x", "17", "c", "c-1", "c%201", "cffffffffffffffffffff", ""] {
            let refused = server.admin().get(&format!("{list}?cursor={cursor}")).expect(400);
            assert_eq!(refused.code(), "bad_input", "{refused}");
            assert_eq!(refused.at("/field"), "cursor", "{refused}");
        }
    }
}

#[test]
fn a_query_parameter_nobody_knows_is_refused_with_the_nearest() {
    let server = Server::start();
    for (list, _) in LISTS {
        let refused = server.admin().get(&format!("{list}?limt=5")).expect(400);
        assert_eq!(refused.code(), "bad_input", "{refused}");
        assert!(refused.text().contains("`limit`"), "{refused}");
    }
}

#[test]
fn a_row_that_comes_or_goes_between_two_pages_moves_no_other() {
    let server = Server::start();
    let admin = server.admin();
    for name in ["a", "b", "c", "d"] {
        let _ = add_device(admin, name);
    }
    let first = admin.get("/devices?limit=2").expect(200);
    let seen: Vec<Value> = first.at("/items").as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    let _ = admin.delete(&format!("/devices/{}", seen[0].as_str().unwrap())).expect(204);
    let next = first.at("/next");
    let second = admin.get(&format!("/devices?limit=2&cursor={}", next.as_str().unwrap())).expect(200);
    let rest: Vec<Value> = second.at("/items").as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    let all: BTreeSet<String> = seen.iter().chain(&rest).map(ToString::to_string).collect();
    assert_eq!(all.len(), 4, "{seen:?} and {rest:?}");
}
