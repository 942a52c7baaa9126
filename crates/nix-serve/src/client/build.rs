//! Builds in a remote store.
//!
//! The stream of requests stays open until the reply is there: a server takes its end for a
//! client that has left, and ends the build.

use std::collections::BTreeSet;
use std::io::Write;

use nix_base::{BuildOptions, BuildResult, StorePath, WireWrite};
use nix_drv::BasicDerivation;
use nix_drv::proof::PackedProof;

use super::ClientConnection;
use super::connection::RequestSize;
use super::{ClientError, RemoteStore, Result};
use crate::proto::build_result::{BuildPathsReply, read_build_result};
use crate::proto::limit::MeteredReader;
use crate::proto::options::write_build_options;
use crate::proto::proof::{TextHash, read_text_hashes, write_text_hashes};
use crate::proto::request::BuildPaths;
use crate::proto::{Feature, ProtoError, ServeCommand};

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
        build(
            self.connection(),
            ServeCommand::BuildDerivation,
            (drv_path, drv, options),
            None,
        )
    }

    /// Builds a derivation whose inputs are all valid there, with a proof for a server that
    /// doesn't take its output paths on our word.
    ///
    /// # Errors
    /// The derivation can't be sent, the server lacks the feature `proof`, or the connection
    /// fails.
    pub fn build_derivation_with_proof(
        &mut self,
        drv_path: &StorePath,
        drv: &BasicDerivation,
        options: &BuildOptions,
        proof: &PackedProof,
    ) -> Result<BuildResult> {
        let connection = self.connection();
        demand(connection, Feature::Proof)?;
        build(
            connection,
            ServeCommand::BuildDerivationWithProof,
            (drv_path, drv, options),
            Some(proof),
        )
    }

    /// Those of the texts of proofs, by their SHA-256, that the server lacks, so that they
    /// must be part of proofs.
    ///
    /// # Errors
    /// The server lacks the feature `proof`, the connection fails, or the reply has other
    /// texts.
    pub fn query_proof_texts(&mut self, texts: &BTreeSet<TextHash>) -> Result<BTreeSet<TextHash>> {
        let connection = self.connection();
        demand(connection, Feature::Proof)?;
        connection.exchange(
            ServeCommand::QueryProofTexts,
            RequestSize::Any,
            |_, to_server| write_text_hashes(texts, to_server),
            |_, _, from_server| {
                let mut reader = MeteredReader::metadata(from_server);
                let missing = read_text_hashes("the missing texts", &mut reader)?;
                match missing.is_subset(texts) {
                    true => Ok(missing),
                    false => Err(ProtoError::NotAskedFor("a text of a proof")),
                }
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

fn demand(connection: &mut ClientConnection, feature: Feature) -> Result<()> {
    match connection.has_feature(feature)? {
        true => Ok(()),
        false => Err(ClientError::NoFeature {
            host: connection.name().into(),
            feature,
        }),
    }
}

/// Sends one of the commands that build a derivation, and waits for the result.
fn build(
    connection: &mut ClientConnection,
    command: ServeCommand,
    (drv_path, drv, options): (&StorePath, &BasicDerivation, &BuildOptions),
    proof: Option<&PackedProof>,
) -> Result<BuildResult> {
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
            to_server.write_all(&derivation)?;
            write_build_options(options, version, to_server)?;
            proof.map_or(Ok(()), |proof| proof.write(to_server, dir))
        },
        |dir, version, from_server| {
            read_build_result(dir, version, &mut MeteredReader::metadata(from_server))
        },
    )
}

#[cfg(test)]
mod tests;
