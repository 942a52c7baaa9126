//! What the faces of real Nix's programs ask for beyond our own commands.

use std::path::PathBuf;

use nix_base::HashAlgo;

/// An operation that only `nix-store` has, or that it does in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreOperation {
    /// Add files under fixed-output names.
    AddFixed(AddFixedArgs),
    /// Print the path that a file of this hash would have.
    PrintFixedPath(FixedPathArgs),
    /// Print what a derivation gives its builder, as shell commands.
    PrintEnv(PathBuf),
    /// Register paths whose registrations are on stdin.
    RegisterValidity(RegisterArgs),
    /// Compare the store with its database.
    Verify(StoreVerifyArgs),
    /// Compare the contents of these paths with their hashes.
    VerifyPath(Vec<PathBuf>),
    /// Replace these paths by what they should be.
    RepairPath(Vec<PathBuf>),
}

/// Arguments of `--add-fixed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddFixedArgs {
    /// The algorithm of the hash in the content address.
    pub(crate) algo: HashAlgo,
    /// Hash the archive of a tree, and not the bytes of a file.
    pub(crate) recursive: bool,
    /// What to add.
    pub(crate) files: Vec<PathBuf>,
}

/// Arguments of `--print-fixed-path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedPathArgs {
    /// The algorithm of `hash`.
    pub(crate) algo: HashAlgo,
    /// The hash is that of an archive.
    pub(crate) recursive: bool,
    /// The hash as text.
    pub(crate) hash: String,
    /// The name of the path.
    pub(crate) name: String,
}

/// Arguments of `--register-validity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegisterArgs {
    /// Paths that are valid already are registered anew.
    pub(crate) reregister: bool,
    /// The registrations say hash and size.
    pub(crate) hash_given: bool,
}

/// Arguments of `nix-store --verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreVerifyArgs {
    /// Read and hash everything.
    pub(crate) check_contents: bool,
    /// Mend what is wrong.
    pub(crate) repair: bool,
}

/// Arguments of `nix-collect-garbage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CollectGarbageArgs {
    /// Old generations of profiles to remove first.
    pub(crate) generations: OldGenerations,
    /// Remove no generation and collect nothing.
    pub(crate) dry_run: bool,
    /// Stop after so many bytes.
    pub(crate) max_freed: Option<u64>,
}

/// Which generations of profiles are old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OldGenerations {
    /// None.
    Keep,
    /// All but the current one.
    All,
    /// Those that ceased to be current before a time, as typed: `30d`.
    OlderThan(String),
}
