//! The commands of the feature `proof`.

use std::io::{Read, Write};

use nix_drv::proof::PackedProof;

use super::ServeError;
use super::input::{SessionInput, Source};
use super::session::{Session, arguments, metered};
use crate::proto::proof::{read_text_hashes, write_text_hashes};
use crate::proto::{Features, ServeCommand};

impl<W: Write> Session<'_, W> {
    /// Takes note of what the client can; there is no reply.
    pub(super) fn announce_features(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let theirs = Features::read(&mut metered(input))
            .map_err(|e| arguments(ServeCommand::AnnounceFeatures, e))?;
        self.features.set(self.options.features().intersect(theirs));
        tracing::debug!(features = ?self.features.get(), "agreed");
        Ok(())
    }

    /// Which texts the key has to send, whatever others have sent.
    pub(super) fn query_proof_texts(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let command = ServeCommand::QueryProofTexts;
        let asked = read_text_hashes("the texts queried", &mut metered(input))
            .map_err(|e| arguments(command, e))?;
        let missing = self.guard.missing_texts(&asked)?;
        self.reply(command, |out| write_text_hashes(&missing, out))
    }

    pub(super) fn build_derivation_with_proof<S: Source>(
        &self,
        input: &mut SessionInput<'_, S>,
    ) -> Result<(), ServeError> {
        let command = ServeCommand::BuildDerivationWithProof;
        let request = self.read_derivation_request(command, input)?;
        let proof =
            PackedProof::read(input, self.dir()).map_err(|source| ServeError::Derivation {
                path: self.dir().print(&request.drv_path),
                source: Box::new(source),
            })?;
        self.build_checked(command, request, Some(proof), input)
    }
}

#[cfg(test)]
mod tests;
