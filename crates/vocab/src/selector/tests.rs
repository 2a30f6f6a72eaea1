use std::collections::BTreeMap;

use proptest::prelude::*;

use super::eval::Found;
use super::schema::{
    ACTION_SCHEMA, ARTIFACT_SCHEMA, AUDIT_SCHEMA, DEVICE_SCHEMA, RELEASE_SCHEMA, ROLLOUT_SCHEMA, Schema, TOKEN_SCHEMA,
};
use super::*;
use crate::limit;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// A device as far as selectors see it.
#[derive(Debug, Clone, Default)]
struct Device {
    name: String,
    release: Option<String>,
    last_seen: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    attributes: BTreeMap<String, String>,
}

impl Device {
    fn find(&self, field: &Field) -> Option<Found<'_>> {
        match field {
            Field::Builtin("name") => Some(Found::Text(&self.name)),
            Field::Builtin("state") => Some(Found::Text("accepted")),
            Field::Builtin("release") => self.release.as_deref().map(Found::Text),
            Field::Builtin("last_seen") => self.last_seen.map(Found::Time),
            Field::Builtin("wave") => Some(Found::Number(3.0)),
            Field::Builtin(_) => None,
            Field::Label(key) => self.labels.get(key).map(|value| Found::Text(value)),
            Field::Attribute(key) => self.attributes.get(key).map(|value| Found::Text(value)),
        }
    }
}

fn gateway() -> Device {
    let texts = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Device {
        name: "gw-7".to_owned(),
        release: Some("os@1.2.0".to_owned()),
        last_seen: Some(Timestamp(NOW.0 - 3_600_000)),
        labels: texts(&[("site", "berlin"), ("my key", "x y"), ("serial", "007"), ("rev", "10")]),
        attributes: texts(&[("ram", "512"), ("kernel", "v6.1"), ("temp", "-3.5")]),
    }
}

fn parse(text: &str) -> Result<Selector, SelectorError> {
    Selector::parse(text, &DEVICE_SCHEMA)
}

fn refusal(text: &str, schema: &Schema) -> String {
    match Selector::parse(text, schema) {
        Ok(selector) => panic!("{text:?} was taken as {:?}", selector.expr()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn selectors_read_as_written_and_print_in_one_form() {
    for (text, printed) in [
        ("all", "all"),
        (" ALL ", "all"),
        ("name = gw-7", r#"name == "gw-7""#),
        ("name=='gw 7'", r#"name == "gw 7""#),
        ("not name==a and name!=b or all", r#"(not name == "a" and name != "b") or all"#),
        ("name == a and (name == b and name == c)", r#"name == "a" and (name == "b" and name == "c")"#),
        ("state IN (accepted,pending)", r#"state in ("accepted", "pending")"#),
        ("label.site Not In (\"a\")", r#"label.site not in ("a")"#),
        ("name not like gw-*", r#"name not like "gw-*""#),
        (r#"name like "a\*b\\*\"""#, r#"name like "a\*b\\*\"""#),
        (r#"name == "a\*b\\""#, r#"name == "a*b\\""#),
        ("exists label.\"my key\"", "exists label.\"my key\""),
        ("label.'it''s' == x", ""),
        ("attribute.ram exists", "exists attribute.ram"),
        ("attribute.ram not exists", "not exists attribute.ram"),
        ("not exists attribute.a/b@c", "not exists attribute.a/b@c"),
        ("last_seen<-2h", "last_seen < -2h"),
        ("last_seen > now-14d", "last_seen > -2w"),
        ("last_seen > now+90m", "last_seen > +90m"),
        ("last_seen <= NOW", "last_seen <= now"),
        ("created_at >= 2026-11-23T09:00:00+01:00", "created_at >= 2026-11-23T08:00:00.000Z"),
        ("created_at >= '2026-11-23T08:00:00Z'", "created_at >= 2026-11-23T08:00:00.000Z"),
        ("attribute.ram >= 512", "attribute.ram >= 512"),
        ("attribute.ram >= '512'", r#"attribute.ram >= "512""#),
        ("attribute.temp < -3.50", "attribute.temp < -3.5"),
        ("attribute.ram == 512", r#"attribute.ram == "512""#),
        ("label.flag == true", r#"label.flag == "true""#),
        ("label.ort == Zürich", r#"label.ort == "Zürich""#),
        ("label.x == \"a\nb\"", r#"label.x == "a\nb""#),
        ("release == os@1.2.0", r#"release == "os@1.2.0""#),
    ] {
        if printed.is_empty() {
            assert!(parse(text).is_err(), "{text:?}");
            continue;
        }
        let selector = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(selector.to_string(), text);
        assert_eq!(selector.expr().to_string(), printed, "{text:?}");
        assert_eq!(parse(printed).unwrap().expr(), selector.expr(), "{text:?}");
    }
}

#[test]
fn refusals_say_where_and_what_to_write() {
    for (text, message) in [
        ("", "at character 1: the selector is empty: write all to select everything"),
        (" \n", "at character 1: the selector is empty: write all to select everything"),
        ("nam == x", "at character 1: devices have no field \"nam\"; did you mean name? For a label write label.nam"),
        (
            "zone == x",
            "at character 1: devices have no field \"zone\"; write label.zone for a label: \
             their fields are name, state, release, last_seen, created_at",
        ),
        ("labels.site == x", "at character 1: devices have no field \"labels.site\"; did you mean label.?"),
        ("state == acepted", "at character 10: \"acepted\" is no state; did you mean accepted?"),
        (
            "state == 7",
            "at character 10: \"7\" is no state: write one of accepted, pending, rejected, quarantined, retiring, retired, transferred",
        ),
        (
            "state < pending",
            "at character 7: < does not fit state: write ==, != or in, such as state in (accepted, pending)",
        ),
        (
            "state not like acc*",
            "at character 7: not like does not fit state: write ==, != or in, such as state in (accepted, pending)",
        ),
        (
            "last_seen > yesterday",
            "at character 13: \"yesterday\" is no time: write 2026-11-23T08:00:00Z, now, -2h or +30m (units s m h d w)",
        ),
        (
            "last_seen > 2h",
            "at character 13: \"2h\" is no time: write 2026-11-23T08:00:00Z, now, -2h or +30m (units s m h d w)",
        ),
        ("last_seen like 2026*", "at character 11: last_seen is a time: compare it with <, <=, > or >=, such as > -2h"),
        ("name == gw-*", "at character 9: a wildcard needs like: write name like gw-*, or quote the value"),
        (
            "label.age < -30d",
            "at character 13: label.age holds text, so it can't be compared with the time -30d: quote it to mean the text",
        ),
        ("name == a b", "at character 11: write and or or between two comparisons; quote a value that has spaces"),
        ("name ==", "at character 8: a value is missing here; write \"\" for an empty text"),
        ("name == and", "at character 9: a value is missing here; quote \"and\" to mean the word"),
        ("name == label.\"a\"", "at character 9: a field can only be compared with a value: quote the value"),
        ("name", "at character 5: compare name with something: write ==, !=, <, <=, >, >=, like, in or exists"),
        ("name not a", "at character 10: after this not write like, in or exists"),
        ("name in a", "at character 9: write the values of in between parentheses, such as in (a, b)"),
        ("name in ()", "at character 10: a value is missing here; write \"\" for an empty text"),
        ("name in (a b)", "at character 12: write a comma or ) after a value; quote a value that has spaces"),
        ("(name == a", "at character 1: this ( is never closed: add a )"),
        ("name == a)", "at character 10: this ) closes nothing: remove it or add a ( before"),
        ("name == a and", "at character 14: a comparison is missing here, such as name == gateway-7"),
        ("\"name\" == a", "at character 1: a field is missing here: write name == value, and quote only the value"),
        ("name == 'abc", "at character 9: this text has no end: add ' after it"),
        (r#"name == "a\q""#, r#"at character 11: after a backslash write \, ", ', *, n, r or t"#),
        ("name == a && all", "at character 11: write and"),
        ("!exists name", "at character 1: write not, or != for \"is not\""),
        ("label. == a", "at character 1: write a key after label., such as label.site"),
        ("label.\"\" == a", "at character 1: write a key after label., such as label.site"),
        ("label.a* == a", "at character 1: a key has no wildcards: quote a key that has a *"),
        ("name == 'a\0'", "at character 11: a text can't hold the character NUL"),
        (
            "label.ü == ü$",
            "at character 13: '$' can't stand here: quote a value that has other characters than letters, digits and ._-:+@/",
        ),
    ] {
        assert_eq!(refusal(text, &DEVICE_SCHEMA), message, "{text:?}");
    }
}

#[test]
fn each_list_has_its_own_fields() {
    for (text, schema) in [
        (
            "wave >= 2 and state == awaiting_confirmation and rollout == r-1 and device like gw* and changed_at > -1h",
            ACTION_SCHEMA,
        ),
        ("state in (paused, rolling_back) and created_by == ada and release exists", ROLLOUT_SCHEMA),
        ("state == yanked and version like 1.*", RELEASE_SCHEMA),
        ("size > 1000000 and digest like sha256:*", ARTIFACT_SCHEMA),
        ("account == ci and (expires_at < +7d or not exists last_used_at)", TOKEN_SCHEMA),
        ("at > -1d and actor == ada and action like rollout.* and target == r-1", AUDIT_SCHEMA),
    ] {
        if let Err(error) = Selector::parse(text, &schema) {
            panic!("{error}\n{}", error.caret(text));
        }
    }
    assert_eq!(
        refusal("label.site == x", &TOKEN_SCHEMA),
        "at character 1: tokens have no labels: their fields are name, account, expires_at, created_at, last_used_at"
    );
    assert_eq!(
        refusal("wave == one", &ACTION_SCHEMA),
        "at character 9: wave is a number, and \"one\" is none: write digits such as 12 or 0.5"
    );
    assert_eq!(
        refusal("sise > 1", &ARTIFACT_SCHEMA),
        "at character 1: artifacts have no field \"sise\"; did you mean size?"
    );
}

#[test]
fn the_caret_stands_under_the_fault_even_in_long_and_wide_texts() {
    let text = "label.ort == zürich\nand stat == x";
    let error = parse(text).unwrap_err();
    assert_eq!((error.position, error.character), (25, 25));
    assert_eq!(error.caret(text), format!("label.ort == zürich and stat == x\n{}^", " ".repeat(24)));
    let text = format!("{}$ and more of it that is not shown at all", "name == a or ".repeat(20));
    let error = parse(&text).unwrap_err();
    let caret = error.caret(&text);
    let (line, below) = caret.split_once('\n').unwrap();
    assert_eq!(line.chars().nth(below.chars().count() - 1), Some('$'));
    assert_eq!(line.chars().count(), 75);
}

#[test]
fn a_device_is_matched_by_its_fields_labels_and_attributes() {
    let device = gateway();
    for (text, expected) in [
        ("all", true),
        ("not all", false),
        ("name == gw-7 and label.site == berlin", true),
        ("name == GW-7", false),
        ("name like GW-*", true),
        ("label.\"my key\" == 'x y'", true),
        ("last_seen > -2h", true),
        ("last_seen > -30m", false),
        ("last_seen < now-59m", true),
        ("last_seen > 2020-01-01T00:00:00Z", true),
        ("attribute.ram > 64", true),
        ("attribute.ram > '64'", false),
        ("attribute.temp <= -3.5", true),
        ("attribute.kernel < 7", false),
        ("attribute.kernel >= 7", false),
        ("attribute.kernel < v7", true),
        ("label.serial == 7", false),
        ("label.serial == 007", true),
        ("label.serial <= 7", true),
        ("label.rev > 9", true),
        ("state in (pending, accepted)", true),
        ("release exists and not exists created_at", true),
        ("label.site in (paris, berlin) or all", true),
        ("label.site not in (paris, berlin)", false),
    ] {
        assert_eq!(parse(text).unwrap().matches(NOW, |field| device.find(field)), expected, "{text:?}");
    }
    let wave = Selector::parse("wave >= 3 and wave < 4 and wave in (1, 3)", &ACTION_SCHEMA).unwrap();
    assert!(wave.matches(NOW, |field| device.find(field)));
}

#[test]
fn a_missing_value_meets_the_negative_comparisons_only() {
    let device = gateway();
    for positive in ["== a", "< a", "<= a", "> a", ">= a", "> 1", "like *", "in (a)", "exists"] {
        let text = format!("label.absent {positive}");
        assert!(!parse(&text).unwrap().matches(NOW, |field| device.find(field)), "{text:?}");
    }
    for negative in ["!= a", "not like *", "not in (a)", "not exists"] {
        let text = format!("label.absent {negative}");
        assert!(parse(&text).unwrap().matches(NOW, |field| device.find(field)), "{text:?}");
    }
}

#[test]
fn a_relative_time_follows_the_clock() {
    let selector = parse("last_seen < -2h").unwrap();
    let device = gateway();
    assert!(!selector.matches(NOW, |field| device.find(field)));
    let later = NOW.plus(std::time::Duration::from_secs(3601));
    assert!(selector.matches(later, |field| device.find(field)));
}

#[test]
fn everything_is_known_as_everything() {
    for (text, expected) in [
        ("all", true),
        ("name == a or all", true),
        ("all and all", true),
        ("not not all", true),
        ("not (not all and name == a)", true),
        ("all and name == a", false),
        ("not all", false),
        ("name like *", false),
    ] {
        assert_eq!(parse(text).unwrap().is_everything(), expected, "{text:?}");
    }
}

#[test]
fn limits_hold_at_their_edges() {
    let nested = |depth: usize| format!("{}all{}", "(".repeat(depth), ")".repeat(depth));
    let terms = |count: usize| vec!["name == a"; count].join(" or ");
    let list = |count: usize| format!("name in ({})", vec!["a"; count].join(","));
    let long = |chars: usize| format!("name == '{}'", "ü".repeat(chars - 10));
    for (ok, refused, message) in [
        (nested(limit::SELECTOR_DEPTH_MAX), nested(limit::SELECTOR_DEPTH_MAX + 1), "nest at most 32 deep"),
        (terms(limit::SELECTOR_TERMS_MAX), terms(limit::SELECTOR_TERMS_MAX + 1), "at most 64 comparisons"),
        (list(limit::SELECTOR_LIST_MAX), list(limit::SELECTOR_LIST_MAX + 1), "at most 256 values"),
        (long(limit::SELECTOR_CHARS_MAX), long(limit::SELECTOR_CHARS_MAX + 1), "at most 4096 characters"),
    ] {
        if let Err(error) = parse(&ok) {
            panic!("{error}");
        }
        let refused = refusal(&refused, &DEVICE_SCHEMA);
        assert!(refused.contains(message), "{refused}");
    }
}

#[test]
fn bombs_are_refused_at_once() {
    for bomb in ["(", "not ", "((((name == a) and ", "'", "name in (", "\u{10ffff}", "a"] {
        assert!(parse(&bomb.repeat(1_000_000 / bomb.len())).is_err(), "{bomb:?}");
        assert!(parse(&bomb.repeat(limit::SELECTOR_CHARS_MAX / bomb.chars().count())).is_err(), "{bomb:?}");
    }
}

/// Texts with everything that needs care when printed.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9._:+@/-]{0,8}", r#"[a-c"'\\* ,()\n\r\tü€]{0,8}"#, "[^\0]{0,6}"]
}

fn key() -> impl Strategy<Value = String> {
    text().prop_filter("a key isn't empty", |key| !key.is_empty())
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![(-1000i32..1000).prop_map(f64::from), -1e12..1e12f64]
}

fn moment() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-1_000_000_000_000i64..10_000_000_000_000).prop_map(|ms| Value::Time(Timestamp(ms))),
        (-10_000_000i64..10_000_000).prop_map(|seconds| Value::RelativeTime(seconds * 1000)),
        (-100i64..100).prop_map(|days| Value::RelativeTime(days * 86_400_000)),
    ]
}

fn comparison() -> impl Strategy<Value = Expr> {
    let with = |op, value| (op, vec![value]);
    let texts =
        || prop_oneof![Just(Field::Builtin("name")), key().prop_map(Field::Label), key().prop_map(Field::Attribute)];
    let orders = || prop::sample::select(vec![Op::Less, Op::LessOrEqual, Op::Greater, Op::GreaterOrEqual]);
    let equal = || prop::sample::select(vec![Op::Equal, Op::NotEqual]);
    let within = || prop::sample::select(vec![Op::In, Op::NotIn]);
    let like = || prop::sample::select(vec![Op::Like, Op::NotLike]);
    let glob = || {
        prop::collection::vec(text(), 1..4)
            .prop_map(|texts| texts.iter().map(|text| pattern::literal(text)).collect::<Vec<_>>().join("*"))
    };
    let build = |(field, (op, values))| Expr::Compare { field, op, values };
    prop_oneof![
        (texts(), (equal(), text()).prop_map(move |(op, t)| with(op, Value::Text(t)))).prop_map(build),
        (texts(), (orders(), text()).prop_map(move |(op, t)| with(op, Value::Text(t)))).prop_map(build),
        (texts(), (like(), glob()).prop_map(move |(op, t)| with(op, Value::Text(t)))).prop_map(build),
        (
            texts(),
            (within(), prop::collection::vec(text().prop_map(Value::Text), 1..4)).prop_map(|(op, list)| (op, list))
        )
            .prop_map(build),
        (texts(), Just((Op::Exists, vec![]))).prop_map(build),
        (key().prop_map(Field::Attribute), (orders(), number()).prop_map(move |(op, n)| with(op, Value::Number(n))))
            .prop_map(build),
        (Just(Field::Builtin("last_seen")), (orders(), moment()).prop_map(move |(op, value)| with(op, value)))
            .prop_map(build),
    ]
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![1 => Just(Expr::All), 9 => comparison()];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.prop_map(|part| Expr::Not(Box::new(part))),
        ]
    })
}

fn device() -> impl Strategy<Value = Device> {
    let texts = || prop::collection::btree_map(key(), text(), 0..4);
    let seen = prop::option::of((0i64..4_000_000_000_000).prop_map(Timestamp));
    (text(), prop::option::of(text()), seen, texts(), texts()).prop_map(
        |(name, release, last_seen, labels, attributes)| Device { name, release, last_seen, labels, attributes },
    )
}

/// A random device almost never has the key or value that a random selector asks for: give it some of them.
fn device_near(expr: &Expr, mut device: Device) -> Device {
    match expr {
        Expr::All => device,
        Expr::And(parts) | Expr::Or(parts) => parts.iter().fold(device, |device, part| device_near(part, device)),
        Expr::Not(part) => device_near(part, device),
        Expr::Compare { field, values, .. } => {
            let value = match values.first() {
                Some(Value::Text(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => "1".to_owned(),
            };
            match field {
                Field::Label(key) if key.len() % 2 == 0 => drop(device.labels.insert(key.clone(), value)),
                Field::Attribute(key) if key.len() % 2 == 0 => drop(device.attributes.insert(key.clone(), value)),
                _ => device.name = value,
            }
            device
        }
    }
}

fn not(expr: &Expr) -> Expr {
    Expr::Not(Box::new(expr.clone()))
}

proptest! {
    #[test]
    fn a_printed_expression_reads_back_as_itself(expr in expression()) {
        let printed = expr.to_string();
        let read = parse(&printed);
        prop_assert!(read.is_ok(), "{printed}: {read:?}");
        prop_assert_eq!(read.map(|read| read.expr), Ok(expr), "{}", printed);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(text.is_char_boundary(error.position));
            prop_assert!(error.caret(&text).ends_with('^'));
        }
    }

    #[test]
    fn no_soup_of_words_makes_the_parser_panic(words in prop::collection::vec(prop::sample::select(vec![
        "name", "state", "last_seen", "label.a", "attribute.\"b c\"", "==", "!=", "<", ">=", "like", "not", "in", "(", ")",
        ",", "and", "or", "exists", "all", "accepted", "-2h", "now", "7", "'x'", "\"", "\\", "*", "now-é", "+", "é",
    ]), 0..20), glue in prop::sample::select(vec!["", " "])) {
        let text = words.join(glue);
        if let Ok(selector) = parse(&text) {
            let again = parse(&selector.expr().to_string());
            prop_assert_eq!(again.map(|again| again.expr), Ok(selector.expr));
        }
    }

    #[test]
    fn the_laws_of_de_morgan_hold(a in expression(), b in expression(), device in device()) {
        let device = device_near(&b, device_near(&a, device));
        let holds = |expr: &Expr| expr.matches(NOW, &|field: &Field| device.find(field));
        let neither = Expr::And(vec![not(&a), not(&b)]);
        let not_both = Expr::Or(vec![not(&a), not(&b)]);
        prop_assert_eq!(holds(&not(&Expr::Or(vec![a.clone(), b.clone()]))), holds(&neither));
        prop_assert_eq!(holds(&not(&Expr::And(vec![a.clone(), b.clone()]))), holds(&not_both));
        prop_assert_eq!(holds(&not(&not(&a))), holds(&a));
        prop_assert_eq!(holds(&Expr::And(vec![a.clone(), Expr::All])), holds(&a));
    }

    #[test]
    fn each_negative_operator_is_the_opposite_of_its_positive_one(expr in comparison(), device in device()) {
        let device = device_near(&expr, device);
        let Expr::Compare { field, op, values } = expr else { unreachable!("comparisons only") };
        let opposite = match op {
            Op::Equal => Op::NotEqual,
            Op::In => Op::NotIn,
            Op::Like => Op::NotLike,
            _ => return Ok(()),
        };
        let holds = |op| {
            let expr = Expr::Compare { field: field.clone(), op, values: values.clone() };
            expr.matches(NOW, &|field: &Field| device.find(field))
        };
        prop_assert_ne!(holds(op), holds(opposite));
    }

    #[test]
    fn what_says_everything_matches_every_device(expr in expression(), device in device()) {
        let everything = Expr::Or(vec![expr.clone(), Expr::All]);
        prop_assert!(everything.is_everything());
        if expr.is_everything() {
            prop_assert!(expr.matches(NOW, &|field: &Field| device.find(field)));
        }
    }
}
