//! Checking that what the database says is so, and putting right what isn't.
//!
//! ```text
//! collectors wait      database · which valid paths have no object    (existence)
//! then they may run    what has none comes anew or is forgotten       (existence)
//!                      deduplicated files                             (links)
//!                      contents and metadata of each path             (contents, metadata)
//! ```
//!
//! Copies and contents take long, so nobody waits for them. A collector may then remove a path
//! that is being read: whatever seems to be wrong is looked at again after the path was pinned as
//! a temporary root and is still valid. Where only some paths are asked for, these are pinned from
//! the beginning, and neither side waits for the other.
//!
//! What is damaged is replaced by a good copy ([`repair`]) that was received, compared and
//! flushed before; the exchange is one rename.

mod contents;
mod existence;
mod journal;
mod links;
mod metadata;
mod options;
mod pool;
mod problem;
mod repair;
mod throttle;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;

use nix_base::{StorePath, StorePathSet};
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use super::LocalStore;
use crate::error::{Error, FullPath, Result};
use crate::lock::{GcLock, LockMode, Wait};
use journal::Marks;
use repair::Repairer;

pub use options::{CheckContents, Journal, Remedy, VerifyOptions, VerifyPhase, VerifyWatch};
pub use problem::{MetadataFault, VerifyProblem};
pub use repair::{Fetched, RepairError, RepairSource};

/// What a check found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// How many valid paths were looked at.
    pub paths: usize,
    /// How many were not, since an earlier check that was cut had come past them.
    pub skipped: usize,
    /// How many deduplicated files were hashed.
    pub links: usize,
    /// How many bytes of archives were hashed.
    pub bytes: u64,
    /// What is wrong: first with what, if anything, is not there, then with what is; each in
    /// the order of the paths. Or what is wrong with the database, and then no path was
    /// looked at.
    pub problems: Vec<VerifyProblem>,
    /// What was wrong and isn't any longer.
    pub repaired: Vec<VerifyProblem>,
    /// Paths that disappeared, and that the database has forgotten.
    pub forgotten: Vec<VerifyProblem>,
    /// Why what is wrong could not be put right, if that was tried.
    pub failures: Vec<RepairFailure>,
    /// Whether it was stopped before its end.
    pub cancelled: bool,
}

/// Why a problem remains.
#[derive(Debug)]
pub struct RepairFailure {
    /// Its place in [`VerifyReport::problems`].
    pub problem: usize,
    /// Why.
    pub error: RepairError,
}

impl VerifyReport {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl LocalStore {
    /// Compares the store with its database. Nothing is changed.
    ///
    /// `progress` is called for each path, in order.
    ///
    /// # Errors
    /// The database or the store directory can't be read; what is wrong with single paths
    /// is in the report.
    pub fn verify(
        &self,
        check_contents: CheckContents,
        progress: &mut dyn FnMut(&StorePath),
    ) -> Result<VerifyReport> {
        let options = VerifyOptions {
            contents: check_contents,
            ..VerifyOptions::default()
        };
        self.verify_with(&options, &mut [], &mut Progress(progress))
    }

    /// Compares the store with its database, and does about what is wrong what `options`
    /// say; good copies come from `sources`, which are asked in turn.
    ///
    /// # Errors
    /// The database or the store directory can't be read, one of the paths asked for isn't
    /// valid, or a store open for reading is to be changed. What is wrong with single paths
    /// is in the report.
    pub fn verify_with(
        &self,
        options: &VerifyOptions,
        sources: &mut [Box<dyn RepairSource + '_>],
        watch: &mut dyn VerifyWatch,
    ) -> Result<VerifyReport> {
        if options.remedy != Remedy::Report {
            self.require_writable("repair the store")?;
        }
        let mut check = Check {
            store: self,
            options,
            sources,
            watch,
            repairer: Repairer::new(self),
            report: VerifyReport::default(),
        };
        check.run()?;
        Ok(check.report)
    }

    /// Gets `path`, which must be valid, anew from the first of `sources` that has it with
    /// the recorded hash, whether or not something is wrong with it.
    ///
    /// # Errors
    /// No source has it, or the store can't take it.
    pub fn repair_path(
        &self,
        path: &StorePath,
        sources: &mut [Box<dyn RepairSource + '_>],
    ) -> Result<(), RepairError> {
        let writable = self.require_writable("repair the store");
        writable.map_err(|error| RepairError::Store(Box::new(error)))?;
        Repairer::new(self).restore(path, sources)
    }

    fn list_objects(&self) -> Result<HashSet<OsString>> {
        let dir = &self.layout().real_store;
        let fail = |error| Error::io("list", dir, error);
        fs::read_dir(dir)
            .map_err(fail)?
            .map(|entry| Ok(entry.map_err(fail)?.file_name()))
            .collect()
    }

    /// Whether something lies at the path; also if it can't be seen what.
    fn has_object(&self, path: &StorePath) -> bool {
        let looked = statat(self.store_fd(), path.to_string(), AtFlags::SYMLINK_NOFOLLOW);
        !matches!(looked, Err(Errno::NOENT))
    }

    fn full_path(&self, path: &StorePath) -> FullPath {
        FullPath::new(self.store_dir(), path)
    }
}

/// One run.
struct Check<'c, 's, 'x> {
    store: &'s LocalStore,
    options: &'c VerifyOptions,
    sources: &'c mut [Box<dyn RepairSource + 'x>],
    watch: &'c mut dyn VerifyWatch,
    repairer: Repairer<'s>,
    report: VerifyReport,
}

impl Check<'_, '_, '_> {
    fn run(&mut self) -> Result<()> {
        let (mut paths, missing, mut marks) = {
            let _no_collector = self.keep_collectors_away()?;
            if self.options.paths.is_none() {
                self.store.db.check_integrity(&mut self.report.problems)?;
            }
            if !self.report.is_clean() {
                // What a damaged database tells of the paths is worth nothing.
                return self.give_up_on_database();
            }
            self.watch.begins(VerifyPhase::Existence);
            // The marks first: what becomes valid from here on is newer than they are.
            let marks = self.marks()?;
            // The rows first: what they tell of is on disk already, and stays.
            let paths = self.wanted()?;
            let missing = self.missing_among(&paths)?;
            (paths, missing, marks)
        };
        paths.retain(|path| !missing.contains(path));
        self.settle_missing(missing)?;
        if self.report.cancelled {
            return Ok(());
        }
        if self.options.contents == CheckContents::No {
            self.report.paths += paths.len();
            paths.iter().for_each(|path| self.watch.looks_at(path));
            return Ok(());
        }
        self.read(&paths, marks.as_mut())?;
        match marks {
            Some(mut marks) if self.report.cancelled => marks.save(),
            Some(marks) => marks.remove(),
            None => Ok(()),
        }
    }

    fn read(&mut self, paths: &StorePathSet, mut marks: Option<&mut Marks>) -> Result<()> {
        if self.options.paths.is_none() {
            self.watch.begins(VerifyPhase::Links);
            self.check_links(marks.as_deref_mut())?;
        }
        if self.report.cancelled {
            return Ok(());
        }
        self.watch.begins(VerifyPhase::Contents);
        self.check_contents(paths, marks)
    }

    /// The marks that this check leaves, if any.
    fn marks(&self) -> Result<Option<Marks>> {
        let VerifyOptions {
            contents, metadata, ..
        } = *self.options;
        let is_of_all = contents == CheckContents::Yes && self.options.paths.is_none();
        match self.options.journal {
            _ if !is_of_all || self.store.is_read_only() => Ok(None),
            Journal::None => Ok(None),
            Journal::Fresh => Marks::fresh(self.store, metadata).map(Some),
            Journal::Resume => Marks::resume(self.store, metadata).map(Some),
        }
    }

    /// A lock against collectors, or nothing where they do no harm.
    fn keep_collectors_away(&self) -> Result<Option<GcLock>> {
        if self.store.is_read_only() {
            return Ok(None);
        }
        if let Some(paths) = &self.options.paths {
            self.store.add_temp_roots(paths)?;
            return Ok(None);
        }
        GcLock::acquire(&self.store.layout().state, LockMode::Shared, Wait::Forever)
            .map_err(|error| Error::lock("verify the store", error))
    }

    fn wanted(&self) -> Result<StorePathSet> {
        let Some(paths) = &self.options.paths else {
            return self.store.db.query_all_valid();
        };
        let valid = self.store.db.query_valid(paths)?;
        match paths.difference(&valid).next() {
            Some(path) => Err(Error::not_valid(self.store.store_dir(), path)),
            None => Ok(valid),
        }
    }

    fn give_up_on_database(&mut self) -> Result<()> {
        for problem in std::mem::take(&mut self.report.problems) {
            self.settle(problem, |check| Ok(check.database_outcome()))?;
        }
        Ok(())
    }

    fn database_outcome(&self) -> Outcome {
        match self.options.remedy {
            Remedy::Repair => Outcome::Failed(RepairError::Database),
            _ => Outcome::Left,
        }
    }

    /// Reports a problem, and what came of the attempt to put it right, if one is made.
    fn settle(
        &mut self,
        problem: VerifyProblem,
        put_right: impl FnOnce(&mut Self) -> Result<Outcome>,
    ) -> Result<()> {
        self.watch.found(&problem);
        match put_right(self)? {
            Outcome::Left => self.report.problems.push(problem),
            Outcome::Repaired => {
                self.watch.repaired(&problem);
                self.report.repaired.push(problem);
            }
            Outcome::Forgotten => {
                self.watch.forgot(&problem);
                self.report.forgotten.push(problem);
            }
            Outcome::Failed(error) => {
                self.watch.cannot_repair(&problem, &error);
                self.report.failures.push(RepairFailure {
                    problem: self.report.problems.len(),
                    error,
                });
                self.report.problems.push(problem);
            }
        }
        Ok(())
    }

    /// Gets an object anew if that is wanted.
    fn restore(&mut self, path: &StorePath) -> Outcome {
        match self.options.remedy {
            Remedy::Repair => self.repairer.restore(path, self.sources).into(),
            _ => Outcome::Left,
        }
    }
}

/// What came of a problem.
enum Outcome {
    /// Nothing was tried.
    Left,
    Repaired,
    Forgotten,
    Failed(RepairError),
}

impl From<Result<(), RepairError>> for Outcome {
    fn from(tried: Result<(), RepairError>) -> Self {
        tried.map_or_else(Self::Failed, |()| Self::Repaired)
    }
}

/// A watch that is told of paths alone.
struct Progress<'p>(&'p mut dyn FnMut(&StorePath));

impl VerifyWatch for Progress<'_> {
    fn looks_at(&mut self, path: &StorePath) {
        (self.0)(path);
    }
}

#[cfg(test)]
mod tests;
