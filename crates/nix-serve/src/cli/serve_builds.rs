//! Builds for the clients of `serve`.
//!
//! Nothing is set up before the first build command: most connections only copy.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use nix_base::{BuildOptions, BuildResult, BuildStatus, StoreDir, StorePath};
use nix_build::Cancel;
use nix_build::active::LogTarget;
use nix_build::goal::Event;
use nix_build::request::{BuildLimits, BuildMode, BuildRequest};
use nix_store_core::LocalStore;

use super::context::Context;
use super::logging;
use super::report::{Colour, RED, print_line, visible};
use super::stderr_queue;
use crate::builds::{self, GraphRequest, LocalBuilds};
use crate::proto::build_result::BuildPathsReply;
use crate::server::{
    BuildService, DerivationRequest, PathsOutcome, PathsRequest, outputs_of, seconds_of,
};

/// Builds according to the settings of this process.
pub(crate) struct ServeBuilds<'c> {
    context: &'c Context,
    ready: OnceCell<Result<Ready, String>>,
}

struct Ready {
    builds: LocalBuilds,
    log: Arc<LogTarget>,
}

impl<'c> ServeBuilds<'c> {
    pub(crate) fn new(context: &'c Context) -> Self {
        Self {
            context,
            ready: OnceCell::new(),
        }
    }

    fn ready(&self, store: &LocalStore) -> Result<&Ready, String> {
        let ready = self.ready.get_or_init(|| {
            stderr_queue::start();
            logging::only_errors(self.context.global());
            self.set_up(store).map_err(|error| format!("{error:#}"))
        });
        ready.as_ref().map_err(Clone::clone)
    }

    fn set_up(&self, store: &LocalStore) -> anyhow::Result<Ready> {
        let config = self.context.build_config()?;
        let supervisor = self.context.supervisor(&config);
        let builds = LocalBuilds::new(config, store, supervisor)?;
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Ready {
            builds,
            log: Arc::new(LogTarget::new(stderr)),
        })
    }
}

impl Ready {
    fn keep_failed(&self, options: BuildOptions) -> bool {
        options.keep_failed || self.builds.config().keep_failed
    }
}

impl BuildService for ServeBuilds<'_> {
    fn build_derivation(
        &self,
        store: &LocalStore,
        request: DerivationRequest,
        cancel: &Cancel,
    ) -> BuildResult {
        let ready = match self.ready(store) {
            Ok(ready) => ready,
            Err(message) => return BuildResult::failure(BuildStatus::MiscFailure, message),
        };
        let slots = request.slots;
        let request = BuildRequest {
            drv_path: request.drv_path,
            drv: request.drv,
            realisation_hash: None,
            mode: BuildMode::Normal,
            limits: BuildLimits::of_options(&request.options),
            keep_failed: ready.keep_failed(request.options),
            requester: request.requester,
        };
        let dir = store.store_dir();
        let mut on_wait = |place| say_place(dir, &request.drv_path, place);
        let log = Some(Arc::clone(&ready.log));
        let _slot = match ready.builds.key_slot(slots.as_ref(), cancel, &mut on_wait) {
            Ok(slot) => slot,
            Err(failure) => return failure.to_result(),
        };
        let outcome = ready
            .builds
            .build_one(store, &request, cancel, log, &mut on_wait);
        outcome.result
    }

    fn system_features(&self, store: &LocalStore) -> BTreeSet<String> {
        match self.ready(store) {
            Ok(ready) => ready.builds.config().system_features.clone(),
            // The build says why.
            Err(_) => BTreeSet::new(),
        }
    }

    fn build_paths(
        &self,
        store: &LocalStore,
        request: PathsRequest,
        cancel: &Cancel,
    ) -> PathsOutcome {
        let ready = match self.ready(store) {
            Ok(ready) => ready,
            Err(error_msg) => {
                return PathsOutcome::from(BuildPathsReply {
                    status: 1,
                    error_msg,
                });
            }
        };
        let done = Mutex::new(PathsOutcome::default());
        let targets: Vec<_> = request.targets.into_iter().map(builds::target).collect();
        let dir = store.store_dir();
        let outcome = ready.builds.build_graph(&GraphRequest {
            targets: &targets,
            mode: BuildMode::Normal,
            limits: BuildLimits::of_options(&request.options),
            keep_failed: ready.keep_failed(request.options),
            requester: &request.requester,
            keep_going: ready.builds.config().keep_going,
            cancel,
            log: &|_| Some(Arc::clone(&ready.log)),
            slots: request.slots.as_ref(),
            on_event: &|event| say_event(dir, &event),
            on_end: &|result| add_up(&done, result),
        });
        outcome
            .messages
            .iter()
            .for_each(|message| say_error(message));
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        PathsOutcome {
            reply: BuildPathsReply {
                status: outcome.status.into(),
                error_msg: outcome.message,
            },
            ..done
        }
    }
}

/// Adds a build that has ended to what was done for the client.
fn add_up(done: &Mutex<PathsOutcome>, result: &BuildResult) {
    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
    done.built.extend(outputs_of(result));
    done.seconds = done.seconds.saturating_add(seconds_of(result));
}

/// Tells the client what it doesn't see in the reply.
fn say_event(dir: &StoreDir, event: &Event<'_>) {
    match event {
        Event::Waiting { drv, place } => say_place(dir, drv, *place),
        Event::Finished {
            outcome,
            is_target: false,
            ..
        } if !outcome.is_success() => {
            say_error(&outcome.result.error_msg);
        }
        _ => {}
    }
}

fn say_error(message: &str) {
    let label = Colour::Off.label(RED, "error");
    let mut prefix = label.as_str();
    for line in message.lines() {
        print_line(&format!("{prefix}{}", visible(line)));
        prefix = "       ";
    }
}

fn say_place(dir: &StoreDir, drv: &StorePath, place: usize) {
    print_line(&format!(
        "waiting for a build slot for '{}', number {place} in the queue",
        dir.display(drv)
    ));
}
