//! A machine with two slots: what happens when it loses its power, or tries a release that can't work?

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_tests::agent::joined;
use muster_tests::api::Api;
use muster_tests::image::disk::Disk;
use muster_tests::image::grub::{Memory, Slot};
use muster_tests::image::ingredients::Ingredients;
use muster_tests::image::system::{Fault, System, write_program};
use muster_tests::image::vm::Vm;
use muster_tests::operator::{
    ActionId, action, action_in, make_gateway_token, publish, reports, roll_out, set_project,
};
use muster_tests::server::{Server, program};
use muster_tests::wait::until_true;
use serde_json::json;
use tempfile::TempDir;

/// From one sign of life to the next. A start takes about 7 s of a free core, and a trial that fails adds the 5 s after
/// a panic; but the cores are shared.
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder in which a machine is built and lives.
struct Workshop {
    folder: TempDir,
    ingredients: Ingredients,
    agent: Option<PathBuf>,
}

impl Workshop {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), ingredients: Ingredients::find().unwrap(), agent: None }
    }

    fn with_agent() -> Self {
        Self { agent: Some(program("muster-agent").unwrap()), ..Self::new() }
    }

    fn system(&self, version: &str, fault: Fault) -> PathBuf {
        let system = System { version: version.into(), agent: self.agent.clone(), fault };
        system.build(&self.ingredients, self.folder.path()).unwrap()
    }

    /// The folder that becomes the data partition.
    fn data(&self) -> PathBuf {
        let data = self.folder.path().join("data");
        fs::create_dir_all(&data).unwrap();
        data
    }

    /// A machine with 1.0 in slot A.
    fn machine(&self) -> Vm {
        let good = self.system("1.0", Fault::Nothing);
        Vm::on(Disk::build(&self.ingredients, self.folder.path(), &good, &self.data()).unwrap())
    }
}

/// Has 2.0 tried in slot B, and returns at the end of all once 1.0 is back.
fn try_and_return(fault: Fault, starts: u8, meanwhile: &[&str]) {
    let workshop = Workshop::new();
    let mut vm = workshop.machine();
    vm.disk().fill_slot(Slot::B, &workshop.system("2.0", fault)).unwrap();
    vm.disk().set_memory(Memory { good: Slot::A, trial: Some((Slot::B, starts)) }).unwrap();
    vm.start();
    for left in (0..starts).rev() {
        vm.wait_for(&format!("MUSTER-LOADER slot=b trial=1 tries={left}"), PATIENCE);
        for said in meanwhile {
            vm.wait_for(said, PATIENCE);
        }
    }
    vm.wait_for("MUSTER-LOADER slot=a trial=0 tries=0", PATIENCE);
    vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);
    vm.kill();
    assert_eq!(vm.disk().memory().unwrap(), Memory { good: Slot::A, trial: Some((Slot::B, 0)) });
}

#[test]
fn a_release_whose_init_fails_gives_its_place_back() {
    try_and_return(Fault::Init, 2, &["Kernel panic"]);
}

#[test]
fn a_release_whose_kernel_command_line_fails_gives_its_place_back() {
    try_and_return(Fault::CommandLine, 1, &["MUSTER-INITRAMFS no disk /dev/nosuch", "Kernel panic"]);
}

#[test]
fn a_release_without_a_kernel_gives_its_place_back() {
    try_and_return(Fault::Kernel, 3, &["MUSTER-LOADER slot=b can't be started"]);
}

#[test]
fn a_release_whose_agent_never_stays_up_gives_its_place_back() {
    try_and_return(Fault::Agent, 1, &["MUSTER-BOOTED slot=b version=2.0 trial=1", "MUSTER-AGENT ended with 1"]);
}

#[test]
fn a_machine_reaches_the_server_and_keeps_its_data_over_a_power_cut() {
    let server = Server::start();
    let workshop = Workshop::new();
    let url = format!("http://10.0.2.2:{}/healthz", server.address().port());
    let errand = format!(
        "#!/bin/sh\n\
        [ -e /data/kept ] && echo ERRAND the data is kept\n\
        wget -q -O /data/kept {url} && echo ERRAND reached the server\n\
        wget -q -T 3 -O /dev/null http://192.0.2.1/ || echo ERRAND and nobody else\n\
        sync\n\
        echo ERRAND today is $(date +%Y-%m-%d)\n"
    );
    write_program(&workshop.data().join("errand"), errand.as_bytes()).unwrap();
    let mut vm = workshop.machine();
    for expected in [["reached the server", "and nobody else", "today is 20"].as_slice(), &["the data is kept"]] {
        vm.start();
        vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);
        for said in expected {
            vm.wait_for(&format!("ERRAND {said}"), PATIENCE);
        }
        vm.kill();
    }
}

#[test]
fn a_machine_whose_bootloader_forgot_everything_still_starts() {
    let workshop = Workshop::new();
    let mut vm = workshop.machine();
    vm.disk().damage_memory().unwrap();
    vm.start();
    vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);
}

#[test]
fn the_same_release_is_the_same_bytes() {
    let (first, second) = (Workshop::new(), Workshop::new());
    let [first, second] = [&first, &second].map(|workshop| fs::read(workshop.system("1.0", Fault::Nothing)).unwrap());
    assert!(first == second, "two builds of one release differ");
}

const NAME: &str = "box-1";
/// The first piece that the agent makes durable; the image has several.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// The agent's file on the data partition, for a device that has joined.
fn write_agent_file(workshop: &Workshop, server: &Server) {
    set_project(server.admin(), &json!({ "registration": "accept" }));
    let device = joined(server, &make_gateway_token(server.admin()), NAME);
    let (port, token) = (server.address().port(), device.token);
    let file = format!(
        "server = \"http://10.0.2.2:{port}\"\n\
        project = \"default\"\n\
        device = {NAME:?}\n\
        token = {token:?}\n\
        folder = \"/data/muster\"\n\
        [health]\n\
        interval_s = 1\n\
        [limits]\n\
        download_bytes_per_s = 4000000\n\
        [component.os]\n\
        installer = \"slots\"\n\
        a = \"/dev/vda2\"\n\
        b = \"/dev/vda3\"\n\
        bootloader = {{ kind = \"grub\", block = \"/bootloader/grub/grubenv\" }}\n"
    );
    fs::write(workshop.data().join("agent.toml"), file).unwrap();
}

/// Publishes a system and rolls it out to the machine; answers the rollout.
fn release(admin: &Api, version: &str, system: &Path) -> String {
    let release = publish(admin, "box", version, ("system.img", &fs::read(system).unwrap()));
    roll_out(admin, &release, NAME, &json!({}))
}

/// What the action ended as, with everything that was reported about it.
fn end_of(admin: &Api, rollout: &str, state: &str) -> (ActionId, String) {
    let id = action_in(admin, rollout, NAME, &["finished", "failed", "canceled", "lost"]);
    let said = reports(admin, id).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(action(admin, id)["state"], state, "{said}");
    (id, said)
}

#[test]
fn a_machine_survives_a_power_cut_while_it_updates_and_leaves_a_release_that_can_not_start() {
    let server = Server::start();
    let admin = server.admin();
    let workshop = Workshop::with_agent();
    write_agent_file(&workshop, &server);
    let mut vm = workshop.machine();
    let second = workshop.system("2.0", Fault::Nothing);
    vm.start();
    vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);

    // Its power goes while 2.0 arrives.
    let rollout = release(admin, "2.0", &second);
    vm.wait_for("now: downloading", PATIENCE);
    let image = fs::read(&second).unwrap();
    until_true("the first piece has arrived", || vm.slot(Slot::B, PIECE_BYTES) == image[..PIECE_BYTES]);
    vm.kill();
    assert!(vm.slot(Slot::B, image.len()) != image, "the power was cut too late");
    assert_eq!(vm.disk().memory().unwrap(), Memory { good: Slot::A, trial: None });

    vm.start();
    vm.wait_for("MUSTER-BOOTED slot=a version=1.0 trial=0", PATIENCE);
    vm.wait_for("MUSTER-BOOTED slot=b version=2.0 trial=1", PATIENCE);
    vm.wait_for("now: no update", PATIENCE);
    let _ = end_of(admin, &rollout, "finished");

    // 3.0 can't start. Nobody helps.
    let third = workshop.system("3.0", Fault::Init);
    let rollout = release(admin, "3.0", &third);
    for left in [2, 1, 0] {
        vm.wait_for(&format!("MUSTER-LOADER slot=a trial=1 tries={left}"), PATIENCE);
        vm.wait_for("Kernel panic", PATIENCE);
    }
    vm.wait_for("MUSTER-BOOTED slot=b version=2.0 trial=0", PATIENCE);
    vm.wait_for("now: no update", PATIENCE);
    let (_, said) = end_of(admin, &rollout, "failed");
    assert!(said.contains("the new version does not run; the device started the one before"), "{said}");
    assert_eq!(admin.get(&format!("/devices/{NAME}")).expect(200).at("/release"), json!("box@2.0"));
    vm.kill();
    let third = fs::read(&third).unwrap();
    assert!(vm.slot(Slot::A, third.len()) == third, "3.0 was tried before it was whole");
    assert_eq!(vm.disk().memory().unwrap(), Memory { good: Slot::B, trial: None });
}
