//! Builds in a remote store.
//!
//! The stream of requests stays open until the reply is there: a server takes its end for a
//! client that has left, and ends the build.

use nix_base::{BuildOptions, BuildResult, StorePath, WireWrite};
use nix_drv::BasicDerivation;

use super::connection::RequestSize;
use super::{ClientError, RemoteStore, Result};
use crate::proto::ServeCommand;
use crate::proto::build_result::{BuildPathsReply, read_build_result};
use crate::proto::limit::MeteredReader;
use crate::proto::options::write_build_options;
use crate::proto::request::BuildPaths;

impl RemoteStore {
    /// Builds a derivation whose inputs are all valid there. A failed build is a result too.
    ///
    /// # Errors
    /// The derivation can't be sent, the server is too old, or the connection fails.
    pub fn build_derivation(
        &mut self,
        drv_path: &StorePath,
        drv: &BasicDerivation,
        options: &BuildOptions,
    ) -> Result<BuildResult> {
        let command = ServeCommand::BuildDerivation;
        let connection = self.connection();
        // Releases from 2.4 to 2.10 send the outputs to every client; we announce a version
        // that has them, so their absence is never read as something else.
        let version = connection.handshake()?;
        if !version.has_build_derivation() {
            return Err(ClientError::TooOld {
                host: connection.name().into(),
                command,
                version,
            });
        }
        let mut derivation = Vec::new();
        drv.write_wire(&mut derivation, connection.store_dir())
            .map_err(|source| ClientError::Derivation {
                path: connection.store_dir().print(drv_path),
                source: Box::new(source),
            })?;
        connection.exchange(
            command,
            RequestSize::Any,
            |dir, to_server| {
                to_server.write_path(dir, drv_path)?;
                std::io::Write::write_all(to_server, &derivation)?;
                write_build_options(options, version, to_server)
            },
            |dir, version, from_server| {
                read_build_result(dir, version, &mut MeteredReader::metadata(from_server))
            },
        )
    }

    /// Builds derivations that are valid there, with all that they need. A failed build is
    /// a reply too: any status but 0.
    ///
    /// # Errors
    /// The connection fails.
    pub fn build_paths(&mut self, request: &BuildPaths) -> Result<BuildPathsReply> {
        let connection = self.connection();
        let version = connection.handshake()?;
        connection.exchange(
            ServeCommand::BuildPaths,
            RequestSize::Any,
            |_, to_server| request.write(version, to_server),
            |_, _, from_server| BuildPathsReply::read(&mut MeteredReader::metadata(from_server)),
        )
    }
}

#[cfg(test)]
mod tests;
