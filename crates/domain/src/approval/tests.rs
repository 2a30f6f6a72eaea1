//! Approvals that count, and those that don't.

use std::collections::BTreeMap;

use muster_vocab::{ModuleId, Name, ReleaseId, RolloutId};

use super::*;
use crate::release::{Component, ComponentArtifact, ReleaseState};
use crate::rollout::spec::{ERRORS_DEFAULT, SUCCESS_DEFAULT, WaveSpec};
use crate::rollout::step::waiting_waves;
use crate::rollout::{Clearance, Phase};

const PLAN: Sha256 = Sha256([1; 32]);
const AUTHOR: AccountId = AccountId(1);
const NOW: Timestamp = Timestamp(1_000_000);

fn given(account: i64, behind: i64) -> (Approval, Holds) {
    let by = Person { id: AccountId(account), name: format!("u{account}") };
    let holds = Holds { may_approve: true, roles: vec!["officer".into()] };
    (Approval { by, behind: AccountId(behind), plan: PLAN, at: NOW }, holds)
}

fn two() -> Vec<Need> {
    let life = Some(Duration::from_secs(60));
    vec![Need { rule: Some(RuleId(1)), needed: 2, role: Some("officer".into()), life }]
}

fn judged(given: Vec<(Approval, Holds)>) -> Standing {
    judge(two(), given, (PLAN, AUTHOR), NOW)
}

#[test]
fn two_people_are_enough_and_one_person_twice_is_not() {
    assert!(judged(vec![given(2, 2), given(3, 3)]).is_enough());
    let twice = judged(vec![given(2, 2), given(9, 2)]);
    assert_eq!((twice.is_enough(), twice.missing()), (false, 1));
    assert_eq!(twice.given[1].1, Some(Void::SamePerson));
}

#[test]
fn the_authors_word_counts_nothing_whichever_account_it_comes_by() {
    let standing = judged(vec![given(1, 1), given(7, 1), given(2, 2)]);
    assert_eq!(standing.missing(), 1);
    assert_eq!([&standing.given[0].1, &standing.given[1].1], [&Some(Void::Author), &Some(Void::Author)]);
    assert_eq!(standing.last().unwrap().name, "u2");
}

#[test]
fn an_approval_is_void_when_the_plan_changes_it_expires_or_its_giver_loses_the_role() {
    let mut other = given(2, 2);
    other.0.plan = Sha256([2; 32]);
    assert_eq!(judged(vec![other]).given[0].1, Some(Void::OtherPlan));
    let late = NOW.plus(Duration::from_secs(60));
    let expired = judge(two(), vec![given(2, 2)], (PLAN, AUTHOR), late);
    assert_eq!(expired.given[0].1, Some(Void::Expired(late)));
    let mut without = given(2, 2);
    without.1.roles.clear();
    assert_eq!(judged(vec![without.clone()]).given[0].1, Some(Void::NoRole("officer".into())));
    without.1.may_approve = false;
    assert_eq!(judged(vec![without]).given[0].1, Some(Void::NotAllowed));
}

#[test]
fn an_approval_counts_for_each_rule_whose_role_its_giver_has() {
    let any = Need { rule: None, needed: 1, role: None, life: None };
    let other = Need { rule: Some(RuleId(2)), needed: 1, role: Some("quality".into()), life: None };
    let needs = vec![other, any];
    let standing = judge(needs, vec![given(2, 2)], (PLAN, AUTHOR), NOW);
    assert_eq!(standing.given[0].1, None, "it counts for one of them");
    assert_eq!(standing.needs.iter().map(Met::missing).collect::<Vec<_>>(), [1, 0]);
    assert!(!standing.is_enough());
}

fn rollout() -> Rollout {
    let wave = WaveSpec {
        take: Take::Percent(5),
        success: SUCCESS_DEFAULT,
        errors: ERRORS_DEFAULT,
        on_error: OnError::RollBack,
        soak_s: 60,
        advance: Advance::Auto,
    };
    let spec = Spec {
        select: "label.site == berlin".into(),
        waves: vec![wave.clone(), WaveSpec { take: Take::Select("name == a\nb".into()), ..wave }],
        push: Push::Forced,
        start: false,
        start_at: Some(Timestamp(1_700_000_000_000)),
        window: None,
        approval: false,
        confirmation: false,
        priority: 500,
        dynamic: false,
        allow_downgrade: false,
        silence_s: 86_400,
    };
    Rollout {
        id: RolloutId(12),
        name: "r".into(),
        release: ReleaseId(1),
        waves: waiting_waves(2),
        spec,
        phase: Phase::Draft,
        retry_of: None,
        author: Person { id: AUTHOR, name: "ann".into() },
        approved_by: None,
        clearance: Clearance::default(),
        created_at: NOW,
        started_at: None,
        revision: 1,
    }
}

fn release() -> Release {
    let name = |text: &str| Name::parse(text).unwrap();
    let artifact = ComponentArtifact { digest: Sha256([7; 32]), file_name: "image.swu".into() };
    let component = Component {
        module: ModuleId(1),
        name: "os".into(),
        version: name("1.1"),
        metadata: BTreeMap::from([("slot".to_owned(), "a b".to_owned())]),
        artifacts: vec![artifact],
    };
    Release {
        id: ReleaseId(1),
        name: name("gateway"),
        version: name("1.1"),
        state: ReleaseState::Published,
        components: vec![component],
        notes: String::new(),
        created_at: NOW,
        created_by: "ann".into(),
        published_at: Some(NOW),
        revision: 1,
    }
}

/// Approvals given before an update of the server are of these bytes.
const GOLDEN: &str = "muster plan 1
rollout r-12
release gateway 1.1
component 2:os 1.1
metadata 4:slot 3:a b
artifact sha256:0707070707070707070707070707070707070707070707070707070707070707 9:image.swu
author u-1
select 20:label.site == berlin
wave 1 take 5% success 95% errors 0 on-error roll-back soak 60s advance auto
wave 2 take select 11:name == a
b success 95% errors 0 on-error roll-back soak 60s advance auto
push forced
start at 2023-11-14T22:13:20.000Z
window none
confirmation false
priority 500
dynamic false
allow-downgrade false
silence 86400s
";

#[test]
fn the_plan_is_written_as_it_always_was() {
    assert_eq!(plan(&rollout(), &release()), GOLDEN);
}

#[test]
fn whatever_devices_would_notice_changes_the_plan() {
    type Change = fn(&mut Rollout, &mut Release);
    let changes: [(&str, Change); 12] = [
        ("artifact", |_, release| release.components[0].artifacts[0].digest = Sha256([8; 32])),
        ("file name", |_, release| release.components[0].artifacts[0].file_name = "b".into()),
        ("metadata", |_, release| release.components[0].metadata.clear()),
        ("version", |_, release| release.components[0].version = Name::parse("2").unwrap()),
        ("select", |rollout, _| rollout.spec.select = "all".into()),
        ("take", |rollout, _| rollout.spec.waves[0].take = Take::Rest),
        ("success", |rollout, _| rollout.spec.waves[0].success = Threshold::Count(1)),
        ("errors", |rollout, _| rollout.spec.waves[1].errors = Threshold::Percent(9)),
        ("soak", |rollout, _| rollout.spec.waves[0].soak_s = 0),
        ("start", |rollout, _| rollout.spec.start_at = None),
        ("dynamic", |rollout, _| rollout.spec.dynamic = true),
        ("push", |rollout, _| rollout.spec.push = Push::Soft),
    ];
    for (what, change) in changes {
        let (mut rollout, mut release) = (rollout(), release());
        change(&mut rollout, &mut release);
        assert_ne!(plan(&rollout, &release), GOLDEN, "{what}");
    }
    let (mut later, release) = (rollout(), release());
    (later.phase, later.revision) = (Phase::Ready, 9);
    assert_eq!(plan(&later, &release), GOLDEN, "its state is no part of the plan");
}
