use super::*;
use crate::state::Installed;
use crate::workbench::{Workbench, digest};

fn told(bench: &Workbench, state: &State) -> BTreeMap<String, String> {
    let sboms = vec![bench.path("sbom.json"), bench.path("missing.json")];
    let settings = AttributeSettings { root: bench.path(""), sboms, ..AttributeSettings::default() };
    gather(bench, &settings, &bench.path(""), state)
}

#[test]
fn a_machine_without_any_of_the_files_tells_what_it_knows_anyway() {
    let bench = Workbench::new();
    let mut found = told(&bench, &State { boots: 7, ..State::default() });
    assert!(found.remove("storage.free_mib").is_some());
    let keys: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(keys, ["agent.version", "boot.count", "hardware.arch"]);
    assert_eq!(found["boot.count"], "7");
}

#[test]
fn a_board_tells_its_model_system_and_components() {
    let bench = Workbench::new();
    bench.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0");
    bench.write("proc/device-tree/serial-number", "10000000abcdef01\0");
    bench.write("sys/class/dmi/id/sys_vendor", "To Be Filled By O.E.M.\n");
    bench.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n");
    bench.write("proc/meminfo", "MemTotal:        3884360 kB\nMemFree: 1 kB\n");
    bench.write("etc/os-release", "NAME=\"Poky\"\nID=poky\nVERSION_ID=5.0.3\nPRETTY_NAME=\"Poky 5.0.3 (scarthgap)\"\n");
    bench.write("proc/version", "Linux version 6.6.31-v8 (b@h) (gcc 13) #1 SMP\n");
    bench.write("sbom.json", "{}");
    let installed = Installed { version: "2.1".into(), digests: vec![digest(b"web")] };
    let state = State {
        installed: [("app/web".to_owned(), installed)].into(),
        release: Some("site@2.1".into()),
        ..State::default()
    };
    let found = told(&bench, &state);
    assert_eq!(found["hardware.model"], "Raspberry Pi 4 Model B Rev 1.4");
    assert_eq!(found["hardware.serial"], "10000000abcdef01");
    assert!(!found.contains_key("hardware.vendor"), "what the maker forgot is not told");
    assert_eq!((&*found["hardware.cpus"], &*found["hardware.memory_bytes"]), ("2", "3977584640"));
    assert_eq!((&*found["os.id"], &*found["os.version"]), ("poky", "5.0.3"));
    assert_eq!(found["os.name"], "Poky 5.0.3 (scarthgap)");
    assert_eq!(found["kernel.version"], "6.6.31-v8");
    assert_eq!(found["component.app/web.version"], "2.1");
    assert_eq!(found["component.app/web.digest"], digest(b"web").to_string());
    assert_eq!((&*found["release"], &*found["sbom.sbom.json.digest"]), ("site@2.1", &*digest(b"{}").to_string()));
}

#[test]
fn numbers_that_no_machine_has_are_no_reason_to_fall_over() {
    let bench = Workbench::new();
    bench.write("proc/meminfo", format!("MemTotal: {} kB\n", u64::MAX));
    bench.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n");
    bench.write("sys/dev/block/8:1/size", format!("{}\n", u64::MAX));
    let found = told(&bench, &State::default());
    assert!(!found.contains_key("hardware.memory_bytes"), "memory that can't be counted is told");
    assert_eq!(found["storage.size_mib"], (u64::MAX / 2048).to_string());
}

#[test]
fn each_interface_tells_its_addresses() {
    let bench = Workbench::new();
    for (name, mac) in [("lo", "00:00:00:00:00:00"), ("eth0", "02:42:ac:11:00:02"), ("wg0", "")] {
        bench.write(&format!("sys/class/net/{name}/address"), format!("{mac}\n"));
        bench.write(&format!("sys/class/net/{name}/operstate"), "up\n");
    }
    bench.write("proc/net/route", route_table());
    let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 172.17.0.0\n        \
                /16 link UNICAST\n     |-- 172.17.0.2\n        /32 host LOCAL\n     |-- 10.9.0.4\n        /32 host LOCAL\n";
    bench.write("proc/net/fib_trie", trie);
    let inet6 = "fe800000000000000042acfffe110002 02 40 20 80     eth0\n\
                 20010db8000000000000000000000007 02 40 00 80     eth0\n\
                 00000000000000000000000000000001 01 80 10 80       lo\n";
    bench.write("proc/net/if_inet6", inet6);
    let found = told(&bench, &State::default());
    assert_eq!(found["network.eth0.addresses"], "172.17.0.2 2001:db8::7");
    assert_eq!(found["network.eth0.mac"], "02:42:ac:11:00:02");
    assert_eq!(found["network.wg0.addresses"], "10.9.0.4");
    assert!(!found.contains_key("network.wg0.mac") && !found.contains_key("network.lo.state"));
}

/// As the kernel of this machine prints it.
fn route_table() -> String {
    let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
    let line = |name: &str, network, mask| {
        format!("{name}\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(network), hex(mask))
    };
    let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let lines = [
        line("eth0", [0, 0, 0, 0], [0, 0, 0, 0]),
        line("eth0", [172, 17, 0, 0], [255, 255, 0, 0]),
        line("wg0", [10, 9, 0, 0], [255, 255, 255, 0]),
    ];
    header.to_owned() + &lines.concat()
}

#[test]
fn values_are_cut_and_attributes_bounded_to_what_the_server_takes() {
    let bench = Workbench::new();
    bench.write("proc/device-tree/model", "m".repeat(1000));
    let installed = |count: usize| {
        let one = Installed { version: "1".into(), digests: vec![] };
        (0..count).map(|number| (format!("part{number}"), one.clone())).collect()
    };
    let found = told(&bench, &State { installed: installed(3), ..State::default() });
    assert_eq!(found["hardware.model"].len(), limit::ATTRIBUTE_VALUE_CHARS_MAX);
    let found = told(&bench, &State { installed: installed(1000), ..State::default() });
    assert_eq!(found.len(), limit::ATTRIBUTES_PER_DEVICE_MAX);
    assert!(found.contains_key("agent.version"));
}

#[test]
fn the_deepest_mount_point_names_the_file_system() {
    let mounts = "22 1 179:2 / / rw - ext4 /dev/root rw\n\
                  23 22 0:21 / /proc rw - proc proc rw\n\
                  30 22 179:4 / /var/lib rw shared:3 - ext4 /dev/mmcblk0p4 rw\n";
    assert_eq!(device_of(mounts, Path::new("/var/lib/muster")).as_deref(), Some("179:4"));
    assert_eq!(device_of(mounts, Path::new("/var/library")).as_deref(), Some("179:2"));
}

#[test]
fn free_space_is_told_roughly() {
    assert_eq!([0, 7, 99, 123, 1299, 54_321].map(two_digits), [0, 7, 99, 120, 1200, 54_000]);
}

#[test]
fn the_machine_that_runs_this_test_tells_its_kernel() {
    let found = gather(&Workbench::new(), &AttributeSettings::default(), Path::new("/tmp"), &State::default());
    assert!(found.contains_key("kernel.version") && found.contains_key("hardware.memory_bytes"), "{found:?}");
}
