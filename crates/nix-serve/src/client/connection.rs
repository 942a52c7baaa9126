//! One connection to a server.
//!
//! The greeting is sent together with the first request, before the server's answer to it
//! is there: no request that can come first depends on the version. What features we have is
//! told only before the first request that takes one, to a server that has it too. Requests
//! and replies are matched by order alone, so after any failure the connection is closed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::time::Duration;

use nix_base::{StoreDir, WireWrite};

use super::{ClientError, RemoteEnd, Result, Transport};
use crate::client::transport::Remote;
use crate::proto::handshake::{negotiate, read_server_hello, write_client_hello};
use crate::proto::{
    Capabilities, Feature, Features, ProtoError, ServeCommand, ServeVersion, VersionWord,
};
use crate::text::printable;

/// A connection to a server, over which requests and replies go.
#[derive(Debug)]
pub struct ClientConnection {
    dir: StoreDir,
    // In the order in which they must go: the server sees our end before it is signalled.
    to_server: Option<Outgoing>,
    from_server: Incoming,
    remote: Remote,
    in_force: Option<Agreed>,
    /// Whether the server was told our features.
    has_announced: bool,
}

/// What both sides can do.
#[derive(Debug, Clone, Copy)]
struct Agreed {
    version: ServeVersion,
    features: Features,
}

/// The stream of requests.
pub(crate) type Outgoing = BufWriter<File>;
/// The stream of replies.
pub(crate) type Incoming = BufReader<File>;

/// Whether a request and all that precedes it surely fit into a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestSize {
    /// At most a few hundred bytes, so that writing can't block.
    Small,
    /// Any number of bytes.
    Any,
}

/// The parts of a connection, for two threads.
pub(crate) struct Parts<'c> {
    pub(crate) dir: &'c StoreDir,
    pub(crate) version: ServeVersion,
    pub(crate) to_server: &'c mut Option<Outgoing>,
    pub(crate) from_server: &'c mut Incoming,
    pub(crate) host: Host<'c>,
}

/// The server, for error messages; shared by the threads of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'c> {
    remote: &'c Remote,
}

impl ClientConnection {
    /// Takes over a transport to a server whose store directory is `dir`. The greeting
    /// goes out with the first request.
    #[must_use]
    pub fn new(transport: Transport, dir: StoreDir) -> Self {
        let mut to_server = BufWriter::with_capacity(BUFFER, transport.to_server);
        write_client_hello(VersionWord::OURS, &mut to_server)
            .expect("sixteen bytes fit into the empty buffer");
        Self {
            dir,
            to_server: Some(to_server),
            from_server: BufReader::with_capacity(BUFFER, transport.from_server),
            remote: transport.remote,
            in_force: None,
            has_announced: false,
        }
    }

    /// The store directory of both sides.
    #[must_use]
    pub const fn store_dir(&self) -> &StoreDir {
        &self.dir
    }

    /// The server, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.remote.name()
    }

    /// The version in force, once the server has answered.
    #[must_use]
    pub fn version(&self) -> Option<ServeVersion> {
        self.in_force.map(|agreed| agreed.version)
    }

    /// Waits for the server's answer to the greeting and gives the version in force.
    ///
    /// # Errors
    /// The server is no server, of another major version, or gone.
    pub fn handshake(&mut self) -> Result<ServeVersion> {
        self.agree().map(|agreed| agreed.version)
    }

    /// Whether both sides have `feature`; waits for the server's answer to the greeting.
    ///
    /// # Errors
    /// As for [`handshake`](Self::handshake).
    pub fn has_feature(&mut self, feature: Feature) -> Result<bool> {
        self.agree().map(|agreed| agreed.features.contains(feature))
    }

    fn agree(&mut self) -> Result<Agreed> {
        if let Some(agreed) = self.in_force {
            return Ok(agreed);
        }
        // A pipe takes sixteen bytes; if the server is gone, reading tells it better.
        let _ = self.to_server.as_mut().map(Write::flush);
        self.read_greeting()
    }

    /// Reads the server's answer to the greeting unless that was done before.
    fn read_greeting(&mut self) -> Result<Agreed> {
        if let Some(agreed) = self.in_force {
            return Ok(agreed);
        }
        let answer = read_answer(&mut self.from_server);
        let agreed = answer.map_err(|error| self.greeting_error(error))?;
        Ok(*self.in_force.insert(agreed))
    }

    /// Sends one request and reads its reply, at once if need be. One that takes a feature
    /// may only be sent where [`has_feature`](Self::has_feature) holds.
    pub(crate) fn exchange<T>(
        &mut self,
        command: ServeCommand,
        size: RequestSize,
        write: impl FnOnce(&StoreDir, &mut Outgoing) -> io::Result<()> + Send,
        read: impl FnOnce(&StoreDir, ServeVersion, &mut Incoming) -> Result<T, ProtoError>,
    ) -> Result<T> {
        let dir = self.dir.clone();
        let mut to_server = self.take_writer()?;
        let announces = command.is_extension() && !self.has_announced;
        self.has_announced |= announces;
        let send = |to_server: &mut Outgoing| {
            if announces {
                to_server.write_u64(ServeCommand::AnnounceFeatures.number())?;
                Features::ALL.write(to_server)?;
            }
            to_server.write_u64(command.number())?;
            write(&dir, to_server)?;
            to_server.flush()
        };
        let (sent, received) = if size == RequestSize::Small {
            (send(&mut to_server), self.receive(command, read))
        } else {
            std::thread::scope(|scope| {
                let sender =
                    std::thread::Builder::new().spawn_scoped(scope, || send(&mut to_server));
                match sender {
                    Ok(sender) => {
                        let received = self.receive(command, read);
                        (
                            sender.join().expect("writing requests doesn't panic"),
                            received,
                        )
                    }
                    Err(error) => (Err(error), Err(self.closed())),
                }
            })
        };
        if received.is_err() || sent.is_err() {
            discard(Some(to_server));
        } else {
            self.to_server = Some(to_server);
        }
        // If both failed, the reply tells why, as does the server's stderr.
        let value = received?;
        sent.map_err(|source| self.host().request_error(command, None, source))?;
        Ok(value)
    }

    /// The parts, after the handshake, for an operation with threads of its own.
    pub(crate) fn parts(&mut self) -> Result<Parts<'_>> {
        let version = self.handshake()?;
        if self.to_server.is_none() {
            return Err(self.closed());
        }
        Ok(Parts {
            dir: &self.dir,
            version,
            to_server: &mut self.to_server,
            from_server: &mut self.from_server,
            host: Host {
                remote: &self.remote,
            },
        })
    }

    /// The server, for errors.
    pub(crate) const fn host(&self) -> Host<'_> {
        Host {
            remote: &self.remote,
        }
    }

    /// Ends the connection and waits for the server, which thereby releases what it pinned.
    pub fn finish(mut self) {
        self.to_server = None;
        self.remote.wait(FAREWELL);
    }

    fn receive<T>(
        &mut self,
        command: ServeCommand,
        read: impl FnOnce(&StoreDir, ServeVersion, &mut Incoming) -> Result<T, ProtoError>,
    ) -> Result<T> {
        let outcome = self.read_greeting();
        let received = outcome.and_then(|agreed| {
            read(&self.dir, agreed.version, &mut self.from_server)
                .map_err(|source| self.host().reply_error(command, None, source))
        });
        if received.is_err() {
            // The sender may be waiting for a server that will never read again.
            self.remote.terminate();
        }
        received
    }

    fn take_writer(&mut self) -> Result<Outgoing> {
        let closed = self.closed();
        self.to_server.take().ok_or(closed)
    }

    fn closed(&self) -> ClientError {
        ClientError::Closed {
            host: self.name().into(),
        }
    }

    /// What went wrong with the greeting.
    fn greeting_error(&mut self, error: ProtoError) -> ClientError {
        discard(self.to_server.take());
        let host = self.remote.name().to_owned();
        match error {
            ProtoError::UnsupportedVersion(version) => {
                ClientError::UnsupportedVersion { host, version }
            }
            ProtoError::Mismatch { mut got } => {
                self.collect_noise(&mut got);
                ClientError::Mismatch {
                    host,
                    got: printable(&got).trim_end().to_owned(),
                    end: self.remote.end(),
                }
            }
            ProtoError::NoAnswer => ClientError::Connect {
                host,
                end: self.remote.end(),
            },
            source => self
                .host()
                .reply_error(ServeCommand::QueryValidPaths, None, source),
        }
    }

    /// More of what came instead of a greeting, such as a shell's message of the day.
    fn collect_noise(&mut self, got: &mut Vec<u8>) {
        got.extend_from_slice(self.from_server.buffer());
        while got.len() < MAX_NOISE {
            let mut block = [0; 512];
            let file = self.from_server.get_mut();
            if !is_readable(file, NOISE_PAUSE) {
                break;
            }
            match file.read(&mut block) {
                Ok(0) | Err(_) => break,
                Ok(count) => got.extend_from_slice(&block[..count]),
            }
        }
        got.truncate(MAX_NOISE);
    }
}

impl<'c> Host<'c> {
    pub(crate) fn name(self) -> &'c str {
        self.remote.name()
    }

    /// A reply that is missing or breaks the protocol. If the server has closed its end,
    /// this waits a little for its reason.
    pub(crate) fn reply_error(
        self,
        command: ServeCommand,
        path: Option<String>,
        source: ProtoError,
    ) -> ClientError {
        let end = match source.is_eof() {
            true => self.remote.end(),
            false => RemoteEnd::default(),
        };
        ClientError::Reply {
            host: self.name().into(),
            command,
            path,
            end,
            source: Box::new(source),
        }
    }

    /// A request that could not be sent.
    pub(crate) fn request_error(
        self,
        command: ServeCommand,
        path: Option<String>,
        source: io::Error,
    ) -> ClientError {
        ClientError::Request {
            host: self.name().into(),
            command,
            path,
            end: self.remote.end(),
            source,
        }
    }

    /// Lets no direction block any longer.
    pub(crate) fn terminate(self) {
        self.remote.terminate();
    }
}

/// The server's greeting, and its features if it has some.
fn read_answer(from_server: &mut Incoming) -> Result<Agreed, ProtoError> {
    let theirs = read_server_hello(from_server)?;
    let agreed = negotiate(VersionWord::OURS, theirs);
    let features = match agreed.capabilities.contains(Capabilities::EXTENSIONS) {
        true => Features::read(from_server)?.intersect(Features::ALL),
        false => Features::NONE,
    };
    Ok(Agreed {
        version: agreed.version,
        features,
    })
}

/// Closes the stream without what is still in the buffer, whose writing could block.
pub(crate) fn discard(to_server: Option<Outgoing>) {
    drop(to_server.map(BufWriter::into_parts));
}

/// Whether `file` has something to read, or has ended, within `limit`.
fn is_readable(file: &File, limit: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let Ok(limit) = Timespec::try_from(limit) else {
        return false;
    };
    let mut fds = [PollFd::new(file, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&limit)), Ok(1..))
}

/// Bytes of each direction's buffer.
const BUFFER: usize = 256 * 1024;
/// Bytes of something that is no server's answer to quote.
const MAX_NOISE: usize = 1024;
/// How long to wait for more of that.
const NOISE_PAUSE: Duration = Duration::from_secs(1);
/// How long a server may take to end after the last request.
const FAREWELL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
