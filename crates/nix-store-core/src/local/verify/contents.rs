//! Contents and metadata of each path, read by several threads.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use nix_base::{NarHash, StorePath, StorePathSet, ValidPathInfo};
use nix_nar::fs::dump::dump_at_unnoticed;

use super::journal::Marks;
use super::metadata::{self, FaultyMetadata};
use super::options::{Journal, Remedy};
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
    pub(super) fn check_contents(&mut self, paths: &StorePathSet) -> Result<()> {
        let mut marks = match self.options.journal {
            _ if self.options.paths.is_some() || self.store.is_read_only() => None,
            Journal::None => None,
            Journal::Fresh => Some(Marks::fresh(self.store)),
            Journal::Resume => Some(Marks::resume(self.store)?),
        };
        let targets = self.targets(paths, marks.as_ref())?;
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
        let threads = self.threads();
        in_order(
            targets.len(),
            threads,
            |i| reading.look(OsStr::new(&targets[i].path.to_string())),
            |event| match event {
                Event::Waits => self.note_stop(&pace),
                Event::Done(i, seen) => {
                    self.note_stop(&pace)?;
                    if self.report.cancelled {
                        return Ok(());
                    }
                    let target = &targets[i];
                    self.watch.looks_at(&target.path);
                    self.report.paths += 1;
                    if let Ok((_, size)) = &seen.content {
                        self.report.bytes += size;
                        self.watch.has_read(*size);
                    }
                    let problems = self.report.problems.len();
                    self.judge(target, seen, &reading)?;
                    let is_bad = self.report.problems.len() > problems;
                    match &mut marks {
                        Some(marks) => marks.passed(&target.path, is_bad),
                        None => Ok(()),
                    }
                }
            },
            || pace.stop(),
            || pace.is_stopped(),
        )?;
        match marks {
            Some(mut marks) if self.report.cancelled => marks.save(),
            Some(marks) => marks.remove(),
            None => Ok(()),
        }
    }

    fn targets(&mut self, paths: &StorePathSet, marks: Option<&Marks>) -> Result<Vec<Target>> {
        let mut targets = Vec::with_capacity(paths.len());
        let mut skipped = 0;
        self.store.db.query_infos(paths, |info| {
            if marks.is_some_and(|marks| marks.covers(&info)) {
                skipped += 1;
            } else {
                let recorded = Recorded::from(&info);
                let path = info.path;
                targets.push(Target { path, recorded });
            }
            Ok(())
        })?;
        self.report.skipped = skipped;
        Ok(targets)
    }

    pub(super) fn threads(&self) -> usize {
        match self.options.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads => threads,
        }
    }

    pub(super) fn note_stop(&mut self, pace: &Pace) -> Result<()> {
        if self.watch.is_cancelled() {
            self.report.cancelled = true;
            pace.stop();
        }
        Ok(())
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
        let seen = reading.look(OsStr::new(&path.to_string()));
        if reading.pace.is_stopped() {
            return Ok(());
        }
        let found = seen.content.as_ref().ok().copied();
        match self.problem_of(path, recorded, seen)? {
            Some(problem) => self.settle_content(path, problem, found),
            None => Ok(()),
        }
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
        let name = path.to_string();
        let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        if let Err(rustix::io::Errno::NOENT) =
            rustix::fs::statat(self.store.store_fd(), &name, nofollow)
        {
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

/// What happens to the thread that waits for results.
pub(super) enum Event<T> {
    /// Nothing, for a while.
    Waits,
    /// A result, in the order of the numbers.
    Done(usize, T),
}

/// Does `work` for the numbers below `count` in several threads, and hands the results to
/// `tell` in this one. Once `is_stopped`, no more is begun.
pub(super) fn in_order<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    mut tell: impl FnMut(Event<T>) -> Result<()>,
    stop: impl Fn(),
    is_stopped: impl Fn() -> bool + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let mut result = Ok(());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(QUEUE);
        for _ in 0..threads.min(count) {
            let (sender, next, work, is_stopped) = (sender.clone(), &next, &work, &is_stopped);
            scope.spawn(move || {
                while !is_stopped() {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count || sender.send((i, work(i))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        while result.is_ok() {
            result = match receiver.recv_timeout(PATIENCE) {
                Ok((i, done)) => {
                    early.insert(i, done);
                    let mut told = Ok(());
                    while let Some(done) = early.remove(&due).filter(|_| told.is_ok()) {
                        told = tell(Event::Done(due, done));
                        due += 1;
                    }
                    told
                }
                Err(RecvTimeoutError::Timeout) => tell(Event::Waits),
                Err(RecvTimeoutError::Disconnected) => break,
            };
        }
        if result.is_err() {
            stop();
        }
    });
    result
}

/// Results that wait for their turn before the threads do.
const QUEUE: usize = 256;
/// After how long without a result it is asked whether to stop.
const PATIENCE: Duration = Duration::from_millis(100);
