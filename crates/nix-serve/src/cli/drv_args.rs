//! What `nix-serve drv` is asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

/// A question about derivations.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum DrvCommand {
    /// Print derivations as JSON
    Show(ShowArgs),
    /// Print the paths of outputs
    Outputs(OutputsArgs),
    /// Print a derivation with its input derivations replaced by their outputs
    Resolve(ResolveArgs),
    /// Print the tree of input derivations
    Tree(TreeArgs),
    /// Print what differs between two derivations, level by level
    Diff(DiffArgs),
}

/// Arguments of `drv show`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ShowArgs {
    /// The form of which releases.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) form: Form,
    /// Input derivations as well, and theirs.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// .drv files, in the store or elsewhere.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

/// A form of JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Full paths, as up to Nix 2.14.
    Early,
    /// Full paths, as from Nix 2.24 to 2.31.
    Unversioned,
    /// Version 3, as in Nix 2.32.
    #[value(name = "3")]
    V3,
    /// Version 4, as since Nix 2.33.
    #[default]
    #[value(name = "4")]
    V4,
}

/// Arguments of `drv outputs`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct OutputsArgs {
    /// Compute the paths, and fail if others are stated.
    #[arg(long)]
    pub(crate) check: bool,
    /// Compute those of the input derivations as well, and of theirs, as far as the paths
    /// depend on them.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Print an object of outputs by derivation.
    #[arg(long)]
    pub(crate) json: bool,
    /// .drv files, in the store or elsewhere.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

/// Arguments of `drv resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ResolveArgs {
    /// The path that an output of an input came out as, where its derivation doesn't
    /// tell: /nix/store/….drv!OUTPUT=/nix/store/….
    #[arg(long = "realised", value_name = "OUTPUT=PATH")]
    pub(crate) realised: Vec<String>,
    /// Print the text of a .drv file instead of JSON.
    #[arg(long)]
    pub(crate) aterm: bool,
    /// A .drv file, in the store or elsewhere.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Arguments of `drv tree`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct TreeArgs {
    /// How many levels below the top.
    #[arg(long, value_name = "LEVELS")]
    pub(crate) depth: Option<usize>,
    /// .drv files, in the store or elsewhere.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

/// Arguments of `drv diff`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct DiffArgs {
    /// How many levels below the top.
    #[arg(long, value_name = "LEVELS")]
    pub(crate) depth: Option<usize>,
    /// A .drv file, in the store or elsewhere.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) one: PathBuf,
    /// Another one.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) two: PathBuf,
}
