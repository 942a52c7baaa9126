//! The commands of the feature `proof`.

use std::io::{Read, Write};

use super::ServeError;
use super::input::{SessionInput, Source};
use super::session::{Session, arguments, metered};
use crate::proto::proof::{read_text_hashes, write_text_hashes};
use crate::proto::{Features, ProtoError, ServeCommand};

impl<W: Write> Session<'_, W> {
    /// Takes note of what the client can; there is no reply.
    pub(super) fn announce_features(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let theirs = Features::read(&mut metered(input))
            .map_err(|e| arguments(ServeCommand::AnnounceFeatures, e))?;
        self.features.set(self.options.features.intersect(theirs));
        tracing::debug!(features = ?self.features.get(), "agreed");
        Ok(())
    }

    pub(super) fn query_proof_texts(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let command = ServeCommand::QueryProofTexts;
        let asked = read_text_hashes("the texts queried", &mut metered(input))
            .map_err(|e| arguments(command, e))?;
        self.reply(command, |out| write_text_hashes(&asked, out))
    }

    pub(super) fn build_derivation_with_proof<S: Source>(
        &self,
        _: &mut SessionInput<'_, S>,
    ) -> Result<(), ServeError> {
        let number = ServeCommand::BuildDerivationWithProof as u32;
        Err(ServeError::Command(ProtoError::UnknownCommand(number)))
    }
}
