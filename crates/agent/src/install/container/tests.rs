//! With an engine of a few lines of shell, which keeps in files what it has and what runs. Real podman is asked in the
//! tests against real programs.

use std::time::Duration;

use muster_wire::agent::{Artifact, Component};

use super::*;
use crate::workbench::{Workbench, digest};

/// Images are the digest of their configuration; the archive's manifest says what they are called.
const ENGINE: &str = r#"
store=$(dirname "$0")/store
echo "WARN[0000] an engine talks" >&2
mkdir -p "$store/images" "$store/names"
file() { echo "$store/names/$(echo "$1" | tr '/:' '__')"; }
case "$1" in
  --version) echo podman version 4.9.3 ;;
  load)
    name=$(tar -xOf "$3" manifest.json | sed 's/.*RepoTags":\["\([^"]*\)".*/\1/')
    id=$(tar -xOf "$3" config | sha256sum | cut -c1-64)
    touch "$store/images/$id"; echo "$id" > "$(file "$name")" ;;
  image)
    if [ -e "$store/images/$5" ]; then echo "sha256:$5"
    elif [ -e "$(file "$5")" ] && [ -e "$store/images/$(cat "$(file "$5")")" ]; then echo "sha256:$(cat "$(file "$5")")"
    else echo "no such image: $5"; exit 1; fi ;;
  tag) [ -e "$store/images/$2" ] || { echo "no such image: $2"; exit 1; }; echo "$2" > "$(file "$3")" ;;
  rmi) rm "$store/images/$2" ;;
  run)
    for word; do [ "$last" = --name ] && name=$word; last=$word; [ -e "$store/images/$word" ] && image=$word; done
    [ -e "$store/containers/$name" ] && { echo "the name $name is in use"; exit 125; }
    mkdir -p "$store/containers"; echo "$image $*" > "$store/containers/$name" ;;
  container)
    [ -e "$store/containers/$5" ] || { echo "no such container: $5"; exit 1; }
    if grep -q crash "$store/containers/$5"; then echo "exited (1)"; else echo "running (0)"; fi ;;
  rm) rm "$store/containers/$3" ;;
  ps) [ ! -e "$store/running" ] || sed 's/^/container /' "$store/running" ;;
esac
"#;

/// Runs the image that the first line `image:` names.
const COMPOSE: &str = r#"
store=$(dirname "$0")/store
[ "$1" = version ] && exit 0
name=$(sed -n 's/.*image: *//p' "$4")
case "$5" in
  config) grep -q services: "$4" || { echo "no services in $4"; exit 1; } ;;
  up)
    id=$(cat "$store/names/$(echo "$name" | tr '/:' '__')") || exit 1
    if grep -q crash "$4"; then echo "web: Exited (1)" > "$store/running"; exit 0; fi
    echo "web: Up" > "$store/running"
    echo "$2 $id" > "$store/runs" ;;
  down) rm -f "$store/running" "$store/runs" ;;
esac
"#;

/// Notes what it was told, and what each unit says when it is started.
const SYSTEMCTL: &str = r#"
folder=$(dirname "$0")
[ "$1" = --version ] && exit 0
[ "$1" = cat ] && exec test "$2" = ssh.service
echo "$*" >> "$folder/told"
"#;

/// Each program counts down; after so many none does anything, as if the power had been cut before it.
const CUT: &str = r#"
left=$(dirname "$0")/left
if [ -e "$left" ]; then
  [ "$(cat "$left")" -gt 0 ] || { echo "the power was cut"; exit 137; }
  echo $(($(cat "$left") - 1)) > "$left"
fi
"#;

struct Set {
    files: Vec<(&'static str, Vec<u8>)>,
    component: Component,
}

fn archive(name: &str, content: &str) -> Vec<u8> {
    let manifest = format!(r#"[{{"Config":"config","RepoTags":["{name}"],"Layers":[]}}]"#);
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in [("config", content), ("manifest.json", &manifest)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn set(version: &str, files: Vec<(&'static str, Vec<u8>)>) -> Set {
    let artifact = |(name, bytes): &(&str, Vec<u8>)| Artifact {
        file_name: (*name).into(),
        size: bytes.len() as u64,
        digest: digest(bytes),
        routes: vec![],
    };
    let artifacts = files.iter().map(artifact).collect();
    let (name, version) = ("app/web".to_owned(), version.to_owned());
    let component = Component { name, version, metadata: Default::default(), artifacts };
    Set { files, component }
}

/// The same name means another image in each version: names move.
fn web(version: &str) -> Set {
    let compose = format!("services:\n  web:\n    image: localhost/web:latest\n# {version}\n");
    set(version, vec![("web.tar", archive("localhost/web:latest", version)), ("compose.yaml", compose.into_bytes())])
}

fn container(bench: &Workbench) -> Container {
    for (name, text) in [("engine", ENGINE), ("compose", COMPOSE), ("systemctl", SYSTEMCTL)] {
        bench.write_program(name, &format!("{CUT}{text}"));
    }
    let words = |name: &str| vec![bench.path(name).to_string_lossy().into_owned()];
    let timeout = Duration::from_secs(60);
    Container {
        folder: bench.path("own"),
        runtime: Runtime { engine: words("engine"), compose: words("compose"), systemctl: words("systemctl"), timeout },
        project: "muster-app-web".into(),
        quadlets: bench.path("quadlets"),
        units: bench.path("units"),
        keep: 1,
        policy: Policy::default(),
        run: None,
    }
}

fn deliver(bench: &Workbench, container: &Container, job: Job<'_>, set: &Set) {
    for (index, (_, bytes)) in set.files.iter().enumerate() {
        let place = container.place(bench, job, index).unwrap();
        bench.write(place.path.strip_prefix(bench.path("")).unwrap().to_str().unwrap(), bytes);
    }
}

/// All the way up to the switch; answers the note.
fn activated(bench: &Workbench, container: &Container, set: &Set) -> String {
    let component = &set.component;
    let note = container.plan(bench, Job { component, previous: None, note: "" }).unwrap();
    let job = Job { component, previous: None, note: &note };
    deliver(bench, container, job, set);
    container.stage(bench, job).unwrap();
    assert_eq!(container.activate(bench, job).unwrap(), Takes::Effect);
    assert_eq!(container.running(bench, job).unwrap(), Running::New);
    note
}

/// Cuts the power before the first program, before the second, … until all of them run. Answers how often.
fn cut_between_programs(bench: &Workbench, act: impl Fn() -> Result<(), InstallError>, between: impl Fn()) -> u32 {
    for programs in 0..1000 {
        bench.write("left", programs.to_string());
        let outcome = act();
        std::fs::remove_file(bench.path("left")).unwrap();
        match outcome {
            Ok(()) => return programs,
            Err(_) => between(),
        }
    }
    panic!("it never ends")
}

fn install(bench: &Workbench, container: &Container, set: &Set) {
    let note = activated(bench, container, set);
    container.commit(bench, Job { component: &set.component, previous: None, note: &note }).unwrap();
}

fn runs(bench: &Workbench, set: &Set) -> bool {
    let id = id(set);
    std::fs::read_to_string(bench.path("store/runs")).is_ok_and(|runs| runs == format!("muster-app-web {id}\n"))
}

/// Its version is all that its image's configuration says.
fn id(set: &Set) -> String {
    digest(set.component.version.as_bytes()).hex()
}

fn images(bench: &Workbench) -> usize {
    bench.names("store/images").len()
}

#[test]
fn the_new_version_runs_and_so_many_before_it_keep_their_images() {
    let bench = Workbench::new();
    let container = container(&bench);
    for (version, kept) in [("1", 1), ("2", 2), ("3", 2)] {
        install(&bench, &container, &web(version));
        assert!(runs(&bench, &web(version)), "{version}");
        assert_eq!((images(&bench), bench.names("own/versions").len()), (kept, kept));
    }
    assert_eq!(bench.names("own").iter().filter(|name| name.ends_with(".file")).count(), 2, "for deltas");
}

#[test]
fn loading_an_image_does_not_change_what_the_running_version_means_by_its_name() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let two = web("2");
    let note = container.plan(&bench, Job { component: &two.component, previous: None, note: "" }).unwrap();
    let job = Job { component: &two.component, previous: None, note: &note };
    deliver(&bench, &container, job, &two);
    container.stage(&bench, job).unwrap();
    assert_eq!(bench.text("store/names/localhost_web_latest").trim(), id(&web("1")));
    assert!(runs(&bench, &web("1")));
}

#[test]
fn a_version_taken_back_leaves_the_one_before_and_none_of_its_images() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let two = web("2");
    let note = activated(&bench, &container, &two);
    assert!(runs(&bench, &two));
    let job = Job { component: &two.component, previous: None, note: &note };
    assert_eq!(container.revert(&bench, job).unwrap(), Takes::Effect);
    assert!(runs(&bench, &web("1")));
    assert_eq!((images(&bench), bench.names("own/versions").len()), (1, 1));
    assert_eq!(container.running(&bench, job).unwrap(), Running::Old);
}

#[test]
fn the_first_version_taken_back_leaves_nothing_running() {
    let bench = Workbench::new();
    let container = container(&bench);
    let one = web("1");
    let note = activated(&bench, &container, &one);
    container.revert(&bench, Job { component: &one.component, previous: None, note: &note }).unwrap();
    assert!(!bench.path("store/running").exists());
    assert_eq!(images(&bench), 0);
}

#[test]
fn a_container_that_ends_at_once_fails_the_switch_with_its_state() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let mut bad = web("2");
    bad.files[1].1.extend(b"# crash\n");
    let bad = set("2", bad.files);
    let component = &bad.component;
    let note = container.plan(&bench, Job { component, previous: None, note: "" }).unwrap();
    let job = Job { component, previous: None, note: &note };
    deliver(&bench, &container, job, &bad);
    container.stage(&bench, job).unwrap();
    let failed = container.activate(&bench, job).unwrap_err().sentence();
    assert!(failed.ends_with("web: Exited (1)"), "{failed}");
    container.revert(&bench, job).unwrap();
    assert!(runs(&bench, &web("1")));
}

#[test]
fn power_cut_anywhere_ends_in_the_old_or_the_new_version() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let two = web("2");
    let component = &two.component;
    let note = container.plan(&bench, Job { component, previous: None, note: "" }).unwrap();
    let job = Job { component, previous: None, note: &note };
    deliver(&bench, &container, job, &two);
    let mut cuts = bench.cut_everywhere(|| container.stage(&bench, job), |_| assert!(runs(&bench, &web("1"))));
    cuts += bench.cut_everywhere(|| container.activate(&bench, job).map(|_| ()), |_| {});
    assert!(runs(&bench, &two));
    cuts += bench.cut_everywhere(|| container.revert(&bench, job).map(|_| ()), |_| {});
    assert!(runs(&bench, &web("1")));
    assert_eq!(images(&bench), 1, "an image is left that nothing knows of");
    deliver(&bench, &container, job, &two);
    container.stage(&bench, job).unwrap();
    container.activate(&bench, job).unwrap();
    cuts += bench.cut_everywhere(|| container.commit(&bench, job), |_| assert!(runs(&bench, &two)));
    assert!(runs(&bench, &two));
    assert!(cuts > 30, "only {cuts} cuts");
}

#[test]
fn a_switch_that_nobody_remembers_is_undone_and_a_committed_one_is_not() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let two = web("2");
    activated(&bench, &container, &two);
    let digests = two.component.artifacts.iter().map(|artifact| artifact.digest).collect();
    let now = Installed { version: "2".into(), digests };
    container.settle(&bench, Some(&now)).unwrap();
    assert!(runs(&bench, &two), "what is installed stays");
    activated(&bench, &container, &web("1"));
    container.settle(&bench, Some(&now)).unwrap();
    assert!(runs(&bench, &two), "what nobody remembers goes");
}

#[test]
fn an_image_that_the_engine_lost_is_loaded_again() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let two = web("2");
    let note = activated(&bench, &container, &two);
    std::fs::remove_file(bench.path("store/images").join(id(&web("1")))).unwrap();
    container.revert(&bench, Job { component: &two.component, previous: None, note: &note }).unwrap();
    assert!(runs(&bench, &web("1")));
}

#[test]
fn quadlets_and_units_go_where_systemd_looks_and_the_old_ones_leave() {
    let bench = Workbench::new();
    let mut container = container(&bench);
    container.policy.allow.insert(policy::Permit::Units);
    let quadlet = b"[Container]\nImage=localhost/web:latest\n".to_vec();
    let unit = b"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n".to_vec();
    let image = archive("localhost/web:latest", "1");
    let one = set("1", vec![("web.tar", image.clone()), ("web.container", quadlet.clone()), ("tidy.service", unit)]);
    install(&bench, &container, &one);
    assert_eq!(
        (bench.names("quadlets"), bench.names("units")),
        (vec!["web.container".into()], vec!["tidy.service".into()])
    );
    let told = "daemon-reload\nrestart web.service\nenable --quiet tidy.service\nrestart tidy.service\n";
    assert_eq!(bench.text("told"), told);
    bench.write("told", "");
    let two = set("2", vec![("web.tar", image), ("web.container", quadlet), ("data.volume", b"[Volume]\n".to_vec())]);
    let note = activated(&bench, &container, &two);
    assert_eq!((bench.names("quadlets").len(), bench.names("units").len()), (2, 0));
    let told = "stop tidy.service\ndisable --quiet tidy.service\ndaemon-reload\ndaemon-reload\nrestart web.service\n";
    assert_eq!(bench.text("told"), told);
    container.revert(&bench, Job { component: &two.component, previous: None, note: &note }).unwrap();
    assert_eq!((bench.names("quadlets").len(), bench.names("units").len()), (1, 1));
}

#[test]
fn what_could_never_run_is_refused_before_anything_is_fetched() {
    let bench = Workbench::new();
    let container = container(&bench);
    let image = || ("web.tar", archive("localhost/web:1", "1"));
    let compose = || ("compose.yaml", b"services:\n".to_vec());
    let refused = |container: &Container, files| {
        let set = set("1", files);
        let job = Job { component: &set.component, previous: None, note: "" };
        container.plan(&bench, job).unwrap_err().sentence()
    };
    for (files, why) in [
        (vec![image()], "nothing says how its images run"),
        (vec![image(), compose(), ("docker-compose.yml", vec![])], "one Compose file"),
        (vec![image(), compose(), ("web.container", vec![])], "not both"),
        (vec![image(), ("web.container", vec![]), ("notes.txt", vec![])], "notes.txt is no Quadlet file"),
        (vec![("web.tar.gz", vec![]), compose()], "publish the archive as it is"),
        (vec![("../web.tar", vec![]), compose()], "can't be the name of a file"),
        (vec![("compose.yaml", vec![0; 2 * 1024 * 1024])], "more than 1048576 bytes"),
    ] {
        let said = refused(&container, files);
        assert!(said.contains(why), "{said}");
    }
    let mut without = container.clone();
    without.runtime.engine = vec!["/there/is/no/engine".into()];
    let said = refused(&without, vec![image(), compose()]);
    assert!(said.contains("/there/is/no/engine does not answer; install it"), "{said}");
}

#[test]
fn a_description_that_compose_does_not_understand_is_refused_before_the_switch() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let mut files = web("2").files;
    files[1].1 = b"x-nonsense: 1\n".to_vec();
    let bad = set("2", files);
    let note = container.plan(&bench, Job { component: &bad.component, previous: None, note: "" }).unwrap();
    let job = Job { component: &bad.component, previous: None, note: &note };
    deliver(&bench, &container, job, &bad);
    let failed = container.stage(&bench, job).unwrap_err().sentence();
    assert!(failed.contains("no services in"), "{failed}");
    container.revert(&bench, job).unwrap();
    assert!(runs(&bench, &web("1")));
}

#[test]
fn a_description_that_asks_for_more_than_the_owner_allows_is_refused_before_an_image_is_loaded() {
    let bench = Workbench::new();
    let mut container = container(&bench);
    install(&bench, &container, &web("1"));
    let mut files = web("2").files;
    files[1].1.extend(b"    privileged: true\n");
    let mighty = set("2", files);
    let note = container.plan(&bench, Job { component: &mighty.component, previous: None, note: "" }).unwrap();
    let job = Job { component: &mighty.component, previous: None, note: &note };
    deliver(&bench, &container, job, &mighty);
    let refused = container.stage(&bench, job).unwrap_err().sentence();
    assert!(refused.starts_with("compose.yaml: service web: `privileged: true` is not allowed"), "{refused}");
    assert!(runs(&bench, &web("1")));
    assert_eq!(images(&bench), 1);
    container.policy.allow.insert(policy::Permit::Privileged);
    container.stage(&bench, job).unwrap();
    container.activate(&bench, job).unwrap();
    assert!(runs(&bench, &mighty));
}

fn single(version: &str) -> Set {
    set(version, vec![("web.tar", archive("localhost/web:latest", version))])
}

fn run_settings() -> RunSettings {
    RunSettings {
        ports: vec!["8080:80".into()],
        volumes: vec!["/srv/web:/data".into()],
        env: [("A".to_owned(), "b c".to_owned())].into(),
        restart: "always".into(),
        options: vec!["--read-only".into()],
        command: vec!["serve".into()],
    }
}

/// The image of the only container, and the words it was started with.
fn container_that_runs(bench: &Workbench) -> (String, String) {
    assert_eq!(bench.names("store/containers"), ["muster-app-web"]);
    let text = bench.text("store/containers/muster-app-web");
    let (image, words) = text.trim().split_once(' ').unwrap();
    (image.to_owned(), words.to_owned())
}

#[test]
fn one_image_runs_as_the_agents_file_says_whenever_the_power_is_cut() {
    let bench = Workbench::new();
    let container = Container { run: Some(run_settings()), ..container(&bench) };
    let [one, two] = ["1", "2"].map(single);
    install(&bench, &container, &one);
    let words = "run --detach --pull=never --name muster-app-web --restart=always --publish=8080:80 \
                 --volume=/srv/web:/data --env=A=b c --read-only";
    assert_eq!(container_that_runs(&bench), (id(&one), format!("{words} {} serve", id(&one))));
    let component = &two.component;
    let note = container.plan(&bench, Job { component, previous: None, note: "" }).unwrap();
    let job = Job { component, previous: None, note: &note };
    deliver(&bench, &container, job, &two);
    let old = |_| assert_eq!(container_that_runs(&bench).0, id(&one));
    let mut cuts = bench.cut_everywhere(|| container.stage(&bench, job), old);
    cuts += bench.cut_everywhere(|| container.activate(&bench, job).map(drop), |_| {});
    assert_eq!(container_that_runs(&bench).0, id(&two));
    cuts += bench.cut_everywhere(|| container.revert(&bench, job).map(drop), |_| {});
    assert_eq!((container_that_runs(&bench).0, images(&bench)), (id(&one), 1));
    assert!(cuts > 20, "only {cuts} cuts");
}

#[test]
fn one_image_that_ends_at_once_or_is_the_first_taken_back_leaves_what_was_before() {
    let bench = Workbench::new();
    let mut container = Container { run: Some(run_settings()), ..container(&bench) };
    let [one, two] = ["1", "2"].map(single);
    let note = activated(&bench, &container, &one);
    container.revert(&bench, Job { component: &one.component, previous: None, note: &note }).unwrap();
    assert_eq!((bench.names("store/containers"), images(&bench)), (vec![], 0));
    install(&bench, &container, &one);
    let component = &two.component;
    let note = container.plan(&bench, Job { component, previous: None, note: "" }).unwrap();
    let job = Job { component, previous: None, note: &note };
    deliver(&bench, &container, job, &two);
    container.stage(&bench, job).unwrap();
    container.run.as_mut().unwrap().command = vec!["crash".into()];
    let failed = container.activate(&bench, job).unwrap_err().sentence();
    assert!(failed.ends_with("muster-app-web: exited (1)"), "{failed}");
    container.run = Some(run_settings());
    container.revert(&bench, job).unwrap();
    assert_eq!(container_that_runs(&bench).0, id(&one));
    // A Compose file is no longer what this device takes, and without `run` an image alone isn't.
    let refused = |container: &Container, set: Set| {
        container.plan(&bench, Job { component: &set.component, previous: None, note: "" }).unwrap_err().sentence()
    };
    assert!(refused(&container, web("3")).contains("send one image and nothing else"));
    assert!(
        refused(&Container { run: None, ..container.clone() }, single("3")).contains("or `run` to the agent's file")
    );
}

#[test]
fn a_change_from_a_compose_file_to_one_image_and_back_leaves_nothing_of_the_other() {
    let bench = Workbench::new();
    let compose = container(&bench);
    let single_image = Container { run: Some(run_settings()), ..compose.clone() };
    install(&bench, &compose, &web("1"));
    install(&bench, &single_image, &single("2"));
    assert!(!bench.path("store/running").exists());
    assert_eq!(container_that_runs(&bench).0, id(&single("2")));
    install(&bench, &compose, &web("3"));
    assert!(runs(&bench, &web("3")) && bench.names("store/containers").is_empty());
}

#[test]
fn names_that_are_somebody_elses_are_refused_before_anything_is_fetched() {
    let bench = Workbench::new();
    let container = container(&bench);
    let quadlet = || b"[Container]\nImage=localhost/web:latest\n".to_vec();
    let image = archive("localhost/web:latest", "1");
    let named = |name| set("1", vec![("web.tar", image.clone()), (name, quadlet())]);
    let plan = |set: &Set| {
        let planned = container.plan(&bench, Job { component: &set.component, previous: None, note: "" });
        planned.map_err(|error| error.sentence())
    };
    bench.write("quadlets/db.container", "[Container]\n");
    let refused = plan(&named("db.container")).unwrap_err();
    assert!(refused.contains("db.container is there and not this component's"), "{refused}");
    let refused = plan(&named("ssh.container")).unwrap_err();
    assert!(refused.contains("take the place of the device's own ssh.service"), "{refused}");
    install(&bench, &container, &named("web.container"));
    plan(&named("web.container")).unwrap();
    bench.write_program("engine", "echo podman version 4.3.1");
    let refused = plan(&named("web.container")).unwrap_err();
    assert!(refused.contains("need podman 4.4"), "{refused}");
}

#[test]
fn an_image_that_was_there_before_is_never_removed() {
    let bench = Workbench::new();
    let container = container(&bench);
    let [one, two] = ["1", "2"].map(web);
    bench.write(&format!("store/images/{}", id(&one)), "the owner's");
    let note = activated(&bench, &container, &one);
    container.revert(&bench, Job { component: &one.component, previous: None, note: &note }).unwrap();
    assert_eq!(bench.names("store/images"), [id(&one)]);
    for set in [&one, &two, &web("3"), &web("4")] {
        install(&bench, &container, set);
    }
    let mut kept = [&one, &web("3"), &web("4")].map(id).to_vec();
    kept.sort();
    assert_eq!(bench.names("store/images"), kept);
}

#[test]
fn images_of_an_update_that_is_given_up_while_they_are_loaded_are_removed_too() {
    let bench = Workbench::new();
    let container = container(&bench);
    install(&bench, &container, &web("1"));
    let two = web("2");
    let component = &two.component;
    let note = container.plan(&bench, Job { component, previous: None, note: "" }).unwrap();
    let job = Job { component, previous: None, note: &note };
    for changes in 0.. {
        deliver(&bench, &container, job, &two);
        bench.cut_power_after(changes);
        let staged = container.stage(&bench, job);
        bench.power_on();
        container.revert(&bench, job).unwrap();
        assert_eq!((images(&bench), bench.names("own/versions").len()), (1, 1), "cut after {changes}");
        assert!(runs(&bench, &web("1")));
        if staged.is_ok() {
            assert!(changes > 10, "only {changes} cuts");
            break;
        }
    }
}

#[test]
fn an_archive_that_becomes_another_image_than_it_holds_is_refused() {
    let bench = Workbench::new();
    let container = container(&bench);
    bench.write_program("engine", &ENGINE.replace("-xOf \"$3\" config", "-xOf \"$3\" manifest.json"));
    let one = web("1");
    let component = &one.component;
    let job = Job { component, previous: None, note: NOTHING };
    deliver(&bench, &container, job, &one);
    let refused = container.stage(&bench, job).unwrap_err().sentence();
    assert!(refused.contains("once loaded, and the archive has another"), "{refused}");
}

#[test]
fn power_cut_between_two_commands_of_the_engine_loses_neither_version() {
    for is_single in [false, true] {
        let bench = Workbench::new();
        let container = Container { run: is_single.then(run_settings), ..container(&bench) };
        let [one, two] = ["1", "2"].map(if is_single { single } else { web });
        let is_running =
            |set: &Set| if is_single { container_that_runs(&bench).0 == id(set) } else { runs(&bench, set) };
        install(&bench, &container, &one);
        let component = &two.component;
        let note = container.plan(&bench, Job { component, previous: None, note: "" }).unwrap();
        let job = Job { component, previous: None, note: &note };
        deliver(&bench, &container, job, &two);
        let mut cuts = cut_between_programs(&bench, || container.stage(&bench, job), || assert!(is_running(&one)));
        cuts += cut_between_programs(&bench, || container.activate(&bench, job).map(drop), || {});
        assert!(is_running(&two));
        cuts += cut_between_programs(&bench, || container.revert(&bench, job).map(drop), || {});
        assert!(is_running(&one));
        // An engine that didn't answer when it should have removed an image is asked the next time.
        deliver(&bench, &container, job, &two);
        container.stage(&bench, job).unwrap();
        container.activate(&bench, job).unwrap();
        cut_between_programs(&bench, || container.commit(&bench, job), || assert!(is_running(&two)));
        assert!(is_running(&two));
        install(&bench, &container, &if is_single { single("3") } else { web("3") });
        assert_eq!((images(&bench), bench.names("own/versions").len()), (2, 2));
        assert!(cuts > 10, "only {cuts} cuts");
    }
}

#[test]
fn an_engine_that_does_not_answer_has_not_lost_its_images() {
    let bench = Workbench::new();
    let container = container(&bench);
    let one = web("1");
    install(&bench, &container, &one);
    assert_eq!(container.runtime.id(&bench, &id(&web("2"))).unwrap(), None);
    bench.write_program("engine", "echo the store is locked; exit 125");
    let failed = container.runtime.id(&bench, &id(&one)).unwrap_err().sentence();
    assert!(failed.ends_with("the store is locked"), "{failed}");
}
