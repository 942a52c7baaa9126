//! Adding objects by their NARs, in batches.
//!
//! ```text
//! stage   (no lock held)  pin as temporary root · unpack beside the store, hashing ·
//!                         compare hash, size, content address
//! commit  (for a batch)   lock all paths, ascending · ask again which are valid ·
//!                         check derivations · rename · flush once · one transaction · unlock
//! ```
//!
//! A full batch of a client that goes on sending is flushed in the background, while the
//! next one is staged; its commit follows then.
//!
//! Lock order: temporary root, then path locks in ascending order, then the database. No
//! lock is held while bytes are awaited from a client. A path becomes valid when the
//! transaction commits, and at that time its bytes and names are on stable storage (level
//! `ordered` and above), so neither a kill nor a power cut can leave a valid path that is
//! incomplete. What fails is removed again under its lock; nothing valid is ever touched.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io::BufRead;

use nix_base::{NarHash, StoreDir, StorePath, StorePathSet, ValidPathInfo};
use nix_drv::{Derivation, Strictness};

use super::LocalStore;
use super::background_flush::BackgroundFlush;
use super::content_check::check_content_address;
use super::derivations::KnownDerivations;
use super::staging::{StagedTree, StagingDir};
use crate::db::{Durability, Registration};
use crate::error::{Error, FullPath, Result};
use crate::lock::{LockDir, Wait};

/// Most paths in a batch.
pub const BATCH_PATHS: usize = 256;
/// Most bytes of NARs in a batch, unless a single one is larger.
pub const BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// From this size on, in bytes, it is asked before unpacking whether an object is valid.
const ASK_FIRST: u64 = 256 * 1024;

/// Objects on their way into a store. Dropping it drops what was not committed.
///
/// Staging and committing take `&self`, so that what is staged can be committed while the
/// next object is still arriving.
#[derive(Debug)]
pub struct ImportBatch<'s> {
    store: &'s LocalStore,
    staging: OnceCell<StagingDir>,
    lock_dir: OnceCell<LockDir>,
    pending: RefCell<Vec<Pending>>,
    bytes: Cell<u64>,
    /// The batch before, complete and on its way to stable storage.
    flushing: RefCell<Option<Flushing>>,
    derivations: RefCell<KnownDerivations>,
}

#[derive(Debug)]
struct Flushing {
    batch: Vec<Pending>,
    flush: BackgroundFlush,
}

#[derive(Debug)]
enum Pending {
    AlreadyValid,
    Staged(Box<(ValidPathInfo, StagedTree)>),
}

/// Whether the contents of staged objects are on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    Written,
    Flushed,
}

/// How closely an object is looked at that is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrutiny {
    /// Whether an object that is valid already is taken in and checked like any other, and
    /// not only read.
    pub always_unpack: bool,
    /// Whether a content address will do that leaves out the positions of self-references,
    /// as releases 2.17–2.34 make them.
    pub omitted_positions: bool,
    /// Whether a derivation must refer to all that it names. Otherwise one that doesn't
    /// could be used to ask whether something else is valid.
    pub complete_derivations: bool,
}

impl Default for Scrutiny {
    fn default() -> Self {
        Self {
            always_unpack: false,
            omitted_positions: true,
            complete_derivations: false,
        }
    }
}

/// What a commit did.
#[derive(Debug)]
#[must_use = "a failed commit leaves paths out"]
pub struct CommitOutcome {
    /// How many of the staged objects are valid now, counted in the order of staging.
    pub valid: usize,
    /// Why the next one is not.
    pub failure: Option<Error>,
}

/// An object that was unpacked before its path was known, as in export streams.
#[derive(Debug)]
#[must_use = "an unpacked object is not in the store yet"]
pub struct Unpacked(StagedTree);

impl Unpacked {
    /// SHA-256 of the NAR.
    #[must_use]
    pub const fn nar_hash(&self) -> NarHash {
        self.0.nar_hash
    }

    /// Length of the NAR in bytes.
    #[must_use]
    pub const fn nar_size(&self) -> u64 {
        self.0.nar_size
    }
}

impl<'s> ImportBatch<'s> {
    /// An empty batch; nothing is created in the store yet.
    #[must_use]
    pub fn new(store: &'s LocalStore) -> Self {
        Self {
            store,
            staging: OnceCell::new(),
            lock_dir: OnceCell::new(),
            pending: RefCell::new(Vec::new()),
            bytes: Cell::new(0),
            flushing: RefCell::new(None),
            derivations: RefCell::default(),
        }
    }

    /// The logical store directory of the store that is added to.
    #[must_use]
    pub fn store_dir(&self) -> &StoreDir {
        self.store.store_dir()
    }

    /// How many objects wait for a commit.
    #[must_use]
    pub fn len(&self) -> usize {
        let flushing = self.flushing.borrow();
        self.pending.borrow().len() + flushing.as_ref().map_or(0, |f| f.batch.len())
    }

    /// Whether no object waits for a commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`Self::advance`] should be called before more is staged.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending.borrow().len() >= BATCH_PATHS || self.bytes.get() >= BATCH_BYTES
    }

    /// Reads exactly one NAR for `info` and keeps it for the next commit. If the path is
    /// valid already, or staged, the NAR is read, checked and dropped.
    ///
    /// # Errors
    /// A NAR that breaks the format, or differs from what was announced; failing disk or
    /// database. Nothing of the object stays then.
    pub fn stage(&self, info: ValidPathInfo, nar: &mut dyn BufRead) -> Result<()> {
        self.stage_with(info, nar, Scrutiny::default())
    }

    /// [`Self::stage`], with a say in how closely is looked.
    ///
    /// # Errors
    /// As there.
    pub fn stage_with(
        &self,
        info: ValidPathInfo,
        nar: &mut dyn BufRead,
        scrutiny: Scrutiny,
    ) -> Result<()> {
        self.pin(&info.path)?;
        let asks_first = !scrutiny.always_unpack && info.nar_size > ASK_FIRST;
        // A small object is unpacked without asking: the commit asks for the whole batch.
        if self.is_pending(&info.path) || asks_first && self.store.is_valid(&info.path)? {
            self.skip(&info, nar)?;
            self.pending.borrow_mut().push(Pending::AlreadyValid);
            return Ok(());
        }
        self.store.collect_if_full();
        let staging = self.staging()?;
        let tree = staging
            .unpack(nar, Some(info.nar_size))
            .map_err(|source| self.nar_error("unpack", &info.path, source))?;
        if let Err(error) = self.check_announced(&info, &tree) {
            staging.discard(&tree);
            return Err(error);
        }
        self.enqueue(info, tree, scrutiny)
    }

    /// Reads exactly one NAR whose path is not known yet.
    ///
    /// # Errors
    /// A NAR that breaks the format; failing disk. Nothing of the object stays then.
    pub fn unpack(&self, nar: &mut dyn BufRead) -> Result<Unpacked> {
        self.store.require_writable("add to the store")?;
        self.store.collect_if_full();
        let unpacked = self.staging()?.unpack(nar, None);
        let tree = unpacked.map_err(|source| Error::Archive {
            action: "unpack",
            source,
        })?;
        Ok(Unpacked(tree))
    }

    /// Keeps an unpacked object for the next commit, as `path`; hash and size in `info` are
    /// set to those of the object.
    ///
    /// # Errors
    /// A content address that isn't the object's; failing database.
    pub fn name(&self, object: Unpacked, mut info: ValidPathInfo) -> Result<()> {
        let Unpacked(tree) = object;
        info.info.nar_hash = tree.nar_hash;
        info.info.nar_size = tree.nar_size;
        self.pin(&info.path)?;
        if self.is_pending(&info.path) {
            self.staging()?.discard(&tree);
            self.pending.borrow_mut().push(Pending::AlreadyValid);
            return Ok(());
        }
        self.enqueue(info, tree, Scrutiny::default())
    }

    fn pin(&self, path: &StorePath) -> Result<()> {
        self.store.require_writable("add to the store")?;
        self.store.add_temp_root(path)
    }

    fn enqueue(&self, info: ValidPathInfo, tree: StagedTree, scrutiny: Scrutiny) -> Result<()> {
        let staging = self.staging()?;
        let dir = self.store.store_dir();
        let checked = check_content_address(dir, &info, staging, &tree, scrutiny)
            .and_then(|()| self.check_complete(&info, &tree, scrutiny));
        if let Err(error) = checked {
            staging.discard(&tree);
            return Err(error);
        }
        self.bytes
            .set(self.bytes.get().saturating_add(tree.nar_size));
        self.pending
            .borrow_mut()
            .push(Pending::Staged(Box::new((info, tree))));
        Ok(())
    }

    fn check_complete(
        &self,
        info: &ValidPathInfo,
        tree: &StagedTree,
        scrutiny: Scrutiny,
    ) -> Result<()> {
        if !scrutiny.complete_derivations || !info.path.is_derivation() {
            return Ok(());
        }
        let dir = self.store.store_dir();
        let text = self.staging()?.read_derivation(tree)?;
        let drv = Derivation::parse_file(&text, dir, &info.path, Strictness::Strict)
            .map_err(Error::WrongDerivation)?;
        match drv.references().difference(&info.info.references).next() {
            Some(missing) => Err(Error::not_valid(dir, missing)),
            None => Ok(()),
        }
    }

    fn is_pending(&self, path: &StorePath) -> bool {
        let is_it = |pending: &Pending| match pending {
            Pending::AlreadyValid => false,
            Pending::Staged(staged) => staged.0.path == *path,
        };
        let flushing = self.flushing.borrow();
        let mut before = flushing.iter().flat_map(|flushing| &flushing.batch);
        self.pending.borrow().iter().any(is_it) || before.any(is_it)
    }

    fn skip(&self, info: &ValidPathInfo, mut nar: &mut dyn BufRead) -> Result<()> {
        let actual = nix_nar::copy_limited(&mut nar, info.nar_size, &mut std::io::sink())
            .map_err(|source| self.nar_error("read", &info.path, source))?;
        // A sender that announced more than it sent would wait for us for ever.
        if actual != info.nar_size {
            return Err(self.size_mismatch(info, actual));
        }
        Ok(())
    }

    fn check_announced(&self, info: &ValidPathInfo, tree: &StagedTree) -> Result<()> {
        if tree.nar_size != info.nar_size {
            return Err(self.size_mismatch(info, tree.nar_size));
        }
        if tree.nar_hash != info.nar_hash {
            return Err(Error::HashMismatch {
                path: self.full(&info.path),
                expected: info.nar_hash,
                actual: tree.nar_hash,
            });
        }
        Ok(())
    }

    fn size_mismatch(&self, info: &ValidPathInfo, actual: u64) -> Error {
        Error::SizeMismatch {
            path: self.full(&info.path),
            expected: info.nar_size,
            actual,
        }
    }

    fn nar_error(&self, action: &'static str, path: &StorePath, source: nix_nar::Error) -> Error {
        Error::Nar {
            action,
            path: self.full(path),
            source,
        }
    }

    /// Makes what is staged valid, in one transaction for each batch. Afterwards nothing is
    /// pending.
    pub fn commit(&self) -> CommitOutcome {
        let mut outcome = self.finish_flushing();
        let pending = self.take_pending();
        if outcome.failure.is_some() {
            self.discard(&pending);
            return outcome;
        }
        let last = self.commit_batch(&pending, Contents::Written);
        outcome.valid += last.valid;
        outcome.failure = last.failure;
        outcome
    }

    /// Makes the batch before this one valid, and begins with this one: for a client that
    /// goes on sending. What is staged now becomes valid by the next call, or by
    /// [`Self::commit`].
    pub fn advance(&self) -> CommitOutcome {
        if self.store.config().durability == Durability::None {
            return self.commit();
        }
        let mut outcome = self.finish_flushing();
        if outcome.failure.is_some() {
            self.discard(&self.take_pending());
            return outcome;
        }
        match self.staging().and_then(StagingDir::start_flush) {
            Ok(flush) => {
                let batch = self.take_pending();
                self.flushing.replace(Some(Flushing { batch, flush }));
            }
            Err(error) => outcome.failure = Some(error),
        }
        outcome
    }

    /// Whether a batch is on its way to stable storage and not there yet, so that
    /// [`Self::commit`] would wait for the disk.
    #[must_use]
    pub fn is_flushing(&self) -> bool {
        let flushing = self.flushing.borrow();
        flushing.as_ref().is_some_and(|f| !f.flush.is_finished())
    }

    fn take_pending(&self) -> Vec<Pending> {
        self.bytes.set(0);
        self.pending.take()
    }

    /// Commits the batch that was being flushed.
    fn finish_flushing(&self) -> CommitOutcome {
        let Some(Flushing { batch, flush }) = self.flushing.take() else {
            return CommitOutcome {
                valid: 0,
                failure: None,
            };
        };
        match self
            .staging()
            .and_then(|staging| staging.finish_flush(flush))
        {
            Ok(()) => self.commit_batch(&batch, Contents::Flushed),
            Err(error) => {
                self.discard(&batch);
                CommitOutcome {
                    valid: 0,
                    failure: Some(error),
                }
            }
        }
    }

    fn commit_batch(&self, batch: &[Pending], contents: Contents) -> CommitOutcome {
        match self.commit_all(batch, contents) {
            Ok(()) => CommitOutcome {
                valid: batch.len(),
                failure: None,
            },
            // After a failed flush a second one may succeed though bytes are lost, so
            // only a failure that lies in one of the objects is looked into.
            Err(error) if batch.len() == 1 || !error.is_about_an_object() => {
                self.discard(batch);
                CommitOutcome {
                    valid: 0,
                    failure: Some(error),
                }
            }
            // One bad object spoils the transaction: the ones before it are still good.
            Err(_) => self.commit_one_by_one(batch),
        }
    }

    fn commit_one_by_one(&self, pending: &[Pending]) -> CommitOutcome {
        for (valid, one) in pending.iter().enumerate() {
            if let Err(error) = self.commit_all(std::slice::from_ref(one), Contents::Written) {
                self.discard(&pending[valid..]);
                return CommitOutcome {
                    valid,
                    failure: Some(error),
                };
            }
        }
        CommitOutcome {
            valid: pending.len(),
            failure: None,
        }
    }

    fn discard(&self, pending: &[Pending]) {
        let Some(staging) = self.staging.get() else {
            return;
        };
        for one in pending {
            if let Pending::Staged(staged) = one {
                staging.discard(&staged.1);
            }
        }
    }

    /// All or nothing; on failure the trees are back in the staging directory or gone.
    fn commit_all(&self, pending: &[Pending], contents: Contents) -> Result<()> {
        let mut staged: BTreeMap<StorePath, &(ValidPathInfo, StagedTree)> = BTreeMap::new();
        for one in pending {
            if let Pending::Staged(one) = one {
                staged.insert(one.0.path.clone(), one);
            }
        }
        if staged.is_empty() {
            return Ok(());
        }
        let staging = self.staging()?;
        let names: Vec<String> = staged.keys().map(StorePath::base_name).collect();
        let locks = self
            .lock_dir()?
            .lock_all(names.iter().map(String::as_str), Wait::Forever)
            .map_err(|source| Error::lock("lock the paths to add", source))?;
        // Nix compat: somebody else may have added a path before we had its lock, and a
        // valid path is never replaced.
        let wanted: StorePathSet = staged.keys().cloned().collect();
        for path in self.store.db().query_valid(&wanted)? {
            if let Some((_, tree)) = staged.remove(&path) {
                staging.discard(tree);
            }
        }
        let mut moved = Vec::with_capacity(staged.len());
        let result = self.publish(staging, &staged, contents, &mut moved);
        if result.is_err() {
            self.withdraw(staging, &staged, &moved);
            self.derivations.borrow_mut().forget(staged.keys());
        }
        if let Some(mut locks) = locks {
            locks.request_removal();
        }
        if result.is_ok() {
            // Nobody needs to wait for these.
            for (_, tree) in staged.values() {
                staging.publish_links(tree);
            }
        }
        result
    }

    fn publish(
        &self,
        staging: &StagingDir,
        staged: &BTreeMap<StorePath, &(ValidPathInfo, StagedTree)>,
        contents: Contents,
        moved: &mut Vec<StorePath>,
    ) -> Result<()> {
        if staged.is_empty() {
            return Ok(());
        }
        let registrations = self.registrations(staging, staged)?;
        // The flushes protect the content and names of the whole batch: they are on stable
        // storage before the rows that make them valid can be.
        let durable = self.store.config().durability != Durability::None;
        let flushed = contents == Contents::Flushed
            || durable && staging.flush_contents(staged.values().map(|(_, tree)| tree))?;
        for (path, (_, tree)) in staged {
            staging.move_into_store(tree, path)?;
            moved.push(path.clone());
        }
        if durable {
            staging.flush_names(!flushed)?;
        }
        self.store.db().register(&registrations)
    }

    /// Takes moved trees back, so that they can be tried again or dropped.
    fn withdraw(
        &self,
        staging: &StagingDir,
        staged: &BTreeMap<StorePath, &(ValidPathInfo, StagedTree)>,
        moved: &[StorePath],
    ) {
        for path in moved {
            let Some((_, tree)) = staged.get(path) else {
                continue;
            };
            staging.take_back(tree, path);
        }
    }

    /// What to register, with derivations checked and their outputs filled in.
    fn registrations(
        &self,
        staging: &StagingDir,
        staged: &BTreeMap<StorePath, &(ValidPathInfo, StagedTree)>,
    ) -> Result<Vec<Registration>> {
        let infos = staged.values().map(|(info, _)| info.clone());
        let mut registrations: Vec<_> = infos.map(Registration::from).collect();
        let read = |path: &StorePath| match staged.get(path) {
            Some((_, tree)) => staging.read_derivation(tree),
            None => Err(Error::not_valid(self.store.store_dir(), path)),
        };
        self.derivations.borrow_mut().check(
            self.store,
            &mut registrations,
            Strictness::Strict,
            read,
        )?;
        Ok(registrations)
    }

    fn lock_dir(&self) -> Result<&LockDir> {
        if let Some(dir) = self.lock_dir.get() {
            return Ok(dir);
        }
        let dir = LockDir::open(&self.store.layout().real_store)
            .map_err(|source| Error::lock("lock the paths to add", source))?;
        Ok(self.lock_dir.get_or_init(|| dir))
    }

    fn staging(&self) -> Result<&StagingDir> {
        if let Some(staging) = self.staging.get() {
            return Ok(staging);
        }
        let staging = StagingDir::create(self.store)?;
        Ok(self.staging.get_or_init(|| staging))
    }

    fn full(&self, path: &StorePath) -> Box<FullPath> {
        Box::new(FullPath::new(self.store.store_dir(), path))
    }
}

#[cfg(test)]
mod tests;
