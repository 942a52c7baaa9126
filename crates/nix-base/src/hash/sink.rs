//! Writers that hash what passes through.

use std::io::{self, Write};

use sha2::Digest;

use super::{Hash, HashAlgo, Hasher, NarHash};

/// A writer that hashes and counts, and keeps nothing.
#[derive(Debug, Clone)]
pub struct HashSink {
    hasher: Hasher,
    len: u64,
}

impl HashSink {
    /// An empty sink.
    #[must_use]
    pub fn new(algo: HashAlgo) -> Self {
        Self {
            hasher: Hasher::new(algo),
            len: 0,
        }
    }

    /// The hash of all bytes written, and their number.
    #[must_use]
    pub fn finish(self) -> (Hash, u64) {
        (self.hasher.finish(), self.len)
    }
}

impl Write for HashSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.hasher.update(data);
        self.len += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// [`HashSink`] for NARs: SHA-256 with a typed result.
#[derive(Debug, Clone, Default)]
pub struct NarHashSink {
    hasher: sha2::Sha256,
    len: u64,
}

impl NarHashSink {
    /// An empty sink.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds `data`; writing to the sink does the same.
    pub fn update(&mut self, data: &[u8]) {
        self.hasher.update(data);
        self.len += data.len() as u64;
    }

    /// Bytes seen so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The NAR hash and the NAR size in bytes.
    #[must_use]
    pub fn finish(self) -> (NarHash, u64) {
        (NarHash::from_bytes(self.hasher.finalize().into()), self.len)
    }
}

impl Write for NarHashSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes bytes on to `inner` and hashes them on the way, while they are in cache.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    sink: NarHashSink,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            sink: NarHashSink::new(),
        }
    }

    /// The inner writer, the NAR hash and the NAR size in bytes.
    #[must_use]
    pub fn finish(self) -> (W, NarHash, u64) {
        let (hash, len) = self.sink.finish();
        (self.inner, hash, len)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.sink.update(&data[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_agree_and_count() {
        let mut any = HashSink::new(HashAlgo::Sha256);
        let mut tee = HashingWriter::new(Vec::new());
        for chunk in [&b"he"[..], b"llo", b"\n"] {
            any.write_all(chunk).unwrap();
            tee.write_all(chunk).unwrap();
        }
        let (hash, len) = any.finish();
        let (copy, nar_hash, nar_len) = tee.finish();
        assert_eq!(copy, b"hello\n");
        assert_eq!((hash, len), (nar_hash.into(), nar_len));
        assert_eq!(hash, Hash::of(HashAlgo::Sha256, b"hello\n"));
    }
}
