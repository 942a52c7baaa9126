//! What the server, the helper and the processes of builders say to each other.
//!
//! All of it goes over pairs of packet sockets:
//!
//! ```text
//! server ─ main ───── helper    Request, with descriptors; closing it ends everything
//! server ─ control ── helper    Order →, ← Report; one pair for each build; closing it ends it
//! helper ─ sync ───── builder   Begin with descriptors →, ← Note, Go →
//! ```

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ExitStatus;
use crate::config::Layer;
use crate::sandbox::SetupFailure;
use crate::sandbox::plan::Start;

/// From the server, on the main socket.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Request {
    /// Start a builder. Descriptors: control socket, plan (a file), log.
    Build(Start),
    /// Kill all processes of a user. Descriptor: control socket.
    KillUser {
        /// The user.
        uid: u32,
        /// Whether those don't count that are dead but not reaped.
        ignore_dead: bool,
    },
}

/// From the server, on a build's socket.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Order {
    /// The builder may run.
    Go,
    /// Kill it.
    Kill,
}

/// To the server, on a build's socket.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Report {
    /// The process exists.
    Waiting {
        /// Its id, on the host.
        pid: u32,
    },
    /// The program is about to run.
    Started,
    /// It won't, and its process is gone.
    Failed(SetupFailure),
    /// It ended.
    Exited(ExitStatus),
}

/// To a builder's process, at first. Descriptors: plan, log.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Begin {
    /// Layers that it was created without.
    pub(super) missing: BTreeSet<Layer>,
}

/// From a builder's process.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Note {
    /// It waits for the word.
    Ready {
        /// Whether it has entered a user namespace that has no ids yet.
        needs_ids: bool,
    },
    /// The program is about to run.
    Started,
    /// It couldn't be confined.
    Failed(SetupFailure),
}

/// To a builder's process, when it may go on.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Go {
    /// A message without bytes would read as the end of the connection.
    Now,
}

/// Both ends of a connection that keeps messages apart.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends a message, with descriptors.
pub(super) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    loop {
        match sendmsg(
            socket,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives a message with its descriptors; `None` if the other end is closed.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = [0u8; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            // The other end was closed with messages unread, which is told once; what it had
            // sent comes after that.
            Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    // No message is empty.
    let Some(received) = bytes.get(..length).filter(|bytes| !bytes.is_empty()) else {
        return Ok(None);
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let message = postcard::from_bytes(received).map_err(io::Error::other)?;
    Ok(Some((message, descriptors)))
}

/// Sends a failure, cut to what fits.
pub(super) fn cut(mut failure: SetupFailure) -> SetupFailure {
    if failure.message.len() > MAX_TEXT {
        let end = failure.message.floor_char_boundary(MAX_TEXT);
        failure.message.truncate(end);
        failure.message.push('…');
    }
    failure
}

/// A file in memory with the whole plan.
pub(super) fn plan_file(plan: &impl Serialize) -> io::Result<OwnedFd> {
    let bytes = postcard::to_stdvec(plan).map_err(io::Error::other)?;
    let file = rustix::fs::memfd_create("plan", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, &bytes)?;
    Ok(file.into())
}

/// The plan in such a file.
pub(super) fn read_plan<T: DeserializeOwned>(file: &impl AsFd) -> io::Result<T> {
    let size = rustix::fs::fstat(file)?.st_size;
    let mut bytes = vec![0u8; usize::try_from(size).map_err(io::Error::other)?];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, u64::try_from(done).map_err(io::Error::other)?)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

/// Bytes of one message at most.
const MAX_MESSAGE: usize = 16 << 10;
/// Bytes of the text in one at most.
const MAX_TEXT: usize = 8 << 10;
/// Space for descriptors with a message.
const SPACE: usize = rustix::cmsg_space!(ScmRights(3));
