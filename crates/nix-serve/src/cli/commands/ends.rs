//! The local store as source and as destination of a copy.

use std::io::{self, BufRead, Read, Write};

use nix_base::{StorePath, StorePathSet, ValidPathInfo};
use nix_store_core::{CommitOutcome, ImportBatch, LocalStore, Lock, Store};

use crate::cli::signals::SignalWatch;
use crate::client::{BoxError, NarImporter, NarSource};

/// Reads objects of a store, until a signal comes.
pub(in crate::cli::commands) struct Source<'a> {
    store: &'a LocalStore,
    watch: &'a SignalWatch,
}

impl<'a> Source<'a> {
    pub(in crate::cli::commands) const fn new(
        store: &'a LocalStore,
        watch: &'a SignalWatch,
    ) -> Self {
        Self { store, watch }
    }
}

impl NarSource for Source<'_> {
    fn dump(&mut self, path: &StorePath, out: &mut dyn Write) -> Result<(), BoxError> {
        let mut out = Watched {
            inner: out,
            watch: self.watch,
        };
        Ok(self.store.dump(path, &mut out)?)
    }
}

/// Adds objects to a store, until a signal comes.
pub(in crate::cli::commands) struct Importer<'a> {
    store: &'a LocalStore,
    batch: ImportBatch<'a>,
    watch: &'a SignalWatch,
}

impl<'a> Importer<'a> {
    pub(in crate::cli::commands) fn new(store: &'a LocalStore, watch: &'a SignalWatch) -> Self {
        Self {
            store,
            batch: ImportBatch::new(store),
            watch,
        }
    }
}

fn failure_of(outcome: CommitOutcome) -> Result<(), BoxError> {
    outcome.failure.map_or(Ok(()), |error| Err(error.into()))
}

impl NarImporter for Importer<'_> {
    fn query_valid(&mut self, paths: &StorePathSet) -> Result<StorePathSet, BoxError> {
        let lock = match self.store.is_read_only() {
            true => Lock::No,
            false => Lock::Yes,
        };
        Ok(self.store.query_valid_paths(paths, lock)?)
    }

    fn import(&mut self, info: &ValidPathInfo, nar: &mut dyn BufRead) -> Result<(), BoxError> {
        let mut nar = Watched {
            inner: nar,
            watch: self.watch,
        };
        let mut info = info.clone();
        // What another store says of its own making counts for nothing here.
        info.info.ultimate = false;
        info.info.registration_time = 0;
        if info.nar_hash.is_unknown() {
            let object = self.batch.unpack(&mut nar)?;
            self.batch.name(object, info)?;
        } else {
            self.batch.stage(info, &mut nar)?;
        }
        if self.batch.is_full() {
            failure_of(self.batch.advance())?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        failure_of(self.batch.commit())
    }
}

/// A stream that fails once a signal came.
struct Watched<'a, T: ?Sized> {
    inner: &'a mut T,
    watch: &'a SignalWatch,
}

impl<T: Write + ?Sized> Write for Watched<'_, T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.watch.check()?;
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: BufRead + ?Sized> Read for Watched<'_, T> {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        self.watch.check()?;
        self.inner.read(data)
    }
}

impl<T: BufRead + ?Sized> BufRead for Watched<'_, T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.watch.check()?;
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}
