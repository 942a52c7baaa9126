//! Data on stdout.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;

/// Whoever read our output has gone.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(crate) struct OutputClosed;

/// Stdout without the line buffer of the standard library.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
}

impl Output {
    /// Takes stdout.
    pub(crate) fn of_process() -> anyhow::Result<Self> {
        let fd = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(fd.context("cannot use stdout")?);
        Ok(Self { file })
    }

    /// Writes a text whole.
    pub(crate) fn print(&mut self, text: &str) -> anyhow::Result<()> {
        self.write_all(text.as_bytes())
            .context("cannot write to stdout")
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.print(&format!("{line}\n"))
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, OutputClosed),
            _ => error,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
