//! A parsed text whose strings still point into it.

use std::borrow::Cow;
use std::ops::Range;

use super::{ParseError, Strictness, parse};

/// A derivation as its file has it: strings in file order, borrowed where the
/// file has no escape in them, and nothing resolved yet.
///
/// Store paths, hashes and output names are checked when it is turned into a
/// [`Derivation`](crate::Derivation).
#[derive(Clone, Debug)]
pub struct RawDerivation<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) strictness: Strictness,
    pub(crate) is_versioned: bool,
    pub(crate) outputs: Vec<RawOutput<'a>>,
    pub(crate) input_drvs: Vec<RawInput<'a>>,
    /// The wanted outputs of all input derivations, one after the other: one
    /// allocation in place of one for each input.
    pub(crate) wanted: Vec<Cow<'a, [u8]>>,
    pub(crate) input_srcs: Vec<Cow<'a, [u8]>>,
    pub(crate) platform: Cow<'a, [u8]>,
    pub(crate) builder: Cow<'a, [u8]>,
    pub(crate) args: Vec<Cow<'a, [u8]>>,
    pub(crate) env: Vec<RawVariable<'a>>,
    pub(crate) spans: Spans,
}

/// One row of the outputs: four strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawOutput<'a> {
    /// The output's name.
    pub name: Cow<'a, [u8]>,
    /// Its path, empty if it isn't known.
    pub path: Cow<'a, [u8]>,
    /// Method and algorithm of its content address, or empty.
    pub hash_algo: Cow<'a, [u8]>,
    /// The hash of a fixed output, `impure`, or empty.
    pub hash: Cow<'a, [u8]>,
}

/// One input derivation.
#[derive(Clone, Debug)]
pub struct RawInput<'a> {
    /// The full path of the `.drv` file.
    pub path: Cow<'a, [u8]>,
    /// Where its wanted outputs stand in the list of all of them.
    pub(crate) wanted: Range<usize>,
    /// Wanted outputs of its outputs.
    pub children: Vec<(Cow<'a, [u8]>, RawNode<'a>)>,
}

/// Wanted outputs of a derivation that is itself an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawNode<'a> {
    /// The outputs wanted of it.
    pub outputs: Vec<Cow<'a, [u8]>>,
    /// Wanted outputs of its outputs.
    pub children: Vec<(Cow<'a, [u8]>, Self)>,
}

/// One variable of the environment, and where its value stands.
#[derive(Clone, Debug)]
pub(crate) struct RawVariable<'a> {
    pub(crate) name: Cow<'a, [u8]>,
    pub(crate) value: Cow<'a, [u8]>,
    /// The value in the text, with its quotes.
    pub(crate) span: Range<usize>,
}

/// Where the parts stand in the text, with their brackets or quotes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    pub(crate) outputs: Range<usize>,
    pub(crate) input_drvs: Range<usize>,
    pub(crate) input_srcs: Range<usize>,
    pub(crate) env: Range<usize>,
}

impl<'a> RawDerivation<'a> {
    /// Parses `text`.
    ///
    /// # Errors
    /// Fails where the text leaves the grammar, with the offset; in strict mode
    /// also where the printer would have written something else.
    pub fn parse(text: &'a [u8], strictness: Strictness) -> Result<Self, ParseError> {
        parse::document(text, strictness)
    }

    /// The text that was parsed.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The outputs, in file order.
    pub fn outputs(&self) -> &[RawOutput<'a>] {
        &self.outputs
    }

    /// The input derivations, in file order.
    pub fn input_drvs(&self) -> &[RawInput<'a>] {
        &self.input_drvs
    }

    /// The outputs that are wanted of `input`, one of this derivation's inputs.
    pub fn wanted(&self, input: &RawInput<'a>) -> &[Cow<'a, [u8]>] {
        self.wanted.get(input.wanted.clone()).unwrap_or_default()
    }

    /// The full paths of the sources.
    pub fn input_srcs(&self) -> &[Cow<'a, [u8]>] {
        &self.input_srcs
    }

    /// The system that the builder runs on.
    pub fn platform(&self) -> &[u8] {
        &self.platform
    }

    /// The program that builds.
    pub fn builder(&self) -> &[u8] {
        &self.builder
    }

    /// The builder's arguments.
    pub fn args(&self) -> &[Cow<'a, [u8]>] {
        &self.args
    }

    /// The environment's names and values, in file order.
    pub fn env(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.env
            .iter()
            .map(|variable| (&*variable.name, &*variable.value))
    }

    /// Whether some input is an output of an output.
    pub fn is_dynamic(&self) -> bool {
        self.input_drvs
            .iter()
            .any(|input| !input.children.is_empty())
    }

    /// Where a string of this derivation stands in the text; the start of
    /// `part` if it had escapes and stands elsewhere.
    pub(crate) fn offset_of(&self, string: &[u8], part: &Range<usize>) -> usize {
        let text = self.text.as_ptr_range();
        if !text.contains(&string.as_ptr()) {
            return part.start;
        }
        string.as_ptr().addr() - text.start.addr()
    }
}
