//! What the command line says of queries.

use std::path::PathBuf;

/// Arguments of `nix-store --query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryArgs {
    /// What is asked.
    pub(crate) query: Query,
    /// Outputs of derivations count as part of the closure.
    pub(crate) include_outputs: bool,
    /// Ask about the outputs of the given derivations.
    pub(crate) use_output: bool,
    /// Build the given derivations first.
    pub(crate) force_realise: bool,
    /// About which paths.
    pub(crate) paths: Vec<PathBuf>,
}

/// A question of `nix-store --query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// Outputs of a derivation.
    Outputs,
    /// Everything that is referred to, directly or not.
    Requisites,
    /// What is referred to.
    References,
    /// What refers to the path.
    Referrers,
    /// What refers to the path, directly or not.
    ReferrersClosure,
    /// The derivation it was built from.
    Deriver,
    /// The derivations here that have it as output.
    ValidDerivers,
    /// A variable of a derivation's builder.
    Binding(String),
    /// The hash of its archive.
    Hash,
    /// The size of its archive.
    Size,
    /// The closure, drawn as a tree.
    Tree,
    /// The closure, as a graph for dot.
    Graph,
    /// The closure, as GraphML.
    GraphMl,
    /// The store path that a link leads to.
    Resolve,
    /// The roots that need the path.
    Roots,
}
