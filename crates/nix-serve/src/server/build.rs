//! The commands that build: arguments read, the build run by a [`BuildService`] while the
//! client is watched, the result written.
//!
//! A failed build is a reply like any other, and the connection goes on. Only a client that
//! hangs up, or a signal, ends the connection: then nobody waits for a reply, and none is
//! written.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use nix_base::{BuildOptions, BuildResult, BuildStatus, StorePath, StorePathSet, WireRead};
use nix_build::{BuildFailure, Cancel, Requester};
use nix_drv::proof::PackedProof;
use nix_drv::{BasicDerivation, drv_name};
use nix_store_core::LocalStore;

use super::hangup::watching;
use super::input::{SessionInput, Source};
use super::session::{Session, arguments, metered};
use super::{Refusal, Rule, ServeError};
use crate::policy::Capability;
use crate::proto::build_result::{BuildPathsReply, write_build_result};
use crate::proto::options::read_build_options;
use crate::proto::request::BuildPaths;
use crate::proto::{BuildTarget, ServeCommand};

/// What builds for a connection.
///
/// Whatever goes wrong is part of the result. Both end early once `cancel` is set; what
/// they give then is not sent.
pub trait BuildService {
    /// Builds one derivation, whose inputs are all there.
    fn build_derivation(
        &self,
        store: &LocalStore,
        request: DerivationRequest,
        cancel: &Cancel,
    ) -> BuildResult;

    /// Builds derivations of the store with all that they need.
    fn build_paths(
        &self,
        store: &LocalStore,
        request: PathsRequest,
        cancel: &Cancel,
    ) -> PathsOutcome;

    /// What derivations may require of this machine.
    fn system_features(&self, store: &LocalStore) -> BTreeSet<String> {
        let _ = store;
        BTreeSet::new()
    }
}

/// What came of [`BuildService::build_paths`].
#[derive(Debug, Clone, Default)]
pub struct PathsOutcome {
    /// What the client is told.
    pub reply: BuildPathsReply,
    /// Outputs that were built for it.
    pub built: StorePathSet,
    /// Seconds that the builds took in all, also those that were given up.
    pub seconds: u64,
}

impl From<BuildPathsReply> for PathsOutcome {
    fn from(reply: BuildPathsReply) -> Self {
        Self {
            reply,
            ..Self::default()
        }
    }
}

/// How many builds of a key may run at the same time, whatever connection they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlots {
    /// The key.
    pub key: String,
    /// How many.
    pub count: u32,
}

/// Arguments of `BuildDerivation`.
#[derive(Debug, Clone)]
pub struct DerivationRequest {
    /// The derivation's path, which need not be valid.
    pub drv_path: StorePath,
    /// The derivation.
    pub drv: BasicDerivation,
    /// Limits and wishes of the client.
    pub options: BuildOptions,
    /// Who the client is, and what it may not do.
    pub requester: Requester,
    /// Slots of the client's own, if it has a bound.
    pub slots: Option<KeySlots>,
}

/// Arguments of `BuildPaths`.
#[derive(Debug, Clone)]
pub struct PathsRequest {
    /// What is to be there in the end.
    pub targets: Vec<BuildTarget>,
    /// Limits and wishes of the client.
    pub options: BuildOptions,
    /// Who the client is, and what it may not do.
    pub requester: Requester,
    /// Slots of the client's own, if it has a bound.
    pub slots: Option<KeySlots>,
}

/// The service of a server that doesn't build.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBuilds;

impl BuildService for NoBuilds {
    fn build_derivation(&self, _: &LocalStore, _: DerivationRequest, _: &Cancel) -> BuildResult {
        BuildResult::failure(BuildStatus::MiscFailure, NO_BUILDS)
    }

    fn build_paths(&self, _: &LocalStore, _: PathsRequest, _: &Cancel) -> PathsOutcome {
        failed_paths(NO_BUILDS.to_owned()).into()
    }
}

const NO_BUILDS: &str = "this server does not build";

impl<W: Write> Session<'_, W> {
    pub(super) fn build_derivation<S: Source>(
        &self,
        input: &mut SessionInput<'_, S>,
    ) -> Result<(), ServeError> {
        let command = ServeCommand::BuildDerivation;
        let request = self.read_derivation_request(command, input)?;
        self.build_checked(command, request, None, input)
    }

    /// Builds what the role allows; refusals are replies like failures.
    pub(super) fn build_checked<S: Source>(
        &self,
        command: ServeCommand,
        mut request: DerivationRequest,
        proof: Option<PackedProof>,
        input: &mut SessionInput<'_, S>,
    ) -> Result<(), ServeError> {
        check_repeats(request.options)?;
        self.note.borrow_mut().derivation = Some(request.drv_path.clone());
        let result = match self.admit_derivation(&mut request, proof) {
            Ok(()) => {
                let build =
                    |cancel: &Cancel| self.builds.build_derivation(self.store, request, cancel);
                let result = self.watched(input, build, seconds_of)?;
                self.take_over(&result)?;
                result
            }
            Err(error) => BuildResult::failure(status_of(&error), self.note_failure(&error)),
        };
        tracing::debug!(status = result.status.name(), "built");
        self.reply(command, |out| {
            write_build_result(&result, self.dir(), self.version, out)
        })
    }

    /// Checks a build, and fills in what holds for it.
    fn admit_derivation(
        &self,
        request: &mut DerivationRequest,
        proof: Option<PackedProof>,
    ) -> Result<(), ServeError> {
        self.pin_for(request)?;
        self.check_options(&mut request.options)?;
        let checked = self
            .guard
            .check_build(&request.drv_path, &request.drv, proof)?;
        self.note.borrow_mut().reason = Some(checked.how.to_owned());
        self.guard.keep_texts(checked.texts)?;
        request.requester = self.requester(checked.hidden, checked.is_vouched_for);
        request.slots = self.guard.slots();
        Ok(())
    }

    /// Builds while the client is watched. One that leaves pays for what ran all the same.
    fn watched<S: Source, T>(
        &self,
        input: &mut SessionInput<'_, S>,
        build: impl FnOnce(&Cancel) -> T,
        seconds_of: impl FnOnce(&T) -> u64,
    ) -> Result<T, ServeError> {
        let mut seconds = 0;
        let result = watching(input, |cancel| {
            let result = build(cancel);
            seconds = seconds_of(&result);
            result
        });
        if result.is_err() {
            // However often it leaves within a second.
            let seconds = seconds.saturating_add(1);
            self.note.borrow_mut().build_seconds = seconds;
            self.guard.book_seconds(seconds)?;
        }
        result
    }

    /// Lets the client see what was built for it.
    fn take_over(&self, result: &BuildResult) -> Result<(), ServeError> {
        if !result.status.is_success() {
            self.note_error(&result.error_msg);
        }
        let outputs: StorePathSet = outputs_of(result).collect();
        let seconds = seconds_of(result);
        self.take_over_paths(outputs, seconds)
    }

    fn take_over_paths(&self, outputs: StorePathSet, seconds: u64) -> Result<(), ServeError> {
        self.guard.book_seconds(seconds)?;
        self.guard.grant(&outputs)?;
        let mut note = self.note.borrow_mut();
        note.build_seconds = seconds;
        note.paths.extend(outputs);
        Ok(())
    }

    pub(super) fn build_paths<S: Source>(
        &self,
        input: &mut SessionInput<'_, S>,
    ) -> Result<(), ServeError> {
        let command = ServeCommand::BuildPaths;
        let request = BuildPaths::read(self.version, &mut metered(input))
            .map_err(|e| arguments(command, e))?;
        check_repeats(request.options)?;
        // Nix compat: a target that can't be parsed ends the connection.
        let targets = request
            .targets
            .iter()
            .map(|text| BuildTarget::parse(text, self.dir()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(ServeError::Target)?;
        let mut request = PathsRequest {
            targets,
            options: request.options,
            requester: Requester::default(),
            slots: None,
        };
        let reply = match self.admit_paths(&mut request) {
            Ok(()) => {
                let build = |cancel: &Cancel| self.builds.build_paths(self.store, request, cancel);
                let outcome = self.watched(input, build, |outcome| outcome.seconds)?;
                if outcome.reply.status != 0 {
                    self.note_error(&outcome.reply.error_msg);
                }
                self.take_over_paths(outcome.built, outcome.seconds)?;
                outcome.reply
            }
            Err(error) => failed_paths(self.note_failure(&error)),
        };
        tracing::debug!(status = reply.status, "built");
        self.reply(command, |out| reply.write(out))
    }

    fn admit_paths(&self, request: &mut PathsRequest) -> Result<(), ServeError> {
        let targets = request.targets.iter();
        let pinned = targets.map(|target| target.path().clone()).collect();
        self.note_paths(&pinned);
        self.store.add_temp_roots(&pinned)?;
        self.check_options(&mut request.options)?;
        let checked = self.guard.check_graph(&request.targets)?;
        request.requester = self.requester(checked.hidden, true);
        request.slots = self.guard.slots();
        Ok(())
    }

    fn requester(&self, hidden: StorePathSet, is_vouched_for: bool) -> Requester {
        let features = || self.builds.system_features(self.store);
        self.guard.requester(hidden, is_vouched_for, features)
    }

    /// Refuses wishes that the role doesn't allow, and bounds the time by what is left.
    fn check_options(&self, options: &mut BuildOptions) -> Result<(), ServeError> {
        if options.keep_failed && !self.guard.role().allows(Capability::KeepFailed) {
            let what = "directories of failed builds are not kept for this key";
            return Err(Refusal::new(Rule::Confinement, what)
                .unless("capability 'keep-failed'")
                .into());
        }
        if let Some(left) = self.guard.build_seconds_left()? {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            options.build_timeout = match options.build_timeout {
                0 => left,
                wanted => wanted.min(left),
            };
        }
        Ok(())
    }

    /// Notes why nothing was built, and gives the message for it.
    fn note_failure(&self, error: &ServeError) -> String {
        let mut note = self.note.borrow_mut();
        note.has_failed = true;
        match error {
            ServeError::Refused(refusal) => {
                note.refusal = Some((**refusal).clone());
                refusal.to_string()
            }
            error => {
                let failure = BuildFailure::because("cannot build", error);
                note.reason = Some(failure.message.clone());
                failure.message
            }
        }
    }

    fn note_error(&self, message: &str) {
        let mut note = self.note.borrow_mut();
        note.has_failed = true;
        note.reason = Some(message.to_owned());
    }

    pub(super) fn read_derivation_request(
        &self,
        command: ServeCommand,
        input: &mut impl Read,
    ) -> Result<DerivationRequest, ServeError> {
        let drv_path = input
            .read_path("the derivation's path", self.dir())
            .map_err(|e| arguments(command, e.into()))?;
        let bad = |source| ServeError::Derivation {
            path: self.dir().print(&drv_path),
            source: Box::new(source),
        };
        let name = drv_name(&drv_path).map_err(bad)?;
        // It has a limit of its own for all its parts.
        let drv = BasicDerivation::read_wire(input, self.dir(), &name).map_err(bad)?;
        let options = read_build_options(self.version, input).map_err(|e| arguments(command, e))?;
        Ok(DerivationRequest {
            drv_path,
            drv,
            options,
            requester: Requester::default(),
            slots: None,
        })
    }

    /// Keeps collectors off all that the build needs and makes.
    fn pin_for(&self, request: &DerivationRequest) -> nix_store_core::Result<()> {
        let mut pinned = request.drv.input_srcs.clone();
        pinned.insert(request.drv_path.clone());
        // Outputs whose paths can't be told are the builder's to complain of.
        if let Ok(outputs) = request.drv.known_outputs(self.dir()) {
            pinned.extend(outputs.into_iter().map(|(_, path)| path));
        }
        self.store.add_temp_roots(&pinned)
    }
}

/// The outputs that a result is about.
pub(crate) fn outputs_of(result: &BuildResult) -> impl Iterator<Item = StorePath> {
    let outputs = result.built_outputs.values();
    outputs.map(|realisation| realisation.out_path.clone())
}

/// Seconds that a build took, whatever came of it.
pub(crate) fn seconds_of(result: &BuildResult) -> u64 {
    u64::try_from(result.stop_time.saturating_sub(result.start_time)).unwrap_or(0)
}

fn failed_paths(error_msg: String) -> BuildPathsReply {
    BuildPathsReply {
        status: 1,
        error_msg,
    }
}

fn status_of(error: &ServeError) -> BuildStatus {
    match error {
        ServeError::Refused(_) => BuildStatus::InputRejected,
        _ => BuildStatus::MiscFailure,
    }
}

/// Nix compat: what servers since 2.13 do.
fn check_repeats(options: BuildOptions) -> Result<(), ServeError> {
    match options.nr_repeats {
        0 => Ok(()),
        _ => Err(ServeError::Repeats),
    }
}

#[cfg(test)]
mod tests;
