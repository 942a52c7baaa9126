//! Copying a closure from a remote store.
//!
//! ```text
//! →  greeting, QueryClosure {wanted}                  one round trip
//! ←  version, the closure
//! →  QueryPathInfos {those not valid here}            one round trip
//! ←  metadata
//! →  DumpStorePath a, DumpStorePath b, …              by a thread of its own
//! ←  NAR, NAR, …                                      as fast as they are imported
//! ```
//!
//! Nothing is imported that was not asked for: metadata of other paths, of the same path
//! twice, or with references that will be missing, are refused before the first NAR
//! comes. The store at our end compares each NAR with its metadata ([`NarImporter`]).

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use nix_base::{PublicKey, StoreDir, StorePath, StorePathSet, ValidPathInfo, WireError, WireWrite};

use super::connection::{Host, Incoming, Outgoing, Parts, discard};
use super::copy_to::summary;
use super::order::references_first;
use super::progress::{ByteMeter, CopyProgress, CopySummary};
use super::remote_store::{distrusted, query_closure, query_path_infos};
use super::{BoxError, ClientConnection, ClientError, Distrust, Result};
use crate::proto::ServeCommand;
use crate::proto::request::QueryClosure;

/// The store that a copy goes into.
pub trait NarImporter {
    /// Those of `paths` that are valid. All of `paths` are kept from being collected until
    /// the copy is over.
    ///
    /// # Errors
    /// The store can't tell.
    fn query_valid(&mut self, paths: &StorePathSet) -> Result<StorePathSet, BoxError>;

    /// Reads the NAR of an object, compares hash and size with `info`, and registers the
    /// object with this or a later call, in the order of calls. A hash that
    /// [is unknown](nix_base::NarHash::is_unknown) (servers below 2.4) is computed
    /// instead; the size then only counts if it isn't 0.
    ///
    /// # Errors
    /// The NAR is not the announced one, or the store can't take it.
    fn import(&mut self, info: &ValidPathInfo, nar: &mut dyn BufRead) -> Result<(), BoxError>;

    /// Registers what was imported and is not registered yet.
    ///
    /// # Errors
    /// The store can't take it.
    fn finish(&mut self) -> Result<(), BoxError>;
}

/// What to copy, and whom to believe.
#[derive(Debug, Clone, Default)]
pub struct CopyFromOptions {
    /// Leave out what the paths refer to; it must be valid here.
    pub no_recursive: bool,
    /// Copy the valid outputs of derivations too.
    pub include_outputs: bool,
    /// If there, each object must be content-addressed or signed by one of these.
    pub trusted_keys: Option<Vec<PublicKey>>,
}

/// What a copy from a server has to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFromPlan {
    /// The objects that are missing here, each after those that it refers to. From servers
    /// below 2.4 their hashes are unknown.
    pub missing: Vec<ValidPathInfo>,
}

impl CopyFromPlan {
    /// Asks the server for the closure of `wanted`, and for the metadata of what is not
    /// valid here.
    ///
    /// # Errors
    /// One of `wanted` isn't valid there, a reply is not to be believed, the connection or
    /// the store at our end fails.
    pub fn make(
        connection: &mut ClientConnection,
        wanted: &StorePathSet,
        options: &CopyFromOptions,
        importer: &mut dyn NarImporter,
    ) -> Result<Self> {
        let closure = match options.no_recursive {
            true => wanted.clone(),
            false => query_closure(
                connection,
                &QueryClosure {
                    include_outputs: options.include_outputs,
                    paths: wanted.clone(),
                },
            )?,
        };
        let valid = importer.query_valid(&closure).map_err(ClientError::Local)?;
        let missing: StorePathSet = closure.difference(&valid).cloned().collect();
        if missing.is_empty() {
            connection.handshake()?;
            return Ok(Self {
                missing: Vec::new(),
            });
        }
        let infos = query_path_infos(connection, &missing)?;
        check_complete(connection, &missing, &infos)?;
        check_references(connection, &closure, &infos, importer)?;
        for info in &infos {
            check_trust(connection, info, options)?;
        }
        let missing = references_first(connection.store_dir(), infos)?;
        Ok(Self { missing })
    }

    /// What will be fetched.
    #[must_use]
    pub fn summary(&self) -> CopySummary {
        summary(&self.missing)
    }

    /// Fetches the missing objects into `importer`.
    ///
    /// # Errors
    /// The server or the store at our end fails, or an object is not what was announced;
    /// then the connection is closed. Objects before that one may be registered.
    pub fn fetch(
        &self,
        connection: &mut ClientConnection,
        importer: &mut dyn NarImporter,
        progress: &dyn CopyProgress,
    ) -> Result<CopySummary> {
        let summary = self.summary();
        progress.started(summary.paths, summary.bytes);
        if self.missing.is_empty() {
            return Ok(summary);
        }
        let parts = connection.parts()?;
        let host = parts.host;
        let fetched = transfer(&self.missing, parts, importer, progress);
        // What came before a failure is whole, and spares the next attempt the work.
        let finished = importer.finish().map_err(|source| ClientError::Finish {
            host: host.name().into(),
            source,
        });
        fetched.and(finished)?;
        Ok(summary)
    }
}

/// Each path that was asked for has metadata.
fn check_complete(
    connection: &ClientConnection,
    asked: &StorePathSet,
    infos: &[ValidPathInfo],
) -> Result<()> {
    let told: StorePathSet = infos.iter().map(|info| info.path.clone()).collect();
    match asked.difference(&told).next() {
        Some(path) => Err(distrusted(connection, path, Distrust::NotValid)),
        None => Ok(()),
    }
}

/// Each reference is copied, or valid here already.
fn check_references(
    connection: &ClientConnection,
    closure: &StorePathSet,
    infos: &[ValidPathInfo],
    importer: &mut dyn NarImporter,
) -> Result<()> {
    let mut outside: BTreeMap<&StorePath, &StorePath> = BTreeMap::new();
    for info in infos {
        for reference in info.references.iter().filter(|r| !closure.contains(*r)) {
            outside.insert(reference, &info.path);
        }
    }
    if outside.is_empty() {
        return Ok(());
    }
    let asked: StorePathSet = outside.keys().map(|path| (*path).clone()).collect();
    let valid = importer.query_valid(&asked).map_err(ClientError::Local)?;
    match outside.iter().find(|(path, _)| !valid.contains(**path)) {
        Some((reference, path)) => {
            let reference = connection.store_dir().print(reference);
            let reason = Distrust::ReferenceOutside(reference);
            Err(distrusted(connection, path, reason))
        }
        None => Ok(()),
    }
}

fn check_trust(
    connection: &ClientConnection,
    info: &ValidPathInfo,
    options: &CopyFromOptions,
) -> Result<()> {
    let dir = connection.store_dir();
    let refuse = |reason| Err(distrusted(connection, &info.path, reason));
    if info.nar_size == 0 && !info.nar_hash.is_unknown() {
        return refuse(Distrust::NoNarSize);
    }
    let addressed = info.content_address_matches(dir);
    if addressed == Some(false) {
        return refuse(Distrust::ContentAddress);
    }
    match &options.trusted_keys {
        Some(keys) if addressed.is_none() && !info.is_signed_by(dir, keys) => {
            refuse(Distrust::NotSigned)
        }
        _ => Ok(()),
    }
}

/// Requests on a thread of their own, imports on this one.
fn transfer(
    missing: &[ValidPathInfo],
    parts: Parts<'_>,
    importer: &mut dyn NarImporter,
    progress: &dyn CopyProgress,
) -> Result<()> {
    let Parts {
        dir,
        to_server,
        from_server,
        host,
        ..
    } = parts;
    let Some(mut out) = to_server.take() else {
        return Err(ClientError::Closed {
            host: host.name().into(),
        });
    };
    let (requested, imported, out) = std::thread::scope(|scope| {
        let requester = std::thread::Builder::new().spawn_scoped(scope, move || {
            let requested = send_requests(missing, dir, &mut out);
            (requested, out)
        });
        let requester = requester
            .map_err(|source| host.request_error(ServeCommand::DumpStorePath, None, source))?;
        let mut receiver = Receiver {
            dir,
            from_server,
            host,
            progress,
        };
        let imported = receiver.import_all(missing, importer);
        if imported.is_err() {
            // The server may never read the rest of the requests.
            host.terminate();
        }
        let (requested, out) = requester.join().expect("writing requests doesn't panic");
        Ok::<_, ClientError>((requested, imported, out))
    })?;
    if imported.is_ok() && requested.is_ok() {
        *to_server = Some(out);
    } else {
        discard(Some(out));
    }
    // If both failed, the reply tells why.
    imported?;
    requested.map_err(|source| host.request_error(ServeCommand::DumpStorePath, None, source))
}

fn send_requests(missing: &[ValidPathInfo], dir: &StoreDir, out: &mut Outgoing) -> io::Result<()> {
    for info in missing {
        out.write_u64(ServeCommand::DumpStorePath.number())?;
        out.write_path(dir, &info.path)?;
    }
    out.flush()
}

struct Receiver<'a> {
    dir: &'a StoreDir,
    from_server: &'a mut Incoming,
    host: Host<'a>,
    progress: &'a dyn CopyProgress,
}

impl Receiver<'_> {
    fn import_all(
        &mut self,
        missing: &[ValidPathInfo],
        importer: &mut dyn NarImporter,
    ) -> Result<()> {
        for info in missing {
            self.progress.path_started(&info.path, info.nar_size);
            self.import(info, importer)?;
            self.progress.path_done(&info.path);
        }
        Ok(())
    }

    fn import(&mut self, info: &ValidPathInfo, importer: &mut dyn NarImporter) -> Result<()> {
        let full = || self.dir.print(&info.path);
        let mut nar = NarStream {
            from_server: self.from_server,
            // Only servers below 2.4 may not know the size.
            left: if info.nar_size == 0 {
                u64::MAX
            } else {
                info.nar_size
            },
            ended: false,
            meter: ByteMeter::new(self.progress),
        };
        let imported = importer.import(info, &mut nar);
        match imported {
            Err(_) if nar.ended => Err(self.host.reply_error(
                ServeCommand::DumpStorePath,
                Some(full()),
                WireError::UnexpectedEof("the NAR").into(),
            )),
            Err(source) => Err(ClientError::Import {
                host: self.host.name().into(),
                path: full(),
                source,
            }),
            // The rest would be taken for the next NAR.
            Ok(()) if info.nar_size > 0 && nar.left > 0 => Err(ClientError::NarSize {
                path: full(),
                expected: info.nar_size,
                actual: info.nar_size - nar.left,
            }),
            Ok(()) => Ok(()),
        }
    }
}

/// The bytes of one NAR, at most as many as were announced.
struct NarStream<'a> {
    from_server: &'a mut Incoming,
    left: u64,
    ended: bool,
    meter: ByteMeter<'a>,
}

impl BufRead for NarStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let buffer = self.from_server.fill_buf()?;
        self.ended = buffer.is_empty();
        let len = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        Ok(&buffer[..len])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.meter.add(count);
        self.from_server.consume(count);
    }
}

impl Read for NarStream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
