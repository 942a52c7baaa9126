//! Reading no faster than permitted, and no longer.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix_base::{NarHash, NarHashSink};

/// What the threads of a check share.
#[derive(Debug)]
pub(super) struct Pace {
    stop: AtomicBool,
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    bytes_per_second: u64,
    /// When the next bytes may be read.
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        let limit = bytes_per_second.map(|rate| Limit {
            bytes_per_second: rate.max(1),
            next: Mutex::new(Instant::now()),
        });
        Self {
            stop: AtomicBool::new(false),
            limit,
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Accounts for bytes that were read, and waits until more may be. Whether to go on.
    fn pass(&self, bytes: usize) -> bool {
        if let Some(limit) = &self.limit {
            let due = limit.account(bytes as u64);
            while !self.is_stopped() {
                let wait = due.saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    break;
                }
                std::thread::sleep(wait.min(NAP));
            }
        }
        !self.is_stopped()
    }
}

impl Limit {
    fn account(&self, bytes: u64) -> Instant {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // A thread that panicked left a whole value.
        let mut next = self
            .next
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        // Time in which nobody read is not saved up.
        *next = (*next).max(Instant::now()) + cost.min(LONGEST);
        *next
    }
}

/// Hashes an archive at the common pace.
pub(super) struct PacedSink<'p> {
    pace: &'p Pace,
    sink: NarHashSink,
}

impl<'p> PacedSink<'p> {
    pub(super) fn new(pace: &'p Pace) -> Self {
        Self {
            pace,
            sink: NarHashSink::new(),
        }
    }

    pub(super) fn finish(self) -> (NarHash, u64) {
        self.sink.finish()
    }
}

impl Write for PacedSink<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.pace.pass(data.len()) {
            return Err(io::Error::other("stopped"));
        }
        self.sink.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long a thread sleeps without looking whether to stop.
const NAP: Duration = Duration::from_millis(50);
/// Against rates so low that time overflows.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_by_all_threads_together() {
        let pace = Pace::new(Some(1_000_000));
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..10).for_each(|_| assert!(pace.pass(10_000))));
            }
        });
        assert!(start.elapsed() >= Duration::from_millis(190));
    }

    #[test]
    fn who_is_stopped_reads_no_more() {
        let pace = Pace::new(Some(1));
        pace.stop();
        let mut sink = PacedSink::new(&pace);
        assert!(sink.write_all(b"text").is_err());
    }
}
