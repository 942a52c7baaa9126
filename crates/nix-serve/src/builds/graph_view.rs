//! What somebody sees of a graph's outputs who doesn't see everything.
//!
//! An output that another client has built is built again, and seen from then on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix_base::{BuildResult, StoreDir, StorePath, StorePathSet};
use nix_build::{BuildRequest, Requester};

/// The view of one client, which widens as its builds end.
#[derive(Debug)]
pub(super) struct GraphView(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    hidden: StorePathSet,
    built: StorePathSet,
}

impl GraphView {
    /// `None` for somebody who sees everything.
    pub(super) fn new(requester: &Requester) -> Option<Arc<Self>> {
        requester.scope.as_ref()?;
        Some(Arc::new(Self(Mutex::new(Seen {
            hidden: requester.hidden.clone(),
            built: StorePathSet::new(),
        }))))
    }

    /// Takes from `valid` what is hidden.
    pub(super) fn keep_seen(&self, valid: &mut StorePathSet) {
        let seen = self.lock();
        valid.retain(|path| !seen.hidden.contains(path));
    }

    /// Whether the path is an output that was built for the client. Where it can only be
    /// found by what others have built, nothing else is seen.
    pub(super) fn has_built(&self, path: &StorePath) -> bool {
        self.lock().built.contains(path)
    }

    /// Lets a build know what is hidden now, of its own outputs.
    pub(super) fn show_to(&self, dir: &StoreDir, request: &mut BuildRequest) {
        let seen = self.lock();
        // What has no known outputs is refused by the builder.
        let outputs = request.drv.known_outputs(dir).unwrap_or_default();
        let outputs = outputs.into_iter().map(|(_, path)| path);
        request.requester.hidden = outputs.filter(|path| seen.hidden.contains(path)).collect();
    }

    /// Takes note of what was built.
    pub(super) fn learn(&self, result: &BuildResult) {
        let mut seen = self.lock();
        for realisation in result.built_outputs.values() {
            seen.hidden.remove(&realisation.out_path);
            seen.built.insert(realisation.out_path.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
