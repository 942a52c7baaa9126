//! What can go wrong with a derivation.

use bstr::BString;
use nix_base::store_path::NameError;
use nix_base::store_path::make::MakePathError;
use nix_base::{HashError, OutputName, StorePath, StorePathError};

use crate::aterm::ParseError;

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a caller couldn't supply the text of a derivation.
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// What is wrong with a derivation. Where real Nix says the same, it says it in
/// these words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text isn't a derivation.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A string of the text doesn't say what it should.
    #[error("bad field at offset {offset}")]
    Field {
        /// Where the string starts.
        offset: usize,
        /// What it should have been.
        #[source]
        source: FieldError,
    },
    /// The derivation at a path can't be parsed.
    #[error("error parsing derivation '{path}'")]
    InFile {
        /// The full path.
        path: String,
        /// What is wrong.
        #[source]
        source: Box<Self>,
    },
    /// The path isn't that of a derivation.
    #[error("path '{0}' is not a valid derivation path: its name must end in '.drv'")]
    NotADerivationPath(StorePath),
    /// Outputs of different kinds.
    #[error("can't mix derivation output types")]
    MixedOutputs,
    /// Floating outputs with different algorithms.
    #[error("all floating outputs must use the same hash algorithm")]
    MixedHashAlgorithms,
    /// Nothing to build.
    #[error("must have at least one output")]
    NoOutputs,
    /// More than one fixed output.
    #[error("only one fixed output is allowed for now")]
    SeveralFixedOutputs,
    /// The fixed output has another name.
    #[error("single fixed output must be named \"out\"")]
    FixedOutputNotOut,
    /// An input derivation doesn't have an output that is wanted of it.
    #[error("no hash for output '{output}' of derivation '{drv}'")]
    NoHash {
        /// The output.
        output: BString,
        /// The input derivation.
        drv: StorePath,
    },
    /// The hash of an input derivation was not supplied.
    #[error("the hash of input derivation '{0}' is not known")]
    UnknownInput(StorePath),
    /// The text of a derivation can't be had.
    #[error("cannot read derivation '{path}'")]
    Read {
        /// The derivation.
        path: StorePath,
        /// Why not.
        #[source]
        source: ReadError,
    },
    /// An output of an input that isn't there yet.
    #[error("output '{output}' of derivation '{drv}' is not realised")]
    NotRealised {
        /// The input derivation.
        drv: StorePath,
        /// Its output.
        output: OutputName,
    },
    /// The derivation was made for another path.
    #[error("derivation '{drv}' has name '{name}' which does not match its path")]
    NameMismatch {
        /// The full path.
        drv: String,
        /// The derivation's name.
        name: String,
    },
    /// An output path that doesn't follow from the derivation.
    #[error("derivation '{drv}' has incorrect output '{stated}', should be '{expected}'{hint}")]
    IncorrectOutput {
        /// The full path of the derivation.
        drv: String,
        /// The path that it states.
        stated: String,
        /// The path that follows.
        expected: String,
        /// Where the stated path may come from, or nothing.
        hint: &'static str,
    },
    /// An output path that can't be known before the inputs are built.
    #[error("derivation '{drv}' has incorrect output '{stated}', should be deferred")]
    ShouldBeDeferred {
        /// The full path of the derivation.
        drv: String,
        /// The path that it states.
        stated: String,
    },
    /// A variable named like an output doesn't hold its path.
    #[error(
        "derivation '{drv}' has incorrect environment variable '{name}', should be '{expected}'"
    )]
    IncorrectVariable {
        /// The full path of the derivation.
        drv: String,
        /// The variable.
        name: OutputName,
        /// What it should hold.
        expected: String,
    },
    /// The stream, or a limit.
    #[error(transparent)]
    Wire(#[from] nix_base::WireError),
    /// A field on the wire doesn't say what it should.
    #[error("bad {field}")]
    WireField {
        /// The field.
        field: &'static str,
        /// What it should have been.
        #[source]
        source: FieldError,
    },
    /// A name is there twice on the wire.
    #[error("'{name}' is there twice among the {field}")]
    WireDuplicate {
        /// Which part.
        field: &'static str,
        /// The name.
        name: BString,
    },
    /// A set that isn't sent in ascending order.
    #[error("'{name}' is out of order among the {field}")]
    WireOrder {
        /// Which part.
        field: &'static str,
        /// The item that should stand earlier.
        name: BString,
    },
    /// A hash of another length, or of another text.
    #[error("the text of an input doesn't have the hash that was sent with it")]
    WireTextHash,
    /// The derivation can't be sent.
    #[error("cannot write derivation")]
    WriteWire(#[source] std::io::Error),
    /// An attribute that steers the build can't be used.
    #[error(transparent)]
    Option(#[from] crate::options::OptionError),
    /// A JSON value has another shape.
    #[error(transparent)]
    Json(#[from] nix_base::json::JsonError),
    /// Bytes that JSON can't hold.
    #[error("'{field}' is not UTF-8, which JSON needs")]
    NotText {
        /// The field, with the name of the variable if it is one.
        field: String,
    },
    /// A derivation that needs itself, which no honest store has.
    #[error("derivation '{0}' depends on itself")]
    Cycle(StorePath),
    /// A name that can't be part of a store path.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A content address that gives no path.
    #[error(transparent)]
    MakePath(#[from] MakePathError),
}

/// What is wrong with a string of a derivation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// A path that doesn't start with a slash.
    #[error("bad path '{0}' in derivation")]
    BadPath(BString),
    /// A path that isn't that of a store object.
    #[error(transparent)]
    StorePath(#[from] StorePathError),
    /// An unknown algorithm, or digits that aren't a hash.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Not the name of an output.
    #[error("'{0}' is not a valid output name")]
    OutputName(BString),
    /// A floating output states a path.
    #[error("content-addressing derivation output should not specify output path")]
    FloatingWithPath,
    /// An impure output states a path.
    #[error("impure derivation output should not specify output path")]
    ImpureWithPath,
    /// Strict only: the printer would have written it differently.
    #[error("'{0}' is not in canonical form")]
    NotCanonical(BString),
    /// Strict only: a hash that nobody reads.
    #[error("output has a hash without a hash algorithm")]
    HashWithoutAlgorithm,
    /// Strict only: the path of a fixed output doesn't follow from its hash.
    #[error("output has path '{stated}', which does not match its content address ('{expected}')")]
    WrongFixedPath {
        /// The path in the file.
        stated: BString,
        /// The path that follows.
        expected: String,
    },
    /// Strict only: no path follows from the content address.
    #[error("fixed output has no path")]
    FixedPath(#[source] Box<Error>),
}

impl Error {
    /// Whether an input has to be built before this can work.
    pub fn is_not_realised(&self) -> bool {
        matches!(self, Self::NotRealised { .. })
    }
}

impl FieldError {
    /// The error with its place.
    pub(crate) fn at(self, offset: usize) -> Error {
        Error::Field {
            offset,
            source: self,
        }
    }
}
