//! Builds whole graphs of derivations.

use crate::active::BuildOutcome;
use crate::cancel::Cancel;
use crate::failure::BuildFailure;
use crate::goal::{Event, GraphStore, Job, Outcome, Plan, StoreError, Target};
use crate::request::{BuildLimits, BuildMode};

/// Builds graphs, several builds at a time.
pub struct Scheduler<'a, S> {
    /// Opens the store once for each thread.
    pub open: &'a (dyn Fn() -> Result<S, StoreError> + Sync),
    /// Does one build.
    pub build: &'a (dyn Fn(&S, Job<'_>) -> BuildOutcome + Sync),
    /// Is told what happens, from any thread.
    pub on_event: &'a (dyn Fn(Event<'_>) + Sync),
    /// On once the client is gone.
    pub cancel: &'a Cancel,
    /// Builds at a time in this process.
    pub max_jobs: u32,
    /// Whether to go on after a failure.
    pub keep_going: bool,
    /// Build, or compare; inputs are only ever built.
    pub mode: BuildMode,
    /// The client's bounds, of each build.
    pub limits: BuildLimits,
    /// Whether build directories stay after failures.
    pub keep_failed: bool,
}

impl<S: GraphStore> Scheduler<'_, S> {
    /// Makes all targets valid.
    pub fn build_paths(&self, targets: &[Target]) -> Outcome {
        Outcome {
            results: targets
                .iter()
                .map(|target| (target.clone(), BuildFailure::misc("").to_result()))
                .collect(),
            status: 1,
            message: String::new(),
            cancelled: self.cancel.is_cancelled(),
            built: 0,
            failed: 0,
        }
    }
}

/// What would be built for these targets.
///
/// # Errors
/// The store can't answer, or a derivation can't be read.
pub fn must_build<S: GraphStore>(store: &S, targets: &[Target]) -> Result<Plan, BuildFailure> {
    let _ = (store, targets);
    Ok(Plan::default())
}
