//! The grammar, in nom.

use std::borrow::Cow;

use bstr::BString;
use memchr::{memchr2, memchr3};
use nom::bytes::complete::tag;
use nom::sequence::{delimited, separated_pair};
use nom::{Err, IResult, Parser};

use super::raw::{RawDerivation, RawInput, RawNode, RawOutput, RawVariable, Spans};
use super::{DYNAMIC_VERSION, MAX_NODE_DEPTH, Strictness};

mod order;

use order::check_order;

/// Why a text isn't a derivation, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at offset {offset}")]
pub struct ParseError {
    /// Bytes before the place in question.
    pub offset: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Other punctuation was due.
    #[error("expected string '{0}'")]
    Expected(&'static str),
    /// The text ends inside a string.
    #[error("unterminated string in derivation")]
    UnterminatedString,
    /// The text begins with neither of the two words.
    #[error("derivation does not start with 'Derive' or 'DrvWithVersion'")]
    NotADerivation,
    /// A version word that nobody knows.
    #[error("unknown derivation ATerm format version '{0}'")]
    UnknownVersion(BString),
    /// Outputs of outputs of outputs, beyond all reason.
    #[error("outputs of input derivations nest deeper than {MAX_NODE_DEPTH} levels")]
    TooDeep,
    /// Strict only: something follows the last parenthesis.
    #[error("bytes after the end of the derivation")]
    TrailingBytes,
    /// Strict only: a list that stands for a set isn't in ascending order.
    #[error("'{item}' is out of order among the {list}")]
    OutOfOrder {
        /// Which list.
        list: &'static str,
        /// The item that should stand earlier.
        item: BString,
    },
    /// Strict only: an item is there twice.
    #[error("'{item}' is there twice among the {list}")]
    Duplicate {
        /// Which list.
        list: &'static str,
        /// The item.
        item: BString,
    },
    /// Strict only: a backslash before a byte that is written without one.
    #[error("needless escape in string")]
    NeedlessEscape,
    /// Strict only: a line feed, carriage return or tab as it is.
    #[error("control character {0:#04x} without escape in string")]
    UnescapedControl(u8),
    /// Strict only: the long form where the short one says it all.
    #[error("'DrvWithVersion' or a nested node without need")]
    NeedlessVersion,
}

/// Parses a whole text.
pub(super) fn document(
    text: &[u8],
    strictness: Strictness,
) -> Result<RawDerivation<'_>, ParseError> {
    HalfParsed::begin(text, strictness, Escapes::Read)?.finish()
}

/// What becomes of escapes in strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// Strings are what they mean.
    Read,
    /// Strings are as they stand in the text, which takes no allocation. Only for
    /// strict parsing; names of variables must not have any then.
    Keep,
}

/// A text that was read up to the input derivations. What comes behind is longer, and
/// whoever has to look at the inputs first needn't read it twice.
pub(crate) struct HalfParsed<'a> {
    grammar: Grammar,
    /// With nothing behind the input derivations so far.
    pub(crate) drv: RawDerivation<'a>,
    rest: &'a [u8],
}

impl<'a> HalfParsed<'a> {
    /// Reads outputs and input derivations.
    pub(crate) fn begin(
        text: &'a [u8],
        strictness: Strictness,
        escapes: Escapes,
    ) -> Result<Self, ParseError> {
        let strict = strictness.is_strict();
        // Canonical texts have none of these bytes but perhaps in the platform, so one
        // quick scan of the whole spares a look at each string.
        let control = if strict {
            memchr3(b'\n', b'\r', b'\t', text)
        } else {
            None
        };
        let keep_escapes = escapes == Escapes::Keep;
        if let Some(offset) = control
            && keep_escapes
        {
            return Err(ParseError {
                offset,
                reason: Reason::UnescapedControl(text[offset]),
            });
        }
        let grammar = Grammar {
            strict,
            check_controls: control.is_some(),
            keep_escapes,
        };
        match grammar.first_half(text) {
            Ok((rest, drv)) => Ok(Self { grammar, drv, rest }),
            Err(error) => Err(locate(error, text)),
        }
    }

    /// Reads the rest.
    pub(crate) fn finish(mut self) -> Result<RawDerivation<'a>, ParseError> {
        let text = self.drv.text;
        match self.grammar.second_half(&mut self.drv, self.rest) {
            Ok(_) => Ok(self.drv),
            Err(error) => Err(locate(error, text)),
        }
    }
}

fn locate(error: Err<Fault>, text: &[u8]) -> ParseError {
    let fault = match error {
        Err::Error(fault) | Err::Failure(fault) => fault,
        Err::Incomplete(_) => Fault {
            rest: 0,
            reason: Reason::UnterminatedString,
        },
    };
    ParseError {
        offset: text.len() - fault.rest,
        reason: fault.reason,
    }
}

type Parsed<'a, T> = IResult<&'a [u8], T, Fault>;

/// An error as the parsers pass it on: where it is, counted from the end.
#[derive(Debug)]
struct Fault {
    rest: usize,
    reason: Reason,
}

impl Fault {
    fn at<T>(input: &[u8], reason: Reason) -> Parsed<'_, T> {
        Err(Err::Failure(Self {
            rest: input.len(),
            reason,
        }))
    }
}

impl nom::error::ParseError<&[u8]> for Fault {
    fn from_error_kind(input: &[u8], _kind: nom::error::ErrorKind) -> Self {
        Self {
            rest: input.len(),
            reason: Reason::Expected(""),
        }
    }

    fn append(_input: &[u8], _kind: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

#[derive(Clone, Copy)]
struct Grammar {
    strict: bool,
    check_controls: bool,
    keep_escapes: bool,
}

impl Grammar {
    fn first_half(self, text: &[u8]) -> Parsed<'_, RawDerivation<'_>> {
        let position = |rest: &[u8]| text.len() - rest.len();
        let (i, is_versioned) = self.head(text)?;
        let outputs_start = position(i);
        let (i, outputs) = self.list(i, 1, |i| self.output(i))?;
        let outputs_span = outputs_start..position(i);
        let (i, _) = token(",")(i)?;
        let drvs_start = position(i);
        let mut wanted = Vec::with_capacity(16);
        let (i, input_drvs) = self.list(i, 16, |i| self.input_drv(i, is_versioned, &mut wanted))?;
        let drvs_span = drvs_start..position(i);
        let drv = RawDerivation {
            text,
            strictness: if self.strict {
                Strictness::Strict
            } else {
                Strictness::Lenient
            },
            is_versioned,
            outputs,
            input_drvs,
            wanted,
            input_srcs: Vec::new(),
            platform: Cow::default(),
            builder: Cow::default(),
            args: Vec::new(),
            env: Vec::new(),
            spans: Spans {
                outputs: outputs_span,
                input_drvs: drvs_span,
                ..Spans::default()
            },
        };
        Ok((i, drv))
    }

    fn second_half<'a>(self, drv: &mut RawDerivation<'a>, i: &'a [u8]) -> Parsed<'a, ()> {
        let text_len = drv.text.len();
        let (i, _) = token(",")(i)?;
        let start = text_len - i.len();
        let (i, input_srcs) = self.list(i, 4, |i| self.plain_string(i))?;
        drv.spans.input_srcs = start..text_len - i.len();
        drv.input_srcs = input_srcs;
        let (i, platform) = delimited(token(","), |i| self.plain_string(i), token(",")).parse(i)?;
        drv.platform = platform;
        let (i, builder) = self.string(i)?;
        drv.builder = builder;
        let (i, _) = token(",")(i)?;
        let (i, args) = self.list(i, 4, |i| self.string(i))?;
        drv.args = args;
        let (i, _) = token(",")(i)?;
        let start = text_len - i.len();
        let (i, env) = self.list(i, 32, |i| self.variable(i, text_len))?;
        drv.spans.env = start..text_len - i.len();
        drv.env = env;
        let (i, _) = token(")")(i)?;
        if self.strict {
            if !i.is_empty() {
                return Fault::at(i, Reason::TrailingBytes);
            }
            check_order(drv)?;
        }
        Ok((i, ()))
    }

    /// The opening word; says whether nodes may nest.
    fn head(self, i: &[u8]) -> Parsed<'_, bool> {
        if let Ok((i, _)) = tag::<_, _, Fault>("Derive(").parse(i) {
            return Ok((i, false));
        }
        let Ok((i, _)) = tag::<_, _, Fault>("DrvWithVersion(").parse(i) else {
            return Fault::at(i, Reason::NotADerivation);
        };
        let (rest, version) = self.plain_string(i)?;
        if *version != *DYNAMIC_VERSION.as_bytes() {
            return Fault::at(i, Reason::UnknownVersion(version.into_owned().into()));
        }
        let (i, _) = token(",")(rest)?;
        Ok((i, true))
    }

    fn output(self, i: &[u8]) -> Parsed<'_, RawOutput<'_>> {
        let (i, _) = token("(")(i)?;
        let (i, name) = self.plain_string(i)?;
        let (i, _) = token(",")(i)?;
        let (i, path) = self.plain_string(i)?;
        let (i, _) = token(",")(i)?;
        let (i, hash_algo) = self.plain_string(i)?;
        let (i, _) = token(",")(i)?;
        let (i, hash) = self.plain_string(i)?;
        let (i, _) = token(")")(i)?;
        Ok((
            i,
            RawOutput {
                name,
                path,
                hash_algo,
                hash,
            },
        ))
    }

    fn input_drv<'a>(
        self,
        i: &'a [u8],
        is_versioned: bool,
        wanted: &mut Vec<Cow<'a, [u8]>>,
    ) -> Parsed<'a, RawInput<'a>> {
        let (i, _) = token("(")(i)?;
        let (i, path) = self.plain_string(i)?;
        let (i, _) = token(",")(i)?;
        let start = wanted.len();
        let (i, children) = if is_versioned && i.first() == Some(&b'(') {
            let (i, node) = self.nested_node(i, 1)?;
            wanted.extend(node.outputs);
            (i, node.children)
        } else {
            let (i, ()) = self.each(i, |i| {
                let (i, name) = self.plain_string(i)?;
                wanted.push(name);
                Ok((i, ()))
            })?;
            (i, Vec::new())
        };
        let (i, _) = token(")")(i)?;
        Ok((
            i,
            RawInput {
                path,
                wanted: start..wanted.len(),
                children,
            },
        ))
    }

    fn node(self, i: &[u8], depth: usize) -> Parsed<'_, RawNode<'_>> {
        if i.first() == Some(&b'(') {
            return self.nested_node(i, depth);
        }
        let (i, outputs) = self.list(i, 1, |i| self.plain_string(i))?;
        Ok((
            i,
            RawNode {
                outputs,
                children: Vec::new(),
            },
        ))
    }

    fn nested_node(self, i: &[u8], depth: usize) -> Parsed<'_, RawNode<'_>> {
        if depth > MAX_NODE_DEPTH {
            return Fault::at(i, Reason::TooDeep);
        }
        let start = i;
        let (i, _) = token("(")(i)?;
        let (i, outputs) = self.list(i, 1, |i| self.plain_string(i))?;
        let (i, _) = token(",")(i)?;
        let child = |i| {
            delimited(
                token("("),
                separated_pair(
                    |i| self.plain_string(i),
                    token(","),
                    |i| self.node(i, depth + 1),
                ),
                token(")"),
            )
            .parse(i)
        };
        let (i, children) = self.list(i, 1, child)?;
        let (i, _) = token(")")(i)?;
        if self.strict && children.is_empty() {
            return Fault::at(start, Reason::NeedlessVersion);
        }
        Ok((i, RawNode { outputs, children }))
    }

    fn variable(self, i: &[u8], text_len: usize) -> Parsed<'_, RawVariable<'_>> {
        let (i, _) = token("(")(i)?;
        let (i, name) = if self.keep_escapes {
            self.plain_string(i)?
        } else {
            self.string(i)?
        };
        let (i, _) = token(",")(i)?;
        let start = text_len - i.len();
        let (i, value) = self.string(i)?;
        let span = start..text_len - i.len();
        let (i, _) = token(")")(i)?;
        Ok((i, RawVariable { name, value, span }))
    }

    fn list<'a, T>(
        self,
        i: &'a [u8],
        expected: usize,
        mut element: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
    ) -> Parsed<'a, Vec<T>> {
        let mut items = Vec::new();
        let (i, ()) = self.each(i, |i| {
            let (i, item) = element(i)?;
            if items.is_empty() {
                // Room for what is usual, as soon as there is anything at all.
                items.reserve(expected);
            }
            items.push(item);
            Ok((i, ()))
        })?;
        Ok((i, items))
    }

    /// Runs `element` on each element of a bracketed list.
    ///
    /// Nix compat: lenient readers skip one comma before an element, if there is
    /// one, so that `["a""b"]` and `[,"a"]` are lists as well.
    fn each<'a>(
        self,
        i: &'a [u8],
        mut element: impl FnMut(&'a [u8]) -> Parsed<'a, ()>,
    ) -> Parsed<'a, ()> {
        let (mut i, _) = token("[")(i)?;
        let mut is_first = true;
        loop {
            i = match i {
                [b']', rest @ ..] => return Ok((rest, ())),
                [b',', rest @ ..] if !(self.strict && is_first) => rest,
                _ if self.strict && !is_first => return Fault::at(i, Reason::Expected(",")),
                _ => i,
            };
            (i, ()) = element(i)?;
            is_first = false;
        }
    }

    /// A string that is written without escapes, whatever it holds.
    fn plain_string(self, i: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
        let (body, _) = token("\"")(i)?;
        match memchr2(b'"', b'\\', body) {
            Some(end) if body[end] == b'"' => Ok((&body[end + 1..], Cow::Borrowed(&body[..end]))),
            Some(at) if self.strict => Fault::at(&body[at..], Reason::NeedlessEscape),
            Some(at) => self.unescape(i, body, at),
            None => Fault::at(i, Reason::UnterminatedString),
        }
    }

    /// A string whose quotes, backslashes and line breaks are escaped.
    fn string(self, i: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
        let (body, _) = token("\"")(i)?;
        let Some(end) = memchr2(b'"', b'\\', body) else {
            return Fault::at(i, Reason::UnterminatedString);
        };
        if self.check_controls
            && let Some(at) = memchr3(b'\n', b'\r', b'\t', &body[..end])
        {
            return Fault::at(&body[at..], Reason::UnescapedControl(body[at]));
        }
        if body[end] == b'"' {
            return Ok((&body[end + 1..], Cow::Borrowed(&body[..end])));
        }
        if self.keep_escapes {
            return Self::skip_escapes(i, body, end);
        }
        self.unescape(i, body, end)
    }

    /// The rest of a string as it stands, from its first backslash on.
    fn skip_escapes<'a>(
        start: &'a [u8],
        body: &'a [u8],
        first: usize,
    ) -> Parsed<'a, Cow<'a, [u8]>> {
        let mut at = first;
        while body[at] == b'\\' {
            if !matches!(body.get(at + 1), Some(b'n' | b'r' | b't' | b'"' | b'\\')) {
                return Fault::at(&body[at..], Reason::NeedlessEscape);
            }
            match memchr2(b'"', b'\\', &body[at + 2..]) {
                Some(next) => at += 2 + next,
                None => return Fault::at(start, Reason::UnterminatedString),
            }
        }
        Ok((&body[at + 1..], Cow::Borrowed(&body[..at])))
    }

    /// The rest of a string, from its first backslash on.
    fn unescape<'a>(
        self,
        start: &'a [u8],
        body: &'a [u8],
        first: usize,
    ) -> Parsed<'a, Cow<'a, [u8]>> {
        let mut bytes = Vec::with_capacity(first + (body.len() - first).min(128));
        bytes.extend_from_slice(&body[..first]);
        let mut i = &body[first..];
        loop {
            // `i` is at a backslash or at the closing quote.
            let [mark, rest @ ..] = i else {
                return Fault::at(start, Reason::UnterminatedString);
            };
            if *mark == b'"' {
                return Ok((rest, Cow::Owned(bytes)));
            }
            let [escaped, rest @ ..] = rest else {
                return Fault::at(start, Reason::UnterminatedString);
            };
            bytes.push(match escaped {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'"' | b'\\' => *escaped,
                _ if self.strict => return Fault::at(i, Reason::NeedlessEscape),
                other => *other,
            });
            let Some(end) = memchr2(b'"', b'\\', rest) else {
                return Fault::at(start, Reason::UnterminatedString);
            };
            if self.check_controls
                && let Some(at) = memchr3(b'\n', b'\r', b'\t', &rest[..end])
            {
                return Fault::at(&rest[at..], Reason::UnescapedControl(rest[at]));
            }
            bytes.extend_from_slice(&rest[..end]);
            i = &rest[end..];
        }
    }
}

/// One piece of punctuation.
fn token(text: &'static str) -> impl Fn(&[u8]) -> Parsed<'_, &[u8]> {
    move |i| match tag::<_, _, Fault>(text).parse(i) {
        Ok(found) => Ok(found),
        Err(_) => Fault::at(i, Reason::Expected(text)),
    }
}

#[cfg(test)]
mod tests;
