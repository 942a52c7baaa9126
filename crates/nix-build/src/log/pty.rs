//! The terminal that a builder writes its log to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Both ends of a build's log channel. All descriptors are closed on exec.
#[derive(Debug)]
pub struct LogChannel {
    /// Our end, to read from.
    pub reader: LogReader,
    /// The builder's end, to become its descriptors 1 and 2. As long as this copy is open
    /// there is no end of the stream.
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
        match Self::open_terminal(owner) {
            Ok(channel) => Ok(channel),
            Err(error) => {
                tracing::debug!(%error, "no pseudo terminal, the log goes through a pipe");
                Self::open_pipe(owner)
            }
        }
    }

    fn open_terminal(owner: Option<(u32, u32)>) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        // Through the master rather than by name: the name may belong to another mount of
        // devpts.
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        give_to(&slave, owner)?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        Ok(Self {
            reader: LogReader {
                file: master.into(),
                is_terminal: true,
            },
            writer: slave,
        })
    }

    fn open_pipe(owner: Option<(u32, u32)>) -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only `/dev/stderr` needs it, which opens the pipe anew.
        if let Err(error) = give_to(&writer, owner) {
            tracing::debug!(%error, "the log's pipe keeps its owner");
        }
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
        match self.file.read(buffer) {
            // What a terminal says when its other end is closed; by then all has been read.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => Ok(0),
            result => result,
        }
    }
}

impl AsFd for LogReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn give_to(fd: &OwnedFd, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((user, group)) = owner {
        fchown(fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    fchmod(fd, Mode::RUSR | Mode::WUSR)?;
    Ok(())
}

#[cfg(test)]
mod tests;
