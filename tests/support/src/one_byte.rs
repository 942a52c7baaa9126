//! A reader for finding what breaks when data comes in crumbs.

use std::io::{self, Read};

/// Gives one byte of the inner reader at a time, however much was asked for.
#[derive(Debug)]
pub struct OneByteReader<R> {
    inner: R,
}

impl<R: Read> OneByteReader<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> Self {
        Self { inner }
    }
}

impl<R: Read> Read for OneByteReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match buffer.first_mut() {
            Some(byte) => self.inner.read(std::slice::from_mut(byte)),
            None => Ok(0),
        }
    }
}
