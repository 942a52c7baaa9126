//! Collecting when the disk gets full: before something is added or built, and while builds
//! run.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::options::{AutoGc, GcAction, GcOptions};
use super::plan::available;
use super::report::GcProgress;
use crate::local::{LocalStore, StoreConfig};
use crate::lock::Wait;

/// What a store remembers of its own collections.
#[derive(Debug, Default)]
pub(crate) struct AutoGcState {
    looked: Cell<Option<Instant>>,
    /// Bytes to spare after the last collection, counted from 1; 0 if there was none.
    left: Arc<AtomicU64>,
}

/// Collects in a thread of its own when the disk gets full, for those who have something
/// else to watch meanwhile. Dropping it ends a collection that is under way.
#[derive(Debug)]
pub struct AutoCollector<'s> {
    store: &'s LocalStore,
    thread: RefCell<Option<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
}

impl LocalStore {
    /// Collects garbage if the store is configured to do so and the disk is getting full.
    /// Cheap enough to be called all the time.
    ///
    /// When another process collects already, that is left to it. A failure is only warned
    /// of: what the caller is about to do may succeed all the same.
    pub fn collect_if_full(&self) {
        let state = self.auto_gc_state();
        if let Some(auto) = state.is_due(self) {
            collect(self, &auto, &state.left, &mut ());
        }
    }
}

impl<'s> AutoCollector<'s> {
    /// Nothing is collected yet.
    #[must_use]
    pub fn new(store: &'s LocalStore) -> Self {
        Self {
            store,
            thread: RefCell::new(None),
            stop: Arc::default(),
        }
    }

    /// Begins to collect if the store is configured to do so and the disk is getting full.
    /// Cheap enough to be called all the time.
    pub fn look(&self) {
        let mut thread = self.thread.borrow_mut();
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let state = self.store.auto_gc_state();
        let Some(auto) = state.is_due(self.store) else {
            return;
        };
        // A store of its own: connections stay with their threads.
        let config = self.store.config().clone();
        let left = Arc::clone(&state.left);
        let mut stop = Stop(Arc::clone(&self.stop));
        let work = move || match LocalStore::open(StoreConfig {
            create: false,
            ..config
        }) {
            Ok(store) => collect(&store, &auto, &left, &mut stop),
            Err(error) => warn(&error),
        };
        match std::thread::Builder::new()
            .name("auto-gc".into())
            .spawn(work)
        {
            Ok(started) => *thread = Some(started),
            Err(error) => tracing::warn!("cannot collect garbage: {error}"),
        }
    }
}

impl Drop for AutoCollector<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has said what went wrong.
            let _ = thread.join();
        }
    }
}

/// Ends a collection when told to.
struct Stop(Arc<AtomicBool>);

impl GcProgress for Stop {
    fn is_cancelled(&mut self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl AutoGcState {
    /// The configuration, if it is time to collect.
    fn is_due(&self, store: &LocalStore) -> Option<AutoGc> {
        let auto = store.config().auto_gc.as_ref()?;
        let now = Instant::now();
        let is_early = |looked| now.duration_since(looked) < auto.check_interval;
        if store.is_read_only() || self.looked.get().is_some_and(is_early) {
            return None;
        }
        self.looked.set(Some(now));
        let spare = available(store).ok()?;
        let left = self.left.load(Ordering::Relaxed).checked_sub(1);
        is_worth_it(auto, spare, left).then(|| auto.clone())
    }
}

fn collect(store: &LocalStore, auto: &AutoGc, left: &AtomicU64, progress: &mut dyn GcProgress) {
    let mut options = GcOptions::new(GcAction::DeleteDead);
    options.keep_outputs = auto.keep_outputs;
    options.keep_derivations = auto.keep_derivations;
    options.policy.free_bytes = auto.max_free;
    tracing::info!("the disk is getting full: collecting garbage");
    match store.try_collect_garbage(&options, Wait::Never, progress) {
        Ok(None) => {}
        Ok(Some(report)) => {
            tracing::info!(
                "{} store paths deleted, {} bytes freed",
                report.deleted,
                report.freed.on_disk
            );
            // One that was cut short says nothing of what another would bring.
            if !report.cancelled {
                let spare = available(store).unwrap_or(0);
                left.store(spare.saturating_add(1), Ordering::Relaxed);
            }
        }
        Err(error) => warn(&error),
    }
}

fn warn(error: &crate::error::Error) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "cannot collect garbage"
    );
}

/// Whether `spare` bytes are too few, and not just as few as after the last collection, which
/// another one so soon would not change.
fn is_worth_it(auto: &AutoGc, spare: u64, left: Option<u64>) -> bool {
    let is_enough = spare >= auto.min_free || auto.max_free.is_some_and(|most| spare >= most);
    let is_unchanged = |left: u64| u128::from(spare) * 100 > u128::from(left) * 97;
    !is_enough && !left.is_some_and(is_unchanged)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn collects_below_the_limit_unless_the_last_time_brought_nothing() {
        let auto = AutoGc {
            min_free: 1000,
            max_free: Some(2000),
            check_interval: Duration::ZERO,
            keep_outputs: false,
            keep_derivations: true,
        };
        assert!(is_worth_it(&auto, 999, None));
        assert!(!is_worth_it(&auto, 1000, None));
        assert!(!is_worth_it(&auto, 900, Some(900)));
        assert!(!is_worth_it(&auto, 874, Some(900)));
        assert!(is_worth_it(&auto, 873, Some(900)));
        let lower = AutoGc {
            max_free: Some(500),
            ..auto
        };
        assert!(!is_worth_it(&lower, 600, None));
    }
}
