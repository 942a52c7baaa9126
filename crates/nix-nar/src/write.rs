//! Writes an archive, node by node.
//!
//! The writer checks what it is given, in every build: entries ascend, names
//! and targets are possible, contents have the length that was announced, and
//! nesting stays within [`crate::MAX_DEPTH`]. So whatever it finishes, every
//! reader accepts.

use std::io::Write;

use crate::error::{Error, Problem, Result};
use crate::names::{Names, check_target};
use crate::read::{Event, Node};
use crate::token::{self, Run};

#[cfg(test)]
mod tests;

/// Writes one archive to `W`, through a buffer of its own.
///
/// Nodes are given in the order in which they stand in the archive: a
/// directory, its entries in ascending order of their names' bytes, its end.
#[derive(Debug)]
pub struct NarWriter<W> {
    out: W,
    buffer: Box<[u8]>,
    filled: usize,
    /// Bytes handed to `out`.
    flushed: u64,
    names: Names,
    state: State,
    /// Contents of the present file still to come, of `announced`.
    left: u64,
    announced: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Directory,
    Contents,
    Done,
    Failed,
}

impl<W: Write> NarWriter<W> {
    /// A writer with a buffer of 128 KiB.
    pub fn new(out: W) -> Self {
        Self::with_capacity(BUFFER, out)
    }

    /// A writer with a buffer of at least `capacity` bytes.
    pub fn with_capacity(capacity: usize, out: W) -> Self {
        Self {
            out,
            buffer: vec![0; capacity.max(MIN_BUFFER)].into_boxed_slice(),
            filled: 0,
            flushed: 0,
            names: Names::default(),
            state: State::Start,
            left: 0,
            announced: 0,
        }
    }

    /// Bytes of the archive so far.
    pub fn offset(&self) -> u64 {
        self.flushed + self.filled as u64
    }

    /// Begins a directory; `name` is empty at the root. Ends with [`NarWriter::end_directory`].
    ///
    /// # Errors
    /// [`Error::Unwritable`] for what no archive can hold, [`Error::Write`] for the writer below.
    pub fn directory(&mut self, name: &[u8]) -> Result<()> {
        self.open_node(name)?;
        self.put_run(&token::DIRECTORY)?;
        self.names.open();
        self.state = State::Directory;
        Ok(())
    }

    /// Ends the directory that was begun last.
    ///
    /// # Errors
    /// As for [`NarWriter::directory`].
    pub fn end_directory(&mut self) -> Result<()> {
        if self.state != State::Directory || !self.names.close() {
            return Err(self.refuse(Problem::Sequence("no directory to end")));
        }
        self.close_node()
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// As for [`NarWriter::directory`].
    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<()> {
        self.open_node(name)?;
        if let Err(problem) = check_target(target) {
            return Err(self.refuse(problem));
        }
        self.put_run(&token::SYMLINK)?;
        self.put_string(target)?;
        self.close_node()
    }

    /// Begins a regular file of `size` bytes, which are then given to [`NarWriter::contents`].
    ///
    /// # Errors
    /// As for [`NarWriter::directory`].
    pub fn regular(&mut self, name: &[u8], executable: bool, size: u64) -> Result<()> {
        self.open_node(name)?;
        if token::padded(size).is_none() {
            let problem = Problem::StringTooLong {
                length: size,
                limit: u64::MAX - 7,
            };
            return Err(self.refuse(problem));
        }
        self.put_run(if executable {
            &token::EXECUTABLE
        } else {
            &token::REGULAR
        })?;
        self.put(&size.to_le_bytes())?;
        self.left = size;
        self.announced = size;
        self.state = State::Contents;
        if size == 0 { self.close_node() } else { Ok(()) }
    }

    /// Writes the next bytes of the contents of the file begun last.
    ///
    /// # Errors
    /// As for [`NarWriter::directory`]; also when it is more than was announced.
    pub fn contents(&mut self, data: &[u8]) -> Result<()> {
        if data.len() as u64 > self.left {
            let given = (self.announced - self.left).saturating_add(data.len() as u64);
            return Err(self.wrong_length(given));
        }
        self.put(data)?;
        self.passed(data.len() as u64)
    }

    /// Writes the node or the end that a reader gave. Contents are separate.
    ///
    /// # Errors
    /// As for [`NarWriter::directory`].
    pub fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::EndDirectory => self.end_directory(),
            Event::Node { name, node } => match node {
                Node::Directory => self.directory(name),
                Node::Symlink { target } => self.symlink(name, target),
                Node::Regular { executable, size } => self.regular(name, *executable, *size),
            },
        }
    }

    /// Passes everything on and gives back the writer and the size of the archive in bytes.
    ///
    /// # Errors
    /// As for [`NarWriter::directory`]; also when the archive is not complete.
    pub fn finish(mut self) -> Result<(W, u64)> {
        if self.state != State::Done {
            return Err(self.refuse(Problem::Sequence("the archive is not complete")));
        }
        self.flush_buffer()?;
        if let Err(source) = self.out.flush() {
            return Err(Error::Write {
                offset: self.offset(),
                source,
            });
        }
        Ok((self.out, self.flushed))
    }

    /// Contents still to come for the file begun last, in bytes.
    pub(crate) fn contents_left(&self) -> u64 {
        self.left
    }

    /// Free room in the buffer for contents: never empty while some are to
    /// come, never more than are to come. What was put there is reported with
    /// [`NarWriter::filled_room`].
    pub(crate) fn room(&mut self) -> Result<&mut [u8]> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        if self.buffer.len() - self.filled < most {
            self.flush_buffer()?;
        }
        let end = self.filled.saturating_add(most).min(self.buffer.len());
        Ok(&mut self.buffer[self.filled..end])
    }

    /// Takes the first `n` bytes of the room as contents.
    pub(crate) fn filled_room(&mut self, n: usize) -> Result<()> {
        self.filled += n;
        self.passed(n as u64)
    }

    /// Empties the buffer and lends the writer below, for contents that take
    /// another way; they are reported with [`NarWriter::bypassed`].
    pub(crate) fn below(&mut self) -> Result<&mut W> {
        self.flush_buffer()?;
        Ok(&mut self.out)
    }

    /// Reports `n` bytes of contents as written below.
    pub(crate) fn bypassed(&mut self, n: u64) -> Result<()> {
        self.flushed += n;
        self.passed(n)
    }

    /// The path inside the archive of the directory begun last.
    pub(crate) fn directory_path(&self) -> bstr::BString {
        self.names.directory_path()
    }

    fn passed(&mut self, n: u64) -> Result<()> {
        self.left = self.left.saturating_sub(n);
        if self.left > 0 || self.state != State::Contents {
            return Ok(());
        }
        self.put(&[0; 8][..token::padding(self.announced)])?;
        self.close_node()
    }

    fn open_node(&mut self, name: &[u8]) -> Result<()> {
        match self.state {
            State::Start if name.is_empty() => {
                self.put_run(&token::START)?;
                self.put_run(&token::NODE_OPEN)
            }
            State::Start => Err(self.refuse(Problem::Sequence("the root has no name"))),
            State::Directory => {
                if let Err(problem) = self.names.enter(name) {
                    return Err(self.refuse(problem));
                }
                self.put_run(&token::ENTRY)?;
                self.put_string(name)?;
                self.put_run(&token::ENTRY_NODE)
            }
            State::Contents => {
                let given = self.announced - self.left;
                Err(self.wrong_length(given))
            }
            State::Done => Err(self.refuse(Problem::Sequence("the archive is complete"))),
            State::Failed => Err(self.refuse(Problem::Sequence("writing on after an error"))),
        }
    }

    fn close_node(&mut self) -> Result<()> {
        if self.names.depth() == 0 {
            self.put_run(&token::CLOSE)?;
            self.state = State::Done;
        } else {
            self.put_run(&token::CLOSE_ENTRY)?;
            self.state = State::Directory;
        }
        Ok(())
    }

    fn wrong_length(&mut self, given: u64) -> Error {
        self.refuse(Problem::ContentsLength {
            announced: self.announced,
            given,
        })
    }

    fn refuse(&mut self, problem: Problem) -> Error {
        self.state = State::Failed;
        Error::Unwritable {
            path: self.names.path(),
            problem,
        }
    }

    fn put_run(&mut self, run: &Run) -> Result<()> {
        self.put(run.bytes)
    }

    fn put_string(&mut self, data: &[u8]) -> Result<()> {
        self.put(&(data.len() as u64).to_le_bytes())?;
        self.put(data)?;
        self.put(&[0; 8][..token::padding(data.len() as u64)])
    }

    fn put(&mut self, data: &[u8]) -> Result<()> {
        if self.buffer.len() - self.filled < data.len() {
            self.flush_buffer()?;
            if data.len() >= self.buffer.len() {
                return self.put_below(data);
            }
        }
        self.buffer[self.filled..self.filled + data.len()].copy_from_slice(data);
        self.filled += data.len();
        Ok(())
    }

    fn put_below(&mut self, data: &[u8]) -> Result<()> {
        if let Err(source) = self.out.write_all(data) {
            self.state = State::Failed;
            return Err(Error::Write {
                offset: self.flushed,
                source,
            });
        }
        self.flushed += data.len() as u64;
        Ok(())
    }

    fn flush_buffer(&mut self) -> Result<()> {
        let filled = std::mem::take(&mut self.filled);
        if let Err(source) = self.out.write_all(&self.buffer[..filled]) {
            self.state = State::Failed;
            return Err(Error::Write {
                offset: self.flushed,
                source,
            });
        }
        self.flushed += filled as u64;
        Ok(())
    }
}

/// Writes the archive of one regular file without touching a disk.
///
/// # Errors
/// [`Error::Write`] when `out` fails.
pub fn write_regular(contents: &[u8], executable: bool, out: &mut impl Write) -> Result<u64> {
    let mut writer = NarWriter::with_capacity(0, out);
    writer.regular(b"", executable, contents.len() as u64)?;
    if !contents.is_empty() {
        writer.contents(contents)?;
    }
    Ok(writer.finish()?.1)
}

const BUFFER: usize = 128 * 1024;

/// Enough for the longest run of tokens and names between two looks at the room.
const MIN_BUFFER: usize = 1024;
