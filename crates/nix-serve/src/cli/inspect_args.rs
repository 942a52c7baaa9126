//! Arguments of `why-depends` and `du`.

use std::path::PathBuf;

/// Arguments of `why-depends`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WhyDependsArgs {
    /// What depends.
    pub(crate) path: PathBuf,
    /// What it depends on.
    pub(crate) dependency: PathBuf,
    /// All ways there, not just a shortest one.
    pub(crate) all: bool,
    /// All files in which a reference stands, not just the first.
    pub(crate) precise: bool,
    /// As JSON.
    pub(crate) json: bool,
}

/// Arguments of `du`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DuArgs {
    /// Whose closures are looked at; the whole store by its roots if there are none.
    pub(crate) paths: Vec<PathBuf>,
    /// How many levels of the tree are printed.
    pub(crate) depth: Option<usize>,
    /// How many lines there are for each level at most.
    pub(crate) width: Option<usize>,
    /// As JSON.
    pub(crate) json: bool,
    /// Where a page with a treemap goes to.
    pub(crate) html: Option<PathBuf>,
}
