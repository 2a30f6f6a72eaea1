//! Debian's podman and podman-compose, unmodified, run what the agent hands them.

use muster_agent::install::container::runtime::RunSettings;
use muster_agent::install::{Installer, Running, Takes};
use muster_tests::part::{Machine, Part};
use muster_tests::podman::Podman;
use muster_tests::swupdate::require;

const NAME: &str = "localhost/muster-web:latest";
/// A shell that ends when it is told to.
const SERVES: &str = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done";

fn podman() -> Podman {
    require(&["podman", "runc", "podman-compose", "busybox"]);
    Podman::new().unwrap()
}

fn compose(command: &str) -> String {
    let words = format!("[\"/bin/busybox\", \"sh\", \"-c\", \"{command}\"]");
    format!("services:\n  web:\n    image: {NAME}\n    command: {words}\n")
}

fn web(podman: &Podman, version: &str, command: &str) -> Part {
    let image = podman.image(NAME, version, "docker-archive");
    Part::new("app/web", version, &[("web.tar", &image), ("compose.yaml", compose(command).as_bytes())])
}

fn images(podman: &Podman) -> usize {
    podman.podman(&["images", "--all", "--quiet", "--no-trunc"]).lines().count()
}

#[test]
fn images_and_a_compose_file_replace_one_another_and_come_back() {
    let (podman, machine) = (podman(), Machine::default());
    let installer = podman.installer();
    let [one, two, three] = ["1", "2", "3"].map(|version| web(&podman, version, SERVES));

    let (note, takes) = one.install(&installer, &machine);
    assert_eq!((takes, podman.version_that_runs().as_str()), (Takes::Effect, "1"));
    installer.commit(&machine, one.job(&note)).unwrap();

    // The name means another image now, and the old one is still there for the way back.
    let (note, _) = two.install(&installer, &machine);
    assert_eq!(podman.version_that_runs(), "2");
    assert_eq!(installer.running(&machine, two.job(&note)).unwrap(), Running::New);
    installer.revert(&machine, two.job(&note)).unwrap();
    assert_eq!((podman.version_that_runs().as_str(), images(&podman)), ("1", 1));

    for (part, version, kept) in [(&two, "2", 2), (&three, "3", 2)] {
        let (note, _) = part.install(&installer, &machine);
        installer.commit(&machine, part.job(&note)).unwrap();
        assert_eq!((podman.version_that_runs().as_str(), images(&podman)), (version, kept));
    }
}

#[test]
fn a_container_that_ends_at_once_and_an_image_that_is_none_leave_the_one_before() {
    let (podman, machine) = (podman(), Machine::default());
    let installer = podman.installer();
    let one = web(&podman, "1", SERVES);
    let (note, _) = one.install(&installer, &machine);
    installer.commit(&machine, one.job(&note)).unwrap();

    let bad = web(&podman, "2", "echo no database; exit 3");
    let note = installer.plan(&machine, bad.job("")).unwrap();
    bad.deliver(&installer, &machine, bad.job(&note));
    installer.stage(&machine, bad.job(&note)).unwrap();
    let failed = installer.activate(&machine, bad.job(&note)).unwrap_err().sentence();
    assert!(failed.contains("Exited (3)"), "{failed}");
    installer.revert(&machine, bad.job(&note)).unwrap();
    assert_eq!(podman.version_that_runs(), "1");

    let mut image = podman.image(NAME, "3", "docker-archive");
    let middle = image.len() / 2;
    image[middle..middle + 4096].fill(0x55);
    let broken = Part::new("app/web", "3", &[("web.tar", &image), ("compose.yaml", compose(SERVES).as_bytes())]);
    let note = installer.plan(&machine, broken.job("")).unwrap();
    broken.deliver(&installer, &machine, broken.job(&note));
    let failed = installer.stage(&machine, broken.job(&note)).unwrap_err().sentence();
    assert!(failed.contains("podman load"), "{failed}");
    installer.revert(&machine, broken.job(&note)).unwrap();
    assert_eq!((podman.version_that_runs().as_str(), images(&podman)), ("1", 1));
}

#[test]
fn archives_in_the_oci_format_are_loaded_too() {
    let (podman, machine) = (podman(), Machine::default());
    let installer = podman.installer();
    let image = podman.image(NAME, "1", "oci-archive");
    let part = Part::new("app/web", "1", &[("web.tar", &image), ("compose.yaml", compose(SERVES).as_bytes())]);
    let (note, _) = part.install(&installer, &machine);
    assert_eq!(podman.version_that_runs(), "1");
    installer.revert(&machine, part.job(&note)).unwrap();
    assert_eq!(podman.podman(&["ps", "--all", "--quiet"]).trim(), "");
}

#[test]
fn one_image_runs_as_the_agents_file_says_and_comes_back() {
    let (podman, machine) = (podman(), Machine::default());
    let mut installer = podman.installer();
    let command = ["/bin/busybox", "sh", "-c", SERVES].map(str::to_owned).to_vec();
    installer.run = Some(RunSettings {
        ports: vec![],
        volumes: vec![],
        env: [("LEVEL".to_owned(), "two words".to_owned())].into(),
        restart: "always".into(),
        options: vec!["--network=none".into(), "--read-only".into()],
        command,
    });
    // No compose program is asked.
    installer.runtime.compose = vec!["/there/is/none".into()];
    let [one, two] = ["1", "2"]
        .map(|version| Part::new("app/web", version, &[("web.tar", &podman.image(NAME, version, "oci-archive"))]));
    let (note, _) = one.install(&installer, &machine);
    installer.commit(&machine, one.job(&note)).unwrap();
    assert_eq!(podman.version_that_runs(), "1");
    let name = podman.podman(&["ps", "--format", "{{.Names}}"]);
    let settings = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.RestartPolicy.Name}} {{.Config.Env}}";
    let settings = podman.podman(&["container", "inspect", "--format", settings, name.trim()]);
    assert!(settings.starts_with("true always") && settings.contains("LEVEL=two words"), "{settings}");

    let (note, _) = two.install(&installer, &machine);
    assert_eq!(podman.version_that_runs(), "2");
    installer.revert(&machine, two.job(&note)).unwrap();
    assert_eq!((podman.version_that_runs().as_str(), images(&podman)), ("1", 1));

    // A command that isn't in the image is podman's own refusal.
    installer.run.as_mut().unwrap().command = vec!["/there/is/none".into()];
    let note = installer.plan(&machine, two.job("")).unwrap();
    two.deliver(&installer, &machine, two.job(&note));
    installer.stage(&machine, two.job(&note)).unwrap();
    let failed = installer.activate(&machine, two.job(&note)).unwrap_err().sentence();
    assert!(failed.contains("/there/is/none"), "{failed}");
    installer.run.as_mut().unwrap().command = ["/bin/busybox", "sh", "-c", SERVES].map(str::to_owned).to_vec();
    installer.revert(&machine, two.job(&note)).unwrap();
    assert_eq!((podman.version_that_runs().as_str(), images(&podman)), ("1", 1));
}

#[test]
fn what_the_owner_has_not_allowed_loads_no_image_and_what_is_allowed_reaches_podman() {
    let (podman, machine) = (podman(), Machine::default());
    let mut installer = podman.installer();
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("seen"), "by the container").unwrap();
    let mount = shared.path().to_str().unwrap();
    let image = podman.image(NAME, "1", "docker-archive");
    let text = format!("{}    volumes: ['{mount}:/shared:ro']\n", compose(SERVES));
    let part = Part::new("app/web", "1", &[("web.tar", &image), ("compose.yaml", text.as_bytes())]);
    let note = installer.plan(&machine, part.job("")).unwrap();
    part.deliver(&installer, &machine, part.job(&note));
    let refused = installer.stage(&machine, part.job(&note)).unwrap_err().sentence();
    assert!(refused.contains(&format!("{mount} of the device is not for containers")), "{refused}");
    assert_eq!(images(&podman), 0);
    installer.policy.mounts.push(shared.path().to_owned());
    installer.stage(&machine, part.job(&note)).unwrap();
    installer.activate(&machine, part.job(&note)).unwrap();
    let name = podman.podman(&["ps", "--format", "{{.Names}}"]);
    let seen = podman.podman(&["exec", name.trim(), "/bin/busybox", "cat", "/shared/seen"]);
    assert_eq!(seen.trim(), "by the container");
}
