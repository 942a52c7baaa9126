//! The primitives of the serve protocol and of NARs: 64-bit little-endian integers, and
//! byte strings with a length and zero padding to a multiple of eight.
//!
//! Readers never allocate by an announced length: a buffer grows with the bytes that
//! arrived, at most [`READ_AHEAD`] ahead of them.

use std::io::{self, Read, Write};

use crate::store_dir::StoreDir;
use crate::store_path::{StorePath, StorePathError, StorePathSet};

/// How far a buffer may be larger than what has arrived, in bytes.
pub const READ_AHEAD: usize = 64 * 1024;
/// Longest store path on the wire, in bytes.
pub const MAX_PATH: u64 = 4096;
/// Most paths in one set.
pub const MAX_PATHS: u64 = 1_000_000;
/// Longest hash, signature or content address, in bytes.
pub const MAX_SHORT: u64 = 1024;

/// A message that breaks the format, or a failing stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The stream ended inside a value.
    #[error("unexpected end-of-file while reading {0}")]
    UnexpectedEof(&'static str),
    /// The stream failed.
    #[error("cannot read {field}")]
    Io {
        /// What was being read.
        field: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A string beyond its limit.
    #[error("{field} is too long: {len} bytes where at most {limit} are allowed")]
    TooLong {
        /// The value concerned.
        field: &'static str,
        /// Announced length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A count beyond its limit.
    #[error("{field} has too many items: {count} where at most {limit} are allowed")]
    TooMany {
        /// The value concerned.
        field: &'static str,
        /// Announced count.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// Padding that is not zero.
    #[error("non-zero padding after {0}")]
    NonZeroPadding(&'static str),
    /// An integer that its type can't hold.
    #[error("serialised integer {value} is too large for {field}")]
    IntTooLarge {
        /// The value concerned.
        field: &'static str,
        /// What was sent.
        value: u64,
    },
    /// Text that is not UTF-8 where it must be.
    #[error("{0} is not valid UTF-8")]
    NotUtf8(&'static str),
    /// Not a store path.
    #[error("{field} is not a store path")]
    Path {
        /// The value concerned.
        field: &'static str,
        /// Why not.
        #[source]
        source: StorePathError,
    },
}

impl WireError {
    fn io(field: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Self::UnexpectedEof(field)
        } else {
            Self::Io { field, source }
        }
    }

    /// Whether the peer closed the stream inside a value.
    #[must_use]
    pub const fn is_eof(&self) -> bool {
        matches!(self, Self::UnexpectedEof(_))
    }
}

/// Number of zero bytes after a string of `len` bytes.
#[must_use]
pub const fn padding(len: u64) -> usize {
    ((8 - len % 8) % 8) as usize
}

/// Reading of wire values; `field` names the value in errors.
pub trait WireRead: Read {
    /// An unsigned 64-bit integer.
    ///
    /// # Errors
    /// The stream ends or fails.
    fn read_u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        let mut bytes = [0; 8];
        self.read_exact(&mut bytes)
            .map_err(|e| WireError::io(field, e))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// An integer that must fit 32 bits (C's `unsigned int`).
    ///
    /// # Errors
    /// Besides those of [`Self::read_u64`]: the value is larger.
    fn read_int(&mut self, field: &'static str) -> Result<u32, WireError> {
        let value = self.read_u64(field)?;
        u32::try_from(value).map_err(|_| WireError::IntTooLarge { field, value })
    }

    /// A truth value: any non-zero 32-bit integer is true.
    ///
    /// # Errors
    /// See [`Self::read_int`].
    fn read_bool(&mut self, field: &'static str) -> Result<bool, WireError> {
        Ok(self.read_int(field)? != 0)
    }

    /// A time in seconds since 1970 that must not be negative.
    ///
    /// # Errors
    /// Besides those of [`Self::read_u64`]: more than `i64::MAX`.
    fn read_time(&mut self, field: &'static str) -> Result<i64, WireError> {
        let value = self.read_u64(field)?;
        i64::try_from(value).map_err(|_| WireError::IntTooLarge { field, value })
    }

    /// A number of items, at most `limit`.
    ///
    /// # Errors
    /// Besides those of [`Self::read_u64`]: beyond the limit.
    fn read_count(&mut self, field: &'static str, limit: u64) -> Result<u64, WireError> {
        let count = self.read_u64(field)?;
        if count > limit {
            return Err(WireError::TooMany {
                field,
                count,
                limit,
            });
        }
        Ok(count)
    }

    /// The zero bytes after a string of `len` bytes.
    ///
    /// # Errors
    /// The stream ends or fails, or a byte is not zero.
    fn read_padding(&mut self, field: &'static str, len: u64) -> Result<(), WireError> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..padding(len)];
        self.read_exact(bytes)
            .map_err(|e| WireError::io(field, e))?;
        if bytes.iter().any(|&b| b != 0) {
            return Err(WireError::NonZeroPadding(field));
        }
        Ok(())
    }

    /// A byte string of at most `limit` bytes, into `buffer` (which is cleared first).
    ///
    /// # Errors
    /// The stream ends or fails, the length is beyond the limit, the padding not zero.
    fn read_bytes_into(
        &mut self,
        field: &'static str,
        limit: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        buffer.clear();
        let len = self.read_u64(field)?;
        if len > limit {
            return Err(WireError::TooLong { field, len, limit });
        }
        let mut left =
            usize::try_from(len).map_err(|_| WireError::TooLong { field, len, limit })?;
        while left > 0 {
            let start = buffer.len();
            let step = left.min(READ_AHEAD);
            buffer.resize(start + step, 0);
            self.read_exact(&mut buffer[start..])
                .map_err(|e| WireError::io(field, e))?;
            left -= step;
        }
        self.read_padding(field, len)
    }

    /// A byte string of at most `limit` bytes.
    ///
    /// # Errors
    /// See [`Self::read_bytes_into`].
    fn read_bytes(&mut self, field: &'static str, limit: u64) -> Result<Vec<u8>, WireError> {
        let mut buffer = Vec::new();
        self.read_bytes_into(field, limit, &mut buffer)?;
        Ok(buffer)
    }

    /// A UTF-8 string of at most `limit` bytes.
    ///
    /// # Errors
    /// Besides those of [`Self::read_bytes_into`]: not UTF-8.
    fn read_string(&mut self, field: &'static str, limit: u64) -> Result<String, WireError> {
        String::from_utf8(self.read_bytes(field, limit)?).map_err(|_| WireError::NotUtf8(field))
    }

    /// A full store path.
    ///
    /// # Errors
    /// Besides those of [`Self::read_bytes_into`]: not a path of `dir`.
    fn read_path(&mut self, field: &'static str, dir: &StoreDir) -> Result<StorePath, WireError> {
        let bytes = self.read_bytes(field, MAX_PATH)?;
        dir.parse(&bytes)
            .map_err(|source| WireError::Path { field, source })
    }

    /// A full store path, or nothing for the empty string.
    ///
    /// # Errors
    /// See [`Self::read_path`].
    fn read_optional_path(
        &mut self,
        field: &'static str,
        dir: &StoreDir,
    ) -> Result<Option<StorePath>, WireError> {
        let bytes = self.read_bytes(field, MAX_PATH)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        dir.parse(&bytes)
            .map(Some)
            .map_err(|source| WireError::Path { field, source })
    }

    /// A set of full store paths, in any order, at most [`MAX_PATHS`].
    ///
    /// # Errors
    /// See [`Self::read_path`] and [`Self::read_count`].
    fn read_path_set(
        &mut self,
        field: &'static str,
        dir: &StoreDir,
    ) -> Result<StorePathSet, WireError> {
        let count = self.read_count(field, MAX_PATHS)?;
        let mut buffer = Vec::new();
        let mut paths = Vec::new();
        for _ in 0..count {
            self.read_bytes_into(field, MAX_PATH, &mut buffer)?;
            let path = dir
                .parse(&buffer)
                .map_err(|source| WireError::Path { field, source })?;
            paths.push(path);
        }
        // Collecting sorts first and then builds the tree in one go.
        Ok(paths.into_iter().collect())
    }
}

impl<R: Read + ?Sized> WireRead for R {}

/// Writing of wire values.
pub trait WireWrite: Write {
    /// An unsigned 64-bit integer.
    ///
    /// # Errors
    /// The stream fails.
    fn write_u64(&mut self, value: u64) -> io::Result<()> {
        self.write_all(&value.to_le_bytes())
    }

    /// A truth value, 0 or 1.
    ///
    /// # Errors
    /// The stream fails.
    fn write_bool(&mut self, value: bool) -> io::Result<()> {
        self.write_u64(u64::from(value))
    }

    /// A time in seconds since 1970, negative ones in two's complement.
    ///
    /// # Errors
    /// The stream fails.
    fn write_time(&mut self, value: i64) -> io::Result<()> {
        self.write_all(&value.to_le_bytes())
    }

    /// The zero bytes after a string of `len` bytes.
    ///
    /// # Errors
    /// The stream fails.
    fn write_padding(&mut self, len: u64) -> io::Result<()> {
        self.write_all(&[0; 8][..padding(len)])
    }

    /// A byte string with length and padding.
    ///
    /// # Errors
    /// The stream fails.
    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_u64(bytes.len() as u64)?;
        self.write_all(bytes)?;
        self.write_padding(bytes.len() as u64)
    }

    /// A text as a byte string.
    ///
    /// # Errors
    /// The stream fails.
    fn write_str(&mut self, text: &str) -> io::Result<()> {
        self.write_bytes(text.as_bytes())
    }

    /// A full store path.
    ///
    /// # Errors
    /// The stream fails.
    fn write_path(&mut self, dir: &StoreDir, path: &StorePath) -> io::Result<()> {
        let len = dir.full_len(path);
        let parts = [
            &(len as u64).to_le_bytes(),
            dir.as_str().as_bytes(),
            b"/",
            path.hash().as_bytes(),
            b"-",
            path.name().as_str().as_bytes(),
            &[0; 8][..padding(len as u64)],
        ];
        // One write instead of seven: sets of paths are the bulk of many messages.
        let mut buffer = [0; 160];
        if len + 16 > buffer.len() {
            return parts.iter().try_for_each(|part| self.write_all(part));
        }
        let mut end = 0;
        for part in parts {
            buffer[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        self.write_all(&buffer[..end])
    }

    /// A full store path, or the empty string.
    ///
    /// # Errors
    /// The stream fails.
    fn write_optional_path(&mut self, dir: &StoreDir, path: Option<&StorePath>) -> io::Result<()> {
        match path {
            Some(path) => self.write_path(dir, path),
            None => self.write_u64(0),
        }
    }

    /// A set of full store paths, ascending.
    ///
    /// # Errors
    /// The stream fails.
    fn write_path_set(&mut self, dir: &StoreDir, paths: &StorePathSet) -> io::Result<()> {
        self.write_u64(paths.len() as u64)?;
        paths.iter().try_for_each(|path| self.write_path(dir, path))
    }
}

impl<W: Write + ?Sized> WireWrite for W {}

#[cfg(test)]
mod tests;
