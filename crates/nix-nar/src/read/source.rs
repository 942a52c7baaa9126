//! The bytes under the parser: looked at in the reader's own buffer, and
//! handed on, as they are, when that buffer is spent.

use std::io::{self, BufRead, ErrorKind, Write};

use crate::error::Problem;

/// Why bytes could not be had.
pub(super) enum SourceError {
    Read(io::Error),
    Forward(io::Error),
    Problem(Problem),
}

impl From<Problem> for SourceError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// A reader whose bytes are consumed late: what was parsed is first passed to
/// `forward`, in one piece for each filling of the reader's buffer.
#[derive(Debug)]
pub(super) struct Source<R, W> {
    inner: R,
    forward: W,
    /// Bytes at the start of the reader's buffer that are parsed but not consumed.
    parsed: usize,
    /// Bytes parsed since the start of the archive.
    offset: u64,
    limit: u64,
}

impl<R: BufRead, W: Write> Source<R, W> {
    pub(super) fn new(inner: R, forward: W) -> Self {
        Self {
            inner,
            forward,
            parsed: 0,
            offset: 0,
            limit: u64::MAX,
        }
    }

    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes that can be parsed without waiting: at least one.
    pub(super) fn peek(&mut self) -> Result<&[u8], SourceError> {
        loop {
            let buffered = match self.inner.fill_buf() {
                Ok(buffered) => buffered,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    return Err(Problem::UnexpectedEnd.into());
                }
                Err(e) => return Err(SourceError::Read(e)),
            };
            if buffered.is_empty() {
                return Err(Problem::UnexpectedEnd.into());
            }
            if buffered.len() > self.parsed {
                break;
            }
            self.forward
                .write_all(buffered)
                .map_err(SourceError::Forward)?;
            self.inner.consume(self.parsed);
            self.parsed = 0;
        }
        // A buffer that holds bytes is given back as it is, without reading.
        let buffered = self.inner.fill_buf().map_err(SourceError::Read)?;
        Ok(buffered.get(self.parsed..).unwrap_or_default())
    }

    /// Marks `n` of the bytes that [`Source::peek`] gave as parsed.
    pub(super) fn advance(&mut self, n: usize) -> Result<(), SourceError> {
        self.check_room(n as u64)?;
        self.parsed += n;
        self.offset += n as u64;
        Ok(())
    }

    /// Refuses `n` more bytes if the archive may not have them.
    pub(super) fn check_room(&self, n: u64) -> Result<(), SourceError> {
        match self.offset.checked_add(n) {
            Some(end) if end <= self.limit => Ok(()),
            _ => Err(Problem::TooLong { limit: self.limit }.into()),
        }
    }

    /// Parses `expected` if it is in the buffer as a whole; else parses nothing.
    pub(super) fn eat(&mut self, expected: &[u8]) -> Result<bool, SourceError> {
        let found = self.peek()?.starts_with(expected);
        if found {
            self.advance(expected.len())?;
        }
        Ok(found)
    }

    /// Parses as many bytes as `out` holds.
    pub(super) fn read_exact(&mut self, mut out: &mut [u8]) -> Result<(), SourceError> {
        while !out.is_empty() {
            let buffered = self.peek()?;
            let n = buffered.len().min(out.len());
            let (head, rest) = out.split_at_mut(n);
            head.copy_from_slice(&buffered[..n]);
            out = rest;
            self.advance(n)?;
        }
        Ok(())
    }

    /// Parses at most `most` bytes (more than 0) and gives them.
    pub(super) fn chunk(&mut self, most: u64) -> Result<&[u8], SourceError> {
        let n = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.peek()?.len());
        self.advance(n)?;
        let buffered = self.inner.fill_buf().map_err(SourceError::Read)?;
        Ok(buffered
            .get(self.parsed - n..self.parsed)
            .unwrap_or_default())
    }

    /// Consumes what was parsed, and no byte more.
    pub(super) fn commit(&mut self) -> Result<(), SourceError> {
        if self.parsed > 0 {
            let buffered = self.inner.fill_buf().map_err(SourceError::Read)?;
            let parsed = buffered.get(..self.parsed).unwrap_or_default();
            self.forward
                .write_all(parsed)
                .map_err(SourceError::Forward)?;
            self.inner.consume(self.parsed);
            self.parsed = 0;
        }
        Ok(())
    }

    /// Accounts for `n` bytes that were taken from below.
    pub(super) fn skip(&mut self, n: u64) -> Result<(), SourceError> {
        self.check_room(n)?;
        self.offset += n;
        Ok(())
    }

    pub(super) fn get_mut(&mut self) -> (&mut R, &mut W) {
        (&mut self.inner, &mut self.forward)
    }

    pub(super) fn into_parts(self) -> (R, W) {
        (self.inner, self.forward)
    }
}
