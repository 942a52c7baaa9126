#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aterm;
pub mod check;
pub mod derivation;
pub mod diff;
pub mod error;
#[cfg(any(test, feature = "generate"))]
pub mod generate;
pub mod hash_modulo;
pub mod json;
pub mod options;
pub mod outputs;
pub mod proof;
pub mod resolve;
pub mod wire;

pub use aterm::{ParseError, RawDerivation, Strictness};
pub use check::check_derivation;
pub use derivation::{
    BasicDerivation, Derivation, DerivationOutput, DerivationOutputs, DerivationType, InputNode,
    drv_name,
};
pub use error::{Error, FieldError, Result};
pub use hash_modulo::{
    ComputedOutput, HashKind, HashMemo, InputHash, MaskedHash, PendingOutputs, Visited, visit_graph,
};
pub use nix_base::OutputName;
pub use options::DerivationOptions;
pub use outputs::Placeholder;
pub use resolve::Rewrites;
