//! Checking that what the database says is so.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;

use nix_base::{NarHash, NarHashSink, StorePath, ValidPathInfo};

use super::LocalStore;
use crate::error::{Error, FullPath, Result};
use crate::lock::{GcLock, LockMode, Wait};

/// Whether to read and hash every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckContents {
    /// Only see whether the objects are there.
    #[default]
    No,
    /// Compare every object's hash and size with the recorded ones.
    Yes,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// How many valid paths were looked at.
    pub paths: usize,
    /// How many bytes of archives were hashed.
    pub bytes: u64,
    /// What is wrong, in the order of the paths; or what is wrong with the database, and
    /// then no path was looked at.
    pub problems: Vec<VerifyProblem>,
}

/// Something that isn't as the database says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyProblem {
    /// SQLite found a fault in the database file.
    #[error("database is damaged: {message}")]
    Database {
        /// SQLite's description of the fault.
        message: String,
    },

    /// A row refers to a path that has none.
    #[error("table '{table}' has a row {row} about a path that is not valid")]
    DanglingRow {
        /// The table.
        table: String,
        /// The row's number.
        row: i64,
    },

    /// A valid path has no object.
    #[error(
        "path '{path}' disappeared{}",
        if *.has_valid_referrers { ", but it still has valid referrers!" } else { "" }
    )]
    Disappeared {
        /// The path.
        path: FullPath,
        /// Whether objects that are there refer to it.
        has_valid_referrers: bool,
    },

    /// The object has another content than the recorded one.
    #[error("path '{path}' was modified! expected hash '{expected}', got '{actual}'")]
    Modified {
        /// The path.
        path: FullPath,
        /// The recorded hash.
        expected: NarHash,
        /// The hash of what is there.
        actual: NarHash,
    },

    /// The object has the recorded content, but not the recorded size.
    #[error("path '{path}' has a NAR of {actual} bytes, while the database says {expected}")]
    WrongSize {
        /// The path.
        path: FullPath,
        /// The recorded size in bytes.
        expected: u64,
        /// The size of what is there, in bytes.
        actual: u64,
    },

    /// The path's hash was never recorded.
    #[error("path '{path}' has no hash in the database")]
    NoHash {
        /// The path.
        path: FullPath,
    },

    /// The object can't be read, or has parts that no store object may have.
    #[error("cannot read path '{path}'")]
    Unreadable {
        /// The path.
        path: FullPath,
        /// Why.
        #[source]
        source: Box<Error>,
    },
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
    /// Collectors wait meanwhile, unless the store is read-only. `progress` is called
    /// before each object is looked at.
    ///
    /// # Errors
    /// The database or the store directory can't be read; what is wrong with single paths
    /// is in the report.
    pub fn verify(
        &self,
        check_contents: CheckContents,
        progress: &mut dyn FnMut(&StorePath),
    ) -> Result<VerifyReport> {
        let _no_collector = if self.is_read_only() {
            None
        } else {
            GcLock::acquire(&self.layout().state, LockMode::Shared, Wait::Forever)
                .map_err(|error| Error::lock("verify the store", error))?
        };
        let mut report = VerifyReport::default();
        self.db.check_integrity(&mut report.problems)?;
        if !report.is_clean() {
            // What a damaged database tells of the paths is worth nothing.
            return Ok(report);
        }
        // The rows first: what they tell of is on disk already, and stays.
        let valid = self.db.query_all_valid()?;
        let present = self.list_objects()?;
        let mut modified = Vec::new();
        self.db.query_infos(&valid, |info| {
            progress(&info.path);
            report.paths += 1;
            let problem = if !present.contains(&*OsString::from(info.path.to_string())) {
                Some(self.disappeared(&info.path, &present)?)
            } else if check_contents == CheckContents::Yes {
                self.check_object(&info, &mut report.bytes)
            } else {
                None
            };
            modified.extend(problem);
            Ok(())
        })?;
        report.problems.append(&mut modified);
        Ok(report)
    }

    fn list_objects(&self) -> Result<HashSet<OsString>> {
        let dir = &self.layout().real_store;
        let fail = |error| Error::io("list", dir, error);
        fs::read_dir(dir)
            .map_err(fail)?
            .map(|entry| Ok(entry.map_err(fail)?.file_name()))
            .collect()
    }

    fn disappeared(&self, path: &StorePath, present: &HashSet<OsString>) -> Result<VerifyProblem> {
        let mut referrers = self.db.query_referrers(path)?;
        referrers.remove(path);
        let is_there = |path: &StorePath| present.contains(&*OsString::from(path.to_string()));
        Ok(VerifyProblem::Disappeared {
            path: self.full_path(path),
            has_valid_referrers: referrers.iter().any(is_there),
        })
    }

    fn check_object(&self, info: &ValidPathInfo, bytes: &mut u64) -> Option<VerifyProblem> {
        let path = self.full_path(&info.path);
        let mut sink = NarHashSink::new();
        if let Err(error) = self.dump_object(&info.path, &mut sink) {
            let source = Box::new(error);
            return Some(VerifyProblem::Unreadable { path, source });
        }
        let (actual, size) = sink.finish();
        *bytes += size;
        if info.nar_hash.is_unknown() {
            Some(VerifyProblem::NoHash { path })
        } else if info.nar_hash != actual {
            let expected = info.nar_hash;
            Some(VerifyProblem::Modified {
                path,
                expected,
                actual,
            })
        } else if info.nar_size != 0 && info.nar_size != size {
            Some(VerifyProblem::WrongSize {
                path,
                expected: info.nar_size,
                actual: size,
            })
        } else {
            None
        }
    }

    fn full_path(&self, path: &StorePath) -> FullPath {
        FullPath::new(self.store_dir(), path)
    }
}

#[cfg(test)]
mod tests;
