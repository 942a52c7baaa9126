//! What must hold for a `.drv` file before it may become valid.
//!
//! The output paths that a derivation states follow from its text and from those of all its
//! inputs, so whoever trusts the store may trust them. They are computed anew here, as real
//! Nix does, and the rows of the table `DerivationOutputs` come from the same check.
//!
//! ```text
//! references      in the batch, or valid                   path '…' is not valid
//! file            a regular file, read as `Strictness` says
//! nix-drv         check_derivation, inputs first, each file read once
//! ```

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix_base::{OutputName, StorePath, StorePathSet, ValidPathInfo, reference_order};
use nix_drv::{Derivation, HashMemo, Strictness, check_derivation};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::LocalStore;
use crate::db::{Durability, Registration};
use crate::error::{Error, FullPath, Result};

/// From how many paths on it takes long to free what is known of them.
const MANY: usize = 10_000;
/// Largest `.drv` file that is read, in bytes.
const MAX_DERIVATION: u64 = 64 * 1024 * 1024;

/// Hashes of valid derivations, kept from one batch to the next.
#[derive(Debug, Default)]
pub(super) struct KnownDerivations(HashMemo);

impl KnownDerivations {
    /// Checks the `.drv` files of a batch that is to be registered, and fills in their
    /// outputs. `read` supplies the file of a path of the batch. If then the batch isn't
    /// registered, [`forget`](Self::forget) it.
    ///
    /// # Errors
    /// A reference that is neither in the batch nor valid; a file that can't be read; what
    /// is wrong with a derivation.
    pub(super) fn check(
        &mut self,
        store: &LocalStore,
        batch: &mut [Registration],
        strictness: Strictness,
        read: impl Fn(&StorePath) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let order = derivations_inputs_first(batch);
        if order.is_empty() {
            return Ok(());
        }
        let new: HashSet<&StorePath> = batch.iter().map(|new| &new.info.path).collect();
        let references = order.iter().flat_map(|&i| &batch[i].info.references);
        // Nix compat: a missing reference is reported as that, whatever follows from it.
        require_valid(store, references.filter(|path| !new.contains(path)))?;
        let read_any = |path: &StorePath| match new.contains(path) {
            true => read(path),
            false => read_valid(store, path),
        };
        let mut found = Vec::with_capacity(order.len());
        for i in order {
            let path = &batch[i].info.path;
            let text = read(path)?;
            let outputs = self
                .check_one(store, path, &text, strictness, read_any)
                .map_err(|source| refusal(store, path, source))?;
            found.push((i, outputs));
        }
        for (i, outputs) in found {
            batch[i].outputs = outputs;
        }
        Ok(())
    }

    fn check_one(
        &mut self,
        store: &LocalStore,
        path: &StorePath,
        text: &[u8],
        strictness: Strictness,
        read: impl FnMut(&StorePath) -> Result<Vec<u8>>,
    ) -> nix_drv::Result<Vec<(OutputName, StorePath)>> {
        let (dir, memo) = (store.store_dir(), &mut self.0);
        let drv = Derivation::parse_file(text, dir, path, strictness)?;
        let outputs = check_derivation(&drv, path, dir, memo, read)?;
        // Those above it needn't read it again. Where the check took no hashes of inputs,
        // they may be missing for this one too; it is computed when somebody needs it.
        if let Ok(hash) = drv.input_hash(dir, memo) {
            memo.insert(path, hash);
        }
        Ok(outputs)
    }

    /// Drops what is known of paths that didn't become valid.
    pub(super) fn forget<'p>(&mut self, paths: impl IntoIterator<Item = &'p StorePath>) {
        for path in paths {
            self.0.remove(path);
        }
    }
}

/// Where the derivations of a batch are, each behind those that it refers to. Of a circle,
/// which the database would refuse, the order is any.
fn derivations_inputs_first(batch: &[Registration]) -> Vec<usize> {
    let is_derivation = |i: &usize| batch[*i].info.path.is_derivation();
    let places: Vec<usize> = (0..batch.len()).filter(is_derivation).collect();
    let infos: Vec<&ValidPathInfo> = places.iter().map(|&i| &batch[i].info).collect();
    match reference_order(&infos) {
        Ok(order) => order.into_iter().map(|n| places[n]).collect(),
        Err(_) => places,
    }
}

fn require_valid<'p>(store: &LocalStore, paths: impl Iterator<Item = &'p StorePath>) -> Result<()> {
    let paths: StorePathSet = paths.cloned().collect();
    if paths.is_empty() {
        return Ok(());
    }
    let valid = store.db().query_valid(&paths)?;
    match paths.difference(&valid).next() {
        Some(missing) => Err(Error::not_valid(store.store_dir(), missing)),
        None => Ok(()),
    }
}

impl LocalStore {
    /// Makes paths valid whose objects are in the store directory already, all or none, as
    /// `nix-store --load-db` does. Derivations are checked, other objects aren't looked at, but
    /// flushed as the durability asks.
    ///
    /// # Errors
    /// A derivation that can't be read or is wrong; a failing disk; those of
    /// [`Db::register`](crate::Db::register).
    pub fn register_present(&self, infos: Vec<ValidPathInfo>) -> Result<()> {
        self.require_writable("register paths")?;
        // A collector takes what isn't valid yet for garbage.
        self.add_temp_roots(&infos.iter().map(|info| info.path.clone()).collect())?;
        let mut batch: Vec<_> = infos.into_iter().map(Registration::from).collect();
        // Nix compat: what is in a store already was taken by the reader of some release.
        let strictness = Strictness::Lenient;
        let read = |path: &StorePath| read_present(self, path);
        KnownDerivations::default().check(self, &mut batch, strictness, read)?;
        if self.config().durability != Durability::None && !batch.is_empty() {
            // Whoever put the objects there needn't have done so.
            self.flush_names(false)?;
        }
        let registered = self.db().register(&batch);
        if batch.len() >= MANY {
            // That is many small pieces of memory, and nobody need wait until all are freed. A
            // thread that can't be had drops them, too.
            let _ = std::thread::Builder::new().spawn(move || drop(batch));
        }
        registered
    }
}

/// Reads a derivation file whole. `real` is its place for messages.
pub(super) fn read_file(dir: BorrowedFd<'_>, name: &OsStr, real: &Path) -> Result<Vec<u8>> {
    let not_a_file = || Error::NotADerivationFile {
        path: real.to_owned(),
    };
    // A pipe that somebody put there must not make us wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(not_a_file()),
        opened => opened.map_err(|source| Error::io("open derivation", real, source))?,
    };
    let stat =
        rustix::fs::fstat(&file).map_err(|source| Error::io("examine derivation", real, source))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_a_file());
    }
    let mut text = Vec::new();
    std::fs::File::from(file)
        .take(MAX_DERIVATION)
        .read_to_end(&mut text)
        .map_err(|source| Error::io("read derivation", real, source))?;
    Ok(text)
}

/// Reads what lies at the place of `path`, valid or not.
fn read_present(store: &LocalStore, path: &StorePath) -> Result<Vec<u8>> {
    let real = store.layout().real_path(path);
    read_file(store.store_fd(), OsStr::new(&path.base_name()), &real)
}

/// Reads an input. What isn't valid could be anything, and isn't read.
fn read_valid(store: &LocalStore, path: &StorePath) -> Result<Vec<u8>> {
    if !store.is_valid(path)? {
        return Err(Error::not_valid(store.store_dir(), path));
    }
    read_present(store, path)
}

/// The store's own error if an input couldn't be read, or else what is wrong with the
/// derivation at `path`.
fn refusal(store: &LocalStore, path: &StorePath, error: nix_drv::Error) -> Error {
    use nix_drv::Error as Wrong;
    let with_path = |source| Error::Derivation {
        path: Box::new(FullPath::new(store.store_dir(), path)),
        source,
    };
    match error {
        Wrong::Read { path, source } => match source.downcast() {
            Ok(own) => *own,
            Err(source) => with_path(Wrong::Read { path, source }),
        },
        Wrong::InFile { .. }
        | Wrong::NameMismatch { .. }
        | Wrong::IncorrectOutput { .. }
        | Wrong::ShouldBeDeferred { .. }
        | Wrong::IncorrectVariable { .. } => Error::WrongDerivation(error),
        _ => with_path(error),
    }
}

#[cfg(test)]
mod tests;
