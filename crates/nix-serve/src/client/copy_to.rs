//! Copying a closure to a remote store.
//!
//! ```text
//! →  greeting, QueryValidPaths {all}, pinned          one round trip
//! ←  version, those valid
//! →  AddToStoreNar a, AddToStoreNar b, …              as fast as the pipe takes them
//! ←  1, 1, …                                          read by a thread of its own
//! ```
//!
//! To a server below 2.5 all missing objects go in one `ImportPaths`. The objects are
//! read on the calling thread; the n-th acknowledgement is for the n-th object, so an end
//! of the stream instead of it tells which object was refused.

use std::io::{self, Write};

use nix_base::{StoreDir, StorePath, ValidPathInfo, WireRead, WireWrite};

use super::connection::{Host, Incoming, Outgoing, Parts, discard};
use super::progress::{ByteMeter, CopyProgress, CopySummary};
use super::remote_store::query_valid_paths;
use super::{BoxError, ClientConnection, ClientError, Result};
use crate::proto::path_info::write_add_to_store_nar;
use crate::proto::request::QueryValidPaths;
use crate::proto::{ProtoError, ServeCommand};

/// Where the NARs of a copy come from.
pub trait NarSource {
    /// Writes the NAR of `path` to `out`.
    ///
    /// # Errors
    /// The object can't be read, or `out` fails.
    fn dump(&mut self, path: &StorePath, out: &mut dyn Write) -> Result<(), BoxError>;
}

/// Whether a server may fetch objects from elsewhere first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Substitute {
    /// All that is missing is sent.
    #[default]
    No,
    /// Only what the server can't substitute is sent.
    Yes,
}

/// What a copy to a server has to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyToPlan {
    /// The objects that the server lacks, each after those that it refers to.
    pub missing: Vec<ValidPathInfo>,
}

impl CopyToPlan {
    /// Asks the server which of `closure` it lacks, and pins all of it there until the
    /// connection ends. `closure` has each object after those that it refers to
    /// ([`super::order::references_first`]).
    ///
    /// # Errors
    /// The connection fails.
    pub fn make(
        connection: &mut ClientConnection,
        closure: Vec<ValidPathInfo>,
        substitute: Substitute,
    ) -> Result<Self> {
        let request = QueryValidPaths {
            lock: true,
            substitute: substitute == Substitute::Yes,
            paths: closure.iter().map(|info| info.path.clone()).collect(),
        };
        let valid = query_valid_paths(connection, &request)?;
        let mut missing = closure;
        missing.retain(|info| !valid.contains(&info.path));
        Ok(Self { missing })
    }

    /// What will be sent.
    #[must_use]
    pub fn summary(&self) -> CopySummary {
        summary(&self.missing)
    }

    /// Sends the missing objects from `source` and waits until the server has them all.
    ///
    /// # Errors
    /// An object can't be read or has another size than its metadata say, or the server
    /// refuses one; then the connection is closed. Objects before that one may be there.
    pub fn send(
        &self,
        connection: &mut ClientConnection,
        source: &mut dyn NarSource,
        progress: &dyn CopyProgress,
    ) -> Result<CopySummary> {
        let summary = self.summary();
        progress.started(summary.paths, summary.bytes);
        if self.missing.is_empty() {
            return Ok(summary);
        }
        let parts = connection.parts()?;
        let form = match parts.version.has_add_to_store_nar() {
            true => Form::AddToStoreNar,
            false => Form::ImportPaths,
        };
        transfer(form, &self.missing, parts, source, progress)?;
        Ok(summary)
    }
}

pub(crate) fn summary(infos: &[ValidPathInfo]) -> CopySummary {
    CopySummary {
        paths: infos.len() as u64,
        bytes: infos
            .iter()
            .fold(0, |sum, info| info.nar_size.saturating_add(sum)),
    }
}

/// How objects are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each with a command of its own.
    AddToStoreNar,
    /// All in one export stream.
    ImportPaths,
}

impl Form {
    const fn command(self) -> ServeCommand {
        match self {
            Self::AddToStoreNar => ServeCommand::AddToStoreNar,
            Self::ImportPaths => ServeCommand::ImportPaths,
        }
    }
}

/// Sends on this thread and reads acknowledgements on another.
fn transfer(
    form: Form,
    missing: &[ValidPathInfo],
    parts: Parts<'_>,
    source: &mut dyn NarSource,
    progress: &dyn CopyProgress,
) -> Result<()> {
    let Parts {
        dir,
        to_server,
        from_server,
        host,
        ..
    } = parts;
    let (sent, acknowledged) = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().spawn_scoped(scope, || {
            read_acks(form, missing, dir, from_server, host, progress)
        });
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => return (Err(Unsent::Pipe(None, error)), Ok(())),
        };
        let mut sender = Sender {
            dir,
            out: to_server,
            source,
            progress,
        };
        let sent = sender.send_all(form, missing);
        // Without an end of the stream the server, and so the reader, would wait for more.
        match sent {
            Ok(()) => {}
            // The objects before the failed one are whole and still wanted.
            Err(Unsent::Local(_)) => drop(to_server.take()),
            Err(Unsent::Pipe(..)) => discard(to_server.take()),
        }
        let acknowledged = reader
            .join()
            .expect("reading acknowledgements doesn't panic");
        (sent, acknowledged)
    });
    match (sent, acknowledged) {
        (Ok(()), Ok(())) => Ok(()),
        // What is wrong at our end is the cause of what the server then says.
        (Err(Unsent::Local(error)), _) => Err(error),
        // Writing fails because the server has gone; the reader knows why.
        (_, Err(error)) => {
            discard(to_server.take());
            Err(error)
        }
        (Err(Unsent::Pipe(path, error)), Ok(())) => {
            Err(host.request_error(form.command(), path, error))
        }
    }
}

/// Why sending stopped.
enum Unsent {
    /// The stream to the server failed, at an object.
    Pipe(Option<String>, io::Error),
    /// Something at our end failed.
    Local(ClientError),
}

struct Sender<'a> {
    dir: &'a StoreDir,
    out: &'a mut Option<Outgoing>,
    source: &'a mut dyn NarSource,
    progress: &'a dyn CopyProgress,
}

impl Sender<'_> {
    fn send_all(&mut self, form: Form, missing: &[ValidPathInfo]) -> Result<(), Unsent> {
        if form == Form::ImportPaths {
            self.put(None, |_, out| {
                out.write_u64(ServeCommand::ImportPaths.number())
            })?;
        }
        for info in missing {
            self.progress.path_started(&info.path, info.nar_size);
            match form {
                Form::AddToStoreNar => self.send_object(info)?,
                Form::ImportPaths => self.send_exported(info)?,
            }
        }
        self.put(None, |_, out| {
            if form == Form::ImportPaths {
                out.write_u64(0)?;
            }
            out.flush()
        })
    }

    fn send_object(&mut self, info: &ValidPathInfo) -> Result<(), Unsent> {
        self.put(Some(&info.path), |dir, out| {
            out.write_u64(ServeCommand::AddToStoreNar.number())?;
            write_add_to_store_nar(info, dir, out)
        })?;
        self.send_nar(info)
    }

    /// An object of an export stream; the fourth field of its trailer was a signature once.
    fn send_exported(&mut self, info: &ValidPathInfo) -> Result<(), Unsent> {
        self.put(Some(&info.path), |_, out| out.write_u64(1))?;
        self.send_nar(info)?;
        self.put(Some(&info.path), |dir, out| {
            out.write_u64(EXPORT_MAGIC)?;
            out.write_path(dir, &info.path)?;
            out.write_path_set(dir, &info.references)?;
            out.write_optional_path(dir, info.deriver.as_ref())?;
            out.write_u64(0)
        })
    }

    fn send_nar(&mut self, info: &ValidPathInfo) -> Result<(), Unsent> {
        let full = || self.dir.print(&info.path);
        let Some(out) = self.out.as_mut() else {
            return Err(Unsent::Pipe(Some(full()), io::ErrorKind::BrokenPipe.into()));
        };
        let mut nar = SizedWriter {
            out,
            left: info.nar_size,
            failure: None,
            meter: ByteMeter::new(self.progress),
        };
        let dumped = self.source.dump(&info.path, &mut nar);
        match (nar.failure, dumped) {
            (Some(SizedFailure::Pipe(error)), _) => Err(Unsent::Pipe(Some(full()), error)),
            (Some(SizedFailure::TooLong), _) => Err(Unsent::Local(ClientError::NarSize {
                path: full(),
                expected: info.nar_size,
                actual: info.nar_size,
            })),
            (None, Err(source)) => Err(Unsent::Local(ClientError::Dump {
                path: full(),
                source,
            })),
            // The server would wait for the rest for ever.
            (None, Ok(())) if nar.left > 0 => Err(Unsent::Local(ClientError::NarSize {
                path: full(),
                expected: info.nar_size,
                actual: info.nar_size - nar.left,
            })),
            (None, Ok(())) => Ok(()),
        }
    }

    fn put(
        &mut self,
        path: Option<&StorePath>,
        write: impl FnOnce(&StoreDir, &mut Outgoing) -> io::Result<()>,
    ) -> Result<(), Unsent> {
        let result = match self.out.as_mut() {
            Some(out) => write(self.dir, out),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        result.map_err(|error| Unsent::Pipe(path.map(|path| self.dir.print(path)), error))
    }
}

/// Passes on as many bytes as were announced and no more.
struct SizedWriter<'a> {
    out: &'a mut Outgoing,
    left: u64,
    failure: Option<SizedFailure>,
    meter: ByteMeter<'a>,
}

enum SizedFailure {
    TooLong,
    Pipe(io::Error),
}

impl Write for SizedWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() as u64 > self.left {
            self.failure = Some(SizedFailure::TooLong);
            return Err(io::Error::other("the NAR is longer than its metadata say"));
        }
        match self.out.write(data) {
            Ok(count) => {
                self.left -= count as u64;
                self.meter.add(count);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::from(error.kind());
                self.failure = Some(SizedFailure::Pipe(error));
                Err(told)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // One flush at the end of all objects is enough.
        Ok(())
    }
}

fn read_acks(
    form: Form,
    missing: &[ValidPathInfo],
    dir: &StoreDir,
    from_server: &mut Incoming,
    host: Host<'_>,
    progress: &dyn CopyProgress,
) -> Result<()> {
    let read_ack = |from_server: &mut Incoming, path: Option<&StorePath>| {
        read_ack(from_server).map_err(|source| {
            let path = path.map(|path| dir.print(path));
            let error = host.reply_error(form.command(), path, source);
            // The sender may be waiting for a server that will never read again.
            host.terminate();
            error
        })
    };
    match form {
        Form::AddToStoreNar => {
            for info in missing {
                read_ack(from_server, Some(&info.path))?;
                progress.path_done(&info.path);
            }
        }
        Form::ImportPaths => {
            read_ack(from_server, None)?;
            missing
                .iter()
                .for_each(|info| progress.path_done(&info.path));
        }
    }
    Ok(())
}

fn read_ack(from_server: &mut Incoming) -> Result<(), ProtoError> {
    let field = "the acknowledgement";
    match from_server.read_u64(field)? {
        1 => Ok(()),
        got => Err(ProtoError::BadAck { field, got }),
    }
}

/// `NIXE`, in the trailer of each object of an export stream.
const EXPORT_MAGIC: u64 = 0x4558_494e;

#[cfg(test)]
mod tests;
