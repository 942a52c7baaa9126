//! Threads that walk trees together.
//!
//! A job is a directory, or some files of one. Directories are taken up in the reverse order
//! of their discovery, so that as few are open as they are deep; the next tree is begun when
//! there is no job.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use nix_base::{NarHash, StorePath};
use nix_nar::{MAX_DEPTH, MAX_TARGET};
use rustix::fs::{AtFlags, FileType, Mode, fstat, statat};
use rustix::io::Errno;

use super::hash::FileHasher;
use super::linker::{Candidate, EXECUTABLE, Joined, Linker, lock};
use super::tree::{Dir, Touched, is_exhausted, open_file};
use super::{OptimiseProgress, OptimiseReport};
use crate::error::{Error, Result};

/// A tree to walk.
pub(super) struct Root {
    /// What it is, or will be.
    pub(super) path: StorePath,
    /// Where it is.
    pub(super) tree: Tree,
}

pub(super) enum Tree {
    Directory(Arc<Dir>),
    /// A single file: its name in the directory of all trees, and its hash if that is known.
    File(CString, Option<NarHash>),
}

/// Whose trees these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// They are valid, and everybody reads them.
    Store,
    /// Only this process reaches them.
    Process,
}

enum Job {
    Root(Root),
    Tree(Tree),
    Directory(Arc<Dir>, CString),
    Files(Arc<Touched>, Vec<Entry>),
}

struct Entry {
    name: CString,
    kind: FileType,
}

/// What the threads share.
pub(super) struct Walk<'w> {
    linker: &'w Linker<'w>,
    /// The directory that the trees are in.
    trees: BorrowedFd<'w>,
    /// Its path.
    trees_path: &'w Path,
    owner: Owner,
    progress: &'w dyn OptimiseProgress,
    jobs: Mutex<Jobs>,
    /// There are more jobs, or no more.
    change: Condvar,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

#[derive(Default)]
struct Jobs {
    stack: Vec<Job>,
    roots: VecDeque<Root>,
    /// Whether that are all.
    has_all_roots: bool,
    /// How many jobs are being done.
    busy: usize,
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        linker: &'w Linker<'w>,
        (trees, trees_path): (BorrowedFd<'w>, &'w Path),
        owner: Owner,
        progress: &'w dyn OptimiseProgress,
    ) -> Self {
        Self {
            linker,
            trees,
            trees_path,
            owner,
            progress,
            jobs: Mutex::default(),
            change: Condvar::new(),
            stopped: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// Walks one tree in this thread.
    pub(super) fn run_alone(self, tree: Tree) -> Result<OptimiseReport> {
        let mut jobs = lock(&self.jobs);
        jobs.stack.push(Job::Tree(tree));
        jobs.has_all_roots = true;
        drop(jobs);
        let report = Worker::new(&self).run();
        self.finish(report)
    }

    /// Walks all trees that `supply` gives, until it gives none, with `threads` threads.
    pub(super) fn run(
        self,
        threads: usize,
        supply: &mut dyn FnMut() -> Result<Vec<Root>>,
    ) -> Result<OptimiseReport> {
        let mut report = OptimiseReport::default();
        std::thread::scope(|scope| {
            let work = || Worker::new(&self).run();
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            self.feed(supply);
            for worker in workers {
                let done = worker.join();
                report.merge(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        self.finish(report)
    }

    fn finish(self, mut report: OptimiseReport) -> Result<OptimiseReport> {
        let failure = self.failure.into_inner();
        if let Some(error) = failure.unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        report.corrupted_links = self.linker.take_corrupted();
        report.stopped = self.stopped.into_inner();
        Ok(report)
    }

    /// Keeps some roots ready.
    fn feed(&self, supply: &mut dyn FnMut() -> Result<Vec<Root>>) {
        loop {
            let roots = supply().unwrap_or_else(|error| {
                self.fail(error);
                Vec::new()
            });
            let mut jobs = lock(&self.jobs);
            jobs.has_all_roots = roots.is_empty();
            jobs.roots.extend(roots);
            self.change.notify_all();
            while jobs.roots.len() >= READY_ROOTS && !self.stopped.load(Ordering::Relaxed) {
                let waited = self.change.wait(jobs);
                jobs = waited.unwrap_or_else(PoisonError::into_inner);
            }
            if jobs.has_all_roots || self.stopped.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(job) = jobs.stack.pop() {
                jobs.busy += 1;
                return Some(job);
            }
            if let Some(root) = jobs.roots.pop_front() {
                jobs.busy += 1;
                if jobs.roots.len() + 1 == READY_ROOTS {
                    self.change.notify_all();
                }
                return Some(Job::Root(root));
            }
            if jobs.busy == 0 && jobs.has_all_roots {
                return None;
            }
            let waited = self.change.wait(jobs);
            jobs = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, more: Vec<Job>) {
        if !more.is_empty() {
            lock(&self.jobs).stack.extend(more);
            self.change.notify_all();
        }
    }

    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.stop();
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Under the lock, so that nobody begins to wait just then.
        drop(lock(&self.jobs));
        self.change.notify_all();
    }
}

/// A job that is being done. The others learn of its end, however it ends.
struct Busy<'w>(&'w Walk<'w>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
        let mut jobs = lock(&self.0.jobs);
        jobs.busy -= 1;
        if jobs.busy == 0 {
            self.0.change.notify_all();
        }
    }
}

/// What a thread has for itself.
struct Worker<'w> {
    walk: &'w Walk<'w>,
    hasher: FileHasher,
    dirents: Vec<u8>,
    report: OptimiseReport,
}

impl<'w> Worker<'w> {
    fn new(walk: &'w Walk<'w>) -> Self {
        Self {
            walk,
            hasher: FileHasher::new(),
            dirents: Vec::with_capacity(DIRENTS),
            report: OptimiseReport::default(),
        }
    }

    fn run(mut self) -> OptimiseReport {
        while let Some(job) = self.walk.next() {
            let busy = Busy(self.walk);
            let result = match job {
                Job::Root(root) => self.root(root),
                Job::Tree(tree) => self.tree(tree),
                Job::Directory(parent, name) => match parent.open_child(&name) {
                    Ok(dir) => self.directory(dir),
                    Err(error) => self.unopened(&parent, &name, error),
                },
                Job::Files(touched, files) => self.files(&touched, files),
            };
            if let Err(error) = result {
                self.walk.fail(error);
            }
            drop(busy);
        }
        self.report
    }

    fn root(&mut self, root: Root) -> Result<()> {
        if !self.walk.progress.path(&root.path) {
            self.walk.stop();
            return Ok(());
        }
        self.tree(root.tree)
    }

    fn tree(&mut self, tree: Tree) -> Result<()> {
        match tree {
            Tree::Directory(dir) => self.directory(dir),
            Tree::File(name, hash) => {
                self.report.files += 1;
                self.walk.progress.file();
                self.file(self.walk.trees, &name, None, hash)
            }
        }
    }

    fn unopened(&mut self, parent: &Dir, name: &CStr, error: Errno) -> Result<()> {
        let path = || parent.path().join(OsStr::from_bytes(name.to_bytes()));
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(()),
            error if is_exhausted(error) => Err(Error::io("open", &path(), error)),
            error => {
                self.unreadable(&path(), error);
                Ok(())
            }
        }
    }

    fn directory(&mut self, dir: Arc<Dir>) -> Result<()> {
        let mut files = Vec::new();
        let mut jobs = Vec::new();
        let mut unknown = Vec::new();
        let linker = self.walk.linker;
        let mut count = 0;
        let listed = dir.list(&mut self.dirents, |name, kind, inode| match kind {
            FileType::Directory => jobs.push(Job::Directory(Arc::clone(&dir), name.to_owned())),
            FileType::Unknown => unknown.push(name.to_owned()),
            kind => {
                count += 1;
                if !linker.is_link(inode) {
                    let name = name.to_owned();
                    files.push(Entry { name, kind });
                }
            }
        });
        if let Err(error) = listed {
            // A directory that is gone has no entries.
            if error != Errno::NOENT {
                self.unreadable(&dir.path(), error);
            }
            return Ok(());
        }
        for name in unknown {
            match statat(&dir.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    jobs.push(Job::Directory(Arc::clone(&dir), name));
                }
                Ok(stat) => {
                    count += 1;
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    files.push(Entry { name, kind });
                }
                Err(_) => {}
            }
        }
        self.report.files += count;
        for _ in files.len()..usize::try_from(count).unwrap_or(usize::MAX) {
            self.walk.progress.file();
        }
        if dir.depth + 1 >= MAX_DEPTH && !jobs.is_empty() {
            tracing::warn!("directories in '{}' are too deep", dir.path().display());
            jobs.clear();
        }
        let touched = match self.walk.owner {
            Owner::Store => Touched::valid(dir, linker.action.is_change())?,
            Owner::Process => Touched::staged(dir)?,
        };
        let touched = Arc::new(touched);
        while files.len() > CHUNK {
            let chunk = files.split_off(files.len() - CHUNK);
            jobs.push(Job::Files(Arc::clone(&touched), chunk));
        }
        self.walk.add(jobs);
        self.files(&touched, files)
    }

    fn files(&mut self, touched: &Touched, files: Vec<Entry>) -> Result<()> {
        for Entry { name, kind } in files {
            if self.walk.stopped.load(Ordering::Relaxed) {
                break;
            }
            if !self.walk.progress.go_on() {
                self.walk.stop();
                break;
            }
            if matches!(kind, FileType::RegularFile | FileType::Symlink) {
                self.file(touched.dir().fd.as_fd(), &name, Some(touched), None)?;
            }
            self.walk.progress.file();
        }
        Ok(())
    }

    /// Hashes one file or symbolic link, and joins it with its like.
    fn file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        parent: Option<&Touched>,
        hash: Option<NarHash>,
    ) -> Result<()> {
        let walk = self.walk;
        let path = || {
            let name = OsStr::from_bytes(name.to_bytes());
            match parent {
                Some(parent) => parent.dir().path().join(name),
                None => walk.trees_path.join(name),
            }
        };
        let hashed = match self.hash(dir, name, hash) {
            Ok(hashed) => hashed,
            Err(error) if is_exhausted(error) => return Err(Error::io("open", &path(), error)),
            Err(error) => {
                self.unreadable(&path(), error);
                return Ok(());
            }
        };
        let (stat, hash) = match hashed {
            Hashed::Yes(stat, hash) => (stat, hash),
            Hashed::Skip => return Ok(()),
            Hashed::Writable => {
                // Nix compat: its words.
                let path = path();
                tracing::warn!("skipping suspicious writable file '{}'", path.display());
                self.report.suspicious.push(path);
                return Ok(());
            }
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let disk = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        let candidate = Candidate {
            dir,
            name,
            stat,
            hash,
            parent,
            is_exposed: parent.is_none(),
        };
        let report = &mut self.report;
        report.hashed += 1;
        report.hashed_bytes += size;
        match walk.linker.join(&candidate, &mut self.hasher)? {
            Joined::New => report.new_links += 1,
            Joined::Same | Joined::Lost => {}
            Joined::Replaced { frees } => {
                report.linked += 1;
                report.freed_bytes += size;
                report.freed_disk_bytes += if frees { disk } else { 0 };
            }
            Joined::Full => {
                tracing::debug!("'{}' can't be linked any more", path().display());
                report.full += 1;
            }
        }
        Ok(())
    }

    fn hash(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        known: Option<NarHash>,
    ) -> rustix::io::Result<Hashed> {
        let file = match open_file(dir, name) {
            Ok(file) => file,
            Err(Errno::LOOP) => return self.hash_link(dir, name),
            Err(Errno::NOENT | Errno::NXIO) => return Ok(Hashed::Skip),
            Err(error) => return Err(error),
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || self.walk.linker.is_link(stat.st_ino)
        {
            return Ok(Hashed::Skip);
        }
        if Mode::from_raw_mode(stat.st_mode).contains(Mode::WUSR) {
            return Ok(Hashed::Writable);
        }
        if let Some(hash) = known {
            return Ok(Hashed::Yes(stat, hash));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let executable = stat.st_mode & EXECUTABLE != 0;
        let hash = self.hasher.regular(file.as_fd(), executable, size)?;
        // A file that shrinks isn't one of a store.
        Ok(hash.map_or(Hashed::Skip, |hash| Hashed::Yes(stat, hash)))
    }

    fn hash_link(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Hashed> {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Hashed::Skip),
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink
            || self.walk.linker.is_link(stat.st_ino)
        {
            return Ok(Hashed::Skip);
        }
        let target = match rustix::fs::readlinkat(dir, name, Vec::with_capacity(MAX_TARGET)) {
            Err(Errno::NOENT | Errno::INVAL) => return Ok(Hashed::Skip),
            target => target?,
        };
        let hash = self.hasher.symlink(target.to_bytes());
        Ok(Hashed::Yes(stat, hash))
    }

    fn unreadable(&mut self, path: &Path, error: Errno) {
        tracing::warn!("skipping '{}': {error}", path.display());
        self.report.unreadable += 1;
    }
}

enum Hashed {
    Yes(rustix::fs::Stat, NarHash),
    /// Its owner may write it.
    Writable,
    /// It is gone, a link already, or nothing that could be one.
    Skip,
}

impl OptimiseReport {
    fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.hashed += other.hashed;
        self.hashed_bytes += other.hashed_bytes;
        self.linked += other.linked;
        self.freed_bytes += other.freed_bytes;
        self.freed_disk_bytes += other.freed_disk_bytes;
        self.new_links += other.new_links;
        self.full += other.full;
        self.unreadable += other.unreadable;
        self.suspicious.extend(other.suspicious);
    }
}

/// Files of a directory that one thread takes at once.
const CHUNK: usize = 256;
/// So many trees are ready to be walked; more would keep too many directories open.
const READY_ROOTS: usize = 64;
/// Room for directory entries from one system call.
const DIRENTS: usize = 32 * 1024;
