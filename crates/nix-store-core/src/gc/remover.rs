//! Takes objects out of the store, and removes them.
//!
//! A directory is moved into a private one, which takes no longer for a large tree than for
//! a small one, and is removed there by a thread of its own. So nobody waits for more than a
//! few moves: neither the collector, nor those who want to use a path that is just going.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use nix_nar::fs::remove::remove_tree_measured;
use rustix::fs::{AtFlags, Mode, chmodat, renameat, unlinkat};
use rustix::io::Errno;

use super::meter::{is_directory, look, size};
use super::report::Freed;
use crate::error::{Error, Result};
use crate::local::{LocalStore, PrivateDir};

/// Removes entries of a store directory.
#[derive(Debug)]
pub(super) struct Remover<'s> {
    store: &'s LocalStore,
    /// Where directories go first; where there is no room for it, they are removed in their
    /// place.
    trash: Option<PrivateDir>,
    worker: Option<Worker>,
    moved: u64,
    freed: Arc<Counter>,
    failures: Vec<String>,
}

#[derive(Debug)]
struct Worker {
    queue: SyncSender<Moved>,
    thread: JoinHandle<Vec<String>>,
}

/// A directory that was moved away, to be removed.
#[derive(Debug)]
pub(super) struct Moved {
    name: CString,
    /// What it was called.
    was: CString,
}

impl<'s> Remover<'s> {
    /// Gets ready to remove entries of `store`.
    ///
    /// # Errors
    /// Nothing can be removed from the store directory.
    pub(super) fn new(store: &'s LocalStore) -> Result<Self> {
        let trash = match store.private_dir() {
            Ok(trash) => Some(trash),
            Err(error) if error.is_disk_full() => None,
            Err(error) => return Err(error),
        };
        let freed = Arc::new(Counter::default());
        let worker = match &trash {
            Some(trash) => Some(Worker::start(trash.fd(), Arc::clone(&freed), store)?),
            None => None,
        };
        Ok(Self {
            store,
            trash,
            worker,
            moved: 0,
            freed,
            failures: Vec::new(),
        })
    }

    /// Takes an entry of the store away; that it is gone already is fine. What it returns is
    /// to be given to [`Self::dispose`].
    pub(super) fn take(&mut self, name: &CStr) -> Option<Moved> {
        match self.try_take(name) {
            Ok(moved) => moved,
            Err(error) => {
                self.failures.push(said(name, error));
                None
            }
        }
    }

    fn try_take(&mut self, name: &CStr) -> Result<Option<Moved>, BoxedError> {
        let store = self.store.store_fd();
        let stat = match look(store, name) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        if !is_directory(&stat) {
            match unlinkat(store, name, AtFlags::empty()) {
                Ok(()) if stat.stx_nlink == 1 => self.freed.add(size(&stat)),
                Ok(()) | Err(Errno::NOENT) => {}
                // It became a directory.
                Err(Errno::ISDIR) => return self.remove_in_place(name),
                Err(error) => return Err(error.into()),
            }
            return Ok(None);
        }
        let Some(trash) = &self.trash else {
            return self.remove_in_place(name);
        };
        self.moved += 1;
        let moved = Moved {
            name: CString::new(self.moved.to_string()).unwrap_or_default(),
            was: name.to_owned(),
        };
        let rename = || renameat(store, name, trash.fd(), &moved.name);
        let renamed = match rename() {
            // A directory's own permissions count when it changes place.
            Err(Errno::ACCESS) => {
                chmodat(store, name, Mode::RWXU, AtFlags::empty()).and_then(|()| rename())
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => Ok(Some(moved)),
            Err(Errno::NOENT) => Ok(None),
            Err(_) => self.remove_in_place(name),
        }
    }

    fn remove_in_place(&self, name: &CStr) -> Result<Option<Moved>, BoxedError> {
        self.freed
            .add(remove_measured(self.store.store_fd(), name)?);
        Ok(None)
    }

    /// Removes what was taken away, some time before [`Self::finish`] returns.
    pub(super) fn dispose(&mut self, moved: Moved) {
        let Some(worker) = &self.worker else { return };
        if worker.queue.send(moved).is_err() {
            self.failures
                .push("the thread that removes has ended".to_owned());
        }
    }

    /// What is freed by now.
    pub(super) fn freed(&self) -> Freed {
        self.freed.read()
    }

    /// What couldn't be removed by now, as far as that is known.
    pub(super) fn failures(&self) -> usize {
        self.failures.len()
    }

    /// Waits until all is removed; gives what that freed, and what couldn't be removed.
    pub(super) fn finish(mut self) -> (Freed, Vec<String>) {
        let mut failures = std::mem::take(&mut self.failures);
        if let Some(Worker { queue, thread }) = self.worker.take() {
            drop(queue);
            match thread.join() {
                Ok(more) => failures.extend(more),
                Err(_) => failures.push("the thread that removes has ended".to_owned()),
            }
        }
        (self.freed(), failures)
    }
}

/// Adds up what two threads free.
#[derive(Debug, Default)]
struct Counter {
    on_disk: AtomicU64,
    lengths: AtomicU64,
}

impl Counter {
    fn add(&self, freed: Freed) {
        self.on_disk.fetch_add(freed.on_disk, Ordering::Relaxed);
        self.lengths.fetch_add(freed.lengths, Ordering::Relaxed);
    }

    fn read(&self) -> Freed {
        Freed {
            on_disk: self.on_disk.load(Ordering::Relaxed),
            lengths: self.lengths.load(Ordering::Relaxed),
        }
    }
}

impl Worker {
    fn start(trash: BorrowedFd<'_>, freed: Arc<Counter>, store: &LocalStore) -> Result<Self> {
        let failed =
            |source: std::io::Error| Error::io("remove from", &store.layout().real_store, source);
        let trash = rustix::io::fcntl_dupfd_cloexec(trash, 0).map_err(|e| failed(e.into()))?;
        let (queue, incoming) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("remover".into())
            .spawn(move || work(&trash, &incoming, &freed))
            .map_err(failed)?;
        Ok(Self { queue, thread })
    }
}

fn work(trash: &OwnedFd, incoming: &Receiver<Moved>, freed: &Counter) -> Vec<String> {
    let mut failures = Vec::new();
    for Moved { name, was } in incoming {
        match remove_measured(trash.as_fd(), &name) {
            Ok(bytes) => freed.add(bytes),
            Err(error) => failures.push(said(&was, error)),
        }
    }
    failures
}

/// Removes a tree; gives what that frees.
fn remove_measured(dir: BorrowedFd<'_>, name: &CStr) -> Result<Freed, BoxedError> {
    match remove_tree_measured(dir, OsStr::from_bytes(name.to_bytes())) {
        Ok(stats) => Ok(Freed {
            on_disk: stats.freed_bytes,
            lengths: stats.freed_lengths,
        }),
        Err(error) if error.is_not_found() => Ok(Freed::default()),
        Err(error) => Err(error.into()),
    }
}

fn said(name: &CStr, error: BoxedError) -> String {
    let name = name.to_string_lossy();
    format!("cannot delete '{name}': {}", with_causes(&*error))
}

/// An error with all its causes, in one line.
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// How many moved directories may wait to be removed: those of a large transaction, so that
/// the next one can begin.
const QUEUE: usize = 1 << 15;
