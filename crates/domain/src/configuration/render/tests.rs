use muster_vocab::Timestamp;

use super::*;
use crate::configuration::Spec;
use crate::configuration::check::check;

fn file(path: &str, content: &str) -> File {
    File {
        path: path.into(),
        content: content.into(),
        mode: None,
        owner: None,
        validate: Vec::new(),
        reload: Vec::new(),
    }
}

fn configuration(name: &str, priority: u16, files: Vec<File>) -> Configuration {
    let spec = Spec { select: "all".into(), priority, files };
    check(&spec).unwrap();
    let at = Timestamp(0);
    Configuration { name: name.into(), spec, created_at: at, updated_at: at, updated_by: "ann".into(), revision: 1 }
}

fn secrets() -> BTreeMap<String, u64> {
    BTreeMap::from([("db".to_owned(), 3), ("api-key".to_owned(), 1)])
}

fn none_known() -> BTreeMap<String, u64> {
    BTreeMap::new()
}

fn render(template: &str) -> Result<String, CannotRender> {
    let labels = BTreeMap::from([("site".to_owned(), "berlin".to_owned()), ("ring".to_owned(), "<a&b>".to_owned())]);
    let attributes = BTreeMap::from([("hw.revision".to_owned(), "7".to_owned())]);
    let facts =
        Facts { device: "sn-1", project: "default", labels: &labels, attributes: &attributes, secrets: &secrets() };
    let one = configuration("app", 1, vec![file("/etc/app.conf", template)]);
    Renderer::default().render(&[&one], &facts).map(|mut files| files.remove(0).content)
}

#[test]
fn a_template_knows_labels_attributes_device_project_and_site() {
    let template =
        "{{ device }} {{ project }} {{ site }} {{ label.site }} {{ attribute['hw.revision'] | int | add(1) }}\n";
    assert_eq!(render(template).unwrap(), "sn-1 default berlin berlin 8\n");
}

#[test]
fn nothing_is_escaped_and_statements_leave_no_empty_lines() {
    let template = "a\n{% if label.ring is defined %}\n  b={{ label.ring }}\n{% endif %}\nc\n";
    assert_eq!(render(template).unwrap(), "a\n  b=<a&b>\nc\n");
}

#[test]
fn a_value_is_no_template_itself() {
    let labels = BTreeMap::from([("x".to_owned(), "{{ device }}{% set".to_owned())]);
    let none = BTreeMap::new();
    let facts =
        Facts { device: "sn-1", project: "default", labels: &labels, attributes: &none, secrets: &none_known() };
    let one = configuration("app", 1, vec![file("/etc/a", "{{ label.x }}")]);
    assert_eq!(Renderer::default().render(&[&one], &facts).unwrap()[0].content, "{{ device }}{% set");
}

#[test]
fn a_missing_value_is_named_with_file_device_and_line() {
    let told = render("a\nb = {{ label.rack }}\n").unwrap_err();
    let expected = CannotRender::Missing {
        value: "label.rack".into(),
        device: "sn-1".into(),
        configuration: "app".into(),
        path: "/etc/app.conf".into(),
        line: 2,
    };
    assert_eq!(told, expected);
    for (template, value) in [
        ("{{ nothing }}", "nothing"),
        ("{{ label.rack | upper }}", "label.rack"),
        ("{% if label.rack == 'a' %}x{% endif %}", "label.rack"),
        ("{% for x in label.rack %}x{% endfor %}", "label.rack"),
        ("{{ attribute['mac'] }}", "attribute['mac']"),
    ] {
        let told = render(template).unwrap_err().to_string();
        assert!(told.contains(value) && told.contains("sn-1") && told.contains("/etc/app.conf"), "{template}: {told}");
    }
    assert_eq!(render("{{ label.rack | default('r1') }}").unwrap(), "r1");
}

#[test]
fn templates_that_never_end_or_fill_the_memory_are_stopped() {
    let wide = "{% for a in label | items %}{% for b in label | items %}{% for c in label | items %}".repeat(5)
        + "0123456789"
        + &"{% endfor %}".repeat(15);
    let told = render(&wide).unwrap_err();
    assert!(matches!(told, CannotRender::Template { ref problem, .. } if problem.contains("too many steps")), "{told}");
    let big = format!("{{% for a in label | items %}}{}{{% endfor %}}", "0123456789".repeat(6000));
    assert!(render(&big).is_ok());
    let bigger = format!(
        "{{% for a in label | items %}}{{% for a in label | items %}}{{% for b in label | items %}}{}{{% endfor %}}{{% endfor %}}{{% endfor %}}",
        "0123456789".repeat(6000)
    );
    assert!(
        matches!(render(&bigger), Err(CannotRender::TooLarge { .. })),
        "{:?}",
        render(&bigger).map(|text| text.len())
    );
    let many = ["x"; 100].join(",");
    let joined = format!(
        "{{% for a in ['{many}' | split(',')] %}}{{% for b in [a | join(a | join('yy'))] %}}{{{{ b }}}}{{% endfor %}}{{% endfor %}}"
    );
    let told = render(&joined).unwrap_err();
    assert!(matches!(told, CannotRender::Template { ref problem, .. } if problem.contains("too long")), "{told}");
}

#[test]
fn two_configurations_that_give_one_path_are_both_named() {
    let labels = BTreeMap::new();
    let facts = Facts { device: "sn-1", project: "p", labels: &labels, attributes: &labels, secrets: &none_known() };
    let one = configuration("low", 1, vec![file("/etc/a", "1")]);
    let other = configuration("high", 9, vec![file("/etc/a", "2")]);
    let told = Renderer::default().render(&[&one, &other], &facts).unwrap_err().to_string();
    assert!(
        told.contains("low") && told.contains("high") && told.contains("/etc/a") && told.contains("sn-1"),
        "{told}"
    );
    let nested = configuration("nested", 1, vec![file("/etc/a/b", "3")]);
    let told = Renderer::default().render(&[&one, &nested], &facts).unwrap_err();
    assert!(matches!(told, CannotRender::Folder { .. }), "{told}");
}

#[test]
fn a_higher_priority_comes_first_and_then_the_name() {
    let labels = BTreeMap::new();
    let facts = Facts { device: "sn-1", project: "p", labels: &labels, attributes: &labels, secrets: &none_known() };
    let all = [
        configuration("b", 1, vec![file("/b", "")]),
        configuration("a", 1, vec![file("/a", "")]),
        configuration("c", 9, vec![file("/z", ""), file("/c", "")]),
    ];
    let matching: Vec<&Configuration> = all.iter().collect();
    let files = Renderer::default().render(&matching, &facts).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/z", "/c", "/a", "/b"]);
}

#[test]
fn all_files_of_a_device_together_are_bounded() {
    let labels = BTreeMap::new();
    let facts = Facts { device: "sn-1", project: "p", labels: &labels, attributes: &labels, secrets: &none_known() };
    let files = (0..5).map(|at| file(&format!("/etc/{at}"), &"x".repeat(60_000))).collect();
    let one = configuration("big", 1, files);
    let told = Renderer::default().render(&[&one], &facts).unwrap_err();
    assert!(matches!(told, CannotRender::TooLarge { ref path, .. } if path == "/etc/4"), "{told}");
}

#[test]
fn a_secret_is_a_mark_wherever_its_file_is_kept() {
    assert_eq!(render("a={{ secret.db }}\n").unwrap(), "a={muster-secret:db:3}\n");
    assert_eq!(render("{{ secret['api-key'] }}{{ secret.db }}").unwrap().matches("muster-secret").count(), 2);
    assert_eq!(render("{% for a in [1] %}{{ secret.db }}{% endfor %}").unwrap(), "{muster-secret:db:3}");
    let missing = render("{{ secret.gone }}").unwrap_err();
    assert!(matches!(missing, CannotRender::Missing { .. }), "{missing}");
}

#[test]
fn a_secret_can_not_be_looked_into_and_nothing_can_pass_for_one() {
    for template in [
        "{{ secret.db | upper }}",
        "{{ secret.db | first }}",
        "{{ secret.db | length }}",
        "{% if secret.db == 'x' %}{% endif %}",
        "{{ secret.db }}{{ secret.db | split(':') | last }}",
        "{muster-secret:db:3}",
    ] {
        let told = render(template);
        assert!(matches!(told, Err(CannotRender::SecretChanged { .. })), "{template}: {told:?}");
    }
    let attributes = BTreeMap::from([("x".to_owned(), "{muster-secret:db:3}".to_owned())]);
    let facts =
        Facts { device: "sn-1", project: "p", labels: &none_texts(), attributes: &attributes, secrets: &secrets() };
    let one = configuration("app", 1, vec![file("/etc/a", "{{ attribute.x }}")]);
    let told = Renderer::default().render(&[&one], &facts);
    assert!(matches!(told, Err(CannotRender::SecretChanged { .. })), "a device asked for a secret by its attribute");
}

fn none_texts() -> BTreeMap<String, String> {
    BTreeMap::new()
}

#[test]
fn a_file_with_a_secret_is_not_for_everybody() {
    let (labels, attributes, secrets) = (none_texts(), none_texts(), secrets());
    let facts = Facts { device: "sn-1", project: "p", labels: &labels, attributes: &attributes, secrets: &secrets };
    let with = |mode: Option<&str>| {
        let file = File { mode: mode.map(str::to_owned), ..file("/etc/a", "{{ secret.db }}") };
        Renderer::default().render(&[&configuration("app", 1, vec![file])], &facts).map(|mut all| all.remove(0).mode)
    };
    assert_eq!(with(None).unwrap().as_deref(), Some("0600"));
    assert_eq!(with(Some("0640")).unwrap().as_deref(), Some("0640"));
    assert!(matches!(with(Some("0644")), Err(CannotRender::SecretReadable { .. })));
}
