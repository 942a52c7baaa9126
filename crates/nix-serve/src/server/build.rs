//! The commands that build: arguments read, the build run by a [`BuildService`] while the
//! client is watched, the result written.
//!
//! A failed build is a reply like any other, and the connection goes on. Only a client that
//! hangs up, or a signal, ends the connection: then nobody waits for a reply, and none is
//! written.

use std::io::{Read, Write};

use nix_base::{BuildOptions, BuildResult, BuildStatus, StorePath, WireRead};
use nix_build::{Cancel, Requester};
use nix_drv::{BasicDerivation, drv_name};
use nix_store_core::LocalStore;

use super::ServeError;
use super::hangup::watching;
use super::input::{SessionInput, Source};
use super::session::{Session, arguments, metered};
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
    ) -> BuildPathsReply;
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
}

/// The service of a server that doesn't build.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBuilds;

impl BuildService for NoBuilds {
    fn build_derivation(&self, _: &LocalStore, _: DerivationRequest, _: &Cancel) -> BuildResult {
        BuildResult::failure(BuildStatus::MiscFailure, NO_BUILDS)
    }

    fn build_paths(&self, _: &LocalStore, _: PathsRequest, _: &Cancel) -> BuildPathsReply {
        BuildPathsReply {
            status: 1,
            error_msg: NO_BUILDS.to_owned(),
        }
    }
}

const NO_BUILDS: &str = "this server does not build";

impl<W: Write> Session<'_, W> {
    pub(super) fn build_derivation<S: Source>(
        &self,
        input: &mut SessionInput<'_, S>,
    ) -> Result<(), ServeError> {
        let command = ServeCommand::BuildDerivation;
        let request = self.read_derivation_request(input)?;
        check_repeats(request.options)?;
        let result = match self.pin_for(&request) {
            Ok(()) => watching(input, |cancel| {
                self.builds.build_derivation(self.store, request, cancel)
            })?,
            Err(error) => nix_build::BuildFailure::from(error).to_result(),
        };
        tracing::debug!(status = result.status.name(), "built");
        self.reply(command, |out| {
            write_build_result(&result, self.dir(), self.version, out)
        })
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
        let pinned = targets.iter().map(|target| target.path().clone()).collect();
        let request = PathsRequest {
            targets,
            options: request.options,
            requester: Requester::default(),
        };
        let reply = match self.store.add_temp_roots(&pinned) {
            Ok(()) => watching(input, |cancel| {
                self.builds.build_paths(self.store, request, cancel)
            })?,
            Err(error) => BuildPathsReply {
                status: 1,
                error_msg: nix_build::BuildFailure::from(error).message,
            },
        };
        tracing::debug!(status = reply.status, "built");
        self.reply(command, |out| reply.write(out))
    }

    fn read_derivation_request(
        &self,
        input: &mut impl Read,
    ) -> Result<DerivationRequest, ServeError> {
        let command = ServeCommand::BuildDerivation;
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

/// Nix compat: what servers since 2.13 do.
fn check_repeats(options: BuildOptions) -> Result<(), ServeError> {
    match options.nr_repeats {
        0 => Ok(()),
        _ => Err(ServeError::Repeats),
    }
}

#[cfg(test)]
mod tests;
