//! What is taken down of each command for the [`Audit`](super::Audit).

use std::io::{self, Write};

use nix_base::{StorePath, StorePathSet};
use nix_build::failure::with_causes;

use super::audit::{AuditRecord, Verdict};
use super::guard::Announced;
use super::session::Session;
use super::{Refusal, ServeError};
use crate::proto::ServeCommand;

/// What is known of the command that is being served.
#[derive(Debug, Default)]
pub(super) struct Note {
    pub(super) paths: StorePathSet,
    pub(super) derivation: Option<StorePath>,
    pub(super) bytes: u64,
    pub(super) build_seconds: u64,
    /// What went wrong, or by what it was verified.
    pub(super) reason: Option<String>,
    /// A refusal that was sent as a reply.
    pub(super) refusal: Option<Refusal>,
    pub(super) has_failed: bool,
    /// Its end is the commit's.
    pub(super) is_import: bool,
}

impl<W: Write> Session<'_, W> {
    pub(super) fn note_paths(&self, paths: &StorePathSet) {
        if self.guard.audit().is_on() {
            self.note.borrow_mut().paths.clone_from(paths);
        }
    }

    pub(super) fn note_path(&self, path: &StorePath) {
        self.note.borrow_mut().paths.insert(path.clone());
    }

    /// Tells what came of a command.
    pub(super) fn record(&self, command: ServeCommand, result: &Result<(), ServeError>) {
        let note = self.note.take();
        // An import that was let in is over when it is committed.
        if !self.guard.audit().is_on()
            || note.is_import && result.is_ok()
            || command == ServeCommand::AnnounceFeatures
        {
            return;
        }
        let failure = result.as_ref().err();
        let refusal = failure.and_then(refusal_of).or(note.refusal);
        let verdict = match (&refusal, failure) {
            (Some(_), _) => Verdict::Refused,
            (None, Some(_)) => Verdict::Failed,
            (None, None) if note.has_failed => Verdict::Failed,
            (None, None) => Verdict::Allowed,
        };
        let reason = note
            .reason
            .or_else(|| failure.map(|error| with_causes(error)));
        self.guard.audit().record(&AuditRecord {
            key: self.guard.role().key.as_deref(),
            command: command.name(),
            paths: &note.paths,
            derivation: note.derivation.as_ref(),
            bytes: note.bytes,
            build_seconds: note.build_seconds,
            verdict,
            refusal: refusal.as_ref(),
            reason: reason.as_deref(),
        });
    }

    /// Tells of imports that are acknowledged.
    pub(super) fn record_imports(&self, done: &[Announced]) {
        for import in done {
            self.record_import(import, Verdict::Allowed, None, None);
        }
    }

    /// Tells of the import that ended a commit, if one did.
    pub(super) fn record_failed_import(&self, result: &Result<(), ServeError>) {
        if let (Err(error), Some(import)) = (result, self.guard.next_announced()) {
            let refusal = refusal_of(error);
            let verdict = match refusal {
                Some(_) => Verdict::Refused,
                None => Verdict::Failed,
            };
            self.record_import(
                &import,
                verdict,
                refusal.as_ref(),
                Some(&with_causes(error)),
            );
        }
    }

    fn record_import(
        &self,
        import: &Announced,
        verdict: Verdict,
        refusal: Option<&Refusal>,
        reason: Option<&str>,
    ) {
        if !self.guard.audit().is_on() {
            return;
        }
        self.guard.audit().record(&AuditRecord {
            key: self.guard.role().key.as_deref(),
            command: ServeCommand::AddToStoreNar.name(),
            paths: &[import.path.clone()].into(),
            derivation: None,
            bytes: import.nar_size,
            build_seconds: 0,
            verdict,
            refusal,
            reason,
        });
    }
}

/// The refusal that an error is, if it is one.
fn refusal_of(error: &ServeError) -> Option<Refusal> {
    match error {
        ServeError::Refused(refusal) => Some((**refusal).clone()),
        ServeError::NotAllowed { .. } => {
            Some(Refusal::new(super::Rule::Capability, error.to_string()).unless("'--write'"))
        }
        _ => None,
    }
}

/// Counts what is written.
pub(super) struct Counted<W> {
    inner: W,
    pub(super) count: u64,
}

impl<W> Counted<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, count: 0 }
    }
}

impl<T: Write, W: std::ops::DerefMut<Target = T>> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
