use super::*;

/// The shortest file.
const LEAST: &str =
    "server = \"https://muster.example.com\"\nproject = \"default\"\ndevice = \"box-1\"\ntoken = \"t\"\n";

fn refused(rest: &str) -> String {
    Config::parse(&format!("{LEAST}{rest}")).unwrap_err()
}

/// What stands between the marks in docs/agent.md.
fn documented() -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/agent.md")).unwrap();
    let (_, rest) = text.split_once("<!-- the whole file -->\n```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_documented_file_is_taken_and_names_every_key() {
    let text = documented();
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.installers().len(), config.components.len());
    let kinds: Vec<&str> = config.installers().values().map(|installer| installer.name()).collect();
    for kind in ["slots", "rauc", "swupdate", "tree", "container", "hook"] {
        assert!(kinds.contains(&kind), "{kind} isn't shown");
    }
    // All keys that our own types write appear in the text too.
    let mut whole = config.clone();
    whole.token = "t".into();
    let written = toml::to_string_pretty(&whole).unwrap();
    for key in written.lines().filter_map(|line| Some(line.split_once(" = ")?.0)) {
        assert!(text.contains(key), "`{key}` isn't documented");
    }
}

#[test]
fn what_is_left_out_has_defaults_that_are_told_in_the_settings() {
    let config = Config::parse(LEAST).unwrap();
    let settings = config.settings();
    assert_eq!(settings.folder, Path::new("/var/lib/muster"));
    assert_eq!((settings.trial.as_secs(), settings.passes), (300, 2));
    assert!(settings.reach_server && config.installers().is_empty());
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let cases = [
        ("[polcy]\n", "did you mean `policy`?"),
        ("[health]\ndeadline = 3\n", "did you mean `deadline_s`?"),
        ("[component.os]\ninstaller = \"slot\"\na = \"/a\"\nb = \"/b\"\n", "did you mean `slots`?"),
        ("[component.web]\ninstaller = \"tree\"\nroot = \"/srv\"\nkeeps = 3\n", "did you mean `keep`?"),
        ("[component.os]\ninstaller = \"swupdate\"\nsoket = \"/s\"\n", "did you mean `socket`?"),
    ];
    for (text, advice) in cases {
        let why = refused(text);
        assert!(why.ends_with(advice), "{why}");
    }
    let why = refused("[[health.checks]]\nzzz = 1\n");
    assert!(why.contains("unknown variant `zzz`") && !why.contains("did you mean"), "{why}");
}

#[test]
fn settings_that_could_never_work_are_refused_with_what_to_do() {
    let component = |text: &str| format!("[component.os]\n{text}\n");
    let plain = "bootloader = { kind = \"plain\", file = \"/f\" }";
    let cases = [
        ("folder = \"muster\"\n".to_owned(), "has to be an absolute path"),
        ("token_file = \"/t\"\n".to_owned(), "exclude each other"),
        ("[health]\npasses = 0\n".to_owned(), "are at least 1"),
        ("[health]\npasses = 10\ninterval_s = 60\n".to_owned(), "don't fit in deadline_s = 300"),
        ("[limits]\ndownload_bytes_per_s = 0\n".to_owned(), "leave it out"),
        ("[commands]\nlogs = \"syslog\"\n".to_owned(), "\"journal\""),
        ("[commands]\nscripts = { x = [] }\n".to_owned(), "has no words"),
        ("[commands]\nforward = [\"host\"]\n".to_owned(), "is not of the form host:port"),
        ("[configuration]\nroots = [\"etc\"]\n".to_owned(), "absolute path"),
        ("[configuration]\ncommands = [[]]\n".to_owned(), "would allow all"),
        ("[policy]\nhours = [\"22-6\"]\n".to_owned(), "is not of the form \"22:00-06:00\""),
        (component(&format!("installer = \"slots\"\na = \"/a\"\nb = \"/a\"\n{plain}")), "are the same"),
        (component(&format!("installer = \"slots\"\na = \"a\"\nb = \"/b\"\n{plain}")), "absolute path"),
        (component("installer = \"swupdate\""), "say `socket`"),
        (component("installer = \"swupdate\"\nsocket = \"/s\"\ncommand = [\"x\"]"), "exclude each other"),
        (component("installer = \"swupdate\"\nsocket = \"/s\"\nmode_a = \"a,b\""), "come together"),
        (component("installer = \"swupdate\"\nsocket = \"/s\"\nmode_a = \"a,b\"\nmode_b = \"a,c\""), "`bootloader`"),
        (component("installer = \"hook\"\nfolder = \"/h\"\ntimeout_s = 0"), "at least 1 s"),
        ("[component.\"../x\"]\ninstaller = \"hook\"\nfolder = \"/h\"\n".to_owned(), "can't stand in a name"),
    ];
    for (text, advice) in cases {
        let why = refused(&text);
        assert!(why.contains(advice), "{text}: {why}");
    }
    for (key, good) in [("server", "https://muster.example.com"), ("project", "default"), ("device", "box-1")] {
        let text = LEAST.replace(good, "");
        assert!(Config::parse(&text).unwrap_err().contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn orders_beside_updates_are_off_until_the_file_allows_them() {
    let config = Config::parse(LEAST).unwrap();
    assert_eq!(config.commands.settings(), crate::commands::CommandSettings::default());
    assert!(config.configuration.settings(&config.folder).roots.is_empty());
    let config = Config::parse(&documented()).unwrap();
    let settings = config.commands.settings();
    assert!(settings.reboot && settings.shell && settings.logs == crate::commands::Logs::Journal);
    assert_eq!(settings.scripts["restart-web"], ["systemctl", "restart", "web"]);
    assert_eq!(config.configuration.settings(&config.folder).roots.len(), 2);
}

#[test]
fn overlapping_copies_of_a_bootloaders_memory_are_refused() {
    let file = |offset: u32| {
        format!(
            "{LEAST}[component.os]\ninstaller = \"slots\"\na = \"/a\"\nb = \"/b\"\n[component.os.bootloader]\n\
            kind = \"uboot\"\nbytes = 16384\ncopies = [{{ path = \"/e\" }}, {{ path = \"/e\", offset = {offset} }}]\n"
        )
    };
    assert!(Config::parse(&file(16383)).unwrap_err().contains("overlap"));
    Config::parse(&file(16384)).unwrap();
}

#[test]
fn a_token_in_a_file_of_its_own_is_read_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("agent.toml"), folder.path().join("token"));
    let text = LEAST.replace("token = \"t\"", &format!("token_file = {token:?}"));
    std::fs::write(&file, text).unwrap();
    assert!(Config::read(&file).is_err());
    std::fs::write(&token, "secret\n").unwrap();
    assert_eq!(Config::read(&file).unwrap().token, "secret");
}

#[test]
fn files_of_components_are_apart_and_outlive_the_update() {
    let text = "[component.\"app/web\"]\ninstaller = \"rauc\"\n[component.app-web]\ninstaller = \"rauc\"\n";
    let config = Config::parse(&format!("{LEAST}{text}")).unwrap();
    assert_eq!(config.installers().len(), 2);
    let incoming = crate::agent::incoming(&config.folder);
    let folders = ["app/web", "app-web"].map(|name| component::own_folder(&config.folder, name));
    assert_ne!(folders[0], folders[1]);
    // What is incoming is removed after each update, with all that a RAUC bundle is kept for.
    assert!(folders.iter().all(|folder| !folder.starts_with(&incoming)));
}
