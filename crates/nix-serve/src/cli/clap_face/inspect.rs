//! Options of `why-depends` and `du`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::inspect_args::{DuArgs, WhyDependsArgs};

#[derive(Debug, Args)]
pub(super) struct WhyDependsOptions {
    /// Print all ways there, not just a shortest one.
    #[arg(long, short)]
    all: bool,
    /// Print all files in which a reference stands, not just the first.
    #[arg(long)]
    precise: bool,
    /// Print the ways as JSON.
    #[arg(long)]
    json: bool,
    /// A store path, or a symlink to one.
    #[arg(value_hint = ValueHint::AnyPath)]
    path: PathBuf,
    /// What it refers to, at once or through others.
    #[arg(value_hint = ValueHint::AnyPath)]
    dependency: PathBuf,
}

impl From<WhyDependsOptions> for WhyDependsArgs {
    fn from(options: WhyDependsOptions) -> Self {
        Self {
            path: options.path,
            dependency: options.dependency,
            all: options.all,
            precise: options.precise,
            json: options.json,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct DuOptions {
    /// How many levels of the tree are printed.
    #[arg(long, short, value_name = "N")]
    depth: Option<usize>,
    /// How many lines are printed below each path at most.
    #[arg(long, short, value_name = "N")]
    width: Option<usize>,
    /// Print the whole tree as JSON; sizes are in bytes.
    #[arg(long)]
    json: bool,
    /// Write a page with a treemap that a browser shows.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Store paths, or symlinks to them; the whole store by its roots if there are none.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
}

impl From<DuOptions> for DuArgs {
    fn from(options: DuOptions) -> Self {
        Self {
            paths: options.paths,
            depth: options.depth,
            width: options.width,
            json: options.json,
            html: options.html,
        }
    }
}

pub(super) const WHY_DEPENDS_EXAMPLES: &str = "\
Examples:
  nix-serve why-depends ./result /nix/store/…-glibc-2.40
  nix-serve why-depends --all --precise ./result /nix/store/…-gcc-14

Below each path are the file that refers to the next one, and the words around the reference.
The exit status is 1 if the first path doesn't depend on the second.";
pub(super) const DU_EXAMPLES: &str = "\
Examples:
  nix-serve du                       what takes the space, by roots
  nix-serve du --depth 4 ./result
  nix-serve du --html store.html     the same as a page to click through

What stands below a path is needed through that path alone, and counts as its own ('exclusive'):
so much would be free without it. What several need stands beside them.
Sizes are those of archives; files that are hard-linked count each time.";
