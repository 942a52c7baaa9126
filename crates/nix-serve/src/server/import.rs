//! The commands that add objects, and the shared commit of what they staged.

use std::io::{self, BufRead, Write};

use nix_base::{ValidPathInfo, WireWrite};
use nix_store_core::{CommitOutcome, ImportBatch};

use super::ServeError;
use super::input::Pending;
use super::session::{Session, arguments, metered};
use crate::proto::ServeCommand;
use crate::proto::path_info::read_add_to_store_nar;

impl<W: Write> Session<'_, W> {
    /// Stages one object. Its acknowledgement follows with the batch.
    pub(super) fn add_to_store_nar(&self, input: &mut impl BufRead) -> Result<(), ServeError> {
        let command = ServeCommand::AddToStoreNar;
        let mut info = read_add_to_store_nar(self.dir(), &mut metered(input))
            .map_err(|e| arguments(command, e))?;
        distrust(&mut info);
        self.batch.stage(info, input)?;
        if self.batch.is_full() {
            self.acknowledge(self.batch.advance())?;
        }
        Ok(())
    }

    /// Adds the objects of an export stream; one acknowledgement for all.
    pub(super) fn import_paths(&self, input: &mut impl BufRead) -> Result<(), ServeError> {
        // A batch of its own: nothing of it is acknowledged before the end.
        ImportBatch::new(self.store).import_stream(input, &mut |_| {})?;
        self.reply(ServeCommand::ImportPaths, |out| out.write_u64(1))
    }

    /// Commits what is staged and acknowledges it.
    pub(super) fn commit(&self) -> Result<(), ServeError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.acknowledge(self.batch.commit())
    }

    fn acknowledge(&self, outcome: CommitOutcome) -> Result<(), ServeError> {
        self.reply(ServeCommand::AddToStoreNar, |out| {
            (0..outcome.valid).try_for_each(|_| out.write_u64(1))
        })?;
        outcome.failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// [`Self::commit`] in the middle of a read; the failure is kept for the end.
    pub(super) fn commit_before_wait(&self) -> io::Result<Pending> {
        // The client may be sending all the time: no reason to wait for the disk instead.
        if self.batch.is_flushing() {
            return Ok(Pending::Later);
        }
        match self.commit() {
            Ok(()) => Ok(Pending::Nothing),
            Err(error) => {
                self.commit_failure.replace(Some(error));
                Err(io::Error::other("the commit of staged objects failed"))
            }
        }
    }
}

/// Drops what a remote client can't know: that an object was built here.
fn distrust(info: &mut ValidPathInfo) {
    info.info.ultimate = false;
}
