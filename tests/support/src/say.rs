//! Words to the person who runs the tests, and waiting with a deadline.

use std::io::Write;
use std::time::{Duration, Instant};

/// Whether the tests run in continuous integration (`CI=true`).
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Prints a line on stderr that the test runner doesn't capture.
pub fn say(line: &str) {
    let mut text = line.to_owned();
    text.push('\n');
    // A closed stderr is no reason to fail a test.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Says that something the tests want is missing.
///
/// # Panics
/// If the tests run in continuous integration and `wanted_in_ci` is set.
pub fn say_missing(what: &str, wanted_in_ci: bool) {
    assert!(!(is_ci() && wanted_in_ci), "missing in CI: {what}");
    say(&format!("MISSING: {what}"));
}

/// Asks until `ready` answers something, every few milliseconds.
///
/// # Panics
/// After a minute, with `what` in the message.
pub fn poll_until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
