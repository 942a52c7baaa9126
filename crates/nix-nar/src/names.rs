//! The names on the way from the root of an archive to the node at hand.
//!
//! One stack serves three purposes: it is the path for error messages, it
//! holds the entry before the present one in every open directory (entries
//! must ascend), and its height is the depth.

use std::cmp::Ordering;

use bstr::{BStr, BString};

use crate::error::Problem;
use crate::token::{MAX_DEPTH, MAX_NAME, MAX_TARGET};

/// The open directories, each with its latest entry.
#[derive(Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    /// Where in `bytes` the latest entry of each open directory begins.
    starts: Vec<usize>,
}

impl Names {
    /// Number of open directories.
    pub(crate) fn depth(&self) -> usize {
        self.starts.len()
    }

    /// Goes into a directory, which has no entries yet.
    pub(crate) fn open(&mut self) {
        self.starts.push(self.bytes.len());
    }

    /// Leaves the innermost directory; false if none is open.
    pub(crate) fn close(&mut self) -> bool {
        match self.starts.pop() {
            Some(start) => {
                self.bytes.truncate(start);
                true
            }
            None => false,
        }
    }

    /// Goes on to the entry `name` of the innermost directory, which must be open.
    pub(crate) fn enter(&mut self, name: &[u8]) -> Result<(), Problem> {
        if self.depth() >= MAX_DEPTH {
            return Err(Problem::TooDeep);
        }
        check_name(name)?;
        let start = self.starts.last().copied().unwrap_or(0);
        let previous = &self.bytes[start..];
        // Nothing is smaller than a valid name but the empty "no entry yet".
        if name.cmp(previous) != Ordering::Greater {
            return Err(Problem::NotSorted {
                name: name.into(),
                previous: previous.into(),
            });
        }
        self.bytes.truncate(start);
        self.bytes.extend_from_slice(name);
        Ok(())
    }

    /// The latest entry of the innermost directory; empty at the root.
    pub(crate) fn current(&self) -> &BStr {
        let start = self.starts.last().copied().unwrap_or(self.bytes.len());
        BStr::new(&self.bytes[start..])
    }

    /// The name of the innermost directory; empty at the root.
    pub(crate) fn parent_entry(&self) -> &BStr {
        let end = self.starts.last().copied().unwrap_or(0);
        let outer = self
            .starts
            .len()
            .checked_sub(2)
            .map_or(end, |i| self.starts[i]);
        BStr::new(&self.bytes[outer..end])
    }

    /// The names from the root to the latest entry, joined with slashes.
    pub(crate) fn path(&self) -> BString {
        self.join(self.starts.len())
    }

    /// The names from the root to the innermost directory, joined with slashes.
    pub(crate) fn directory_path(&self) -> BString {
        self.join(self.starts.len().saturating_sub(1))
    }

    fn join(&self, levels: usize) -> BString {
        let mut path = Vec::with_capacity(self.bytes.len() + levels);
        for (i, &start) in self.starts.iter().enumerate().take(levels) {
            let end = self.starts.get(i + 1).copied().unwrap_or(self.bytes.len());
            if i > 0 && start < end {
                path.push(b'/');
            }
            path.extend_from_slice(&self.bytes[start..end]);
        }
        path.into()
    }
}

/// Refuses names that cannot be a single component of a path.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Problem> {
    let bad = name.is_empty()
        || name.len() > MAX_NAME
        || name == b"."
        || name == b".."
        || memchr::memchr2(b'/', 0, name).is_some();
    if bad {
        Err(Problem::InvalidName(name.into()))
    } else {
        Ok(())
    }
}

/// Refuses targets that no symbolic link can have.
pub(crate) fn check_target(target: &[u8]) -> Result<(), Problem> {
    let bad = target.is_empty() || target.len() > MAX_TARGET || memchr::memchr(0, target).is_some();
    if bad {
        Err(Problem::InvalidTarget(target.into()))
    } else {
        Ok(())
    }
}
