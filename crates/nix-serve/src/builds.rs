//! Builds in a local store, for the server and for the commands alike.
//!
//! ```text
//! one derivation   LocalBuilds::build_one ─► Active (joins, lingers) ─► Builder
//! a graph          LocalBuilds::build_graph ─► Scheduler ─► the same for each derivation
//! ```

mod graph_store;
mod supervisor;

use std::sync::Arc;

use nix_base::{BuildResult, StorePath, StorePathSet};
use nix_build::active::{Active, BuildOutcome, Client, LogTarget, OwnedBuild};
use nix_build::goal::{Event, Job, Outcome, Plan, Target, Wanted};
use nix_build::request::{BuildLimits, BuildMode, BuildRequest};
use nix_build::scheduler::{Scheduler, must_build};
use nix_build::{BuildConfig, BuildFailure, Builder, Cancel, Requester};
use nix_store_core::{Access, LocalStore, Lock, Store, StoreConfig};

use crate::proto::{BuildTarget, WantedOutputs};
pub(crate) use graph_store::{StoreOfGraphs, read_derivation_file};
pub(crate) use supervisor::{SupervisorCommand, supervise};

/// Where the log of a derivation goes, if anywhere.
pub(crate) type LogTargets<'a> = dyn Fn(&StorePath) -> Option<Arc<LogTarget>> + Sync + 'a;

/// Builds in one store. Dropping it waits for builds that go on for other processes.
pub(crate) struct LocalBuilds {
    config: Arc<BuildConfig>,
    store_config: StoreConfig,
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
    pub(crate) keep_going: bool,
    pub(crate) cancel: &'a Cancel,
    pub(crate) log: &'a LogTargets<'a>,
    /// Is told what happens, from any thread.
    pub(crate) on_event: &'a (dyn Fn(Event<'_>) + Sync),
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
            store_config: reopening(store.config()),
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
        let store_config = self.store_config.clone();
        // Others may join who wish for more time; each client's own bounds are in `client`.
        let asked = BuildRequest {
            limits: BuildLimits::default(),
            ..request.clone()
        };
        let own = move |build: &OwnedBuild| build_owned(&builder, store_config, &asked, build);
        self.active.run(&mut client, request, Box::new(own))
    }

    /// Makes all targets valid, several builds at a time.
    pub(crate) fn build_graph(&self, request: &GraphRequest<'_>) -> Outcome {
        let build = |store: &StoreOfGraphs, job: Job<'_>| {
            let drv = job.request.drv_path.clone();
            let mut on_wait = |place| (request.on_event)(Event::Waiting { drv: &drv, place });
            let log = (request.log)(&drv);
            self.build_one(store.store(), &job.request, job.cancel, log, &mut on_wait)
        };
        let scheduler = Scheduler {
            open: &|| Ok(StoreOfGraphs::open(self.store_config.clone())?),
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
    store_config: StoreConfig,
    request: &BuildRequest,
    build: &OwnedBuild,
) -> BuildOutcome {
    match LocalStore::open(store_config) {
        Ok(store) => builder.build(&store, request, build),
        Err(error) => BuildFailure::from(error).into(),
    }
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
