//! Trees on their way into the store: reading, copying and rewriting them.
//!
//! Everything that reads a tree reads its archive. A copy is unpacked from the very bytes
//! that are hashed and scanned on the way, so it doesn't matter whether somebody still
//! writes to the original.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix_base::{Hash, HashAlgo, HashModuloSink, HashSink, NarHash, NarHashSink};
use nix_base::{Positions, StorePathHash};
use nix_nar::fs::dump::dump_at;
use nix_nar::fs::restore::{Metadata, RestoreOptions, restore_nar};
use nix_nar::{NarReader, RefScanSink, RewriteSink};
use nix_store_core::PrivateDir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::failure::{BuildFailure, Result};

/// A tree in a directory that only the server can enter.
#[derive(Debug, Clone)]
pub(super) struct Tree<'t> {
    pub(super) dir: BorrowedFd<'t>,
    pub(super) dir_path: &'t Path,
    pub(super) name: OsString,
}

/// What an archive is.
#[derive(Debug, Clone)]
pub(super) struct Scanned {
    pub(super) nar_hash: NarHash,
    pub(super) nar_size: u64,
    /// Which of the candidates occur in it.
    pub(super) found: BTreeSet<StorePathHash>,
}

impl Tree<'_> {
    /// Where it is, for messages.
    pub(super) fn path(&self) -> PathBuf {
        self.dir_path.join(&self.name)
    }

    /// What the root of the tree is; `None` if nothing is there.
    pub(super) fn stat(&self) -> Result<Option<Stat>> {
        match rustix::fs::statat(self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("examine", &io::Error::from(error))),
        }
    }

    /// Hashes and scans the tree in one pass.
    pub(super) fn scan(&self, scanner: &mut RefScanSink) -> Result<Scanned> {
        let mut sink = ScanSink::new(scanner);
        dump_at(self.dir, &self.name, &mut sink).map_err(|e| self.failed("read", &e))?;
        Ok(sink.finish())
    }

    /// Hashes the archive, with `blank` left out if there is one.
    pub(super) fn hash_archive(
        &self,
        algo: HashAlgo,
        blank: Option<StorePathHash>,
    ) -> Result<Hash> {
        self.hash(algo, blank, |mut out| {
            dump_at(self.dir, &self.name, &mut out)
                .map(drop)
                .map_err(|e| self.failed("read", &e))
        })
    }

    /// Hashes the contents of a file, with `blank` left out if there is one.
    pub(super) fn hash_file(&self, algo: HashAlgo, blank: Option<StorePathHash>) -> Result<Hash> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.dir, &self.name, flags, Mode::empty())
            .map_err(|e| self.failed("open", &io::Error::from(e)))?;
        let mut file = std::fs::File::from(file);
        self.hash(algo, blank, |mut out| {
            copy(&mut file, &mut out).map_err(|e| self.failed("read", &e))
        })
    }

    fn hash(
        &self,
        algo: HashAlgo,
        blank: Option<StorePathHash>,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Hash> {
        match blank {
            Some(blank) => {
                let mut sink = HashModuloSink::new(algo, blank, Positions::Included);
                write(&mut sink)?;
                Ok(sink.finish())
            }
            None => {
                let mut sink = HashSink::new(algo);
                write(&mut sink)?;
                Ok(sink.finish().0)
            }
        }
    }

    /// The tree's id in Git.
    pub(super) fn hash_git(&self, algo: HashAlgo) -> Result<Hash> {
        nix_store_core::git_object_id(self.dir, &self.name, algo)
            .map_err(|e| self.failed("hash", &e))
    }

    /// Whether it is a file that nobody may run.
    pub(super) fn is_plain_file(&self) -> Result<bool> {
        let stat = self.stat()?;
        Ok(stat.is_some_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && !Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR)
        }))
    }

    /// Makes a canonical copy in `private`, with hashes replaced; hashes and scans it on the
    /// way.
    pub(super) fn copy_to<'p>(
        &self,
        private: &'p PrivateDir,
        name: OsString,
        rewrites: &BTreeMap<StorePathHash, StorePathHash>,
        scanner: &mut RefScanSink,
    ) -> Result<(Tree<'p>, Scanned)> {
        let (reader, writer) = io::pipe().map_err(|e| self.failed("make a pipe to copy", &e))?;
        let copy = Tree {
            dir: private.fd(),
            dir_path: private.path(),
            name,
        };
        let (dumped, unpacked) = std::thread::scope(|scope| {
            let dump = std::thread::Builder::new()
                .name("copy".into())
                .spawn_scoped(scope, move || self.dump_rewritten(writer, rewrites));
            let dump = match dump {
                Ok(dump) => dump,
                // Its end of the pipe is closed, so there is nothing to wait for.
                Err(e) => return (Err(self.failed("start a thread to copy", &e)), None),
            };
            let unpacked = copy.unpack(reader, scanner);
            let dumped = dump
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (dumped, Some(unpacked))
        });
        match (dumped, unpacked) {
            // Whoever reads ends first when the copy fails, and then writing fails as well.
            (_, Some(Err(failure))) if !failure.is_early_end => Err(failure.failure),
            (Err(failure), _) => Err(failure),
            (Ok(()), Some(Err(failure))) => Err(failure.failure),
            (Ok(()), Some(Ok(scanned))) => Ok((copy, scanned)),
            (Ok(()), None) => Err(BuildFailure::misc("cannot copy an output")),
        }
    }

    /// Removes a tree that was copied. Where that fails it is left to whoever removes the
    /// directory that it is in.
    pub(super) fn discard(&self) {
        if let Err(error) = nix_nar::fs::remove::remove_tree(self.dir, &self.name) {
            tracing::warn!(
                path = %self.path().display(),
                error = &error as &dyn std::error::Error,
                "cannot remove an output that was copied"
            );
        }
    }

    fn dump_rewritten(
        &self,
        writer: PipeWriter,
        rewrites: &BTreeMap<StorePathHash, StorePathHash>,
    ) -> Result<()> {
        if rewrites.is_empty() {
            nix_nar::fs::dump::dump_at_to_fd(self.dir, &self.name, writer.as_fd())
                .map_err(|e| self.failed("read", &e))?;
            return Ok(());
        }
        let mut sink = RewriteSink::new(rewrites, writer);
        dump_at(self.dir, &self.name, &mut sink).map_err(|e| self.failed("read", &e))?;
        sink.finish()
            .map(drop)
            .map_err(|e| self.failed("rewrite", &e))
    }

    fn unpack(
        &self,
        reader: PipeReader,
        scanner: &mut RefScanSink,
    ) -> Result<Scanned, UnpackFailure> {
        let sink = ScanSink::new(scanner);
        let buffered = BufReader::with_capacity(PIPE_BUFFER, reader);
        let mut nar = NarReader::forwarding(buffered, sink);
        let mut options = RestoreOptions::default();
        options.metadata = Metadata::Canonical;
        restore_nar(&mut nar, self.dir, &self.name, &options).map_err(|error| UnpackFailure {
            is_early_end: error.is_truncated(),
            failure: self.failed("copy to", &error),
        })?;
        Ok(nar.into_parts().1.finish())
    }

    fn failed(&self, action: &str, error: &(dyn std::error::Error + 'static)) -> BuildFailure {
        let what = format!("cannot {action} output '{}'", self.path().display());
        BuildFailure::because(&what, error)
    }
}

/// Why an archive couldn't be unpacked.
struct UnpackFailure {
    /// The archive broke off, so that the fault is its writer's.
    is_early_end: bool,
    failure: BuildFailure,
}

/// Hashes and scans, while the bytes are in the cache.
struct ScanSink<'s> {
    hash: NarHashSink,
    scanner: &'s mut RefScanSink,
}

impl<'s> ScanSink<'s> {
    fn new(scanner: &'s mut RefScanSink) -> Self {
        Self {
            hash: NarHashSink::new(),
            scanner,
        }
    }

    fn finish(self) -> Scanned {
        let (nar_hash, nar_size) = self.hash.finish();
        Scanned {
            nar_hash,
            nar_size,
            found: self.scanner.restart(),
        }
    }
}

impl Write for ScanSink<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.scanner.write_all(data)?;
        self.hash.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; PIPE_BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

/// A name in a private directory, for a copy of the output `name`.
pub(super) fn copy_name(purpose: &str, name: &OsStr) -> OsString {
    let mut copy = OsString::from(purpose);
    copy.push("-");
    copy.push(name);
    copy
}

/// As much as a pipe holds by default.
const PIPE_BUFFER: usize = 64 * 1024;
