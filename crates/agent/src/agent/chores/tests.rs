use std::io;

use std::sync::Mutex;

use muster_vocab::Timestamp;
use muster_wire::agent::{CommandKind, ConfigurationFile, Reports, SessionKind, Taken};

use super::*;
use crate::agent::{Judge, Settings};
use crate::attributes::AttributeSettings;
use crate::commands::CommandSettings;
use crate::configuration::ConfigurationSettings;
use crate::disk::Disk;
use crate::workbench::Workbench;
use crate::world::{Call, Host, Net, Ran, Reply, Run};

/// A device whose server is in the same process; its clock moves by hand.
struct Site {
    bench: Workbench,
    uptime: Mutex<Duration>,
    boot: Mutex<String>,
    orders: Mutex<Orders>,
    configuration: Mutex<Option<Configuration>>,
    told: Mutex<Vec<Said>>,
    /// The server takes each number once.
    taken: Mutex<u64>,
    sessions: Mutex<Vec<(String, SessionKind, Duration)>>,
    /// Programs that were run.
    runs: Mutex<Vec<String>>,
}

struct Content;

impl Judge for Content {
    fn objection(&self, _: &dyn World) -> Option<String> {
        None
    }
    fn complaints(&self, _: &dyn World) -> Vec<String> {
        Vec::new()
    }
}

impl Site {
    fn new() -> Self {
        let bench = Workbench::new();
        bench.write("etc/one.conf", "old\n");
        let orders = Orders {
            tag: "1".into(),
            poll_s: 60,
            time: Timestamp(0),
            action: None,
            configuration: None,
            commands: vec![],
            attributes: false,
        };
        Self {
            bench,
            uptime: Mutex::default(),
            boot: Mutex::new("first".into()),
            orders: Mutex::new(orders),
            configuration: Mutex::default(),
            told: Mutex::default(),
            taken: Mutex::default(),
            sessions: Mutex::default(),
            runs: Mutex::default(),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            folder: self.bench.path("agent"),
            long_poll: Duration::ZERO,
            attributes: Some(AttributeSettings { root: self.bench.path(""), ..AttributeSettings::default() }),
            configuration: ConfigurationSettings { roots: vec![self.bench.path("etc")], ..Default::default() },
            commands: CommandSettings {
                scripts: [("echo".to_owned(), vec!["echo".to_owned()])].into(),
                reboot: true,
                shell: true,
                ..CommandSettings::default()
            },
            ..Settings::default()
        }
    }

    fn open(&self) -> Agent {
        self.bench.write("agent/.keep", "");
        Agent::open(self, self.settings(), BTreeMap::new(), Box::new(Content)).unwrap()
    }

    /// Ticks until nothing is due for this long; true: the machine was restarted.
    fn run(&self, agent: &mut Agent, time: Duration) -> bool {
        let until = *self.uptime.lock().unwrap() + time;
        for _ in 0..10_000 {
            match agent.tick(self).unwrap() {
                Wait::No => {}
                Wait::Restart | Wait::Leave | Wait::Move => return true,
                Wait::For(pause) => {
                    let mut uptime = self.uptime.lock().unwrap();
                    *uptime = (*uptime + pause).min(until);
                    if *uptime == until {
                        return false;
                    }
                }
            }
        }
        panic!("the agent never rests");
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders.lock().unwrap();
        orders.tag += "1";
        change(&mut orders);
    }

    fn configure(&self, version: u64, name: &str, content: &str) {
        let file = ConfigurationFile {
            path: self.bench.path(name).display().to_string(),
            content: content.into(),
            mode: None,
            owner: None,
            validate: vec![],
            reload: vec![],
        };
        *self.configuration.lock().unwrap() = Some(Configuration { version, files: vec![file] });
        self.order(|orders| orders.configuration = Some(version));
    }

    fn command(&self, id: i64, what: CommandKind) {
        let deadline = Timestamp(i64::MAX);
        self.order(|orders| orders.commands = vec![Command { id, deadline, what }]);
    }

    /// What the server heard about configurations and commands since it was asked last.
    fn told(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let line = |said| match said {
            Said::Configuration(said) => {
                Some(format!("{} {:?} {}", said.version, said.state, said.messages.join("; ")))
            }
            Said::Command(said) => Some(format!("{} {:?} {}", said.command, said.state, said.output.trim())),
            Said::Attributes(_) | Said::Action(_) => None,
        };
        told.into_iter().filter_map(line).collect()
    }

    fn attributes(&self) -> Vec<muster_wire::agent::Attributes> {
        let told = self.told.lock().unwrap();
        let one = |said: &Said| match said {
            Said::Attributes(said) => Some(said.clone()),
            Said::Configuration(_) | Said::Command(_) | Said::Action(_) => None,
        };
        told.iter().filter_map(one).collect()
    }
}

impl World for Site {
    fn disk(&self) -> &dyn Disk {
        self.bench.disk()
    }
    fn net(&self) -> &dyn Net {
        self
    }
    fn host(&self) -> &dyn Host {
        self
    }
}

impl Net for Site {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        let path = call.path.split('?').next().unwrap();
        let body = match path {
            "/device/v1/orders" => serde_json::to_vec(&*self.orders.lock().unwrap()),
            "/device/v1/reports" => {
                let reports: Reports = serde_json::from_slice(call.body.unwrap()).unwrap();
                let through = reports.reports.last().unwrap().sequence;
                let taken = std::mem::replace(&mut *self.taken.lock().unwrap(), through);
                let new = reports.reports.into_iter().filter(|report| report.sequence > taken);
                self.told.lock().unwrap().extend(new.map(|report| report.said));
                serde_json::to_vec(&Taken { through })
            }
            "/device/v1/configuration" => match &*self.configuration.lock().unwrap() {
                Some(configuration) => serde_json::to_vec(configuration),
                None => return Ok(Reply { status: 404, body: vec![] }),
            },
            path => panic!("nobody serves {path}"),
        };
        Ok(Reply { status: 200, body: body.unwrap() })
    }
    fn fetch(&self, _: &str, _: (u64, u64), _: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<u64, NetError> {
        Err(NetError::Unreachable("nothing to fetch".into()))
    }
    fn open_session(&self, session: &str, kind: &SessionKind, time_max: Duration) -> Result<(), NetError> {
        self.sessions.lock().unwrap().push((session.to_owned(), kind.clone(), time_max));
        Ok(())
    }
}

impl Host for Site {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn uptime(&self) -> Duration {
        *self.uptime.lock().unwrap()
    }
    fn boot_id(&self) -> String {
        self.boot.lock().unwrap().clone()
    }
    fn kernel_command_line(&self) -> String {
        String::new()
    }
    fn restart(&self) -> io::Result<()> {
        *self.boot.lock().unwrap() += "+";
        Ok(())
    }
    fn run(&self, run: &Run<'_>) -> io::Result<Ran> {
        self.runs.lock().unwrap().push(run.words.join(" "));
        self.bench.run(run)
    }
    fn probe(&self, _: &str, _: Duration) -> io::Result<(u16, Vec<u8>)> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn battery_percent(&self) -> Option<u8> {
        None
    }
    fn chance(&self) -> u64 {
        4
    }
    fn log(&self, line: &str) {
        self.bench.log(line);
    }
}

const LONG: Duration = Duration::from_secs(300);

#[test]
fn a_configuration_is_applied_once_and_its_drift_told_once() {
    let site = Site::new();
    let mut agent = site.open();
    site.configure(3, "etc/one.conf", "new\n");
    site.run(&mut agent, LONG);
    assert_eq!(site.told(), ["3 Applied "]);
    assert_eq!((site.bench.text("etc/one.conf"), agent.state().configuration.version), ("new\n".into(), 3));
    site.run(&mut agent, LONG);
    assert_eq!(site.told(), [""; 0]);
    site.bench.write("etc/one.conf", "mine\n");
    site.run(&mut agent, Duration::from_secs(3600));
    assert_eq!(site.told(), [format!("3 Drifted {}", site.bench.path("etc/one.conf").display())]);
    site.bench.write("etc/one.conf", "new\n");
    site.run(&mut agent, Duration::from_secs(3600));
    assert_eq!(site.told(), ["3 Applied "]);
}

#[test]
fn a_configuration_that_was_refused_is_tried_again_in_a_newer_version_only() {
    let site = Site::new();
    let mut agent = site.open();
    site.configure(3, "outside.conf", "new\n");
    site.run(&mut agent, LONG);
    assert!(matches!(&site.told()[..], [told] if told.starts_with("3 Reverted") && told.contains("outside the roots")));
    drop(agent);
    let mut agent = site.open();
    site.order(|_| {});
    site.run(&mut agent, LONG);
    assert_eq!(site.told(), [""; 0]);
    site.configure(4, "etc/one.conf", "newer\n");
    site.run(&mut agent, LONG);
    assert_eq!((site.told(), site.bench.text("etc/one.conf")), (vec!["4 Applied ".to_owned()], "newer\n".into()));
}

#[test]
fn a_power_cut_at_any_change_while_configuring_ends_in_one_report_of_success() {
    for changes in 0..200 {
        let site = Site::new();
        let mut agent = site.open();
        site.run(&mut agent, Duration::from_secs(1));
        site.configure(3, "etc/one.conf", "new\n");
        *site.uptime.lock().unwrap() += LONG;
        site.bench.cut_power_after(changes);
        let mut is_cut = false;
        for _ in 0..20 {
            is_cut |= agent.tick(&site).is_err();
        }
        is_cut |= agent.chores.configuration.is_some() || !agent.chores.is_resumed;
        site.bench.power_on();
        drop(agent);
        let mut agent = site.open();
        site.run(&mut agent, LONG);
        let told = site.told();
        assert!(told.iter().all(|line| line == "3 Applied ") && told.len() == 1, "after {changes}: {told:?}");
        assert_eq!(
            (site.bench.text("etc/one.conf"), site.bench.names("etc")),
            ("new\n".into(), vec!["one.conf".into()])
        );
        if !is_cut {
            assert!(changes > 20);
            return;
        }
    }
    panic!("it never gets through");
}

#[test]
fn a_script_runs_once_however_often_it_is_ordered() {
    let site = Site::new();
    let mut agent = site.open();
    site.command(9, CommandKind::RunScript { script: "echo".into(), arguments: vec!["hello".into()] });
    site.run(&mut agent, LONG);
    drop(agent);
    site.run(&mut site.open(), LONG);
    assert_eq!(site.told(), ["9 Succeeded hello"]);
    assert_eq!(*site.runs.lock().unwrap(), ["echo hello"]);
}

#[test]
fn a_script_that_was_cut_off_is_told_as_such_and_not_run_again() {
    let site = Site::new();
    let mut agent = site.open();
    agent.state.commands.push(9);
    agent.state.command = Some(9);
    agent.save(&site).unwrap();
    drop(agent);
    site.command(9, CommandKind::RunScript { script: "echo".into(), arguments: vec![] });
    site.run(&mut site.open(), LONG);
    assert!(matches!(&site.told()[..], [told] if told.starts_with("9 Failed the agent was stopped")));
    assert!(site.runs.lock().unwrap().is_empty());
}

#[test]
fn a_restart_is_told_as_done_by_the_next_start_only() {
    let site = Site::new();
    let mut agent = site.open();
    site.command(9, CommandKind::Reboot);
    assert!(site.run(&mut agent, LONG), "the machine restarts");
    assert_eq!(site.told(), ["9 Started "]);
    drop(agent);
    let mut agent = site.open();
    assert!(!site.run(&mut agent, LONG), "once");
    assert_eq!(site.told(), ["9 Succeeded "]);
    assert_eq!(agent.state().boots, 2);
}

#[test]
fn a_session_is_opened_where_the_devices_file_allows_it() {
    let site = Site::new();
    let mut agent = site.open();
    let open = |kind| CommandKind::OpenSession { session: "s1".into(), kind, seconds_max: 60 };
    site.command(9, open(SessionKind::Shell));
    site.run(&mut agent, LONG);
    site.command(10, open(SessionKind::Forward { host: "router".into(), port: 22 }));
    site.run(&mut agent, LONG);
    assert_eq!(*site.sessions.lock().unwrap(), [("s1".to_owned(), SessionKind::Shell, Duration::from_secs(60))]);
    let told = site.told();
    assert!(told[0] == "9 Succeeded " && told[1].starts_with("10 Refused forwarding to router:22"), "{told:?}");
}

#[test]
fn attributes_are_told_at_the_start_and_then_what_changed() {
    let site = Site::new();
    let mut agent = site.open();
    site.run(&mut agent, LONG);
    let first = site.attributes();
    assert_eq!((first.len(), first[0].set["boot.count"].as_str()), (1, "1"));
    site.bench.write("proc/device-tree/model", "Board 2\0");
    site.run(&mut agent, Duration::from_secs(2 * 3600));
    let all = site.attributes();
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[1].set.get("hardware.model").map(String::as_str), Some("Board 2"));
    site.order(|orders| orders.attributes = true);
    site.run(&mut agent, Duration::from_secs(120));
    assert!(site.attributes().last().unwrap().all);
}
