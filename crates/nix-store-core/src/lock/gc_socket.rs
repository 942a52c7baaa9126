//! The caller's side of a running collector's socket, `STATE/gc-socket/socket`.
//!
//! ```text
//! caller:     <full store path> LF        any number of them on one connection
//! collector:  '1'                         one for each line, once the path can't be deleted any
//!                                         more (or has been deleted already)
//! ```
//!
//! Nix before 2.5 has no such socket; newer ones leave the file behind when they end.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::SendFlags;

use super::error::{LockError, Result};

/// A connection to a running collector.
#[derive(Debug)]
pub(super) struct GcSocket {
    stream: UnixStream,
    path: PathBuf,
}

impl GcSocket {
    /// Connects to the collector of the store with state directory `state_dir`. `None` if nobody
    /// listens.
    pub(super) fn connect(state_dir: &Path) -> Result<Option<Self>> {
        let dir_path = state_dir.join("gc-socket");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(&dir_path, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            dir => {
                dir.map_err(|source| LockError::io("open socket directory", &dir_path, source))?
            }
        };
        let path = dir_path.join("socket");
        // The real path may be longer than the 107 bytes that a socket address has room for.
        let address = format!("/proc/self/fd/{}/socket", dir.as_raw_fd());
        loop {
            match UnixStream::connect(&address) {
                Ok(stream) => return Ok(Some(Self { stream, path })),
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(LockError::io("connect to", &path, error)),
                },
            }
        }
    }

    /// Announces full store paths and waits for the answers. The number answered is less than the
    /// number of paths when the collector went away.
    pub(super) fn announce(&mut self, paths: &[&str]) -> Result<usize> {
        let mut answered = 0;
        let mut lines = Vec::new();
        for window in paths.chunks(WINDOW) {
            lines.clear();
            for path in window {
                lines.extend_from_slice(path.as_bytes());
                lines.push(b'\n');
            }
            if !self.send(&lines)? {
                break;
            }
            for _ in window {
                if !self.read_answer()? {
                    return Ok(answered);
                }
                answered += 1;
            }
        }
        Ok(answered)
    }

    /// False if the collector went away.
    fn send(&self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            // Without the flag, a collector that ends would kill a program that has the default
            // disposition of SIGPIPE.
            match rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(errno) => {
                    let error = io::Error::from(errno);
                    if went_away(&error) {
                        return Ok(false);
                    }
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(LockError::io("announce a root on", &self.path, error));
                    }
                }
            }
        }
        Ok(true)
    }

    /// False if the collector went away.
    fn read_answer(&mut self) -> Result<bool> {
        let mut answer = [0];
        match self.stream.read_exact(&mut answer) {
            Ok(()) if answer == *b"1" => Ok(true),
            Ok(()) => Err(LockError::BadAnswer {
                path: self.path.clone(),
                answer: answer[0],
            }),
            Err(error) if went_away(&error) => Ok(false),
            Err(error) => Err(LockError::io("read an answer from", &self.path, error)),
        }
    }
}

fn went_away(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

/// How many paths are under way at a time: few enough that neither side can fill the other's
/// buffer, so that the collector never waits for us to read an answer.
const WINDOW: usize = 64;

#[cfg(test)]
mod tests;
