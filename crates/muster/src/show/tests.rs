//! What does each output look like? Reviewed as a diff.

use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::command::rollout::waves_table;
use crate::output::{Format, render};

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn devices() -> Vec<Device> {
    vec![
        read(json!({
            "name": "sn-0042", "state": "accepted", "labels": {"ring": "canary", "site": "berlin"},
            "attributes": {"hw": "rev-c"}, "release": "gateway@1.1", "last_seen": "2026-11-23T07:58:00Z",
            "created_at": "2026-11-01T08:00:00Z", "poll_interval_s": 300, "revision": 3
        })),
        read(json!({
            "name": "sn-0043", "state": "pending", "labels": {}, "attributes": {},
            "created_at": "2026-11-23T07:00:00Z", "poll_interval_s": 300, "revision": 1
        })),
    ]
}

fn counts(total: u32, finished: u32, failed: u32, running: u32, scheduled: u32) -> serde_json::Value {
    json!({
        "total": total, "scheduled": scheduled, "queued": 0, "awaiting_confirmation": 0, "offered": 0,
        "running": running, "canceling": 0, "finished": finished, "downloaded": 0, "failed": failed, "lost": 0,
        "canceled": 0
    })
}

fn rollout() -> Rollout {
    let wave = |number: u32, take: serde_json::Value, state: &str, counts: serde_json::Value| {
        json!({
            "number": number, "take": take, "success": {"percent": 95}, "errors": {"count": 0},
            "on_error": "roll_back", "soak_s": 600, "advance": "auto", "state": state, "counts": counts
        })
    };
    let mut first = wave(1, json!({"percent": 10}), "stopped", counts(4, 2, 1, 1, 0));
    first["rollback"] = counts(2, 1, 0, 1, 0);
    first["opened_at"] = json!("2026-11-23T07:31:00Z");
    let waves = vec![first, wave(2, json!("rest"), "waiting", counts(36, 0, 0, 0, 36))];
    read(json!({
        "id": "r-12", "name": "gateway-1.2", "release": "gateway@1.2", "select": "label.site == \"berlin\"",
        "state": "rolling_back", "text": "1 of 4 devices failed in wave 1; 2 go back to the release before.",
        "waves": waves, "push": "forced", "approval": false, "confirmation": false, "priority": 500,
        "dynamic": false, "silence_s": 86400, "created_at": "2026-11-23T07:30:00Z", "created_by": "admin",
        "revision": 7
    }))
}

fn actions() -> Vec<Action> {
    vec![read(json!({
        "id": 4711, "device": "sn-0042", "rollout": "r-12", "wave": 1, "rollback": true, "state": "running",
        "release": "gateway@1.1", "previous_release": "gateway@1.2", "reason": "boot check failed",
        "progress": {"done": 2, "of": 5}, "created_at": "2026-11-23T07:31:00Z",
        "changed_at": "2026-11-23T07:45:00Z", "revision": 4
    }))]
}

#[test]
fn devices_in_every_format() {
    for (name, format) in [
        ("table", Format::Table),
        ("wide", Format::Wide),
        ("json", Format::Json),
        ("yaml", Format::Yaml),
        ("name", Format::Name),
        ("jsonl", Format::Jsonl),
    ] {
        assert_snapshot!(format!("devices_{name}"), render(format, &devices()).unwrap());
    }
}

#[test]
fn nothing_is_an_empty_list_for_programs_and_silence_for_people() {
    let none: [Device; 0] = [];
    assert_eq!(render(Format::Json, &none).unwrap(), "[]\n");
    for format in [Format::Table, Format::Wide, Format::Name, Format::Jsonl] {
        assert_eq!(render(format, &none).unwrap(), "", "{format:?}");
    }
}

#[test]
fn rollouts_and_their_waves() {
    assert_snapshot!("rollouts_wide", render(Format::Wide, &[rollout()]).unwrap());
    assert_snapshot!("waves", waves_table(&rollout()));
}

#[test]
fn actions_and_reports() {
    assert_snapshot!("actions_wide", render(Format::Wide, &actions()).unwrap());
    let reports: Vec<Report> = vec![read(json!({
        "at": "2026-11-23T07:45:00Z", "text": "reported failure", "code": 3, "messages": ["step 2", "no space left"]
    }))];
    assert_snapshot!("reports", render(Format::Table, &reports).unwrap());
    let entries: Vec<TimelineEntry> = vec![read(json!({
        "at": "2026-11-23T07:45:00Z", "text": "failed", "messages": ["no space left"], "action": 4711, "rollout": "r-12"
    }))];
    assert_snapshot!("timeline", render(Format::Table, &entries).unwrap());
}

#[test]
fn artifacts_releases_and_channels() {
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let artifacts: Vec<Artifact> = vec![read(json!({
        "digest": digest, "name": "gateway.swu", "size": 13_000_000, "sha1": "a9993e", "md5": "900150",
        "created_at": "2026-11-23T07:00:00Z", "created_by": "account:ci"
    }))];
    assert_snapshot!("artifacts_wide", render(Format::Wide, &artifacts).unwrap());
    let releases: Vec<Release> = vec![read(json!({
        "name": "gateway", "version": "1.1", "state": "published", "notes": "faster\nsmaller",
        "components": [
            {"name": "os", "version": "1.1", "artifacts": [{"digest": digest}]},
            {"name": "app/web", "version": "3.0", "artifacts": []}
        ],
        "created_at": "2026-11-23T07:00:00Z", "created_by": "account:ci", "revision": 2
    }))];
    assert_snapshot!("releases_wide", render(Format::Wide, &releases).unwrap());
    let channels: Vec<Channel> = vec![read(json!({
        "name": "stable", "release": "gateway@1.1", "updated_at": "2026-11-23T07:00:00Z", "updated_by": "account:ci",
        "revision": 2
    }))];
    assert_snapshot!("channels", render(Format::Table, &channels).unwrap());
}

#[test]
fn tokens_accounts_and_the_audit_log() {
    let tokens: Vec<Token> = vec![read(json!({
        "id": "t-3", "name": "ci", "account": "admin", "scopes": ["artifacts:write", "releases:write"],
        "created_at": "2026-11-23T07:00:00Z", "expires_at": "2027-02-21T07:00:00Z"
    }))];
    assert_snapshot!("tokens_wide", render(Format::Wide, &tokens).unwrap());
    let joins: Vec<JoinToken> = vec![
        read(json!({
            "name": "line-3", "uses": 12, "uses_left": 488, "labels": {"site": "berlin"},
            "created_at": "2026-11-23T07:00:00Z", "expires_at": "2026-11-30T07:00:00Z", "created_by": "account:ada"
        })),
        read(json!({
            "name": "lab", "uses": 0, "labels": {}, "created_at": "2026-11-23T07:00:00Z",
            "expires_at": "2027-02-21T07:00:00Z", "created_by": "account:ada"
        })),
    ];
    assert_snapshot!("join_tokens_wide", render(Format::Wide, &joins).unwrap());
    let accounts: Vec<Account> =
        vec![read(json!({"name": "ada", "scopes": ["rollouts:approve"], "created_at": "2026-11-23T07:00:00Z"}))];
    assert_snapshot!("accounts", render(Format::Table, &accounts).unwrap());
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let records: Vec<AuditRecord> = vec![read(json!({
        "sequence": 17, "at": "2026-11-23T07:00:00Z", "actor": "account:admin", "action": "rollout.start",
        "target": "rollout:r-12", "detail": {"reason": "go"}, "authority": "token:t-7 by role:operator",
        "reason": "go", "request": "req-7", "previous": digest, "digest": digest
    }))];
    assert_snapshot!("audit_wide", render(Format::Wide, &records).unwrap());
}
