//! Finds the hashes of store paths in a stream of bytes.

/// A writer that looks for store path hashes.
#[derive(Debug)]
pub struct RefScanSink;
