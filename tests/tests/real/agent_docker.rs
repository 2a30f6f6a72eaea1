//! Docker's daemon and docker-compose, unmodified, run what the agent hands them.

use muster_agent::install::container::runtime::RunSettings;
use muster_agent::install::{Installer, Running, Takes};
use muster_tests::docker::Docker;
use muster_tests::part::{Machine, Part};
use muster_tests::swupdate::require;

const NAME: &str = "localhost/muster-web:latest";
/// A shell that ends when it is told to.
const SERVES: &str = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done";

fn docker() -> Docker {
    require(&["dockerd", "docker", "docker-compose", "busybox"]);
    Docker::new().unwrap()
}

fn images(docker: &Docker) -> usize {
    docker.docker(&["images", "--all", "--quiet", "--no-trunc"]).lines().count()
}

#[test]
fn images_and_a_compose_file_replace_one_another_and_come_back() {
    let (docker, machine) = (docker(), Machine::default());
    let installer = docker.installer();
    let web = |version: &str, command: &str| {
        let words = format!("[\"/bin/busybox\", \"sh\", \"-c\", \"{command}\"]");
        let compose = format!(
            "version: '3'\nservices:\n  web:\n    image: {NAME}\n    network_mode: none\n    command: {words}\n"
        );
        let image = docker.image(NAME, version);
        Part::new("app/web", version, &[("web.tar", &image), ("compose.yaml", compose.as_bytes())])
    };
    let (one, two) = (web("1", SERVES), web("2", SERVES));
    let (note, takes) = one.install(&installer, &machine);
    assert_eq!((takes, docker.version_that_runs().as_str()), (Takes::Effect, "1"));
    installer.commit(&machine, one.job(&note)).unwrap();

    let (note, _) = two.install(&installer, &machine);
    assert_eq!(docker.version_that_runs(), "2");
    assert_eq!(installer.running(&machine, two.job(&note)).unwrap(), Running::New);
    installer.revert(&machine, two.job(&note)).unwrap();
    assert_eq!((docker.version_that_runs().as_str(), images(&docker)), ("1", 1));

    let bad = web("3", "echo no database; exit 3");
    let note = installer.plan(&machine, bad.job("")).unwrap();
    bad.deliver(&installer, &machine, bad.job(&note));
    installer.stage(&machine, bad.job(&note)).unwrap();
    let failed = installer.activate(&machine, bad.job(&note)).unwrap_err().sentence();
    assert!(failed.contains("Exit"), "{failed}");
    installer.revert(&machine, bad.job(&note)).unwrap();
    assert_eq!((docker.version_that_runs().as_str(), images(&docker)), ("1", 1));
}

#[test]
fn one_image_runs_as_the_agents_file_says_and_comes_back() {
    let (docker, machine) = (docker(), Machine::default());
    let mut installer = docker.installer();
    installer.run = Some(RunSettings {
        ports: vec![],
        volumes: vec![],
        env: [("LEVEL".to_owned(), "two words".to_owned())].into(),
        restart: "always".into(),
        options: vec!["--network=none".into(), "--read-only".into()],
        command: ["/bin/busybox", "sh", "-c", SERVES].map(str::to_owned).to_vec(),
    });
    let [one, two] =
        ["1", "2"].map(|version| Part::new("app/web", version, &[("web.tar", &docker.image(NAME, version))]));
    let (note, _) = one.install(&installer, &machine);
    installer.commit(&machine, one.job(&note)).unwrap();
    assert_eq!(docker.version_that_runs(), "1");
    let name = docker.docker(&["ps", "--format", "{{.Names}}"]);
    let settings = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.RestartPolicy.Name}} {{.Config.Env}}";
    let settings = docker.docker(&["container", "inspect", "--format", settings, name.trim()]);
    assert!(settings.starts_with("true always") && settings.contains("LEVEL=two words"), "{settings}");
    let (note, _) = two.install(&installer, &machine);
    assert_eq!(docker.version_that_runs(), "2");
    installer.revert(&machine, two.job(&note)).unwrap();
    assert_eq!((docker.version_that_runs().as_str(), images(&docker)), ("1", 1));
}
