use super::*;

fn policy(allow: &[Permit], mounts: &[&str]) -> Policy {
    Policy { allow: allow.iter().copied().collect(), mounts: mounts.iter().map(PathBuf::from).collect() }
}

fn judged(policy: &Policy, name: &str, text: &str) -> Result<(), String> {
    let images = ["localhost/web:1".to_owned(), "localhost/db:latest".to_owned()];
    let files = ["web.container", "data.volume", "net.network", "web.env", "compose.yaml"].map(str::to_owned);
    let described = Described { name, text: text.as_bytes(), images: &images, files: &files };
    if name.ends_with(".yaml") { policy.check_compose(described) } else { policy.check_unit(described) }
}

fn service(settings: &str) -> String {
    format!("services:\n  web:\n    image: localhost/web:1\n    {settings}\n")
}

const USUAL: &str = r#"
name: shop
x-all: &all
  restart: always
  read_only: true
services:
  web:
    <<: *all
    image: localhost/web:1
    ports: ["8080:80"]
    environment: { A: "${HOSTNAME}" }
    env_file: web.env
    depends_on: [db]
    networks: [inner]
    volumes: ["data:/data", "/srv/shop:/srv:ro", "./web.env:/etc/web.env:ro", "/cache"]
    devices: ["/dev/video0:/dev/video0"]
    healthcheck: { test: ["CMD", "true"] }
    security_opt: ["no-new-privileges:true"]
    logging: { driver: journald, options: { tag: web } }
    deploy: { resources: { limits: { memory: 64M } } }
    privileged: false
  db:
    image: localhost/db
    network_mode: "service:web"
    volumes:
      - { type: volume, source: data, target: /data }
      - { type: tmpfs, target: /run }
      - { type: bind, source: /srv/shop, target: /srv }
networks: { inner: { internal: true } }
volumes: { data: }
"#;

#[test]
fn a_usual_compose_file_needs_nothing_but_its_mounts() {
    judged(&policy(&[], &["/srv/shop/", "/dev/video0"]), "compose.yaml", USUAL).unwrap();
    let refused = judged(&policy(&[], &["/dev/video0"]), "compose.yaml", USUAL).unwrap_err();
    assert!(refused.starts_with("compose.yaml: service ") && refused.contains("/srv/shop of the device"), "{refused}");
}

#[test]
fn what_reaches_out_of_a_container_is_refused_unless_the_owner_allows_it() {
    use Permit::{Capabilities, ContainerNames, Everything, HostNetwork, HostPid, Privileged, Pull};
    for (settings, permit) in [
        ("privileged: true", Privileged),
        // YAML 1.1 reads it as true.
        ("privileged: yes", Privileged),
        ("privileged: ${P}", Privileged),
        ("security_opt: [seccomp=unconfined]", Privileged),
        ("cap_add: [SYS_ADMIN]", Capabilities),
        ("network_mode: host", HostNetwork),
        ("network_mode: ns:/proc/1/ns/net", HostNetwork),
        ("networks: [host]", HostNetwork),
        ("networks: { 'ns:/proc/1/ns/net': }", HostNetwork),
        ("pid: host", HostPid),
        ("container_name: muster-other_db_1", ContainerNames),
        ("pull_policy: always", Pull),
        ("ipc: host", Everything),
        ("userns_mode: host", Everything),
        ("build: .", Everything),
        ("provider: { type: sh }", Everything),
        ("x-podman.rootfs: /", Everything),
        ("extends: { file: other.yaml, service: web }", Everything),
        ("volumes: ['data:/data:O,upperdir=/etc']", Everything),
        ("volumes: [{ type: image, source: a, target: /a }]", Everything),
        ("logging: { driver: k8s-file, options: { path: /etc/cron.d/web } }", Everything),
        ("deploy: { resources: { reservations: { devices: [{ driver: nvidia }] } } }", Everything),
    ] {
        let text = service(settings);
        let refused = judged(&policy(&[], &[]), "compose.yaml", &text).unwrap_err();
        assert!(refused.contains(&format!("can add \"{}\" to `allow`", permit.word())), "{settings}: {refused}");
        judged(&policy(&[permit], &[]), "compose.yaml", &text).unwrap();
        judged(&policy(&[Everything], &[]), "compose.yaml", &text).unwrap();
    }
}

#[test]
fn what_a_compose_file_says_outside_of_services_is_judged_too() {
    for (text, why) in [
        ("volumes: { a: { driver_opts: { type: none, o: bind, device: /etc } } }", "of the volume a"),
        ("volumes: { a: { external: true } }", "of the volume a"),
        ("networks: { a: { external: true, name: host } }", "of the network a"),
        ("networks: { a: { driver: macvlan } }", "of the network a"),
        ("networks: { a: { name: host } }", "of the network a"),
        ("secrets: { a: { file: /etc/shadow } }", "/etc/shadow of the device"),
        ("secrets: { a: { external: true } }", "`external: true` of a"),
        ("include: [/etc/other.yaml]", "`include`"),
        ("services: { a: { image: localhost/web:1 }, a: { image: localhost/web:1 } }", "it is no YAML"),
        ("services: {}\n---\nservices: { a: { privileged: true } }", "it is no YAML"),
        ("services: [", "it is no YAML"),
        ("hello", "it is no mapping"),
    ] {
        let refused = judged(&policy(&[], &[]), "compose.yaml", text).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

#[test]
fn paths_of_the_device_are_allowed_exactly_or_not_at_all() {
    let policy = policy(&[], &["/srv/data"]);
    for (settings, why) in [
        ("volumes: ['/:/host']", "/ of the device"),
        ("volumes: ['/srv/data/../../etc:/etc']", "of the device"),
        // A container that writes the folder may have made it a link.
        ("volumes: ['/srv/data/below:/data']", "/srv/data/below of the device"),
        ("volumes: ['../..:/data']", "../.. of the device"),
        ("volumes: ['~/x:/data']", "~/x of the device"),
        ("volumes: ['.:/data:ro']", ". of the device"),
        ("volumes: ['${HOME}:/data']", "a variable there can't be judged"),
        ("volumes: ['./web.env:/x']", "mount it with :ro"),
        ("volumes: [{ type: bind, source: web.env, target: /x }]", "mount it with :ro"),
        ("volumes: [{ type: bind, source: /etc, target: /x }]", "/etc of the device"),
        ("devices: ['/dev/mem']", "/dev/mem of the device"),
        ("env_file: /etc/shadow", "/etc/shadow of the device"),
        ("env_file: [{ path: ../secret }]", "../secret of the device"),
    ] {
        let refused = judged(&policy, "compose.yaml", &service(settings)).unwrap_err();
        assert!(refused.contains(why), "{settings}: {refused}");
    }
    judged(&policy, "compose.yaml", &service("volumes: ['/srv/data:/data:rw']")).unwrap();
}

#[test]
fn images_that_do_not_come_with_the_release_are_not_pulled_without_leave() {
    let text = "services: { web: { image: 'docker.io/library/nginx:1' } }";
    let refused = judged(&policy(&[], &[]), "compose.yaml", text).unwrap_err();
    assert!(refused.contains("which doesn't come with the release"), "{refused}");
    judged(&policy(&[Permit::Pull], &[]), "compose.yaml", text).unwrap();
    let refused = judged(&policy(&[], &[]), "compose.yaml", "services: { web: { image: '${I}' } }").unwrap_err();
    assert!(refused.contains("a variable there can't be judged"), "{refused}");
}

#[test]
fn a_usual_quadlet_file_needs_nothing_but_its_mounts() {
    let text = "# The shop.\n[Unit]\nAfter=network-online.target\nWants=network-online.target\n\n[Container]\n\
                Image=localhost/web:1\nVolume=data.volume:/data\nVolume=/srv/shop:/srv:ro\nNetwork=net.network\n\
                PublishPort=8080:80\nExec=serve \\\n  --all\n\n[Service]\nRestart=always\n\n[Install]\n\
                WantedBy=multi-user.target\n";
    judged(&policy(&[], &["/srv/shop"]), "web.container", text).unwrap();
    let refused = judged(&policy(&[], &[]), "web.container", text).unwrap_err();
    assert!(refused.starts_with("web.container: [Container] Volume=/srv/shop"), "{refused}");
}

#[test]
fn what_a_quadlet_file_or_unit_does_outside_of_its_container_has_to_be_allowed() {
    use Permit::{Capabilities, ContainerNames, Everything, HostNetwork, Privileged, Pull, Units};
    for (name, text, permit) in [
        ("web.container", "[Container]\nPodmanArgs=--privileged\n", Everything),
        ("web.container", "[Container]\nVolume=data.volume:/a:O,upperdir=/etc\n", Everything),
        ("web.container", "[Container]\nMount=type=bind,source=/,target=/a\n", Everything),
        ("web.container", "[Container]\nAddCapability=SYS_ADMIN\n", Capabilities),
        ("web.container", "[Container]\nSecurityLabelDisable=true\n", Privileged),
        ("web.container", "[Container]\nNetwork=host\n", HostNetwork),
        ("web.container", "[Container]\nContainerName=db\n", ContainerNames),
        ("web.container", "[Container]\nImage=docker.io/nginx\n", Pull),
        ("web.container", "[Service]\nExecStartPre=/bin/sh -c reboot\n", Units),
        ("web.container", "[Unit]\nWants=poweroff.target\n", Units),
        ("web.container", "[Install]\nAlias=sshd.service\n", Units),
        ("data.volume", "[Volume]\nDevice=/etc\n", Everything),
        ("net.network", "[Network]\nNetworkName=host\n", HostNetwork),
        ("tidy.service", "[Service]\nExecStart=/bin/true\n", Units),
        ("web.kube", "[Kube]\nYaml=/etc/web.yaml\n", Everything),
        ("web.build", "[Build]\n", Everything),
    ] {
        let refused = judged(&policy(&[], &[]), name, text).unwrap_err();
        assert!(refused.contains(&format!("can add \"{}\" to `allow`", permit.word())), "{text}: {refused}");
        judged(&policy(&[permit], &[]), name, text).unwrap();
    }
}

#[test]
fn what_readers_of_unit_files_understand_differently_is_refused() {
    for text in [
        "[Container]\nExec=a \\\n# \\\nPodmanArgs=--privileged\n",
        "[Container]\nExec=a \\\\\nPodmanArgs=--privileged\n",
        "[Container]\nExec=a\rPodmanArgs=--privileged\n",
        "[Container]\nExec\n",
        "[Container]\nVolume=%h:/home\n",
    ] {
        judged(&policy(&[], &[]), "web.container", text).unwrap_err();
    }
}
