//! One caller of a collector.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bstr::ByteSlice;
use nix_base::{StoreDir, StorePathHash};
use rustix::event::PollFlags;
use rustix::net::SendFlags;

use super::super::collector::Table;

/// A connection, and what it waits for.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// The beginning of a line.
    partial: Vec<u8>,
    /// Lines not answered yet, oldest first, with their paths where they are some.
    lines: VecDeque<Option<StorePathHash>>,
    /// Answers that the caller has not taken yet.
    unsent: usize,
    /// The caller says no more.
    has_ended: bool,
}

/// Whether there is more to do with a connection.
type GoesOn = bool;

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            partial: Vec::new(),
            lines: VecDeque::new(),
            unsent: 0,
            has_ended: false,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether the caller waits for nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.partial.is_empty() && self.lines.is_empty() && self.unsent == 0
    }

    /// Whether the caller has announced a path that it has no answer for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.lines.is_empty()
    }

    /// What it takes to go on. A hang-up is always told.
    pub(super) fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        if self.listens() {
            flags |= PollFlags::IN;
        }
        if self.unsent > 0 {
            flags |= PollFlags::OUT;
        }
        flags
    }

    /// Does all that can be done now.
    pub(super) fn serve(&mut self, table: &Table, store_dir: &StoreDir) -> GoesOn {
        if !self.read(table, store_dir) {
            return false;
        }
        while let Some(line) = self.lines.front() {
            if line.is_some_and(|hash| table.is_pending(&hash)) {
                break;
            }
            self.lines.pop_front();
            self.unsent += 1;
        }
        self.send() && !(self.has_ended && self.is_idle()) && !self.is_gone()
    }

    /// A caller that takes no answers isn't listened to for the time being.
    fn listens(&self) -> bool {
        !self.has_ended && self.lines.len() + self.unsent < MOST_LINES
    }

    fn read(&mut self, table: &Table, store_dir: &StoreDir) -> GoesOn {
        let mut block = [0; 4096];
        while self.listens() {
            match self.stream.read(&mut block) {
                Ok(0) => {
                    self.has_ended = true;
                    self.partial.clear();
                }
                Ok(count) => {
                    if !self.take_in(&block[..count], table, store_dir) {
                        return false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn take_in(&mut self, bytes: &[u8], table: &Table, store_dir: &StoreDir) -> GoesOn {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if self.partial.len() > LONGEST_LINE {
                tracing::warn!("a caller announced an endless path as a temporary root");
                return false;
            }
            if piece.ends_with(b"\n") {
                let line = &self.partial[..self.partial.len() - 1];
                let hash = hash_part(line, store_dir);
                match hash {
                    Some(hash) => {
                        tracing::debug!(path = ?line.as_bstr(), "new temporary root");
                        table.announce(hash);
                    }
                    // Nix compat: it is answered all the same.
                    None => {
                        tracing::warn!(line = ?line.as_bstr(), "no store path announced as a root");
                    }
                }
                self.lines.push_back(hash);
                self.partial.clear();
            }
        }
        true
    }

    fn send(&mut self) -> GoesOn {
        while self.unsent > 0 {
            let answers = &ANSWERS[..self.unsent.min(ANSWERS.len())];
            match rustix::net::send(&self.stream, answers, SendFlags::NOSIGNAL) {
                Ok(sent) => self.unsent -= sent,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether the caller has closed its end altogether, so that it hears no answer.
    fn is_gone(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.stream, PollFlags::empty())];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        !self.listens()
            && rustix::event::poll(&mut fds, Some(&now)).is_ok()
            && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

/// The hash part of the path that a line names.
fn hash_part(line: &[u8], store_dir: &StoreDir) -> Option<StorePathHash> {
    let name = line
        .strip_prefix(store_dir.as_str().as_bytes())?
        .strip_prefix(b"/")?;
    let (digits, rest) = name.split_at_checked(nix_base::store_path::HASH_DIGITS)?;
    if !rest.starts_with(b"-") {
        return None;
    }
    StorePathHash::from_digits(digits)
}

const ANSWERS: [u8; 64] = [b'1'; 64];
/// A caller of ours sends 64 before it reads an answer.
const MOST_LINES: usize = 4096;
/// Longer than any path.
const LONGEST_LINE: usize = 8192;
