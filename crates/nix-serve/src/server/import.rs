//! The commands that add objects, and the shared commit of what they staged.

use std::io::{self, BufRead, Write};

use nix_base::WireWrite;
use nix_store_core::{CommitOutcome, ImportBatch};

use super::ServeError;
use super::guard::Announced;
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
        self.note_path(&info.path);
        self.note.borrow_mut().is_import = true;
        let scrutiny = self.guard.admit(&mut info)?;
        let announced = Announced::from(&info);
        self.batch.stage_with(info, input, scrutiny)?;
        self.guard.staged(announced);
        if self.batch.is_full() {
            self.acknowledge(self.batch.advance())?;
        }
        Ok(())
    }

    /// Adds the objects of an export stream; one acknowledgement for all.
    pub(super) fn import_paths(&self, input: &mut impl BufRead) -> Result<(), ServeError> {
        // A batch of its own: nothing of it is acknowledged before the end.
        ImportBatch::new(self.store).import_stream(input, &mut |path| self.note_path(path))?;
        let added = self.note.borrow().paths.clone();
        self.guard.grant(&added)?;
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
        let (done, granted) = self.guard.imported(outcome.valid);
        self.record_imports(&done);
        self.reply(ServeCommand::AddToStoreNar, |out| {
            (0..done.len()).try_for_each(|_| out.write_u64(1))
        })?;
        let failure = outcome.failure.map(ServeError::from);
        let result = granted.and(failure.map_or(Ok(()), Err));
        self.record_failed_import(&result);
        result
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
