//! The same by the operator's program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use muster_tests::agent::Device;
use muster_tests::operator::set_project;
use muster_tests::raw::Line;
use muster_tests::server::{Server, program};
use muster_tests::wait::until;
use serde_json::{Value, json};

use super::{NAME, field, label};

fn muster(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("muster").unwrap());
    command.args(arguments);
    command.env("MUSTER_SERVER", server.origin()).env("MUSTER_TOKEN", server.admin().token().unwrap());
    command.env("NO_COLOR", "1");
    command
}

fn run(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = muster(server, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The next command that the device is told.
#[track_caller]
fn told(device: &Device) -> Value {
    until("the device is told a command", || {
        let command = device.orders()["commands"][0].clone();
        (!command.is_null()).then_some(command)
    })
}

fn joins(server: &Server, device: &Device) -> Line {
    let session = told(device)["session"].as_str().unwrap().to_owned();
    let mut line = Line::open(server.address()).unwrap();
    let request = format!(
        "GET /device/v1/sessions/{session} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         connection: upgrade\r\nupgrade: muster-session\r\n\r\n",
        device.token
    );
    line.send(request.as_bytes());
    assert!(line.read_head().starts_with("HTTP/1.1 101 "));
    line
}

#[test]
fn configurations_are_applied_previewed_listed_and_deleted() {
    let (server, device) = field();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    std::fs::write(&file, "name: app\nselect: all\nfiles:\n  - path: /etc/app.conf\n    template: app.conf\n").unwrap();
    std::fs::write(folder.path().join("app.conf"), "rack={{ label.rack }}\n").unwrap();
    let file = file.to_str().unwrap();
    let (code, _, told) = run(&server, &["configuration", "preview", "-f", file, "--device", NAME]);
    assert!(code == 1 && told.contains("label.rack") && told.contains(NAME), "{code}: {told}");
    label(server.admin(), &json!({ "rack": "r7" }));
    let (code, shown, _) = run(&server, &["configuration", "preview", "-f", file, "--device", NAME]);
    assert_eq!((code, shown.as_str()), (0, "/etc/app.conf\n  rack=r7\n"));
    let (code, shown, told) = run(&server, &["configuration", "apply", "-f", file]);
    assert!(code == 0 && shown.contains("/etc/app.conf"), "{told}");
    until("the configuration is ordered", || (device.orders()["configuration"] == json!(1)).then_some(()));
    let (_, shown, _) = run(&server, &["device", "configuration", NAME]);
    assert!(shown.starts_with("sn-1: pending\n  desired     version 1\n") && shown.contains("  rack=r7\n"), "{shown}");
    let (_, listed, _) = run(&server, &["configuration", "list", "-o", "name"]);
    assert_eq!(listed, "app\n");
    let (_, shown, _) = run(&server, &["configuration", "show", "app"]);
    assert!(shown.contains("{{ label.rack }}"), "{shown}");
    assert_eq!(run(&server, &["configuration", "delete", "app"]).0, 2, "a program has to say --yes");
    assert_eq!(run(&server, &["configuration", "delete", "app", "--yes"]).0, 0);
    assert_eq!(run(&server, &["configuration", "show", "app"]).0, 5);
}

#[test]
fn a_command_is_waited_for_and_its_output_printed() {
    let (server, device) = field();
    let mut waiting = muster(&server, &["device", "run", NAME, "--script", "fix", "--", "-x", "1"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let command = told(&device);
    assert_eq!((&command["script"], &command["arguments"]), (&json!("fix"), &json!(["-x", "1"])));
    let said =
        json!({ "kind": "command", "command": command["id"], "state": "failed", "exit_code": 3, "output": "no\n" });
    let _ = device.report(1, &[said]).expect(200);
    let done = waiting.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stdout.as_slice()), (Some(1), &b"no\n"[..]));
    assert!(String::from_utf8_lossy(&done.stderr).contains("exit code 3"));
    let id = command["id"].to_string();
    let (code, shown, _) = run(&server, &["command", "show", &id]);
    assert!(code == 0 && shown.contains("failed") && shown.ends_with("no\n"), "{shown}");
    let (code, detached, _) = run(&server, &["device", "reboot", NAME, "--detach", "-o", "name"]);
    assert_eq!((code, detached.trim()), (0, told(&device)["id"].to_string().as_str()));
}

#[test]
fn a_shell_passes_keys_and_text_and_is_recorded() {
    let (server, device) = field();
    set_project(server.admin(), &json!({ "sessions": true }));
    let mut shell = muster(&server, &["device", "shell", NAME]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = joins(&server, &device);
    assert_eq!(line.read(7), b"\x01\0\x04\0\x50\0\x18", "the window's size comes first");
    line.send(b"$ ");
    let mut prompt = [0; 2];
    shell.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"$ ");
    shell.stdin.as_mut().unwrap().write_all(b"ls\n").unwrap();
    assert_eq!(line.read(6), b"\0\0\x03ls\n");
    drop(shell.stdin.take());
    assert_eq!(line.read(3), b"\x02\0\0", "the end of the input is told");
    line.send(b"bye\n");
    line.cut();
    let done = shell.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stdout.as_slice()), (Some(0), &b"bye\n"[..]));
    let (_, id, _) = run(&server, &["session", "list", "-o", "name"]);
    let (code, cast, _) = run(&server, &["session", "recording", id.trim()]);
    assert!(code == 0 && cast.contains("\"i\",\"ls\\n\"") && cast.contains("\"o\",\"bye\\n\""), "{cast}");
    assert!(run(&server, &["session", "show", id.trim()]).1.contains("ended"));
}

#[test]
fn a_shell_that_is_refused_says_so() {
    let (server, device) = field();
    let (code, _, told_off) = run(&server, &["device", "shell", NAME]);
    assert!(code == 6 && told_off.contains("allows no remote sessions"), "{code}: {told_off}");
    set_project(server.admin(), &json!({ "sessions": true }));
    let mut shell = muster(&server, &["device", "shell", NAME]);
    let shell = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = told(&device)["id"].clone();
    let said = json!({ "kind": "command", "command": id, "state": "refused", "output": "shells are off here" });
    let _ = device.report(1, &[said]).expect(200);
    let done = shell.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(4) && told.contains("shells are off here"), "{told}");
}

/// Ends with the test: it runs until it is stopped.
struct Forward(Child);

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_forwarded_port_reaches_the_device() {
    let (server, device) = field();
    set_project(server.admin(), &json!({ "sessions": true }));
    let mut forward = muster(&server, &["device", "forward", NAME, "0:127.0.0.1:80"]);
    let mut forward = Forward(forward.stdout(Stdio::piped()).spawn().unwrap());
    let mut said = String::new();
    BufReader::new(forward.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("listening on ").unwrap().to_owned();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let command = told(&device);
    assert_eq!((&command["host"], &command["port"]), (&json!("127.0.0.1"), &json!(80)));
    let mut line = joins(&server, &device);
    assert_eq!(line.read(100), b"GET /");
    line.send(b"hello");
    line.end();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello");
}
