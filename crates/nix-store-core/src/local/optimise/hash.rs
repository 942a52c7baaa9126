//! The names of links: hashes of archives of single files.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use nix_base::{Hash, HashFormat, NarHash, NarHashSink};
use nix_nar::frame;
use rustix::io::Errno;

/// Hashes files, with one buffer for all.
pub(super) struct FileHasher {
    /// Empty until a file is read.
    buffer: Vec<u8>,
    frame: Vec<u8>,
}

impl FileHasher {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            frame: Vec::with_capacity(256),
        }
    }

    /// The hash of a file that is `size` bytes long, from where it stands. `None` if it is
    /// shorter.
    pub(super) fn regular(
        &mut self,
        file: BorrowedFd<'_>,
        executable: bool,
        size: u64,
    ) -> rustix::io::Result<Option<NarHash>> {
        self.frame.clear();
        if frame::regular_head(executable, size, &mut self.frame).is_none() {
            return Err(Errno::FBIG);
        }
        self.buffer.resize(BUFFER, 0);
        let mut sink = NarHashSink::new();
        sink.update(&self.frame);
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match rustix::io::read(file, &mut self.buffer[..most]) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    sink.update(&self.buffer[..n]);
                    left -= n as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        sink.update(frame::regular_tail(size));
        Ok(Some(sink.finish().0))
    }

    /// Begins with a file whose contents come from elsewhere.
    pub(super) fn begin(&mut self, executable: bool, size: u64) -> Passing {
        self.frame.clear();
        let mut sink = NarHashSink::new();
        // A size that no archive can hold never gets to its end.
        let _ = frame::regular_head(executable, size, &mut self.frame);
        sink.update(&self.frame);
        Passing { sink, size }
    }

    /// The hash of a symbolic link.
    pub(super) fn symlink(&mut self, target: &[u8]) -> NarHash {
        self.frame.clear();
        frame::symlink(target, &mut self.frame);
        let mut sink = NarHashSink::new();
        sink.update(&self.frame);
        sink.finish().0
    }
}

/// A file whose contents pass by.
#[derive(Debug)]
pub(super) struct Passing {
    sink: NarHashSink,
    size: u64,
}

impl Passing {
    pub(super) fn update(&mut self, data: &[u8]) {
        self.sink.update(data);
    }

    pub(super) fn finish(mut self) -> NarHash {
        self.sink.update(frame::regular_tail(self.size));
        self.sink.finish().0
    }
}

/// The name of a link.
pub(super) fn link_name(hash: &NarHash) -> CString {
    let digits = Hash::from(*hash).render(HashFormat::Nix32);
    CString::new(digits).unwrap_or_default()
}

const BUFFER: usize = 128 * 1024;
