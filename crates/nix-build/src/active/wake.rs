//! A bell between the threads of one build.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Wakes those who wait for anything to happen.
#[derive(Debug, Default)]
pub(super) struct Wake {
    rung: Mutex<u64>,
    bell: Condvar,
}

impl Wake {
    /// Something has happened.
    pub(super) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        *rung = rung.wrapping_add(1);
        self.bell.notify_all();
    }

    /// How often it has rung; to be asked before one looks whether there is anything to do.
    pub(super) fn seen(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has rung since `seen`, or until `most` has passed.
    pub(super) fn wait(&self, seen: u64, most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .bell
            .wait_timeout_while(rung, most, |rung| *rung == seen);
    }
}
