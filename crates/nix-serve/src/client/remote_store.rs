//! Questions to a remote store.

use std::io::{BufRead, Write};

use nix_base::wire::MAX_PATHS;
use nix_base::{StoreDir, StorePath, StorePathSet, ValidPathInfo, WireError, WireRead, WireWrite};

use super::connection::{Incoming, RequestSize};
use super::{BoxError, ClientConnection, ClientError, Distrust, Result};
use crate::proto::limit::MeteredReader;
use crate::proto::path_info::read_path_info_item;
use crate::proto::request::{QueryClosure, QueryValidPaths};
use crate::proto::{ProtoError, ServeCommand, ServeVersion};

/// A store behind a connection.
///
/// Replies are held to what was asked: a path that nobody asked about is an error.
#[derive(Debug)]
pub struct RemoteStore {
    connection: ClientConnection,
}

impl RemoteStore {
    /// Asks over `connection`.
    #[must_use]
    pub const fn new(connection: ClientConnection) -> Self {
        Self { connection }
    }

    /// The connection.
    pub const fn connection(&mut self) -> &mut ClientConnection {
        &mut self.connection
    }

    /// The connection, for other use.
    #[must_use]
    pub fn into_connection(self) -> ClientConnection {
        self.connection
    }

    /// Those of the request's paths that are valid.
    ///
    /// # Errors
    /// The connection fails, or the reply has other paths.
    pub fn query_valid_paths(&mut self, request: &QueryValidPaths) -> Result<StorePathSet> {
        query_valid_paths(&mut self.connection, request)
    }

    /// The metadata of those of `paths` that are valid, in the server's order.
    ///
    /// From servers below 2.4 the NAR hash is unknown.
    ///
    /// # Errors
    /// The connection fails, or the reply has other paths, or one twice.
    pub fn query_path_infos(&mut self, paths: &StorePathSet) -> Result<Vec<ValidPathInfo>> {
        query_path_infos(&mut self.connection, paths)
    }

    /// The paths and everything they refer to.
    ///
    /// # Errors
    /// One of the paths isn't valid there, or the connection fails.
    pub fn query_closure(&mut self, request: &QueryClosure) -> Result<StorePathSet> {
        query_closure(&mut self.connection, request)
    }

    /// Writes the NAR of `path` to `out` while it comes, and gives its size in bytes.
    ///
    /// # Errors
    /// The path isn't valid there, the NAR breaks the format, or one of the ends fails.
    pub fn dump(&mut self, path: &StorePath, out: &mut dyn Write) -> Result<u64> {
        let full = self.connection.store_dir().print(path);
        let mut local = None;
        let received = self.connection.exchange(
            ServeCommand::DumpStorePath,
            RequestSize::Small,
            |dir, to_server| to_server.write_path(dir, path),
            |_, _, from_server| match nix_nar::copy(from_server, &mut &mut *out) {
                Ok(size) => Ok(size),
                Err(error) if from_server.fill_buf().is_ok_and(<[u8]>::is_empty) => {
                    let _ = error;
                    Err(WireError::UnexpectedEof("the NAR").into())
                }
                Err(error) => {
                    local = Some(BoxError::from(error));
                    Err(WireError::UnexpectedEof("the NAR").into())
                }
            },
        );
        match local {
            Some(source) => Err(ClientError::Dump { path: full, source }),
            None => received,
        }
    }

    /// Has `take` read the NAR of `path` while it comes, exactly to its end.
    ///
    /// # Errors
    /// The path isn't valid there, `take` fails, or the connection does. It is closed then.
    pub fn read_archive(
        &mut self,
        path: &StorePath,
        take: &mut dyn FnMut(&mut dyn BufRead) -> Result<(), BoxError>,
    ) -> Result<()> {
        let mut refused = None;
        let received = self.connection.exchange(
            ServeCommand::DumpStorePath,
            RequestSize::Small,
            |dir, to_server| to_server.write_path(dir, path),
            |_, _, from_server| {
                take(from_server).map_err(|error| {
                    refused = Some(error);
                    WireError::UnexpectedEof("the NAR").into()
                })
            },
        );
        match refused {
            Some(source) => Err(ClientError::Dump {
                path: self.connection.store_dir().print(path),
                source,
            }),
            None => received,
        }
    }

    /// Ends the connection.
    pub fn finish(self) {
        self.connection.finish();
    }
}

pub(crate) fn query_valid_paths(
    connection: &mut ClientConnection,
    request: &QueryValidPaths,
) -> Result<StorePathSet> {
    let valid = connection.exchange(
        ServeCommand::QueryValidPaths,
        size_for(&request.paths),
        |dir, to_server| request.write(dir, to_server),
        |dir, _, from_server| read_paths("the valid paths", dir, from_server),
    )?;
    match valid.difference(&request.paths).next() {
        Some(path) => Err(distrusted(connection, path, Distrust::NotAskedFor)),
        None => Ok(valid),
    }
}

pub(crate) fn query_closure(
    connection: &mut ClientConnection,
    request: &QueryClosure,
) -> Result<StorePathSet> {
    let closure = connection.exchange(
        ServeCommand::QueryClosure,
        size_for(&request.paths),
        |dir, to_server| request.write(dir, to_server),
        |dir, _, from_server| read_paths("the closure", dir, from_server),
    )?;
    match request.paths.difference(&closure).next() {
        Some(path) => Err(distrusted(connection, path, Distrust::NotInClosure)),
        None => Ok(closure),
    }
}

/// Asks in portions, so that each reply stays within its budget; all of them are sent
/// before the first is answered.
pub(crate) fn query_path_infos(
    connection: &mut ClientConnection,
    paths: &StorePathSet,
) -> Result<Vec<ValidPathInfo>> {
    let all: Vec<&StorePath> = paths.iter().collect();
    let portions: Vec<&[&StorePath]> = match all.is_empty() {
        true => vec![&[]],
        false => all.chunks(PORTION).collect(),
    };
    let infos = connection.exchange(
        ServeCommand::QueryPathInfos,
        size_for(paths),
        |dir, to_server| {
            for (i, portion) in portions.iter().enumerate() {
                if i > 0 {
                    to_server.write_u64(ServeCommand::QueryPathInfos.number())?;
                }
                to_server.write_u64(portion.len() as u64)?;
                for path in *portion {
                    to_server.write_path(dir, path)?;
                }
            }
            Ok(())
        },
        |dir, version, from_server| {
            let mut infos = Vec::new();
            for portion in &portions {
                read_portion(portion.len(), dir, version, from_server, &mut infos)?;
            }
            Ok(infos)
        },
    )?;
    let mut seen = StorePathSet::new();
    for info in &infos {
        if !paths.contains(&info.path) {
            return Err(distrusted(connection, &info.path, Distrust::NotAskedFor));
        }
        if !seen.insert(info.path.clone()) {
            return Err(distrusted(connection, &info.path, Distrust::Twice));
        }
    }
    Ok(infos)
}

pub(crate) fn distrusted(
    connection: &ClientConnection,
    path: &StorePath,
    reason: Distrust,
) -> ClientError {
    ClientError::Distrusted {
        host: connection.name().into(),
        path: connection.store_dir().print(path),
        reason,
    }
}

fn read_portion(
    asked: usize,
    dir: &StoreDir,
    version: ServeVersion,
    from_server: &mut Incoming,
    infos: &mut Vec<ValidPathInfo>,
) -> Result<(), ProtoError> {
    let mut reader = MeteredReader::metadata(from_server);
    let start = infos.len();
    while let Some(info) = read_path_info_item(dir, version, &mut reader)? {
        if infos.len() - start == asked {
            return Err(WireError::TooMany {
                field: "the path infos",
                count: asked as u64 + 1,
                limit: asked as u64,
            }
            .into());
        }
        infos.push(info);
    }
    Ok(())
}

fn read_paths(
    field: &'static str,
    dir: &StoreDir,
    from_server: &mut Incoming,
) -> Result<StorePathSet, ProtoError> {
    Ok(MeteredReader::metadata(from_server).read_path_set(field, dir)?)
}

fn size_for(paths: &StorePathSet) -> RequestSize {
    match paths.len() {
        0..=8 => RequestSize::Small,
        _ => RequestSize::Any,
    }
}

/// Paths in one request for infos. Their replies, with some hundred bytes each, and with
/// long lists of references, fit into the budget of a message.
const PORTION: usize = 20_000;
const _: () = assert!(PORTION as u64 <= MAX_PATHS);
