//! As whom builders run: user ids that no two builds share.
//!
//! A build holds its user by a lock on a file in the state directory, in the way and at the
//! places of Nix, so that builds of both never share one:
//!
//! - `userpool/<uid>` for a member of the build users' group,
//! - `userpool2/slot-<n>` for 65,536 ids of the automatic range.
//!
//! The lock is gone with the process. Nothing is ever written to the files, and none is removed.

mod pool;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::PathBuf;

pub use pool::UserPool;

use crate::slots::LockError;

/// What is the matter with the users of builds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// `build-users-group` names nothing.
    #[error("the group '{0}' specified in 'build-users-group' does not exist")]
    NoSuchGroup(String),
    /// `build-users-group` is empty.
    #[error("the build users group '{0}' has no members")]
    NoMembers(String),
    /// No member of the group is an account.
    #[error("no member of the build users group '{0}' has an account: {names}", names = .1.join(", "))]
    NoAccounts(String, Vec<String>),
    /// The server could itself be killed as a builder.
    #[error("the Nix user should not be a member of '{0}'")]
    ServerIsMember(String),
    /// Builders would own the store.
    #[error(
        "builds don't run as root: set 'build-users-group', or leave it empty for user ids of the \
         automatic range"
    )]
    Root,
    /// Without root there is no other user.
    #[error("builds can run as another user only if this process runs as root")]
    NotRoot,
    /// The range has no room for one slot.
    #[error("'id-count' {count} is less than the {SLOT_IDS} user ids of one build")]
    RangeTooSmall {
        /// The range's length.
        count: u32,
    },
    /// The range has ids that can't be.
    #[error("user ids from 'start-id' {start} on, 'id-count' {count} of them, are not all valid")]
    RangeInvalid {
        /// The first id.
        start: u32,
        /// How many.
        count: u32,
    },
    /// 65,536 ids were asked for.
    #[error(
        "a build that requires 'uid-range' needs 65536 user ids, which only the automatic range \
         has ('auto-allocate-uids')"
    )]
    NoRange,
    /// Others could take a lock's place.
    #[error("'{path}' is writable by others or not owned by this user: that's not allowed", path = path.display())]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {operation} '{subject}'")]
    Io {
        /// What was done.
        operation: &'static str,
        /// To what.
        subject: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl UsersError {
    fn io(
        operation: &'static str,
        subject: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            operation,
            subject: subject.into(),
            source: source.into(),
        }
    }
}

impl From<LockError> for UsersError {
    fn from(error: LockError) -> Self {
        Self::io(error.action, error.path.display().to_string(), error.source)
    }
}

/// User and group ids for one build, for as long as this value lives.
#[derive(Debug)]
#[must_use]
pub struct BuildUser {
    /// The first user id.
    pub uid: u32,
    /// The first group id.
    pub gid: u32,
    /// How many ids: 1, or 65,536.
    pub count: u32,
    /// Supplementary groups of the account, for builds without a user namespace.
    pub supplementary: Vec<u32>,
    /// The account, if there is one.
    pub name: Option<String>,
    /// Whether the ids are those of this process, which nothing protects from the builder.
    pub is_caller: bool,
    lock: Option<File>,
}

impl BuildUser {
    /// The user that runs this process.
    ///
    /// # Errors
    /// That is root.
    pub fn caller() -> Result<Self, UsersError> {
        let uid = rustix::process::geteuid();
        if uid.is_root() || rustix::process::getuid().is_root() {
            return Err(UsersError::Root);
        }
        Ok(Self {
            uid: uid.as_raw(),
            gid: rustix::process::getegid().as_raw(),
            count: 1,
            supplementary: Vec::new(),
            name: None,
            is_caller: true,
            lock: None,
        })
    }

    /// Whether a lock keeps these ids from other builds.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.lock.is_some()
    }
}

/// User ids of one slot of the automatic range.
pub const SLOT_IDS: u32 = 1 << 16;
