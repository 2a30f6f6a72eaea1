use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use muster_wire::agent::ConfigurationFile;

use super::*;
use crate::workbench::Workbench;

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn settings(bench: &Workbench) -> ConfigurationSettings {
    ConfigurationSettings {
        roots: vec![bench.path("etc/app")],
        commands: ["grep -q", "false", "true", "sh"].map(words).to_vec(),
        folder: bench.path("agent"),
        accounts: bench.path("accounts"),
        ..ConfigurationSettings::default()
    }
}

fn bench() -> Workbench {
    let bench = Workbench::new();
    bench.write("etc/app/one.conf", "old one\n");
    bench.write("agent/state", "");
    bench
}

fn file(bench: &Workbench, name: &str, content: &str) -> ConfigurationFile {
    ConfigurationFile {
        path: bench.path(name).display().to_string(),
        content: content.into(),
        mode: None,
        owner: None,
        validate: vec![],
        reload: vec![],
    }
}

/// Appends what the first file holds at the time of the reload.
fn reload(bench: &Workbench) -> Vec<String> {
    let script = format!("cat {} >> {}", bench.path("etc/app/one.conf").display(), bench.path("reloads").display());
    vec!["sh".into(), "-c".into(), script]
}

/// Two files, one of them new, checked and reloaded.
fn wanted(bench: &Workbench) -> Configuration {
    let one = ConfigurationFile {
        validate: words("grep -q new {}"),
        reload: reload(bench),
        mode: Some("0600".into()),
        ..file(bench, "etc/app/one.conf", "new one\n")
    };
    let two = ConfigurationFile { reload: reload(bench), ..file(bench, "etc/app/sub/two.conf", "new two\n") };
    Configuration { version: 7, files: vec![one, two] }
}

fn only(bench: &Workbench, file: ConfigurationFile) -> (ConfigurationSaid, Configured) {
    let mut configured = Configured::default();
    let wanted = Configuration { version: 7, files: vec![file] };
    let said = apply(bench, &settings(bench), (&wanted, &Secrets::default()), &mut configured).unwrap();
    forget(bench, &settings(bench)).unwrap();
    (said, configured)
}

fn reason(said: &ConfigurationSaid) -> &str {
    assert_eq!((said.version, said.state), (7, ConfigurationState::Reverted));
    &said.messages[0]
}

fn assert_untouched(bench: &Workbench) {
    assert_eq!(bench.text("etc/app/one.conf"), "old one\n");
    assert_eq!(bench.names("etc/app").iter().filter(|name| name.contains(".conf")).count(), 1);
    assert_eq!(bench.names("agent"), ["state"], "neither intent nor copies stay");
}

#[test]
fn files_are_written_with_their_mode_and_services_reloaded_once() {
    let bench = bench();
    let mut configured = Configured { refused: Some(6), ..Configured::default() };
    let said = apply(&bench, &settings(&bench), (&wanted(&bench), &Secrets::default()), &mut configured).unwrap();
    assert_eq!((said.version, said.state, said.messages.len()), (7, ConfigurationState::Applied, 0), "{said:?}");
    forget(&bench, &settings(&bench)).unwrap();
    assert_eq!(
        (bench.text("etc/app/one.conf"), bench.text("etc/app/sub/two.conf")),
        ("new one\n".into(), "new two\n".into())
    );
    let mode = |name: &str| std::fs::metadata(bench.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("etc/app/one.conf"), mode("etc/app/sub/two.conf")), (0o600, 0o644));
    assert_eq!(bench.text("reloads"), "new one\n");
    assert_eq!((configured.version, configured.refused, configured.files.len()), (7, None, 2));
    assert_eq!(
        (bench.names("etc/app"), bench.names("agent")),
        (vec!["one.conf".into(), "sub".into()], vec!["state".into()])
    );
    assert_eq!(drift(&bench, &configured), [""; 0]);
}

#[test]
fn what_is_as_it_should_be_is_not_reloaded() {
    let bench = bench();
    let (said, _) =
        only(&bench, ConfigurationFile { reload: words("false"), ..file(&bench, "etc/app/one.conf", "old one\n") });
    assert_eq!(said.state, ConfigurationState::Applied, "{said:?}");
}

#[test]
fn a_file_that_is_not_valid_changes_nothing() {
    let bench = bench();
    let mut wanted = wanted(&bench);
    wanted.files[0].validate = words("sh -c");
    wanted.files[0].validate.push("echo line 3: password=hunter2 >&2; exit 4".into());
    let mut configured = Configured::default();
    let said = apply(&bench, &settings(&bench), (&wanted, &Secrets::default()), &mut configured).unwrap();
    forget(&bench, &settings(&bench)).unwrap();
    assert!(reason(&said).contains("is not valid") && reason(&said).ends_with("ended with 4"), "{said:?}");
    assert_eq!(said.messages[1], "line 3: password=[redacted]");
    assert_eq!((configured.version, configured.refused), (0, Some(7)));
    assert!(!bench.path("reloads").exists());
    assert_untouched(&bench);
}

#[test]
fn after_a_reload_that_fails_the_old_files_are_back_and_loaded() {
    let bench = bench();
    std::fs::set_permissions(bench.path("etc/app/one.conf"), PermissionsExt::from_mode(0o640)).unwrap();
    let mut wanted = wanted(&bench);
    wanted.files[1].reload = words("false");
    let mut configured = Configured::default();
    let said = apply(&bench, &settings(&bench), (&wanted, &Secrets::default()), &mut configured).unwrap();
    forget(&bench, &settings(&bench)).unwrap();
    assert_eq!(reason(&said), "reloading failed: false ended with 1");
    assert_eq!(bench.text("reloads"), "new one\nold one\n");
    assert_eq!(std::fs::metadata(bench.path("etc/app/one.conf")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(bench.names("etc/app/sub"), [""; 0]);
    assert_untouched(&bench);
}

#[test]
fn what_may_not_be_written_is_refused_before_anything_is_touched() {
    let bench = bench();
    std::fs::create_dir(bench.path("outside")).unwrap();
    symlink(bench.path("outside"), bench.path("etc/app/out")).unwrap();
    symlink("../../outside/..", bench.path("etc/app/up")).unwrap();
    symlink("loop", bench.path("etc/app/loop")).unwrap();
    symlink(bench.path("outside/x"), bench.path("etc/app/link")).unwrap();
    let with = |change: &dyn Fn(&mut ConfigurationFile)| {
        let mut file = file(&bench, "etc/app/one.conf", "new\n");
        change(&mut file);
        file
    };
    let at = |name: &str| file(&bench, name, "new\n");
    for (file, why) in [
        (with(&|file| file.path = "etc/app/x".into()), "is not an absolute path"),
        (with(&|file| file.path += "/../../../x"), "\"..\""),
        (with(&|file| file.path += "//x"), "an empty name"),
        (at("etc/app/"), "an empty name"),
        (at("etc/app"), "is outside the roots"),
        (at("etc/apple"), "is outside the roots"),
        (at("etc/app/out/x"), "leads outside the roots"),
        (at("etc/app/up/x"), "leads outside the roots"),
        (at("etc/app/loop/x"), "too many links"),
        (at("etc/app/link"), "is there and is no file"),
        (at("etc/app/one.conf/x"), "is no folder"),
        (at("etc/app/.x.muster-new"), "a name of the agent's own"),
        (with(&|file| file.mode = Some("4755".into())), "the mode \"4755\""),
        (with(&|file| file.mode = Some("rwx".into())), "the mode \"rwx\""),
        (with(&|file| file.owner = Some("root".into())), "user:group"),
        (with(&|file| file.owner = Some("nobody-here:0".into())), "passwd"),
        (with(&|file| file.content = "x".repeat(300_000)), "too large"),
        (with(&|file| file.validate = words("rm -rf {}")), "the command \"rm -rf {}\" is not among those"),
        (with(&|file| file.reload = words("grep -c x")), "the command \"grep -c x\" is not among those"),
    ] {
        let (said, configured) = only(&bench, file);
        assert!(reason(&said).contains(why), "{why}: {said:?}");
        assert_eq!(configured.refused, Some(7));
        assert_untouched(&bench);
    }
    assert_eq!(bench.names("outside"), [""; 0]);
}

#[test]
fn without_roots_nothing_is_taken_and_the_agents_folder_is_out_of_reach() {
    let bench = bench();
    let wanted = Configuration { version: 7, files: vec![file(&bench, "agent/state", "x")] };
    for (roots, why) in [(vec![], "names no roots"), (vec![bench.path("")], "is the agent's own")] {
        let settings = ConfigurationSettings { roots, ..settings(&bench) };
        let said = apply(&bench, &settings, (&wanted, &Secrets::default()), &mut Configured::default()).unwrap();
        assert!(reason(&said).contains(why), "{said:?}");
    }
    assert_eq!(bench.text("agent/state"), "");
}

#[test]
fn owners_are_found_by_name() {
    let bench = bench();
    let here = std::fs::metadata(bench.path("etc/app/one.conf")).unwrap();
    bench.write("accounts/passwd", format!("root:x:0:0:root:/root:/bin/sh\nweb:x:{}:9::/:/bin/false\n", here.uid()));
    bench.write("accounts/group", format!("web:x:{}:\n", here.gid()));
    let (said, _) =
        only(&bench, ConfigurationFile { owner: Some("web:web".into()), ..file(&bench, "etc/app/new", "") });
    assert_eq!(said.state, ConfigurationState::Applied, "{said:?}");
    let found = std::fs::metadata(bench.path("etc/app/new")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.len()), (here.uid(), here.gid(), 0));
}

#[test]
fn a_file_that_was_changed_or_removed_has_drifted() {
    let bench = bench();
    let mut configured = Configured::default();
    apply(&bench, &settings(&bench), (&wanted(&bench), &Secrets::default()), &mut configured).unwrap();
    bench.write("etc/app/one.conf", "mine\n");
    assert_eq!(drift(&bench, &configured), [bench.path("etc/app/one.conf").display().to_string()]);
    std::fs::remove_file(bench.path("etc/app/sub/two.conf")).unwrap();
    assert_eq!(drift(&bench, &configured).len(), 2);
}

#[test]
fn a_power_cut_at_any_change_leaves_all_or_nothing_after_the_next_start() {
    // How many changes does all of it take?
    for changes in 0..200 {
        let bench = bench();
        let (settings, wanted) = (settings(&bench), wanted(&bench));
        let mut configured = Configured::default();
        bench.cut_power_after(changes);
        let first = apply(&bench, &settings, (&wanted, &Secrets::default()), &mut configured);
        bench.power_on();
        // What was not saved is gone.
        let mut configured = Configured::default();
        let said = resume(&bench, &settings, &mut configured).unwrap();
        forget(&bench, &settings).unwrap();
        match said {
            Some(said) => {
                assert_eq!((said.state, configured.version), (ConfigurationState::Applied, 7), "{changes}");
                assert_eq!(drift(&bench, &configured), [""; 0]);
            }
            None => assert_untouched(&bench),
        }
        // Tried again, it goes through.
        apply(&bench, &settings, (&wanted, &Secrets::default()), &mut configured).unwrap();
        forget(&bench, &settings).unwrap();
        assert_eq!((bench.text("etc/app/one.conf"), configured.version), ("new one\n".into(), 7));
        if first.is_ok_and(|said| said.state == ConfigurationState::Applied) {
            assert!(changes > 30, "{changes} changes are too few to be all of them");
            return;
        }
    }
    panic!("it never gets through");
}

#[test]
fn a_way_back_that_is_cut_off_is_gone_to_its_end() {
    for changes in 0..200 {
        let bench = bench();
        let mut wanted = wanted(&bench);
        wanted.files[1].reload = words("false");
        let settings = settings(&bench);
        bench.cut_power_after(changes);
        let first = apply(&bench, &settings, (&wanted, &Secrets::default()), &mut Configured::default());
        bench.power_on();
        // And once more in the middle of that.
        bench.cut_power_after(changes % 11);
        drop(resume(&bench, &settings, &mut Configured::default()));
        bench.power_on();
        let mut configured = Configured::default();
        let said = resume(&bench, &settings, &mut configured).unwrap();
        forget(&bench, &settings).unwrap();
        assert_untouched(&bench);
        if let Some(said) = said {
            assert_eq!((reason(&said), configured.refused), ("reloading failed: false ended with 1", Some(7)));
        }
        if first.is_ok_and(|said| said.messages[0] == "reloading failed: false ended with 1") {
            return;
        }
    }
    panic!("it never gets through");
}

#[test]
fn what_is_cut_off_each_time_is_given_up() {
    let bench = bench();
    let (settings, wanted) = (settings(&bench), wanted(&bench));
    let mut configured = Configured::default();
    let mut said = None;
    for _ in 0..=limit::AGENT_TRIAL_RESTARTS_MAX {
        assert_eq!(said, None);
        // The second file is not switched: the agent was killed between the two.
        let files = check::plan(&crate::io::disk::RealDisk, &settings, &wanted).unwrap();
        let mut intent = Intent::new(7, &files);
        prepare(&bench, &settings, &files, &intent).unwrap();
        intent.stage = Stage::Switching;
        intent.save(bench.disk(), &settings).unwrap();
        let change = &intent.changes[0];
        disk::rename(bench.disk(), &check::beside(&change.path), &change.path).unwrap();
        said = resume(&bench, &settings, &mut configured).unwrap();
        forget(&bench, &settings).unwrap();
        assert_untouched(&bench);
    }
    assert!(reason(&said.unwrap()).contains("stopped 3 times"));
    assert_eq!((configured.refused, configured.interrupted), (Some(7), None));
}
