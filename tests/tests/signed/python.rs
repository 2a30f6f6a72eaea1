//! The reference implementation of TUF, both ways: it makes what the agent reads, and reads what Muster makes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use muster_tests::python_tuf::interpreter;
use muster_tests::server::program;

use super::device::Signed;

const REPOSITORY: &str = include_str!("repository.py");
const READ: &str = include_str!("read.py");

/// A repository that is served; ends with the test.
struct Repository {
    child: Child,
    stdin: ChildStdin,
    said: BufReader<ChildStdout>,
    port: u16,
}

impl Repository {
    fn start(folder: &Path) -> Self {
        let mut python = Command::new(interpreter().unwrap());
        python.args(["-c", REPOSITORY]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut made = Self { child, stdin, said, port: 0 };
        made.port = made.line().parse().unwrap();
        made
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn order(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
        assert_eq!(self.line(), "done");
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent(folder: &Path, words: &[&str]) -> Output {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut run = Command::new(program("muster-agent").unwrap());
    run.args(["tuf", "--metadata-dir", &at("kept"), "--target-dir", &at("got")]).args(words);
    run.output().unwrap()
}

#[test]
fn the_agent_reads_what_the_reference_implementation_made() {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("served");
    std::fs::create_dir(&served).unwrap();
    let mut repository = Repository::start(&served);
    let url = |part: &str| format!("http://127.0.0.1:{}/{part}", repository.port);
    let (metadata, targets) = (url("metadata"), url("targets"));
    let download =
        ["--metadata-url", &metadata, "--target-base-url", &targets, "--target-name", "some/artifact", "download"];
    let root = served.join("metadata/1.root.json");
    assert!(agent(folder.path(), &["init", root.to_str().unwrap()]).status.success());
    let ran = agent(folder.path(), &download);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let got = folder.path().join("got/some/artifact");
    assert_eq!(std::fs::read(&got).unwrap(), b"made by the reference implementation");
    for (kept, name) in [("timestamp.json", "timestamp.json"), ("delegated.json", "1.delegated.json")] {
        let served = std::fs::read(served.join("metadata").join(name)).unwrap();
        assert_eq!(std::fs::read(folder.path().join("kept").join(kept)).unwrap(), served);
    }

    repository.order("rotate");
    let ran = agent(folder.path(), &["--metadata-url", &metadata, "refresh"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let served = std::fs::read(served.join("metadata/2.root.json")).unwrap();
    assert_eq!(std::fs::read(folder.path().join("kept/root.json")).unwrap(), served);

    repository.order("tamper");
    std::fs::remove_file(&got).unwrap();
    let ran = agent(folder.path(), &download);
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("is not what was signed"));
    assert!(!got.exists());
}

#[test]
fn the_reference_implementation_reads_what_muster_signed() {
    let signed = Signed::start();
    let release = signed.release("1", b"one");
    signed.sign(&release, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (kept, served) = (folder.path().join("kept"), folder.path().join("served"));
    for made in [&kept, &served] {
        std::fs::create_dir(made).unwrap();
    }
    let database = rusqlite::Connection::open(signed.server.data().join("muster.db")).unwrap();
    let mut found = database.prepare("SELECT name, bytes FROM metadata").unwrap();
    let documents = found.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    for document in documents {
        let (name, bytes) = document.unwrap();
        std::fs::write(served.join(name), bytes).unwrap();
    }
    let mut python = Command::new(interpreter().unwrap());
    let ran = python.args(["-c", READ]).args([&kept, &served]).arg("stable/app@1").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(said.ends_with(" 1\n"), "{said}");
}
