//! Roots: what keeps a path, and all that it refers to, from being collected.
//!
//! ```text
//! permanent   symlinks and file names below STATE/gcroots and STATE/profiles
//! runtime     what running processes have open, mapped, or name in their environment
//! temporary   records of live processes in STATE/temproots
//! ```
//!
//! Roots are found with lstat and readlink alone, so a link leads nowhere that its maker could
//! not have named. What can't be read may be a root: it is noted, and a collector must not go on
//! ([`Roots::require_complete`]).

mod found;
mod permanent;
mod runtime;
mod temp;

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix_base::{StorePath, StorePathSet};

use crate::error::{Error, Result};
use crate::local::LocalStore;
use found::{Candidate, Found};
use permanent::Stale;

/// One reason why a path is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// What names the path. Prints as real Nix prints it in front of the arrow.
    pub source: RootSource,
    /// The path that is kept.
    pub target: StorePath,
}

/// What names a path that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RootSource {
    /// A symlink, or a file that is named like the path.
    Link(PathBuf),
    /// The temporary roots of a process.
    TempRoots {
        /// The process, as the name of its file has it.
        pid: u32,
    },
    /// A running process.
    Process {
        /// The process.
        pid: u32,
        /// How it uses the path.
        what: ProcessUse,
    },
    /// A program that the kernel would start.
    Kernel(PathBuf),
}

/// How a running process uses a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessUse {
    /// It executes a file of it.
    Executable,
    /// Its working directory is there.
    WorkingDirectory,
    /// It has a file of it open, with this descriptor.
    Descriptor(u32),
    /// It has mapped a file of it into its memory.
    Maps,
    /// Its environment names it.
    Environment,
}

/// Where to look for roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootOptions {
    /// Where the kernel tells about processes; nowhere: no processes are looked at.
    pub proc: Option<PathBuf>,
    /// Whether to look at temporary roots. Only a collector doesn't: it has them from
    /// [`CollectorLocks`](crate::lock::CollectorLocks), which it holds.
    pub temporary: bool,
    /// Whether to remove links below `gcroots/auto` whose target is gone.
    pub remove_stale: bool,
}

/// All roots of a store.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Roots {
    /// Sorted as they are printed: by source, then by target.
    pub roots: Vec<Root>,
    /// What is no root though it looks like one, and what couldn't be looked at.
    pub notes: Vec<RootNote>,
}

/// Something found while looking for roots. Prints in real Nix's words.
#[derive(Debug)]
#[non_exhaustive]
pub enum RootNote {
    /// The target of a link isn't valid.
    Invalid {
        /// The link.
        link: PathBuf,
        /// What it names.
        target: PathBuf,
    },
    /// An indirect root whose target is gone was removed.
    StaleRemoved {
        /// The link below `gcroots/auto`.
        link: PathBuf,
        /// The path that is gone.
        target: PathBuf,
    },
    /// A directory or link that may be a root, or hold some, couldn't be read.
    Unreadable {
        /// The directory or link.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl LocalStore {
    /// Finds all roots.
    ///
    /// # Errors
    /// The database or the temporary roots can't be read. What we have no right to read, and
    /// what else can't be read, is in [`Roots::notes`].
    pub fn find_roots(&self, options: &RootOptions) -> Result<Roots> {
        let layout = self.layout();
        let mut found = Found::default();
        // Whoever makes a permanent root has a temporary one until then, and what began to run
        // was rooted until then: in this order nothing is passed over.
        let mut temporary = Vec::new();
        if options.temporary {
            temp::find(layout, &mut temporary, &mut found)?;
        }
        let stale = match (options.remove_stale, options.temporary) {
            (false, _) => Stale::Keep,
            (true, true) => Stale::RemoveBesideNoCollector,
            (true, false) => Stale::Remove,
        };
        permanent::find(layout, stale, &mut found);
        if let Some(proc) = &options.proc {
            runtime::find(layout, proc, &mut found);
        }
        let targets: StorePathSet = found
            .candidates
            .iter()
            .map(|candidate| candidate.target.clone())
            .collect();
        let valid = self.db().query_valid(&targets)?;
        Ok(judge(found, &valid, temporary))
    }
}

/// Keeps what names valid paths.
fn judge(found: Found, valid: &StorePathSet, mut roots: Vec<Root>) -> Roots {
    let mut notes = found.notes;
    for candidate in found.candidates {
        let Candidate {
            source,
            target,
            text,
        } = candidate;
        if valid.contains(&target) {
            roots.push(Root { source, target });
        } else if let (RootSource::Link(link), Some(target)) = (source, text) {
            notes.push(RootNote::Invalid { link, target });
        }
    }
    roots.sort_by_cached_key(|root| (root.source.to_bytes(), root.target.clone()));
    roots.dedup();
    Roots { roots, notes }
}

impl Roots {
    /// Fails with the first thing that couldn't be read: what is missing may be a root, so
    /// nothing must be deleted.
    ///
    /// # Errors
    /// Something couldn't be read.
    pub fn require_complete(&self) -> Result<()> {
        let unreadable = self.notes.iter().find_map(|note| match note {
            RootNote::Unreadable { path, error } => Some((path, error)),
            _ => None,
        });
        match unreadable {
            None => Ok(()),
            Some((path, error)) => {
                let source = match error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(error.kind(), error.to_string()),
                };
                Err(Error::io("find roots in", path, source))
            }
        }
    }
}

impl Default for RootOptions {
    fn default() -> Self {
        Self {
            proc: Some(PathBuf::from("/proc")),
            temporary: true,
            remove_stale: true,
        }
    }
}

impl RootSource {
    /// What is printed, for links as the bytes of their paths.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Link(path) => path.as_os_str().as_bytes().to_vec(),
            other => other.to_string().into_bytes(),
        }
    }
}

impl fmt::Display for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(path) | Self::Kernel(path) => write!(f, "{}", path.display()),
            Self::TempRoots { pid } => write!(f, "{{temp:{pid}}}"),
            Self::Process { pid, what } => write!(f, "/proc/{pid}/{what}"),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.target)
    }
}

impl fmt::Display for ProcessUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executable => f.write_str("exe"),
            Self::WorkingDirectory => f.write_str("cwd"),
            Self::Descriptor(number) => write!(f, "fd/{number}"),
            Self::Maps => f.write_str("maps"),
            Self::Environment => f.write_str("environ"),
        }
    }
}

impl fmt::Display for RootNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { link, target } => {
                let (link, target) = (link.display(), target.display());
                write!(f, "skipping invalid root from '{link}' to '{target}'")
            }
            Self::StaleRemoved { link, target } => {
                let (link, target) = (link.display(), target.display());
                write!(f, "removing stale link from '{link}' to '{target}'")
            }
            Self::Unreadable { path, error } => {
                write!(
                    f,
                    "cannot read potential root '{}': {error}",
                    path.display()
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
