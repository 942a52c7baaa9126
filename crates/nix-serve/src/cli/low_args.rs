//! What the command line says, before anything is looked up.
//!
//! Each face of the program ([`clap_face`](super::clap_face),
//! [`store_face`](super::store_face), [`copy_closure_face`](super::copy_closure_face),
//! [`collect_garbage_face`](super::collect_garbage_face)) turns its words into a [`LowArgs`]. That takes no I/O and no look at the environment.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::build_args::BuildArgs;
use super::drv_args::DrvCommand;
use super::gc_args::GcArgs;
use super::inspect_args::{DuArgs, WhyDependsArgs};
use super::key_args::{CheckSigsArgs, KeyCommand, SignArgs};
use super::log_format::LogFormat;
use super::optimise_args::OptimiseArgs;
use super::query_args::QueryArgs;
use super::quota_args::QuotaArgs;
use super::store_args::{CollectGarbageArgs, StoreOperation};
use super::verify_args::VerifyArgs;
use crate::policy::{Capability, KeyName};

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LowArgs {
    /// Options that every command has.
    pub(crate) global: GlobalArgs,
    /// What to do.
    pub(crate) command: Command,
}

/// Options that every command has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlobalArgs {
    /// `--store`: a store address.
    pub(crate) store: Option<String>,
    /// Settings in the order given, as name and value; these win over nix.conf.
    pub(crate) settings: Vec<(String, String)>,
    /// As Nix counts: 0 errors, 1 warnings, 3 information, 4 and more debugging.
    pub(crate) verbosity: u8,
    /// How messages are written.
    pub(crate) log_format: LogFormat,
    /// Say that results without a root may be collected.
    pub(crate) warns_of_no_root: bool,
    /// Don't show what builders write.
    pub(crate) no_build_output: bool,
    /// What is to be said once messages can be: options without effect.
    pub(crate) warnings: Vec<String>,
}

/// Nix's level of information, where commands start.
pub(crate) const DEFAULT_VERBOSITY: u8 = 3;

impl Default for GlobalArgs {
    fn default() -> Self {
        Self {
            store: None,
            settings: Vec::new(),
            verbosity: DEFAULT_VERBOSITY,
            log_format: LogFormat::default(),
            warns_of_no_root: true,
            no_build_output: false,
            warnings: Vec::new(),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Speak the serve protocol on stdin and stdout.
    Serve(ServeArgs),
    /// Make a line of an authorized_keys file.
    Authorize(AuthorizeArgs),
    /// Print what clients did, or were refused.
    Audit(AuditArgs),
    /// Print what keys have used up.
    Quota(QuotaArgs),
    /// Copy a closure to or from another store.
    Copy(CopyArgs),
    /// Make outputs of derivations.
    Build(BuildArgs),
    /// Print what builders wrote.
    Log(Vec<PathBuf>),
    /// Say whether builds can run here.
    Doctor {
        /// As JSON.
        json: bool,
    },
    /// Go on with the build in a directory when its clients have left.
    SuperviseBuild(PathBuf),
    /// Add files and directories.
    Add(AddArgs),
    /// Write the archive of a file or directory to stdout.
    Dump(PathBuf),
    /// Unpack the archive on stdin.
    Restore(PathBuf),
    /// Print what a store knows of paths.
    PathInfo(PathInfoArgs),
    /// Make a store.
    Init,
    /// Compare the database with what is on disk.
    Verify(VerifyArgs),
    /// Make files with the same contents one.
    Optimise(OptimiseArgs),
    /// Make keys for signatures.
    Key(KeyCommand),
    /// Sign paths.
    Sign(SignArgs),
    /// Say which paths are signed by nobody who is trusted.
    CheckSigs(CheckSigsArgs),
    /// Say why one path depends on another.
    WhyDepends(WhyDependsArgs),
    /// Say what takes the space.
    Du(DuArgs),
    /// Collect garbage, or say what it is.
    Gc(GcArgs),
    /// Register paths whose registrations are on stdin.
    LoadDb,
    /// Print registrations; of all paths if none is named.
    DumpDb(Vec<PathBuf>),
    /// Answer a query of `nix-store -q`.
    Query(QueryArgs),
    /// What else `nix-store` does.
    Store(StoreOperation),
    /// Remove old generations of profiles and collect garbage.
    CollectGarbage(CollectGarbageArgs),
    /// Say which paths aren't valid.
    CheckValidity(CheckValidityArgs),
    /// Write paths as an export stream.
    Export(Vec<PathBuf>),
    /// Add the paths of an export stream.
    Import,
    /// Answer a question about derivations.
    Drv(DrvCommand),
    /// Print a completion script.
    Completions(clap_complete::Shell),
    /// Write manual pages into a directory, or the main one to stdout.
    Man(Option<PathBuf>),
    /// Look up the user and a host name, to see that this build of the program can.
    SelfCheck,
    /// Print a text that is ready, such as a version.
    Print(String),
}

/// What a client of the server may do: flags that a policy goes on from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServeArgs {
    /// The client may change the store.
    pub(crate) write: bool,
    /// Nothing it does is taken on its word.
    pub(crate) untrusted: bool,
    /// What it may do, if that is said one by one.
    pub(crate) allow: Option<BTreeSet<Capability>>,
    /// Its name.
    pub(crate) key: Option<KeyName>,
    /// Roots of what it sees, if not everything.
    pub(crate) expose: Vec<PathBuf>,
}

impl ServeArgs {
    /// The flags of upstream alone.
    pub(crate) fn plain(write: bool) -> Self {
        Self {
            write,
            ..Self::default()
        }
    }

    /// Whether only flags of upstream are given.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::plain(self.write)
    }
}

/// Arguments of `authorize`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorizeArgs {
    /// A file with one public key of ssh.
    pub(crate) key_file: PathBuf,
    /// What the key gets.
    pub(crate) serve: ServeArgs,
    /// The program on the server, if it isn't this one.
    pub(crate) program: Option<PathBuf>,
    /// Where the line goes to.
    pub(crate) install: Install,
}

/// Where a line of an authorized_keys file goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Install {
    /// To stdout alone.
    No,
    /// Into this user's own file.
    Own,
    /// Into this file.
    File(PathBuf),
}

/// Arguments of `audit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditArgs {
    /// Only what this key did.
    pub(crate) key: Option<String>,
    /// Only what was refused.
    pub(crate) refused: bool,
    /// Records as they are.
    pub(crate) json: bool,
    /// Nothing earlier, in milliseconds since 1970.
    pub(crate) since: Option<u64>,
}

/// Arguments of copying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopyArgs {
    /// Where to.
    pub(crate) direction: Direction,
    /// The store at the other end.
    pub(crate) address: String,
    /// Store paths, or symlinks to them.
    pub(crate) paths: Vec<PathBuf>,
    /// Say what would be copied, and copy nothing.
    pub(crate) dry_run: bool,
    /// Copy the outputs of derivations too.
    pub(crate) include_outputs: bool,
    /// The destination may fetch from its substituters.
    pub(crate) substitute: bool,
    /// Copy what the paths refer to.
    pub(crate) recursive: bool,
    /// Print a summary as JSON on stdout.
    pub(crate) json: bool,
    /// Let ssh compress.
    pub(crate) compress: bool,
}

/// From which end a copy is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the other store.
    To,
    /// From the other store.
    From,
}

/// Arguments of adding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddArgs {
    /// What to add.
    pub(crate) files: Vec<PathBuf>,
    /// The name of the store path, instead of the file's.
    pub(crate) name: Option<String>,
}

/// Arguments of `path-info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathInfoArgs {
    /// Which paths.
    pub(crate) paths: Vec<PathBuf>,
    /// All that they refer to as well.
    pub(crate) recursive: bool,
    /// Print the size of each archive.
    pub(crate) size: bool,
    /// Print the size of each closure.
    pub(crate) closure_size: bool,
    /// Print everything, as JSON.
    pub(crate) json: bool,
}

/// Arguments of `nix-store --check-validity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckValidityArgs {
    /// Which paths.
    pub(crate) paths: Vec<PathBuf>,
    /// Print the invalid ones instead of failing.
    pub(crate) print_invalid: bool,
}
