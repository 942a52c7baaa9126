//! From the log of a build to a client, without ever holding the build up.
//!
//! A thread of its own follows the log file. What a client doesn't read stays in the file, so
//! a slow client costs no memory. Once the build has ended, a client that reads nothing for
//! [`PATIENCE`] loses the rest. The thread may then hang in a write for as long as the client
//! likes; nobody waits for it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::target::{LogTarget, Written};
use super::wake::Wake;
use crate::log::lines::LogLines;

/// Follows the log of one build for one client.
#[derive(Debug)]
pub(super) struct Forwarder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wake: Arc<Wake>,
    /// Where the log ends; `u64::MAX` while that isn't known.
    end: AtomicU64,
    given_up: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that the client took.
    taken: u64,
    done: bool,
}

impl Forwarder {
    /// Starts to write the lines of `log` to `target`. `wake` rings when there may be more.
    pub(super) fn start(log: File, target: Arc<LogTarget>, wake: Arc<Wake>) -> Self {
        let shared = Arc::new(Shared {
            wake,
            end: AtomicU64::new(u64::MAX),
            given_up: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let follow = move || {
            Follow::new(log, &target, &of_thread).run();
            of_thread.update(|state| state.done = true);
        };
        if let Err(error) = std::thread::Builder::new().spawn(follow) {
            // The log is for people; the build goes on without.
            tracing::warn!("cannot show the log: {error}");
            shared.update(|state| state.done = true);
        }
        Self { shared }
    }

    /// The log ends at `size`. Waits until the client has all of it, or doesn't read.
    pub(super) fn finish(self, size: u64) {
        self.shared.end.store(size, Ordering::SeqCst);
        self.shared.wake.ring();
        let mut taken = self.shared.lock().taken;
        loop {
            let (state, waited) = self
                .shared
                .changed
                .wait_timeout_while(self.shared.lock(), PATIENCE, |state| {
                    !state.done && state.taken == taken
                })
                .unwrap_or_else(PoisonError::into_inner);
            if state.done || waited.timed_out() {
                break;
            }
            taken = state.taken;
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.given_up.store(true, Ordering::SeqCst);
        self.shared.wake.ring();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// The work of the thread.
struct Follow<'a> {
    log: File,
    target: &'a LogTarget,
    shared: &'a Shared,
    lines: LogLines,
    position: u64,
    /// Whole lines that the client hasn't taken.
    pending: Vec<u8>,
}

impl<'a> Follow<'a> {
    fn new(log: File, target: &'a LogTarget, shared: &'a Shared) -> Self {
        Self {
            log,
            target,
            shared,
            lines: LogLines::new(),
            position: 0,
            pending: Vec::new(),
        }
    }

    fn run(&mut self) {
        let mut block = vec![0; BLOCK];
        loop {
            let seen = self.shared.wake.seen();
            let end = self.shared.end.load(Ordering::SeqCst);
            match self.read(&mut block, end) {
                Ok(0) if self.position >= end => break,
                Ok(0) if end != u64::MAX => break,
                Ok(0) if self.given_up() => return,
                Ok(0) => self.shared.wake.wait(seen, POLL),
                Ok(_) => {
                    if !self.flush() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!("cannot read the log: {error}");
                    break;
                }
            }
        }
        let pending = &mut self.pending;
        self.lines.finish(&mut |line| push_line(pending, line));
        self.flush();
    }

    /// Reads the next block, up to `end`, and cuts it into lines.
    fn read(&mut self, block: &mut [u8], end: u64) -> std::io::Result<usize> {
        let left = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let most = left.min(block.len());
        let read = self.log.read_at(&mut block[..most], self.position)?;
        self.position += read as u64;
        let pending = &mut self.pending;
        self.lines
            .push(&block[..read], &mut |line| push_line(pending, line));
        Ok(read)
    }

    /// Writes all lines there are; false if the client doesn't take them.
    fn flush(&mut self) -> bool {
        let mut done = 0;
        while done < self.pending.len() {
            match self.target.write_some(&self.pending[done..], POLL) {
                Written::Bytes(count) => {
                    done += count;
                    self.shared.update(|state| state.taken += count as u64);
                }
                Written::Full if self.given_up() => {
                    self.target.note_loss();
                    return false;
                }
                Written::Full => {}
                Written::Closed => return false,
            }
        }
        self.pending.clear();
        true
    }

    fn given_up(&self) -> bool {
        self.shared.given_up.load(Ordering::SeqCst)
    }
}

fn push_line(pending: &mut Vec<u8>, line: &[u8]) {
    pending.extend_from_slice(line);
    pending.push(b'\n');
}

/// How long a client may read nothing once the build has ended: a network may stall for seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often a log of another process is looked at, and whether a client reads again.
const POLL: Duration = Duration::from_millis(25);
const BLOCK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
