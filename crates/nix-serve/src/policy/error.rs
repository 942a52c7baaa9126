//! Policies that can't be put in force.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{Capability, KeyName};

/// A place in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why a policy can't be put in force. None of these is overcome by a narrower role: whoever
/// wrote the policy meant something else.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file is there and can't be read.
    #[error("cannot read the policy '{}'", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have written the file.
    #[error(
        "the policy '{}' belongs to user {owner} and has mode {mode:04o}: only its owner may write \
         to it, who must be root or the user of the server", .file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// The file is larger than any policy.
    #[error("the policy '{}' is larger than 1 MiB", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The file isn't what a policy is made of.
    #[error("{at}: {message}")]
    Syntax {
        /// Where.
        at: At,
        /// What is wrong.
        message: String,
    },
    /// Two statements exclude each other.
    #[error("{at}: {message}")]
    Contradiction {
        /// Where the later one is.
        at: At,
        /// What contradicts what.
        message: String,
    },
    /// Two flags of the command line exclude each other, or one lacks another.
    #[error("{0}")]
    Flags(String),
    /// A capability that the other flags rule out.
    #[error("'{capability}' can't be allowed {}: {reason}", place(.at.as_ref()))]
    Excluded {
        /// What was to be allowed.
        capability: Capability,
        /// Where, if not on the command line.
        at: Option<At>,
        /// Why not.
        reason: &'static str,
    },
    /// There's a policy file, and it says nothing of this name.
    #[error("the policy '{}' has neither [key.\"{key}\"] nor [default]", .file.display())]
    UnknownKey {
        /// The name given with `--as`.
        key: KeyName,
        /// The policy file.
        file: PathBuf,
    },
    /// A name alone says nothing.
    #[error(
        "'--as {key}' needs '--untrusted', '--allow' or an entry for the key in '{}', which isn't \
         there", .file.display()
    )]
    NoPolicy {
        /// The name given with `--as`.
        key: KeyName,
        /// Where the policy file would be.
        file: PathBuf,
    },
}

fn place(at: Option<&At>) -> String {
    at.map_or_else(|| "on the command line".to_owned(), |at| format!("at {at}"))
}
