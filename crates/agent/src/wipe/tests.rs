use std::sync::Mutex;

use super::*;
use crate::workbench::Workbench;
use crate::world::{Host, Net, Reply};

/// A device and the server that has ordered it to leave.
struct Site {
    bench: Workbench,
    order: WipeOrder,
    /// Receipts that were given, and what was told by one.
    receipts: Mutex<Vec<String>>,
    refused: Mutex<Vec<String>>,
    told: Mutex<Option<WipeDone>>,
}

impl World for Site {
    fn disk(&self) -> &dyn Disk {
        self.bench.disk()
    }
    fn net(&self) -> &dyn Net {
        self
    }
    fn host(&self) -> &dyn Host {
        self.bench.host()
    }
}

impl Net for Site {
    fn call(&self, call: &Call<'_>) -> Result<Reply, NetError> {
        let body = call.body.unwrap_or_default();
        let mut receipts = self.receipts.lock().unwrap();
        let (status, body) = match (call.method, call.path) {
            // As the server sees it: who has no key is nobody.
            (_, "/device/v1/wipe") if !self.bench.path("agent/identity.json").exists() => (401, Vec::new()),
            ("GET", "/device/v1/wipe") => (200, serde_json::to_vec(&self.order).unwrap()),
            ("POST", "/device/v1/wipe") => {
                *self.refused.lock().unwrap() = serde_json::from_slice::<WipeBegun>(body).unwrap().refused;
                let receipt = format!("receipt-{}", receipts.len());
                receipts.push(receipt.clone());
                (200, serde_json::to_vec(&WipeReceipt { receipt }).unwrap())
            }
            ("POST", "/device/v1/wipe/done") => {
                let done: WipeDone = serde_json::from_slice(body).unwrap();
                assert_eq!(Some(&done.receipt), receipts.last(), "an older receipt counts no more");
                *self.told.lock().unwrap() = Some(done);
                (204, Vec::new())
            }
            other => panic!("nobody asks {other:?}"),
        };
        Ok(Reply { status, body })
    }

    fn fetch(&self, _: &str, _: (u64, u64), _: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<u64, NetError> {
        Err(NetError::Unreachable("nothing is fetched here".into()))
    }
}

impl Site {
    fn new(paths: &[&str], defaults: bool) -> Self {
        let bench = Workbench::new();
        let paths = paths.iter().map(|path| bench.path(path).display().to_string()).collect();
        let site = Self {
            bench,
            order: WipeOrder { paths, defaults },
            receipts: Mutex::default(),
            refused: Mutex::default(),
            told: Mutex::default(),
        };
        for name in ["data/a/deep/1", "data/b", "data/other", "log/app.log", "keep/me", "agent/identity.json"] {
            site.bench.write(name, "secret");
        }
        for name in ["agent/state.0", "agent/state.1", "agent/incoming/part", "token"] {
            site.bench.write(name, "secret");
        }
        site.bench.write("agent.toml", "server = \"https://x\"\ntoken = \"t\"\n[wipe]\npaths = []\n");
        site
    }

    fn settings(&self) -> WipeSettings {
        WipeSettings {
            folder: self.bench.path("agent"),
            allowed: vec![self.bench.path("data"), self.bench.path("log")],
            file: Some(self.bench.path("agent.toml")),
            token_file: Some(self.bench.path("token")),
        }
    }

    /// One start of the program; it ends where something fails.
    fn start(&self) -> Result<(), WipeError> {
        let settings = self.settings();
        let mut leaving = match read(self.disk(), &settings.folder)? {
            Some(leaving) => leaving,
            None => begin(self, &settings)?,
        };
        while leaving.step != Step::Gone {
            leaving = go_on(self, &settings, &leaving)?;
        }
        Ok(())
    }

    fn exists(&self, name: &str) -> bool {
        self.bench.path(name).exists()
    }
}

#[test]
fn what_is_ordered_and_allowed_goes_and_nothing_else() {
    let site = Site::new(&["data/a", "data/b", "keep/me", "log/../keep"], false);
    site.start().unwrap();
    assert!(!site.exists("data/a") && !site.exists("data/b"));
    assert!(site.exists("data/other") && site.exists("log/app.log") && site.exists("keep/me"));
    assert_eq!(site.refused.lock().unwrap().len(), 2, "{:?}", site.refused);
    let told = site.told.lock().unwrap().clone().unwrap();
    assert_eq!((told.wiped.len(), told.failed.len()), (2, 0));
}

#[test]
fn the_defaults_are_all_that_the_devices_file_names() {
    let site = Site::new(&[], true);
    site.start().unwrap();
    assert!(!site.exists("data") && !site.exists("log"));
    assert!(site.exists("keep/me"));
}

#[test]
fn key_state_and_token_go_in_any_case() {
    let site = Site::new(&[], false);
    site.start().unwrap();
    assert_eq!(site.bench.names("agent"), [FILE]);
    assert!(!site.exists("token"));
    assert_eq!(site.bench.text("agent.toml"), "server = \"https://x\"\n[wipe]\npaths = []\n");
    assert!(!site.bench.text("agent/leaving.json").contains("receipt-"), "the receipt is no longer needed");
}

#[test]
fn a_link_leads_nowhere() {
    let site = Site::new(&["data/out/me", "data/out"], false);
    std::os::unix::fs::symlink(site.bench.path("keep"), site.bench.path("data/out")).unwrap();
    site.start().unwrap();
    assert!(site.exists("keep/me"), "a link led out of what is allowed");
    assert!(!site.exists("data/out"), "the link itself lies inside");
    assert!(site.refused.lock().unwrap()[0].contains("leads elsewhere"), "{:?}", site.refused);
}

#[test]
fn what_the_agent_needs_to_tell_its_end_is_not_destroyed_first() {
    let site = Site::new(&["agent", "."], false);
    let settings = WipeSettings { allowed: vec![site.bench.path("")], ..site.settings() };
    let (paths, refused) = plan(site.disk(), &settings, &site.order);
    assert!(paths.is_empty() && refused.len() == 2, "{paths:?} {refused:?}");
}

#[test]
fn a_power_cut_at_any_step_ends_wiped_or_goes_on() {
    let mut cuts = 0;
    for changes in 0.. {
        let site = Site::new(&["data/a", "data/b"], false);
        site.bench.cut_power_after(changes);
        let cut = site.start();
        site.bench.power_on();
        if cut.is_err() {
            cuts += 1;
            let is_begun = site.exists("agent/leaving.json");
            assert!(is_begun || site.exists("agent/identity.json"), "it can neither go on nor ask (cut {changes})");
            assert!(is_begun || site.exists("data/a/deep/1"), "data went before the order was durable (cut {changes})");
            site.start().unwrap();
        }
        assert!(!site.exists("data/a") && !site.exists("data/b") && !site.exists("agent/identity.json"));
        assert!(site.told.lock().unwrap().is_some(), "the server was not told (cut {changes})");
        if cut.is_ok() {
            break;
        }
    }
    assert!(cuts > 20, "only {cuts} cuts");
}
