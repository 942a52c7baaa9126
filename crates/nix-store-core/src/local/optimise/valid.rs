//! All valid paths of a store.

use std::ffi::CString;
use std::num::NonZeroUsize;

use nix_base::{StorePath, StorePathSet};
use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use super::linker::{Action, Linker, Memory, Survives};
use super::tree::{Dir, is_exhausted};
use super::walk::{Owner, Root, Tree, Walk};
use super::{OptimiseOptions, OptimiseProgress, OptimiseReport};
use crate::db::Durability;
use crate::error::{Error, Result};
use crate::local::LocalStore;

pub(super) fn optimise(
    store: &LocalStore,
    options: &OptimiseOptions,
    progress: &dyn OptimiseProgress,
) -> Result<OptimiseReport> {
    let layout = store.layout();
    let valid = store.query_all_valid()?;
    let durable = store.config().durability != Durability::None;
    let memory = Memory::default();
    let private;
    let action = match options.dry_run {
        true => Action::Count(Default::default()),
        false => {
            private = store.private_dir()?;
            Action::Link(private.fd())
        }
    };
    let changes = matches!(action, Action::Link(_));
    let survives = match durable {
        true => Survives::OnlyFlushed,
        false => Survives::Anyway,
    };
    let linker = Linker::new(action, layout.links_dir(), None, survives, &memory)?;
    linker.load()?;
    if changes && durable {
        // Protects the files that are going to be replaced by links.
        rustix::fs::syncfs(store.store_fd())
            .map_err(|e| Error::io("flush the file system of", &layout.real_store, e))?;
    }
    let mut supply = Supply::new(store, valid, changes)?;
    let trees = (store.store_fd(), layout.real_store.as_path());
    let walk = Walk::new(&linker, trees, Owner::Store, progress);
    let mut report = walk.run(threads(options.threads), &mut || supply.next())?;
    report.unreadable += supply.unreadable;
    Ok(report)
}

/// The valid paths that are there.
struct Supply<'s> {
    store: &'s LocalStore,
    paths: std::vec::IntoIter<StorePath>,
    /// Those that are single files. They are pinned if something is going to be changed.
    files: StorePathSet,
    /// How many couldn't be opened.
    unreadable: u64,
}

impl<'s> Supply<'s> {
    fn new(store: &'s LocalStore, valid: StorePathSet, pin: bool) -> Result<Self> {
        let files = single_files(store, &valid)?;
        if pin {
            store.add_temp_roots(&files)?;
        }
        let still_valid = store.db().query_valid(&files)?;
        let is_there = |path: &StorePath| !files.contains(path) || still_valid.contains(path);
        let paths: Vec<_> = valid.into_iter().filter(is_there).collect();
        Ok(Self {
            store,
            paths: paths.into_iter(),
            files: still_valid,
            unreadable: 0,
        })
    }

    /// The next ones; none at the end.
    fn next(&mut self) -> Result<Vec<Root>> {
        let mut roots = Vec::with_capacity(BATCH);
        while roots.is_empty() {
            let batch: Vec<StorePath> = self.paths.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let mut directories = StorePathSet::new();
            for path in batch {
                if let Some(tree) = self.open(&path)? {
                    if matches!(tree, Tree::Directory(_)) {
                        directories.insert(path.clone());
                    }
                    roots.push(Root { path, tree });
                }
            }
            // What was opened before its path is valid is complete: if a collector has
            // removed the path, something else may be made in its place by now.
            let valid = self.store.db().query_valid(&directories)?;
            roots.retain(|root| self.files.contains(&root.path) || valid.contains(&root.path));
        }
        Ok(roots)
    }

    fn open(&mut self, path: &StorePath) -> Result<Option<Tree>> {
        let name = CString::new(path.base_name()).unwrap_or_default();
        if self.files.contains(path) {
            return Ok(Some(Tree::File(name, None)));
        }
        let real = || self.store.layout().real_path(path);
        match Dir::open_root(self.store.store_fd(), &name, real()) {
            Ok(dir) => Ok(Some(Tree::Directory(dir))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) if is_exhausted(error) => Err(Error::io("open", &real(), error)),
            Err(error) => {
                tracing::warn!("skipping '{}': {error}", real().display());
                self.unreadable += 1;
                Ok(None)
            }
        }
    }
}

/// Those of `paths` that are no directories.
fn single_files(store: &LocalStore, paths: &StorePathSet) -> Result<StorePathSet> {
    let dir = &store.layout().real_store;
    let failed = |error| Error::io("list", dir, error);
    let mut files = StorePathSet::new();
    for entry in rustix::fs::Dir::read_from(store.store_fd()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = match entry.file_type() {
            // File systems that don't tell.
            FileType::Unknown => statat(
                store.store_fd(),
                entry.file_name(),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_or(FileType::Unknown, |stat| {
                FileType::from_raw_mode(stat.st_mode)
            }),
            kind => kind,
        };
        if matches!(kind, FileType::RegularFile | FileType::Symlink)
            && let Ok(path) = StorePath::from_base_name_bytes(entry.file_name().to_bytes())
            && paths.contains(&path)
        {
            files.insert(path);
        }
    }
    Ok(files)
}

fn threads(wanted: Option<NonZeroUsize>) -> usize {
    let all = || std::thread::available_parallelism().ok();
    let most = NonZeroUsize::new(MAX_THREADS);
    wanted
        .or_else(|| all().min(most))
        .map_or(1, NonZeroUsize::get)
}

const MAX_THREADS: usize = 8;
/// As many paths are opened, and looked up, together.
const BATCH: usize = 64;
