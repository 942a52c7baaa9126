//! Which path locks this process holds or waits for.
//!
//! Two descriptors of one lock file exclude each other even within one process, so a thread that
//! asks twice would wait for itself for ever. Here every lock is claimed before its file is
//! touched: a thread that holds the claim itself is told so, and other threads wait for the claim
//! instead of the file. No mutex is held while anybody waits.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use super::flock::Wait;

/// A lock file: device and inode of its directory, and its name.
pub(super) type Key = (u64, u64, Arc<CStr>);

/// The right of one thread to use a lock file; dropping it hands the right on.
#[derive(Debug)]
pub(super) struct Claim {
    key: Key,
}

/// What came of asking for a claim.
#[derive(Debug)]
pub(super) enum Claiming {
    /// It is ours.
    Got(Claim),
    /// Another thread kept it for as long as we were willing to wait.
    Busy,
    /// The calling thread has it.
    OwnThread,
}

impl Claim {
    /// Claims `key`, waiting for other threads as `wait` permits.
    pub(super) fn take(key: Key, wait: Wait, on_wait: impl FnOnce()) -> Claiming {
        let me = thread::current().id();
        let mut on_wait = Some(on_wait);
        let mut table = table();
        loop {
            match (table.held.get(&key), wait) {
                (None, _) => {
                    table.held.insert(key.clone(), me);
                    return Claiming::Got(Self { key });
                }
                (Some(_), Wait::Never) => return Claiming::Busy,
                (Some(owner), _) if *owner == me => return Claiming::OwnThread,
                (Some(_), Wait::Until(deadline)) if deadline <= Instant::now() => {
                    return Claiming::Busy;
                }
                (Some(_), _) => {
                    if let Some(on_wait) = on_wait.take() {
                        on_wait();
                    }
                    table.waiting += 1;
                    table = pause(table, wait);
                    table.waiting -= 1;
                }
            }
        }
    }

    pub(super) fn name(&self) -> &CStr {
        &self.key.2
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = table();
        table.held.remove(&self.key);
        // A wake-up is a system call: only when somebody sleeps.
        if table.waiting > 0 {
            RELEASED.notify_all();
        }
    }
}

fn pause(table: MutexGuard<'static, Table>, wait: Wait) -> MutexGuard<'static, Table> {
    match wait {
        Wait::Until(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            RELEASED
                .wait_timeout(table, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
        Wait::Never | Wait::Forever => RELEASED.wait(table).unwrap_or_else(PoisonError::into_inner),
    }
}

/// The table is whole after each statement, so a panic elsewhere doesn't spoil it.
fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Table {
    held: BTreeMap<Key, ThreadId>,
    waiting: usize,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    held: BTreeMap::new(),
    waiting: 0,
});
static RELEASED: Condvar = Condvar::new();
