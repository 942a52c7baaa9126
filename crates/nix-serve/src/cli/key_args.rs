//! Arguments of the commands about keys and signatures.

use std::path::PathBuf;

/// What to do with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyCommand {
    /// Make a new key.
    Generate(NewKey),
    /// Print the public half of a secret key.
    Public {
        /// The file with the secret key; stdin without.
        file: Option<PathBuf>,
    },
}

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewKey {
    /// Its name.
    pub(crate) name: String,
    /// The file for the secret half; stdout without.
    pub(crate) secret_file: Option<PathBuf>,
    /// The file for the public half, if it is wanted.
    pub(crate) public_file: Option<PathBuf>,
    /// Whether files that are there are replaced.
    pub(crate) replace: bool,
}

/// Arguments of `sign`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignArgs {
    /// The file with the secret key.
    pub(crate) key_file: PathBuf,
    /// Which paths.
    pub(crate) paths: SignedPaths,
}

/// Arguments of `check-sigs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckSigsArgs {
    /// Which paths.
    pub(crate) paths: SignedPaths,
    /// Keys that are trusted, instead of those of the settings.
    pub(crate) keys: Vec<String>,
    /// How many signatures a path must have, even if it was built here.
    pub(crate) needed: usize,
    /// Print what was found as JSON on stdout.
    pub(crate) json: bool,
}

/// Which paths are signed, or looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedPaths {
    /// These.
    pub(crate) paths: Vec<PathBuf>,
    /// And all that they refer to.
    pub(crate) recursive: bool,
    /// Or all valid ones.
    pub(crate) all: bool,
}
