//! How long is waited for something another process does? As long as it takes, up to a deadline.
//!
//! Nothing here sleeps for a fixed time and then hopes: every wait asks again and again.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Far beyond what anything takes on a busy machine; only a failing test gets here.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// If there is none by the deadline; `what` says what was waited for.
pub fn until<T>(what: impl Display, mut ask: impl FnMut() -> Option<T>) -> T {
    let ends_at = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < ends_at, "waited {} s in vain until {what}", DEADLINE.as_secs());
        std::thread::sleep(PAUSE);
    }
}

/// Asks until it is so.
pub fn until_true(what: impl Display, mut is_so: impl FnMut() -> bool) {
    until(what, || is_so().then_some(()));
}
