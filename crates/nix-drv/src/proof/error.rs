//! Why a request isn't shown to be right.

use bstr::BString;
use nix_base::OutputName;

use crate::aterm::ParseError;
use crate::error::{Error, FieldError, ReadError};

/// Why the output paths of a derivation aren't shown to be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The derivation itself is wrong.
    #[error(transparent)]
    Derivation(#[from] Error),
    /// Output paths that nobody can know yet.
    #[error("the output paths are not known before the inputs are built")]
    Deferred,
    /// Paths that a proof says nothing about.
    #[error("only input-addressed outputs have a proof")]
    NotInputAddressed,
    /// A platform that would make the text ambiguous.
    #[error(
        "platform '{0}' has a quote or backslash, so that its hash could be that of another derivation"
    )]
    UnsafePlatform(BString),
    /// An output path that doesn't follow.
    #[error(
        "output '{output}' has path '{stated}', but '{expected}' follows from the derivation and its inputs"
    )]
    WrongOutput {
        /// The output.
        output: OutputName,
        /// The full path that the request states.
        stated: String,
        /// The full path that follows.
        expected: String,
    },
    /// A variable named like an output holds something else.
    #[error(
        "environment variable '{name}' isn't '{expected}', the path of the output of that name"
    )]
    WrongVariable {
        /// The variable.
        name: OutputName,
        /// What it should hold.
        expected: String,
    },
    /// The text of an input is none.
    #[error("text with hash '{hash}' is not that of an input derivation")]
    Text {
        /// The SHA-256 of the text, in base 16.
        hash: String,
        /// What is wrong with it.
        #[source]
        source: TextError,
    },
    /// An input that is there without need.
    #[error("no output of the input with hash '{hash}' is used")]
    NothingWanted {
        /// The hash of the input's text, in base 16.
        hash: String,
    },
    /// An output that the input doesn't have.
    #[error("the input with hash '{hash}' has no output '{output}'")]
    NoSuchOutput {
        /// The hash of the input's text, in base 16.
        hash: String,
        /// The output.
        output: OutputName,
    },
    /// The proof names an input that the request doesn't ask for.
    #[error("'{0}' follows from the proof as an input, but is not among the requested inputs")]
    MissingInput(String),
    /// An output of an output, whose path follows from nothing.
    #[error("an input of '{0}' is the output of an output")]
    Dynamic(String),
    /// The text of an input can't be had.
    #[error("cannot get the text of input '{path}'")]
    Read {
        /// The input derivation.
        path: String,
        /// Why not.
        #[source]
        source: ReadError,
    },
}

/// What is wrong with the text of an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Neither a derivation nor the line of a fixed output.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A string that doesn't say what it should.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The line of a fixed output isn't as it would be printed.
    #[error("the line of a fixed output is malformed")]
    FixedLine,
    /// An input of the input isn't a hash.
    #[error("'{0}' is not the hash of an input")]
    InputHash(BString),
    /// An input of the input of which nothing is used.
    #[error("nothing is wanted of '{0}'")]
    NothingWanted(BString),
    /// An output of another kind.
    #[error("output '{0}' is not input-addressed")]
    NotInputAddressed(BString),
    /// Nothing to use.
    #[error("there are no outputs")]
    NoOutputs,
    /// An input of the input is the output of an output.
    #[error("an input is the output of an output")]
    Dynamic,
}
