//! Which promises does the server make while it is being killed?
//!
//! An operator who makes devices without pause, and remembers each one that the server said was made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;

use super::world::World;

/// What every device made here is called, before its number.
pub const PREFIX: &str = "witness-";
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Witness {
    pub fn start(world: World) -> Witness {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Witness { stop, thread: std::thread::spawn(move || watch(&world, &stopped)) }
    }

    /// The names of all devices that the server said it had made.
    pub fn stop(self) -> anyhow::Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the witness ended early"))
    }
}

fn watch(world: &World, stopped: &AtomicBool) -> Vec<String> {
    let mut promised = Vec::new();
    for number in 0_u32.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{PREFIX}{number:06}");
        // Without an answer nothing was promised, whatever the server did; the name is not used again.
        if world.add_device(&name).is_ok() {
            promised.push(name);
        }
        std::thread::sleep(PAUSE);
    }
    promised
}
