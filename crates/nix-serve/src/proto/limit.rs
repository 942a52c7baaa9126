//! How much a peer may announce or send in one message.
//!
//! Lengths are limits, never allocations; see [`nix_base::wire`] for paths and hashes.

use std::io::{self, BufRead, Read};

/// Longest error text in a reply, in bytes.
pub const MAX_ERROR_TEXT: u64 = 64 * 1024;
/// Most signatures of one object.
pub const MAX_SIGNATURES: u64 = 10_000;
/// Most outputs of one build.
pub const MAX_OUTPUTS: u64 = 10_000;
/// Longest JSON text of a realisation, in bytes.
pub const MAX_REALISATION: u64 = 1024 * 1024;
/// Longest item of `BuildPaths`, in bytes: a path and names of outputs.
pub const MAX_BUILD_TARGET: u64 = 64 * 1024;
/// Most texts that one question is about.
pub const MAX_PROOF_TEXTS: u64 = 1_000_000;
/// Most bytes of one message besides NARs. A set of a million paths of usual length fits;
/// parsed it stays below 256 MiB.
pub const MAX_METADATA: u64 = 128 * 1024 * 1024;

/// A reader that fails once a message has more than its share of bytes, so that many
/// values, each within its own limit, can't exhaust memory together.
#[derive(Debug)]
pub struct MeteredReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> MeteredReader<R> {
    /// Allows `limit` bytes of `inner`.
    pub const fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }

    /// Allows [`MAX_METADATA`] bytes of `inner`.
    pub const fn metadata(inner: R) -> Self {
        Self::new(inner, MAX_METADATA)
    }

    fn exhausted() -> io::Error {
        io::Error::other("the message exceeds its budget of memory")
    }

    fn spend(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
    }

    fn clip(&self, len: usize) -> usize {
        usize::try_from(self.left).map_or(len, |left| left.min(len))
    }
}

impl<R: Read> Read for MeteredReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let len = self.clip(buffer.len());
        if len == 0 {
            return Err(Self::exhausted());
        }
        let count = self.inner.read(&mut buffer[..len])?;
        self.spend(count);
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if self.clip(buffer.len()) < buffer.len() {
            return Err(Self::exhausted());
        }
        // One call of the inner reader, which may serve it from its buffer at once.
        self.inner.read_exact(buffer)?;
        self.spend(buffer.len());
        Ok(())
    }
}

impl<R: BufRead> BufRead for MeteredReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(Self::exhausted());
        }
        let left = self.left;
        let buffer = self.inner.fill_buf()?;
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        Ok(&buffer[..len])
    }

    fn consume(&mut self, count: usize) {
        self.spend(count);
        self.inner.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix_base::WireRead;

    #[test]
    fn a_message_over_its_budget_is_an_error() {
        let bytes = [0; 24];
        let mut reader = MeteredReader::new(&bytes[..], 16);
        assert_eq!(reader.read_u64("x").unwrap(), 0);
        assert_eq!(reader.read_u64("x").unwrap(), 0);
        let error = reader.read_u64("x").unwrap_err();
        assert!(!error.is_eof());
        let source = std::error::Error::source(&error).unwrap();
        insta::assert_snapshot!(source, @"the message exceeds its budget of memory");
    }
}
