//! The text form of derivations, as it stands in `.drv` files.
//!
//! ```text
//! drv     = "Derive(" parts ")"  |  "DrvWithVersion(" string "," parts ")"
//! parts   = outputs "," inputs "," strings "," string "," string "," strings "," env
//!                               sources     platform     builder      args
//! outputs = "[" { "(" id "," path "," algorithm "," hash ")" } "]"
//! inputs  = "[" { "(" path "," node ")" } "]"
//! node    = strings  |  "(" strings ",[" { "(" output "," node ")" } "])"
//! env     = "[" { "(" name "," value ")" } "]"
//! ```
//!
//! Elements of a list are separated by one comma, there is no white space, and
//! the second form of a node belongs to `DrvWithVersion` alone. The whole story,
//! with what lenient readers let pass, is in `docs/formats/aterm.md`.

mod parse;
mod raw;
mod write;

pub(crate) use parse::{Escapes, HalfParsed};
pub use parse::{ParseError, Reason};
pub use raw::{RawDerivation, RawInput, RawNode, RawOutput};

pub use write::Masked;
pub(crate) use write::{Printer, print};

/// How closely a text has to follow the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Exactly what the printer prints; for everything that comes from a client.
    Strict,
    /// What real Nix reads; for files that are already in a store.
    Lenient,
}

impl Strictness {
    /// Whether only the canonical form will do.
    pub fn is_strict(self) -> bool {
        self == Self::Strict
    }
}

/// The version word of derivations that depend on outputs of outputs.
pub(crate) const DYNAMIC_VERSION: &str = "xp-dyn-drv";

/// How deep the outputs of outputs may nest: a bound on recursion, far above
/// anything that was ever written.
pub(crate) const MAX_NODE_DEPTH: usize = 64;
