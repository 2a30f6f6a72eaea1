use std::collections::{BTreeMap, BTreeSet};

use muster_domain::device::{DeviceState, Installed};
use muster_vocab::selector::eval::Found;
use muster_vocab::selector::pattern;
use muster_vocab::selector::schema::{ACTION_SCHEMA, ARTIFACT_SCHEMA, DEVICE_SCHEMA, ROLLOUT_SCHEMA, Schema};
use muster_vocab::{ActionId, ProjectId, ReleaseId, Sha256, limit};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::artifacts::Artifact;
use crate::devices::NewDevice;
use crate::sample::{self, NOW};
use crate::{Cursor, Store};

/// Texts that mean something to SQL, to patterns, to numbers or to selectors.
const TEXTS: [&str; 36] = [
    "",
    "a",
    "A",
    "ä",
    "Ä",
    "ab",
    "a_b",
    "axb",
    "a%b",
    "50%",
    "_",
    "%",
    "\\",
    "\\%",
    "\\*",
    "a\\b",
    "'",
    "\"",
    "''",
    "a' OR '1'='1",
    "'; DROP TABLE device; --",
    "?1",
    ":now",
    "NULL",
    "10",
    "9",
    "9.0",
    "+9",
    "-3.5",
    "007",
    "1e3",
    "inf",
    " 10",
    "😀",
    "a\nb",
    "*",
];
const KEYS: [&str; 5] = ["site", "ram", "my key", "k'y\" --", "ä%_\\"];
const RELEASES: [&str; 2] = ["1.0", "1.1"];

/// A device as selectors see it.
#[derive(Debug, Clone)]
struct Told {
    name: String,
    state: &'static str,
    release: Option<&'static str>,
    last_seen: Option<Timestamp>,
    created_at: Timestamp,
    labels: BTreeMap<String, String>,
    attributes: BTreeMap<String, String>,
}

impl Told {
    fn find(&self, field: &Field) -> Option<Found<'_>> {
        match field {
            Field::Builtin("name") => Some(Found::Text(&self.name)),
            Field::Builtin("state") => Some(Found::Text(self.state)),
            Field::Builtin("release") => self.release.map(Found::Text),
            Field::Builtin("last_seen") => self.last_seen.map(Found::Time),
            Field::Builtin("created_at") => Some(Found::Time(self.created_at)),
            Field::Builtin(other) => panic!("devices have got a new field: {other}"),
            Field::Label(key) => self.labels.get(key).map(|value| Found::Text(value)),
            Field::Attribute(key) => self.attributes.get(key).map(|value| Found::Text(value)),
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(TEXTS.as_slice()).prop_map(str::to_owned), 1 => "[ -~äß]{0,5}"]
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(select(KEYS.as_slice()).prop_map(str::to_owned), text(), 0..4)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (-3_i64..3).prop_map(|seconds| Timestamp(NOW.0 + seconds * 1000))
}

fn device() -> impl Strategy<Value = Told> {
    let built_in = (
        text(),
        select(["pending", "accepted", "rejected"].as_slice()),
        prop::option::of(select(["os@1.0", "os@1.1"].as_slice())),
        prop::option::of(moment()),
        moment(),
    );
    (built_in, texts(), texts()).prop_map(|((name, state, release, last_seen, created_at), labels, attributes)| Told {
        name,
        state,
        release,
        last_seen,
        created_at,
        labels,
        attributes,
    })
}

fn text_or_pattern(op: Op) -> impl Strategy<Value = Vec<Value>> {
    let count = if matches!(op, Op::In | Op::NotIn) { 1..4 } else { 1..2 };
    let pattern = prop_oneof![
        text().prop_map(|text| pattern::literal(&text)),
        (text(), text()).prop_map(|(a, b)| format!("{}*{}", pattern::literal(&a), pattern::literal(&b))),
        text().prop_map(|text| format!("*{}*", pattern::literal(&text))),
    ];
    let value = if matches!(op, Op::Like | Op::NotLike) { pattern.boxed() } else { text().boxed() };
    prop::collection::vec(value.prop_map(Value::Text), count)
}

const TEXT_OPS: [Op; 10] = [
    Op::Equal,
    Op::NotEqual,
    Op::Less,
    Op::LessOrEqual,
    Op::Greater,
    Op::GreaterOrEqual,
    Op::Like,
    Op::NotLike,
    Op::In,
    Op::NotIn,
];

fn hanging() -> impl Strategy<Value = Field> {
    (any::<bool>(), select(KEYS.as_slice())).prop_map(|(label, key)| match label {
        true => Field::Label(key.to_owned()),
        false => Field::Attribute(key.to_owned()),
    })
}

fn comparison() -> impl Strategy<Value = Expr> {
    let text_field = prop_oneof![2 => select(["name", "release"].as_slice()).prop_map(Field::Builtin), 3 => hanging()];
    let texts = select(TEXT_OPS.as_slice())
        .prop_flat_map(|op| (Just(op), text_or_pattern(op)))
        .prop_map(|(op, values)| (op, values));
    let texts = (text_field, texts).prop_map(|(field, (op, values))| Expr::Compare { field, op, values });
    let orders = || select(TEXT_OPS[2..6].to_vec());
    let number = select([9.0, 10.0, -3.5, 7.0, 0.0].as_slice()).prop_map(|number| vec![Value::Number(number)]);
    let numbers = (hanging(), orders(), number).prop_map(|(field, op, values)| Expr::Compare { field, op, values });
    let time = prop_oneof![
        moment().prop_map(Value::Time),
        (-3_i64..3).prop_map(|seconds| Value::RelativeTime(seconds * 1000))
    ];
    let times = (select(["last_seen", "created_at"].as_slice()), select(TEXT_OPS[..6].to_vec()), time)
        .prop_map(|(name, op, value)| Expr::Compare { field: Field::Builtin(name), op, values: vec![value] });
    let states = (select(vec![Op::Equal, Op::NotEqual, Op::In, Op::NotIn]), select(vec!["pending", "accepted"]))
        .prop_map(|(op, state)| Expr::Compare {
            field: Field::Builtin("state"),
            op,
            values: vec![Value::Text(state.to_owned())],
        });
    let exists = prop_oneof![hanging(), select(vec!["last_seen", "release", "name"]).prop_map(Field::Builtin)]
        .prop_map(|field| Expr::Compare { field, op: Op::Exists, values: Vec::new() });
    prop_oneof![6 => texts, 2 => numbers, 2 => times, 1 => states, 1 => exists]
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![1 => Just(Expr::All), 12 => comparison()];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    })
}

fn read(text: &str, schema: &Schema) -> Selector {
    Selector::parse(text, schema).unwrap_or_else(|bad| panic!("{text}: {bad}"))
}

/// A project of its own with these devices.
fn fill(store: &Store, devices: Vec<Told>) -> ProjectId {
    let filled = store.writer().write(move |tx| -> Result<_, StoreError> {
        let name = format!("p{}", tx.projects()?.len());
        let project = tx.insert_project(&name, NOW)?;
        let releases = RELEASES.map(|version| tx.insert_release(project, &sample::release("os", version)).unwrap());
        for told in devices {
            insert(tx, project, &releases, &told)?;
        }
        Ok(project)
    });
    filled.unwrap()
}

fn insert(tx: &mut crate::Tx<'_>, project: ProjectId, of: &[ReleaseId], told: &Told) -> Result<(), StoreError> {
    let state = match told.state {
        "pending" => DeviceState::Pending,
        "accepted" => DeviceState::Accepted,
        _ => DeviceState::Rejected,
    };
    let new = NewDevice { name: told.name.clone(), state, token: None, poll_interval_s: 300 };
    let id = tx.insert_device(project, &new, told.created_at)?;
    if let Some(label) = told.release {
        let at = RELEASES.iter().position(|version| label.ends_with(version)).unwrap();
        tx.save_installed(project, id, Installed { release: of[at], action: ActionId(1) })?;
    }
    if let Some(at) = told.last_seen {
        tx.save_last_seen(&[(id, at)])?;
    }
    let mut device = tx.device_by_id(project, id)?;
    device.labels.clone_from(&told.labels);
    device.attributes.clone_from(&told.attributes);
    tx.save_labels(project, &device)?;
    tx.save_attributes(project, &device)
}

fn meant(devices: &[Told], selector: &Selector) -> BTreeSet<String> {
    let matching = devices.iter().filter(|device| selector.matches(NOW, |field| device.find(field)));
    matching.map(|device| device.name.clone()).collect()
}

/// The names that a selector finds, and how many it counts.
fn found(store: &Store, project: ProjectId, selector: &Selector) -> (BTreeSet<String>, u64) {
    let asked = store.read(|view| -> Result<_, StoreError> {
        let page = view.devices(project, selector, (Cursor(0), 500), NOW)?;
        Ok((page.rows, view.count_devices(project, selector, NOW)?))
    });
    let (rows, count) = asked.unwrap();
    (rows.into_iter().map(|device| device.name).collect(), count)
}

#[test]
fn the_database_finds_exactly_what_a_selector_means() {
    let (store, _folder) = sample::store();
    let devices = prop::collection::vec(device(), 1..6);
    let expressions = prop::collection::vec(expression(), 8);
    proptest!(ProptestConfig::with_cases(192), |(mut devices in devices, expressions in expressions)| {
        let mut names = BTreeSet::new();
        devices.retain(|device| names.insert(device.name.clone()));
        let project = fill(&store, devices.clone());
        for expr in expressions {
            let selector = read(&expr.to_string(), &DEVICE_SCHEMA);
            let meant = meant(&devices, &selector);
            let (names, count) = found(&store, project, &selector);
            prop_assert_eq!(&names, &meant, "{}", selector);
            prop_assert_eq!(count, meant.len() as u64, "{}", selector);
        }
    });
}

#[test]
fn the_widest_and_the_deepest_selector_can_be_asked() {
    let (store, _folder) = sample::store();
    let project = fill(&store, Vec::new());
    let list = (0..limit::SELECTOR_LIST_MAX).map(|at| format!("v{at}")).collect::<Vec<_>>().join(", ");
    let mut wide = String::from("label.a == b");
    // As many long lists as the text may hold, and as many short comparisons as remain.
    while wide.len() + list.len() + 30 < limit::SELECTOR_CHARS_MAX {
        wide.push_str(&format!(" or attribute.a not in ({list})"));
    }
    let terms = vec!["attribute.a like *b*"; limit::SELECTOR_TERMS_MAX].join(" and ");
    let nested = limit::SELECTOR_DEPTH_MAX - 2;
    let deep = format!("{}label.a < 1{}", "not (name == x or ".repeat(nested / 2), ")".repeat(nested / 2));
    let parentheses = format!("{}label.a < 1{}", "(".repeat(nested), ")".repeat(nested));
    for text in [&wide, &terms, &deep, &parentheses] {
        let (names, count) = found(&store, project, &read(text, &DEVICE_SCHEMA));
        assert_eq!((names.len(), count), (0, 0), "{text}");
    }
}

#[test]
fn what_ends_a_text_in_c_ends_none_here() {
    let (store, _folder) = sample::store();
    let told = |name: &str, value: &str| Told {
        name: name.to_owned(),
        state: "accepted",
        release: None,
        last_seen: None,
        created_at: NOW,
        labels: BTreeMap::new(),
        attributes: BTreeMap::from([("k".to_owned(), value.to_owned())]),
    };
    let devices = vec![told("plain", "a"), told("odd", "a\0b"), told("number", "9\0")];
    let project = fill(&store, devices.clone());
    for text in ["attribute.k == a", "attribute.k like a", "attribute.k like *b", "attribute.k < 10"] {
        let selector = read(text, &DEVICE_SCHEMA);
        let meant = meant(&devices, &selector);
        assert_eq!(found(&store, project, &selector).0, meant, "{text}");
    }
}

/// A project with two devices, each with an action of its own rollout.
fn fill_rollouts(store: &Store) -> ProjectId {
    let project = fill(store, Vec::new());
    let filled = store.writer().write(move |tx| -> Result<_, StoreError> {
        for (number, name) in ["first", "r-1"].into_iter().enumerate() {
            let new = NewDevice {
                name: format!("gw-{number}"),
                state: DeviceState::Accepted,
                token: None,
                poll_interval_s: 300,
            };
            let device = tx.insert_device(project, &new, NOW)?;
            let release = tx.release_named(project, "os", RELEASES[number])?.id;
            let rollout = tx.insert_rollout(project, &sample::rollout(name, release))?;
            let mut action = sample::action(device, rollout, release);
            action.wave = u16::try_from(number).unwrap();
            if number == 1 {
                action.state = ActionState::Failed;
            }
            tx.insert_action(project, &action, None)?.unwrap();
        }
        Ok(())
    });
    filled.unwrap();
    project
}

#[test]
fn actions_are_found_by_their_rollouts_number_and_name() {
    let (store, _folder) = sample::store();
    let project = fill_rollouts(&store);
    // The second rollout has taken the first one's number for its name: both are meant by it.
    for (text, meant) in [
        ("rollout == r-1", vec![0, 1]),
        ("rollout == r-2", vec![1]),
        ("rollout == first", vec![0]),
        ("rollout == 1", vec![]),
        ("rollout != first", vec![1]),
        ("rollout not in (first, r-9)", vec![1]),
        ("rollout like FIR*", vec![0]),
        ("rollout like r-_", vec![]),
        ("exists rollout", vec![0, 1]),
        ("wave == 1", vec![0]),
        ("wave > 1", vec![1]),
        ("wave in (1, 2)", vec![0, 1]),
        ("wave <= 1.5", vec![0]),
        ("state == failed", vec![1]),
        ("state in (queued, lost)", vec![0]),
        ("state != failed", vec![0]),
        ("release == os@1.1", vec![1]),
        ("device like *-0", vec![0]),
        ("created_at < now or changed_at > now", vec![]),
        ("created_at <= now and not device == gw-1", vec![0]),
    ] {
        let selector = read(text, &ACTION_SCHEMA);
        let page = store.read(|view| view.actions(project, &selector, (None, 50), NOW)).unwrap();
        let mut waves: Vec<u16> = page.rows.iter().map(|action| action.wave).collect();
        waves.sort_unstable();
        assert_eq!(waves, meant, "{text}");
    }
}

#[test]
fn rollouts_are_found_by_name_state_release_and_author() {
    let (store, _folder) = sample::store();
    let project = fill_rollouts(&store);
    for (text, meant) in [
        ("name == first", vec!["first"]),
        ("name like *1", vec!["r-1"]),
        ("state == draft", vec!["r-1", "first"]),
        ("state != draft", vec![]),
        ("release == os@1.0", vec!["first"]),
        ("created_by == ann and created_at == now", vec!["r-1", "first"]),
        ("created_by in (bob, \"ann' --\")", vec![]),
    ] {
        let selector = read(text, &ROLLOUT_SCHEMA);
        let page = store.read(|view| view.rollouts(project, &selector, (None, 50), NOW)).unwrap();
        let names: Vec<&str> = page.rows.iter().map(|rollout| rollout.name.as_str()).collect();
        assert_eq!(names, meant, "{text}");
    }
}

#[test]
fn artifacts_are_found_by_digest_with_and_without_its_kind() {
    let (store, _folder) = sample::store();
    let project = fill(&store, Vec::new());
    let artifact = |byte: u8, name: &str, size: u64| Artifact {
        id: 0,
        digest: Sha256([byte; 32]),
        name: name.to_owned(),
        size,
        sha1: String::new(),
        md5: String::new(),
        created_at: NOW,
        created_by: "ann".into(),
    };
    let all = [artifact(0xab, "50%.swu", 10), artifact(0x01, "app_1.tar", 4096)];
    let written = store.writer().write(move |tx| all.iter().try_for_each(|one| tx.insert_artifact(project, one)));
    let written: Result<(), StoreError> = written;
    written.unwrap();
    let hex = "ab".repeat(32);
    for (text, meant) in [
        (format!("digest == sha256:{hex}"), vec!["50%.swu"]),
        (format!("digest == {hex}"), vec!["50%.swu"]),
        (format!("digest == {}", hex.to_uppercase()), vec!["50%.swu"]),
        (format!("digest != {hex}"), vec!["app_1.tar"]),
        (format!("digest in (x, {hex})"), vec!["50%.swu"]),
        (format!("digest not in (sha256:{hex})"), vec!["app_1.tar"]),
        ("digest like sha256:AB*".into(), vec!["50%.swu"]),
        ("digest like *abab*".into(), vec!["50%.swu"]),
        ("digest like sha256:*".into(), vec!["app_1.tar", "50%.swu"]),
        ("digest not like *ab".into(), vec!["app_1.tar"]),
        ("name like \"*%*\"".into(), vec!["50%.swu"]),
        ("name like app_*".into(), vec!["app_1.tar"]),
        ("name like a__*".into(), vec![]),
        ("size > 10".into(), vec!["app_1.tar"]),
        ("size in (10, 11)".into(), vec!["50%.swu"]),
        ("exists digest".into(), vec!["app_1.tar", "50%.swu"]),
    ] {
        let selector = read(&text, &ARTIFACT_SCHEMA);
        let page = store.read(|view| view.artifacts(project, &selector, (None, 50), NOW)).unwrap();
        let names: Vec<&str> = page.rows.iter().map(|artifact| artifact.name.as_str()).collect();
        assert_eq!(names, meant, "{text}");
    }
}
