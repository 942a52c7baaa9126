//! Contents and metadata of each path, read by several threads.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix_base::{NarHash, StorePath, StorePathSet, ValidPathInfo};
use nix_nar::fs::dump::dump_at_unnoticed;

use super::journal::Marks;
use super::metadata::{self, FaultyMetadata};
use super::options::Remedy;
use super::pool::{Event, in_order};
use super::problem::VerifyProblem;
use super::repair::RepairError;
use super::throttle::{Pace, PacedSink};
use super::{Check, Outcome};
use crate::error::{Error, Result};

/// A path that is to be read, and what the database says of it.
struct Target {
    path: StorePath,
    recorded: Recorded,
}

#[derive(Debug, Clone, Copy)]
struct Recorded {
    hash: NarHash,
    size: u64,
}

impl From<&ValidPathInfo> for Recorded {
    fn from(info: &ValidPathInfo) -> Self {
        Self {
            hash: info.nar_hash,
            size: info.nar_size,
        }
    }
}

/// What was read of an object.
struct Seen {
    content: nix_nar::Result<(NarHash, u64)>,
    metadata: Result<Option<FaultyMetadata>>,
}

/// How objects are read.
struct Reading<'r> {
    dir: BorrowedFd<'r>,
    dir_path: &'r Path,
    pace: &'r Pace,
    /// Whose the objects must be, if their metadata counts.
    owner: Option<u32>,
}

impl Reading<'_> {
    fn look(&self, name: &OsStr) -> Seen {
        let mut sink = PacedSink::new(self.pace);
        let content = dump_at_unnoticed(self.dir, name, &mut sink).map(|_| sink.finish());
        let metadata = match self.owner {
            Some(owner) if content.is_ok() => {
                metadata::examine(self.dir, self.dir_path, name, owner)
            }
            _ => Ok(None),
        };
        Seen { content, metadata }
    }
}

impl Check<'_, '_, '_> {
    /// Reads all of `paths`, and settles what is wrong with them.
    pub(super) fn check_contents(
        &mut self,
        paths: &StorePathSet,
        mut marks: Option<&mut Marks>,
    ) -> Result<()> {
        let targets = self.targets(paths, marks.as_deref())?;
        let pace = Pace::new(self.options.rate);
        let owner = match self.options.metadata {
            true => Some(metadata::owner_of(self.store)?),
            false => None,
        };
        let store = self.store;
        let reading = Reading {
            dir: store.store_fd(),
            dir_path: &store.layout().real_store,
            pace: &pace,
            owner,
        };
        let look = |i: usize| reading.look(OsStr::new(&targets[i].path.to_string()));
        in_order(targets.len(), self.threads(), &pace, look, |event| {
            let Some((i, seen)) = self.unless_cancelled(event, &pace) else {
                return Ok(());
            };
            let is_bad = self.take_in(&targets[i], seen, &reading)?;
            match &mut marks {
                // It wasn't looked at to the end.
                _ if self.report.cancelled => Ok(()),
                Some(marks) => marks.passed(&targets[i].path, is_bad),
                None => Ok(()),
            }
        })
    }

    /// Accounts for what was read of an object, and settles what is wrong with it. Whether
    /// something still is.
    fn take_in(&mut self, target: &Target, seen: Seen, reading: &Reading<'_>) -> Result<bool> {
        self.watch.looks_at(&target.path);
        self.report.paths += 1;
        if let Ok((_, size)) = &seen.content {
            self.report.bytes += size;
            self.watch.has_read(*size);
        }
        let problems = self.report.problems.len();
        self.judge(target, seen, reading)?;
        Ok(self.report.problems.len() > problems)
    }

    /// What is to be read; not what an earlier check has read.
    fn targets(&mut self, paths: &StorePathSet, marks: Option<&Marks>) -> Result<Vec<Target>> {
        let mut targets = Vec::with_capacity(paths.len());
        let mut skipped = 0;
        let mut add = |info: ValidPathInfo| {
            if marks.is_some_and(|marks| marks.covers(&info.path)) {
                skipped += 1;
            } else {
                let recorded = Recorded::from(&info);
                let path = info.path;
                targets.push(Target { path, recorded });
            }
            Ok(())
        };
        match self.store.db.query_infos(paths, &mut add) {
            Err(Error::CorruptRow { .. }) => {
                (targets, skipped) = (Vec::new(), 0);
                for path in paths {
                    self.target(path, &mut targets)?;
                }
            }
            result => result?,
        }
        self.report.skipped = skipped;
        Ok(targets)
    }

    /// One of the paths where some rows can't be understood.
    fn target(&mut self, path: &StorePath, targets: &mut Vec<Target>) -> Result<()> {
        let source = match self.store.db.query_path_info(path) {
            Ok(None) => return Ok(()),
            Ok(Some(info)) => {
                targets.push(Target {
                    recorded: Recorded::from(&info),
                    path: info.path,
                });
                return Ok(());
            }
            Err(error @ Error::CorruptRow { .. }) => Box::new(error),
            Err(error) => return Err(error),
        };
        let problem = VerifyProblem::BadRow {
            path: self.store.full_path(path),
            source,
        };
        self.report.paths += 1;
        self.settle(problem, |check| Ok(check.database_outcome()))
    }

    pub(super) fn threads(&self) -> usize {
        match self.options.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads => threads,
        }
    }

    /// A result, unless there is none, or the check was stopped.
    pub(super) fn unless_cancelled<T>(&mut self, event: Event<T>, pace: &Pace) -> Option<T> {
        if self.watch.is_cancelled() {
            self.report.cancelled = true;
            pace.stop();
        }
        match event {
            Event::Done(done) if !self.report.cancelled => Some(done),
            _ => None,
        }
    }

    /// Settles what is wrong with an object, if anything is. It may have been collected
    /// while it was read, or come back: a second look is taken, at a path that stays.
    fn judge(&mut self, target: &Target, seen: Seen, reading: &Reading<'_>) -> Result<()> {
        let path = &target.path;
        if self.problem_of(path, target.recorded, seen)?.is_none() {
            return Ok(());
        }
        if !self.store.is_read_only() {
            self.store.add_temp_root(path)?;
        }
        let Some(info) = self.store.db.query_path_info(path)? else {
            return Ok(());
        };
        let recorded = Recorded::from(&info);
        let Some(seen) = self.look_again(path, reading)? else {
            return Ok(());
        };
        let found = seen.content.as_ref().ok().copied();
        match self.problem_of(path, recorded, seen)? {
            Some(problem) => self.settle_content(path, problem, found),
            None => Ok(()),
        }
    }

    /// A look in a thread of its own, so that this one can be told to stop; nothing then.
    fn look_again(&mut self, path: &StorePath, reading: &Reading<'_>) -> Result<Option<Seen>> {
        let name = path.to_string();
        let mut seen = None;
        let look = |_| reading.look(OsStr::new(&name));
        in_order(1, 1, reading.pace, look, |event| {
            if let Some((_, done)) = self.unless_cancelled(event, reading.pace) {
                seen = Some(done);
            }
            Ok(())
        })?;
        Ok(seen)
    }

    fn problem_of(
        &self,
        path: &StorePath,
        recorded: Recorded,
        seen: Seen,
    ) -> Result<Option<VerifyProblem>> {
        let full = self.store.full_path(path);
        let (actual, size) = match seen.content {
            Ok(content) => content,
            Err(source) => return self.unreadable(path, source).map(Some),
        };
        if recorded.hash.is_unknown() {
            return Ok(Some(VerifyProblem::NoHash { path: full }));
        }
        if recorded.hash != actual {
            return Ok(Some(VerifyProblem::Modified {
                path: full,
                expected: recorded.hash,
                actual,
            }));
        }
        let is_to_learn = self.options.remedy != Remedy::Report && recorded.size == 0;
        if recorded.size != size && (recorded.size != 0 || is_to_learn) {
            return Ok(Some(VerifyProblem::WrongSize {
                path: full,
                expected: recorded.size,
                actual: size,
            }));
        }
        Ok(match seen.metadata {
            Ok(None) => None,
            Ok(Some(faulty)) => Some(VerifyProblem::WrongMetadata {
                path: full,
                file: faulty.file,
                fault: faulty.fault,
                others: faulty.others,
            }),
            Err(error) => Some(VerifyProblem::Unreadable {
                path: full,
                source: Box::new(error),
            }),
        })
    }

    fn unreadable(&self, path: &StorePath, source: nix_nar::Error) -> Result<VerifyProblem> {
        if !self.store.has_object(path) {
            let is_needed = !self.other_referrers(path)?.is_empty();
            return Ok(self.disappeared(path, is_needed));
        }
        let full = self.store.full_path(path);
        Ok(VerifyProblem::Unreadable {
            path: full.clone(),
            source: Box::new(Error::Nar {
                action: "write",
                path: Box::new(full),
                source,
            }),
        })
    }

    fn settle_content(
        &mut self,
        path: &StorePath,
        problem: VerifyProblem,
        found: Option<(NarHash, u64)>,
    ) -> Result<()> {
        let store = self.store;
        let remedy = self.options.remedy;
        let is_known =
            !matches!(problem, VerifyProblem::WrongSize { expected, .. } if expected != 0);
        match (&problem, found) {
            // Nix compat: what was never recorded is filled in without being asked to.
            (
                VerifyProblem::NoHash { .. } | VerifyProblem::WrongSize { .. },
                Some((hash, size)),
            ) if remedy == Remedy::Repair || remedy == Remedy::Tidy && is_known => {
                self.settle(problem, |_| {
                    store.db.record_content(path, &hash, size)?;
                    Ok(Outcome::Repaired)
                })
            }
            (VerifyProblem::WrongMetadata { .. }, _) if remedy == Remedy::Repair => {
                self.settle(problem, |check| {
                    let copied = check.repairer.copy_anew(path);
                    let copied = copied.map_err(|error| RepairError::Store(Box::new(error)));
                    Ok(copied.into())
                })
            }
            _ => self.settle(problem, |check| Ok(check.restore(path))),
        }
    }
}
