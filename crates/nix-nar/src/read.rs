//! Reads an archive, node by node.
//!
//! The parser accepts exactly what [`crate::write::NarWriter`] writes, of
//! which there is one form for each tree: names strictly ascend, padding is
//! zero, no field is missing, repeated or out of place. The grammar stands in
//! `token.rs`; limits and reasons are in `docs/formats/nar.md`.
//!
//! ```text
//! Start ──▶ Directory ◀──▶ Leaf          next() moves along the arrows;
//!   │           │                        contents that were not taken are
//!   └──▶ Leaf ──┴──▶ Done                checked and skipped on the way
//! ```

use std::io::{self, BufRead, Sink, Write};

use bstr::BStr;

use crate::error::{Error, Problem, Result};
use crate::names::{Names, check_target};
use crate::token::{self, MAGIC, MAX_NAME, MAX_TAG, MAX_TARGET, Run};

mod source;
#[cfg(test)]
mod tests;

use source::{Source, SourceError};

/// One step through an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A node begins.
    Node {
        /// Its name in the directory that is open; empty for the root.
        name: &'a BStr,
        /// What it is.
        node: Node<'a>,
    },
    /// The directory that was opened last has no more entries.
    EndDirectory,
}

/// A file system object in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// A regular file; its contents follow.
    Regular {
        /// Whether its owner may execute it.
        executable: bool,
        /// Length of its contents in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its target: 1 to 4095 bytes without NUL.
        target: &'a BStr,
    },
    /// A directory; its entries follow, then [`Event::EndDirectory`].
    Directory,
}

/// A pull parser for one archive.
///
/// It takes from its reader exactly the bytes of the archive, at the latest
/// when [`NarReader::next`] gives `None`; what comes behind them stays there.
/// All that it parses can be forwarded to a writer (a hash, a copy), see
/// [`NarReader::forwarding`].
#[derive(Debug)]
pub struct NarReader<R, W = Sink> {
    source: Source<R, W>,
    names: Names,
    state: State,
    /// Contents of the present file that are not parsed yet, and their padding.
    left: u64,
    padding: usize,
    scratch: Vec<u8>,
    /// Where the token read last begins, for error messages.
    token_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Directory,
    Leaf,
    Done,
    Failed,
}

enum Opened {
    Regular { executable: bool, size: u64 },
    Symlink,
    Directory,
}

impl<R: BufRead> NarReader<R> {
    /// A parser that begins where `reader` stands. The larger the reader's
    /// buffer, the larger the pieces of [`NarReader::next_chunk`].
    pub fn new(reader: R) -> Self {
        Self::forwarding(reader, io::sink())
    }
}

impl<R: BufRead, W: Write> NarReader<R, W> {
    /// A parser that also writes to `forward` every byte that it has found good.
    pub fn forwarding(reader: R, forward: W) -> Self {
        Self {
            source: Source::new(reader, forward),
            names: Names::default(),
            state: State::Start,
            left: 0,
            padding: 0,
            scratch: Vec::new(),
            token_at: 0,
        }
    }

    /// Refuses an archive of more than `bytes` bytes, as soon as the header of
    /// a file announces more than may come.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.source.set_limit(bytes);
        self
    }

    /// Bytes parsed since the start of the archive. After the end of it this is its size.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// How many directories are open.
    pub fn depth(&self) -> usize {
        self.names.depth()
    }

    /// The path inside the archive of the node at hand; empty at the root.
    pub fn path(&self) -> bstr::BString {
        self.names.path()
    }

    /// Goes to the next node, or to the end of the directory; `None` at the
    /// end of the archive. Contents not taken so far are skipped.
    ///
    /// # Errors
    /// [`Error::BadArchive`] for any deviation from the format, with its
    /// offset; [`Error::Read`] and [`Error::Write`] for the reader and for the
    /// writer that is forwarded to.
    #[allow(
        clippy::should_implement_trait,
        reason = "events borrow from the parser"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'_>>> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        let step = self.step(state).map_err(|e| self.explain(e))?;
        Ok(match step {
            Step::Done => None,
            Step::EndDirectory => Some(Event::EndDirectory),
            Step::Node(opened) => {
                let (node, name) = match opened {
                    Opened::Regular { executable, size } => {
                        (Node::Regular { executable, size }, self.names.current())
                    }
                    Opened::Symlink => (
                        Node::Symlink {
                            target: BStr::new(&self.scratch),
                        },
                        self.names.current(),
                    ),
                    Opened::Directory => (Node::Directory, self.names.parent_entry()),
                };
                Some(Event::Node { name, node })
            }
        })
    }

    /// The next piece of the contents of the file that [`NarReader::next`]
    /// gave last, straight from the reader's buffer; `None` at their end.
    ///
    /// # Errors
    /// As for [`NarReader::next`].
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>> {
        if self.left == 0 {
            return Ok(None);
        }
        // One look ahead for the length, so that an error can be explained.
        let most = match self.source.peek() {
            Ok(buffered) => self.left.min(buffered.len() as u64),
            Err(e) => {
                self.state = State::Failed;
                return Err(self.explain(e));
            }
        };
        let at = self.source.offset();
        self.left -= most;
        match self.source.chunk(most) {
            Ok(chunk) => Ok(Some(chunk)),
            Err(SourceError::Forward(source)) => Err(Error::Write { offset: at, source }),
            Err(SourceError::Read(source)) => Err(Error::Read { offset: at, source }),
            Err(SourceError::Problem(problem)) => Err(Error::BadArchive {
                offset: at,
                path: self.names.path(),
                problem,
            }),
        }
    }

    /// Bytes of the present file's contents that were not taken yet.
    pub fn contents_left(&self) -> u64 {
        self.left
    }

    /// Reads the rest of the archive, checking all of it, and gives its size in bytes.
    ///
    /// # Errors
    /// As for [`NarReader::next`].
    pub fn finish(&mut self) -> Result<u64> {
        while self.next()?.is_some() {}
        Ok(self.offset())
    }

    /// The reader and the writer. In the middle of an archive the reader may
    /// stand before bytes that are parsed already.
    pub fn into_parts(self) -> (R, W) {
        self.source.into_parts()
    }

    /// Makes the reader stand behind the last byte parsed, and lends it, so
    /// that the caller can take contents from below the parser; what it takes
    /// must be reported with [`NarReader::took`].
    pub(crate) fn below(&mut self) -> Result<&mut R> {
        if let Err(e) = self.source.commit() {
            return Err(self.explain(e));
        }
        Ok(self.source.get_mut().0)
    }

    /// Reports `n` bytes of contents as taken from below the parser.
    pub(crate) fn took(&mut self, n: u64) -> Result<()> {
        self.left = self.left.saturating_sub(n);
        self.source.skip(n).map_err(|e| self.explain(e))
    }

    /// The error for an input that ends here.
    pub(crate) fn truncated(&mut self) -> Error {
        self.state = State::Failed;
        self.explain(Problem::UnexpectedEnd.into())
    }

    fn step(&mut self, state: State) -> Result<Step, SourceError> {
        match state {
            State::Start => {
                self.expect_magic()?;
                self.expect(&token::NODE_OPEN)?;
                self.open_node()
            }
            State::Directory => self.next_entry(),
            State::Leaf => {
                while self.left > 0 {
                    let n = self.source.chunk(self.left)?.len() as u64;
                    self.left -= n;
                }
                let padding = std::mem::take(&mut self.padding);
                self.expect_zeros(padding)?;
                self.close_node()?;
                match self.names.depth() {
                    0 => self.end(),
                    _ => self.next_entry(),
                }
            }
            State::Done => {
                self.state = State::Done;
                Ok(Step::Done)
            }
            State::Failed => Err(Problem::Sequence("reading on after an error").into()),
        }
    }

    fn next_entry(&mut self) -> Result<Step, SourceError> {
        if !self.source.eat(token::ENTRY.bytes)? {
            match self.read_word()? {
                b"entry" => self.expect_words(&token::ENTRY.words[1..])?,
                b")" => return self.end_directory(),
                _ => return Err(self.unexpected("entry")),
            }
        }
        // The name starts behind its length, which is what the message is about.
        self.read_string(MAX_NAME)?;
        self.names.enter(&self.scratch)?;
        self.expect(&token::ENTRY_NODE)?;
        self.open_node()
    }

    fn end_directory(&mut self) -> Result<Step, SourceError> {
        self.names.close();
        if self.names.depth() > 0 {
            self.expect(&token::CLOSE)?;
        }
        self.state = State::Directory;
        if self.names.depth() == 0 {
            // The caller first learns of the end of the root, then of the end.
            self.state = State::Done;
            self.source.commit()?;
        }
        Ok(Step::EndDirectory)
    }

    fn end(&mut self) -> Result<Step, SourceError> {
        self.source.commit()?;
        self.state = State::Done;
        Ok(Step::Done)
    }

    fn close_node(&mut self) -> Result<(), SourceError> {
        match self.names.depth() {
            0 => self.expect(&token::CLOSE),
            _ => self.expect(&token::CLOSE_ENTRY),
        }
    }

    /// What follows `( type`.
    fn open_node(&mut self) -> Result<Step, SourceError> {
        if self.source.eat(token::REGULAR.bytes)? {
            return self.open_regular(false);
        }
        if self.source.eat(token::EXECUTABLE.bytes)? {
            return self.open_regular(true);
        }
        match self.read_word()? {
            b"regular" => match self.read_word()? {
                b"contents" => self.open_regular(false),
                b"executable" => {
                    if self.read_string_header()? != 0 {
                        return Err(Problem::ExecutableValue.into());
                    }
                    self.expect_words(&token::EXECUTABLE_REST.words[1..])?;
                    self.open_regular(true)
                }
                _ => Err(self.unexpected("contents")),
            },
            b"symlink" => {
                self.expect_words(&token::SYMLINK.words[1..])?;
                self.read_string(MAX_TARGET)?;
                check_target(&self.scratch)?;
                self.state = State::Leaf;
                Ok(Step::Node(Opened::Symlink))
            }
            b"directory" => {
                self.names.open();
                self.state = State::Directory;
                Ok(Step::Node(Opened::Directory))
            }
            _ => Err(Problem::UnknownType(self.scratch.as_slice().into()).into()),
        }
    }

    fn open_regular(&mut self, executable: bool) -> Result<Step, SourceError> {
        let size = self.read_string_header()?;
        let Some(padded) = token::padded(size) else {
            return Err(Problem::StringTooLong {
                length: size,
                limit: u64::MAX - 7,
            }
            .into());
        };
        self.source.check_room(padded)?;
        self.left = size;
        self.padding = token::padding(size);
        self.state = State::Leaf;
        Ok(Step::Node(Opened::Regular { executable, size }))
    }

    fn expect_magic(&mut self) -> Result<(), SourceError> {
        if self.source.eat(token::START.bytes)? {
            return Ok(());
        }
        if self.read_string_header()? != MAGIC.len() as u64 {
            return Err(Problem::Magic.into());
        }
        let mut magic = [0; MAGIC.len()];
        self.source.read_exact(&mut magic)?;
        if magic != MAGIC.as_bytes() {
            return Err(Problem::Magic.into());
        }
        self.expect_zeros(token::padding(MAGIC.len() as u64))
    }

    /// Compares a run at once if the buffer has it, else word by word.
    fn expect(&mut self, run: &Run) -> Result<(), SourceError> {
        if self.source.eat(run.bytes)? {
            Ok(())
        } else {
            self.expect_words(run.words)
        }
    }

    fn expect_words(&mut self, words: &[&'static str]) -> Result<(), SourceError> {
        for word in words {
            if self.read_word()? != word.as_bytes() {
                return Err(self.unexpected(word));
            }
        }
        Ok(())
    }

    fn read_word(&mut self) -> Result<&[u8], SourceError> {
        self.read_string(MAX_TAG)?;
        Ok(&self.scratch)
    }

    /// Reads a string of at most `limit` bytes into `scratch`.
    fn read_string(&mut self, limit: usize) -> Result<(), SourceError> {
        let length = self.read_string_header()?;
        let n = match usize::try_from(length) {
            Ok(n) if n <= limit => n,
            _ => {
                return Err(Problem::StringTooLong {
                    length,
                    limit: limit as u64,
                }
                .into());
            }
        };
        self.scratch.resize(n, 0);
        self.source.read_exact(&mut self.scratch)?;
        self.expect_zeros(token::padding(length))
    }

    fn read_string_header(&mut self) -> Result<u64, SourceError> {
        self.token_at = self.source.offset();
        let mut length = [0; 8];
        self.source.read_exact(&mut length)?;
        Ok(u64::from_le_bytes(length))
    }

    fn expect_zeros(&mut self, n: usize) -> Result<(), SourceError> {
        let mut zeros = [0; 8];
        self.source.read_exact(&mut zeros[..n])?;
        if zeros == [0; 8] {
            Ok(())
        } else {
            Err(Problem::Padding.into())
        }
    }

    fn unexpected(&self, expected: &'static str) -> SourceError {
        Problem::UnexpectedTag {
            expected,
            found: self.scratch.as_slice().into(),
        }
        .into()
    }

    fn explain(&self, e: SourceError) -> Error {
        let offset = self.source.offset();
        match e {
            SourceError::Read(source) => Error::Read { offset, source },
            SourceError::Forward(source) => Error::Write { offset, source },
            SourceError::Problem(problem) => Error::BadArchive {
                offset: match problem {
                    Problem::UnexpectedEnd => offset,
                    _ => self.token_at,
                },
                path: self.names.path(),
                problem,
            },
        }
    }
}

enum Step {
    Node(Opened),
    EndDirectory,
    Done,
}
