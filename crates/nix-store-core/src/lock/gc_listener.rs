//! The collector's side of its socket, `STATE/gc-socket/socket` (see
//! [`gc_socket`](super::gc_socket) for the other side).
//!
//! One thread serves all connections and never blocks on any of them: a caller that stalls
//! holds up itself alone. Answers on one connection come in the order of its lines.
//!
//! The socket is bound under another name and renamed over the one that an earlier collector left
//! behind, and is itself left behind. So there is no moment without a file while `gc.lock` is
//! held: Nix 2.8 gives up on a missing file and lets the path be deleted.

mod connection;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix_base::StoreDir;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::collector::Table;
use super::error::{LockError, Result};
use connection::Connection;

/// The thread that answers; dropping it ends it and closes all connections.
#[derive(Debug)]
pub(super) struct GcListener {
    table: Arc<Table>,
    thread: Option<JoinHandle<()>>,
}

struct Server {
    listener: UnixListener,
    store_dir: StoreDir,
    table: Arc<Table>,
    connections: Vec<Connection>,
    /// Descriptors have run out before, and that was said.
    is_short: bool,
}

impl GcListener {
    /// Listens for the store with this state directory. The caller holds the collector lock.
    pub(super) fn start(state_dir: &Path, store_dir: StoreDir, table: Arc<Table>) -> Result<Self> {
        let dir_path = state_dir.join("gc-socket");
        let listener = listen(&dir_path)?;
        listener
            .set_nonblocking(true)
            .map_err(|source| LockError::io("listen in", &dir_path, source))?;
        let mut server = Server {
            listener,
            store_dir,
            table: Arc::clone(&table),
            connections: Vec::new(),
            is_short: false,
        };
        let thread = std::thread::Builder::new()
            .name("gc-listener".to_owned())
            .spawn(move || server.run())
            .map_err(|source| LockError::io("start a thread that listens in", &dir_path, source))?;
        Ok(Self {
            table,
            thread: Some(thread),
        })
    }
}

impl Drop for GcListener {
    fn drop(&mut self) {
        self.table.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread that listened for temporary roots had failed");
        }
    }
}

impl Server {
    fn run(&mut self) {
        let mut accepts = true;
        while !self.table.is_closed() {
            match self.wait(accepts) {
                // Memory is short: what is to be done is found out without being told.
                Err(Errno::NOMEM) => std::thread::sleep(PAUSE),
                Err(Errno::INTR) => continue,
                Err(error) => {
                    // Callers find nobody listening, and wait for the end of the collection.
                    tracing::warn!(%error, "cannot listen for temporary roots any more");
                    return;
                }
                Ok(()) => {}
            }
            self.table.hush();
            accepts = self.accept();
            let (table, store_dir) = (&self.table, &self.store_dir);
            self.connections
                .retain_mut(|connection| connection.serve(table, store_dir));
        }
    }

    /// Returns when something can be done.
    fn wait(&self, accepts: bool) -> Result<(), Errno> {
        let mut fds = Vec::with_capacity(self.connections.len() + 2);
        fds.push(PollFd::from_borrowed_fd(self.table.bell(), PollFlags::IN));
        if accepts {
            fds.push(PollFd::from_borrowed_fd(
                self.listener.as_fd(),
                PollFlags::IN,
            ));
        }
        for connection in &self.connections {
            fds.push(PollFd::from_borrowed_fd(
                connection.fd(),
                connection.interest(),
            ));
        }
        let soon = Timespec {
            tv_sec: 0,
            tv_nsec: PAUSE.subsec_nanos().into(),
        };
        poll(&mut fds, (!accepts).then_some(&soon)).map(drop)
    }

    /// Takes in all who wait. False if somebody has to wait for a moment, for want of
    /// descriptors.
    fn accept(&mut self) -> bool {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.make_room();
                    if stream.set_nonblocking(true).is_ok() {
                        self.connections.push(Connection::new(stream));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        if !self.is_short {
                            tracing::warn!(%error, "cannot accept a caller with temporary roots");
                        }
                        self.is_short = true;
                        return self.drop_idle();
                    }
                },
            }
        }
    }

    fn make_room(&mut self) {
        if self.connections.len() >= MOST_CONNECTIONS && !self.drop_idle() {
            // Whoever has announced a path announces it again.
            let talks = self.connections.iter().position(|one| !one.is_waiting());
            self.connections.remove(talks.unwrap_or(0));
        }
    }

    /// Closes the oldest connection that waits for nothing; its owner connects again when it has
    /// something to say.
    fn drop_idle(&mut self) -> bool {
        let idle = self.connections.iter().position(Connection::is_idle);
        idle.map(|index| self.connections.remove(index)).is_some()
    }
}

/// Binds the socket in `dir_path`, which is made when it isn't there.
fn listen(dir_path: &Path) -> Result<UnixListener> {
    let dir = open_dir(dir_path)?;
    remove_leftovers(&dir);
    let random = getrandom::u64()
        .map_err(|error| LockError::io("name a socket in", dir_path, io::Error::other(error)))?;
    let name = format!("{FRESH}{random:016x}");
    // The real path may be longer than the 107 bytes that a socket address has room for.
    let address = PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()));
    let listener = UnixListener::bind(address)
        .map_err(|source| LockError::io("make a socket in", dir_path, source))?;
    let everybody = Mode::from_raw_mode(0o666);
    let placed = rustix::fs::chmodat(&dir, &name, everybody, AtFlags::empty())
        .and_then(|()| rustix::fs::renameat(&dir, &name, &dir, "socket"));
    placed.map_err(|source| {
        // The next collector removes what stays.
        let _ = rustix::fs::unlinkat(&dir, &name, AtFlags::empty());
        LockError::io("put a socket in place in", dir_path, source)
    })?;
    Ok(listener)
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fail = |source| LockError::io("open socket directory", path, source);
    match rustix::fs::mkdir(path, DIR_MODE) {
        Ok(()) => {
            let dir: OwnedFd = rustix::fs::open(path, flags, Mode::empty()).map_err(fail)?;
            // Whatever the umask: callers are of all users.
            rustix::fs::fchmod(&dir, DIR_MODE).map_err(fail)?;
            Ok(dir)
        }
        Err(Errno::EXIST) => rustix::fs::open(path, flags, Mode::empty()).map_err(fail),
        Err(source) => Err(LockError::io("make socket directory", path, source)),
    }
}

/// Removes sockets that a killed collector hadn't put in place yet; it can't be alive, as we have
/// its lock.
fn remove_leftovers(dir: &OwnedFd) {
    let Ok(entries) = Dir::read_from(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_bytes().starts_with(FRESH.as_bytes()) {
            // It does no harm where it is.
            let _ = rustix::fs::unlinkat(dir, entry.file_name(), AtFlags::empty());
        }
    }
}

/// What the name of a socket that is not in place yet begins with.
const FRESH: &str = ".socket-";
const DIR_MODE: Mode = Mode::from_bits_retain(0o755);
/// Anybody may connect; what they take of memory and descriptors has an end.
const MOST_CONNECTIONS: usize = 512;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
