//! Builds in a local store, for the server and for the commands alike.
//!
//! ```text
//! one derivation   LocalBuilds::build_one ─► Active (joins, lingers) ─► Builder
//! a graph          LocalBuilds::build_graph ─► Scheduler ─► the same for each derivation
//! ```

mod graph_store;
mod graph_view;
mod store_pool;
mod supervisor;

use std::sync::Arc;

use nix_base::{BuildResult, Hash, HashAlgo, HashFormat, StorePath, StorePathSet};
use nix_build::active::{Active, BuildOutcome, Client, LogTarget, OwnedBuild};
use nix_build::goal::{Event, Job, Outcome, Plan, Target, Wanted};
use nix_build::request::{BuildLimits, BuildMode, BuildRequest};
use nix_build::scheduler::{Scheduler, must_build};
use nix_build::slots::{Slot, Slots};
use nix_build::{BuildConfig, BuildFailure, Builder, Cancel, Requester};
use nix_store_core::{Access, LocalStore, Lock, Store, StoreConfig};

use crate::proto::{BuildTarget, WantedOutputs};
use crate::server::KeySlots;
pub(crate) use graph_store::{StoreOfGraphs, read_derivation_file};
use graph_view::GraphView;
use store_pool::StorePool;
pub(crate) use supervisor::{SupervisorCommand, supervise};

/// Where the log of a derivation goes, if anywhere.
pub(crate) type LogTargets<'a> = dyn Fn(&StorePath) -> Option<Arc<LogTarget>> + Sync + 'a;

/// Builds in one store. Dropping it waits for builds that go on for other processes.
pub(crate) struct LocalBuilds {
    config: Arc<BuildConfig>,
    stores: Arc<StorePool>,
    builder: Arc<Builder>,
    active: Active,
    supervisor: Option<SupervisorCommand>,
}

/// What the clients of [`LocalBuilds::build_graph`] can choose.
pub(crate) struct GraphRequest<'a> {
    pub(crate) targets: &'a [Target],
    pub(crate) mode: BuildMode,
    /// The client's bounds; the machine's hold as well.
    pub(crate) limits: BuildLimits,
    pub(crate) keep_failed: bool,
    pub(crate) requester: &'a Requester,
    /// Slots of the client's own, if it has a bound.
    pub(crate) slots: Option<&'a KeySlots>,
    pub(crate) keep_going: bool,
    pub(crate) cancel: &'a Cancel,
    pub(crate) log: &'a LogTargets<'a>,
    /// Is told what happens, from any thread.
    pub(crate) on_event: &'a (dyn Fn(Event<'_>) + Sync),
    /// Is told how each build ended, also of those that were given up.
    pub(crate) on_end: &'a (dyn Fn(&BuildResult) + Sync),
}

impl LocalBuilds {
    /// Builds in `store`. `supervisor` is the program that goes on building when a client
    /// has left, if any is to.
    ///
    /// # Errors
    /// The state directory can't be written, or builders have no users to run as.
    pub(crate) fn new(
        config: BuildConfig,
        store: &LocalStore,
        supervisor: Option<SupervisorCommand>,
    ) -> Result<Self, BuildFailure> {
        let layout = store.layout();
        let config = Arc::new(config);
        Ok(Self {
            builder: Arc::new(Builder::new(Arc::clone(&config), layout)?),
            active: Active::new(&layout.state, &layout.store_dir)?,
            stores: Arc::new(StorePool::new(reopening(store.config()))),
            config,
            supervisor,
        })
    }

    /// How builds run.
    pub(crate) fn config(&self) -> &BuildConfig {
        &self.config
    }

    /// Builds one derivation whose inputs are all there. `on_wait` is told the place in the
    /// queue for slots.
    pub(crate) fn build_one(
        &self,
        store: &LocalStore,
        request: &BuildRequest,
        cancel: &Cancel,
        log: Option<Arc<LogTarget>>,
        on_wait: &mut dyn FnMut(usize),
    ) -> BuildOutcome {
        let spawn = self
            .supervisor
            .as_ref()
            .map(|command| |dir: &std::path::Path, stdin| command.spawn(dir, stdin));
        let accept = |result: &BuildResult| outputs_are_valid(store, result);
        let mut client = Client {
            cancel,
            limits: self.config.limits.tightened(request.limits),
            log,
            supervisor: spawn.as_ref().map(|spawn| spawn as _),
            accept: &accept,
            on_wait,
        };
        let builder = Arc::clone(&self.builder);
        let stores = Arc::clone(&self.stores);
        // Others may join who wish for more time; each client's own bounds are in `client`.
        let asked = BuildRequest {
            limits: BuildLimits::default(),
            ..request.clone()
        };
        let own = move |build: &OwnedBuild| build_owned(&builder, &stores, &asked, build);
        self.active.run(&mut client, request, Box::new(own))
    }

    /// Waits for one of a client's own slots; there is nothing to wait for without a bound.
    pub(crate) fn key_slot(
        &self,
        slots: Option<&KeySlots>,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(usize),
    ) -> Result<Option<Slot>, BuildFailure> {
        let Some(KeySlots { key, count }) = slots else {
            return Ok(None);
        };
        // Names of keys may have any characters.
        let digest = Hash::of(HashAlgo::Sha256, key.as_bytes());
        let name = digest.render(HashFormat::Base16);
        let state = &self.stores.config().layout.state;
        let dir = state.join("nix-serve/keys").join(name);
        let what = "cannot wait for a build slot";
        std::fs::create_dir_all(&dir).map_err(|error| BuildFailure::because(what, &error))?;
        let cannot = |error| BuildFailure::because(what, &error);
        let slots = Slots::new(&dir, *count).map_err(cannot)?;
        slots.acquire(cancel, on_wait).map(Some).map_err(cannot)
    }

    /// Makes all targets valid, several builds at a time.
    pub(crate) fn build_graph(&self, request: &GraphRequest<'_>) -> Outcome {
        let view = GraphView::new(request.requester);
        let build = |store: &StoreOfGraphs, mut job: Job<'_>| {
            let drv = job.request.drv_path.clone();
            let mut on_wait = |place| (request.on_event)(Event::Waiting { drv: &drv, place });
            let slot = self.key_slot(request.slots, job.cancel, &mut on_wait);
            let _slot = match slot {
                Ok(slot) => slot,
                Err(failure) => return failure.to_result().into(),
            };
            if let Some(view) = &view {
                view.show_to(store.store().store_dir(), &mut job.request);
            }
            let log = (request.log)(&drv);
            let outcome =
                self.build_one(store.store(), &job.request, job.cancel, log, &mut on_wait);
            (request.on_end)(&outcome.result);
            if let Some(view) = &view {
                view.learn(&outcome.result);
            }
            outcome
        };
        let scheduler = Scheduler {
            open: &|| {
                let store = StoreOfGraphs::open(self.stores.config().clone())?;
                Ok(store.seen_by(view.clone()))
            },
            build: &build,
            on_event: request.on_event,
            cancel: request.cancel,
            max_jobs: self.config.max_jobs,
            keep_going: request.keep_going,
            mode: request.mode,
            limits: request.limits,
            keep_failed: request.keep_failed,
            requester: request.requester,
            ca_derivations: self.config.ca_derivations,
        };
        scheduler.build_paths(request.targets)
    }
}

impl Drop for LocalBuilds {
    fn drop(&mut self) {
        self.active.wait_background();
    }
}

/// What building these targets would take.
///
/// # Errors
/// The store can't answer, or a derivation can't be read.
pub(crate) fn plan(store: &LocalStore, targets: &[Target]) -> Result<Plan, BuildFailure> {
    let store = StoreOfGraphs::open(reopening(store.config()))?;
    must_build(&store, targets)
}

/// Builds for all who wait, with a connection to the store of the thread's own.
fn build_owned(
    builder: &Builder,
    stores: &StorePool,
    request: &BuildRequest,
    build: &OwnedBuild,
) -> BuildOutcome {
    stores
        .with(|store| builder.build(store, request, build))
        .unwrap_or_else(|error| BuildFailure::from(error).into())
}

/// Whether the outputs of somebody else's success are there; keeps them from collectors.
fn outputs_are_valid(store: &LocalStore, result: &BuildResult) -> bool {
    let paths: StorePathSet = result
        .built_outputs
        .values()
        .map(|realisation| realisation.out_path.clone())
        .collect();
    store
        .query_valid_paths(&paths, Lock::Yes)
        .is_ok_and(|valid| valid == paths)
}

/// How other threads open the store: it is there, and as writable as it was found.
fn reopening(config: &StoreConfig) -> StoreConfig {
    StoreConfig {
        create: false,
        access: match config.access {
            Access::ReadOnly => Access::ReadOnly,
            _ => Access::Auto,
        },
        ..config.clone()
    }
}

/// A target of the protocol as the scheduler has it.
pub(crate) fn target(target: BuildTarget) -> Target {
    match target {
        BuildTarget::Path(path) => Target::Opaque(path),
        BuildTarget::Outputs { drv, outputs } => Target::Built {
            drv,
            outputs: match outputs {
                WantedOutputs::All => Wanted::All,
                WantedOutputs::Names(names) => Wanted::Names(names),
            },
        },
    }
}
