//! Options of the commands about keys and signatures.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::cli::key_args::{CheckSigsArgs, KeyCommand, NewKey, SignArgs, SignedPaths};

#[derive(Debug, Subcommand)]
pub(super) enum KeyOptions {
    /// Make a new key
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate {
        /// The key's name, by convention a host and a number: cache.example.org-1.
        name: String,
        /// The file for the secret half, which only its owner can read; by default stdout.
        #[arg(value_hint = ValueHint::FilePath)]
        secret_file: Option<PathBuf>,
        /// The file for the public half.
        #[arg(value_hint = ValueHint::FilePath)]
        public_file: Option<PathBuf>,
    },
    /// Print the public half of a secret key
    #[command(after_help = PUBLIC_EXAMPLES)]
    Public {
        /// The file with the secret key; by default stdin.
        #[arg(value_name = "SECRET_FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
}

impl From<KeyOptions> for KeyCommand {
    fn from(options: KeyOptions) -> Self {
        match options {
            KeyOptions::Generate {
                name,
                secret_file,
                public_file,
            } => Self::Generate(NewKey {
                name,
                secret_file,
                public_file,
                replace: false,
            }),
            KeyOptions::Public { file } => Self::Public { file },
        }
    }
}

#[derive(Debug, Args)]
struct PathOptions {
    /// All that the paths refer to as well.
    #[arg(long, short)]
    recursive: bool,
    /// All valid paths.
    #[arg(long, conflicts_with = "paths")]
    all: bool,
    /// Store paths, or symlinks to them.
    #[arg(required_unless_present = "all", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

impl From<PathOptions> for SignedPaths {
    fn from(options: PathOptions) -> Self {
        Self {
            paths: options.paths,
            recursive: options.recursive,
            all: options.all,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct SignOptions {
    /// The file with the secret key.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: PathBuf,
    #[command(flatten)]
    paths: PathOptions,
}

impl From<SignOptions> for SignArgs {
    fn from(options: SignOptions) -> Self {
        Self {
            key_file: options.key_file,
            paths: options.paths.into(),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CheckSigsOptions {
    /// Trust this key, and not those of the settings; repeat for more.
    #[arg(long = "key", short = 'k', value_name = "NAME:BASE64")]
    keys: Vec<String>,
    /// Demand so many signatures, also of what was built here.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 0)]
    sigs_needed: usize,
    /// Print what was found as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    paths: PathOptions,
}

impl From<CheckSigsOptions> for CheckSigsArgs {
    fn from(options: CheckSigsOptions) -> Self {
        Self {
            paths: options.paths.into(),
            keys: options.keys,
            needed: options.sigs_needed,
            json: options.json,
        }
    }
}

pub(super) const KEY_EXAMPLES: &str = "\
Examples:
  nix-serve key generate cache.example.org-1 /etc/nix/secret-key /etc/nix/public-key
  nix-serve key public /etc/nix/secret-key

With 'secret-key-files = /etc/nix/secret-key' in nix.conf, what is built is signed; others
trust it with the public half in 'trusted-public-keys'.";
const GENERATE_EXAMPLES: &str = "\
Examples:
  nix-serve key generate cache.example.org-1 /etc/nix/secret-key /etc/nix/public-key
  nix-serve key generate cache.example.org-1 > secret-key

A file that is there is not replaced.";
const PUBLIC_EXAMPLES: &str = "\
Examples:
  nix-serve key public /etc/nix/secret-key
  nix-serve key public < secret-key";
pub(super) const SIGN_EXAMPLES: &str = "\
Examples:
  nix-serve sign --key-file /etc/nix/secret-key --recursive ./result
  nix-serve sign --key-file /etc/nix/secret-key --all";
pub(super) const CHECK_SIGS_EXAMPLES: &str = "\
Examples:
  nix-serve check-sigs --all
  nix-serve check-sigs --recursive --sigs-needed 1 ./result
  nix-serve check-sigs --key cache.example.org-1:… --json ./result

A path is trusted that was built here, whose name follows from its content, or that one of
the keys in 'trusted-public-keys' or 'secret-key-files' has signed. The exit status is 2 if a
path isn't.";
