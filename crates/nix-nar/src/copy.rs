//! Copies exactly one archive.

use std::io::{BufRead, Write};

use crate::error::Result;
use crate::read::NarReader;

/// Reads one archive from `reader`, checks all of it, and writes the very
/// bytes to `out`. Gives the size of the archive in bytes.
///
/// What follows the archive stays in the reader. Bytes reach `out` in pieces
/// of the reader's buffer, and only after they were checked; `out` is not flushed.
///
/// # Errors
/// [`crate::Error::BadArchive`] for any deviation from the format,
/// [`crate::Error::Read`] and [`crate::Error::Write`] for the two ends.
pub fn copy(reader: &mut impl BufRead, out: &mut impl Write) -> Result<u64> {
    NarReader::forwarding(reader, out).finish()
}

/// Like [`copy`], but refuses an archive of more than `size` bytes
/// without reading beyond them.
///
/// # Errors
/// As for [`copy`]. An archive that is too short is not an error here: compare the result.
pub fn copy_limited(reader: &mut impl BufRead, size: u64, out: &mut impl Write) -> Result<u64> {
    NarReader::forwarding(reader, out).with_limit(size).finish()
}
