//! Servers for tests: a thread on two small pipes, with a script or a store in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use nix_base::{
    NarHash, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo, ValidPathInfo, WireRead,
    WireWrite,
};

use super::{ClientConnection, Transport};
use crate::proto::command::read_command;
use crate::proto::handshake::{serve_handshake, write_server_features};
use crate::proto::path_info::{read_add_to_store_nar, write_path_info_item, write_path_infos_end};
use crate::proto::request::{QueryClosure, QueryValidPaths};
use crate::proto::{Capabilities, Features, ProtoError, ServeCommand, ServeVersion, VersionWord};

/// The server's ends of the pipes.
pub(crate) struct Wire {
    pub(crate) requests: BufReader<File>,
    pub(crate) replies: File,
}

impl Wire {
    /// Answers the greeting as version 2.`minor` and gives the version in force.
    pub(crate) fn greet(&mut self, minor: u8) -> ServeVersion {
        let ours = ServeVersion::v2(minor);
        let theirs = serve_handshake(ours.into(), &mut self.requests, &mut self.replies).unwrap();
        assert_eq!(theirs, VersionWord::OURS);
        ours
    }

    /// Answers the greeting as a server of the newest version with `features`.
    pub(crate) fn greet_with(&mut self, features: Features) {
        let (ours, replies) = (VersionWord::OURS, &mut self.replies);
        let theirs = serve_handshake(ours, &mut self.requests, replies).unwrap();
        assert!(theirs.capabilities.contains(Capabilities::EXTENSIONS));
        write_server_features(features, &mut self.replies).unwrap();
    }

    /// Reads the command word, which must be this.
    pub(crate) fn expect(&mut self, command: ServeCommand) {
        assert_eq!(read_command(&mut self.requests).unwrap(), Some(command));
    }

    /// Whether the client has closed its end.
    pub(crate) fn at_end(&mut self) -> bool {
        self.requests.read(&mut [0]).unwrap() == 0
    }
}

/// A connection to `script`, which runs on a thread and whose result can be asked for.
/// The pipes hold 4 KiB.
pub(crate) fn connect<T: Send + 'static>(
    script: impl FnOnce(&mut Wire) -> T + Send + 'static,
) -> (ClientConnection, JoinHandle<T>) {
    let (requests, to_server) = std::io::pipe().unwrap();
    let (from_server, replies) = std::io::pipe().unwrap();
    for end in [&to_server, &replies] {
        #[cfg(target_os = "linux")]
        rustix::pipe::fcntl_setpipe_size(end, 4096).unwrap();
    }
    let transport = Transport::from_descriptors(to_server.into(), from_server.into(), "fake");
    let server = std::thread::spawn(move || {
        script(&mut Wire {
            requests: BufReader::new(OwnedFd::from(requests).into()),
            replies: OwnedFd::from(replies).into(),
        })
    });
    (
        ClientConnection::new(transport, StoreDir::default()),
        server,
    )
}

/// A path named `name` in the default store directory.
pub(crate) fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("{}-{name}", "1".repeat(32))).unwrap()
}

/// An object with a file's NAR.
pub(crate) fn object(name: &str, contents: &[u8], references: &[&str]) -> Object {
    let nar = test_support::nar::regular(contents);
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    info.references = references.iter().map(|name| path(name)).collect();
    let info = ValidPathInfo {
        path: path(name),
        info,
    };
    Object { info, nar }
}

/// An object with its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) info: ValidPathInfo,
    pub(crate) nar: Vec<u8>,
}

/// A store in memory that serves. It can be made to lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryServer {
    pub(crate) objects: BTreeMap<StorePath, Object>,
    pub(crate) commands: Vec<ServeCommand>,
    pub(crate) pinned: StorePathSet,
}

impl MemoryServer {
    pub(crate) fn with(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut server = Self::default();
        for object in objects {
            server.objects.insert(object.info.path.clone(), object);
        }
        server
    }

    /// Serves as version 2.`minor` until the client is gone, and gives what it has then.
    pub(crate) fn start(mut self, minor: u8) -> (ClientConnection, JoinHandle<Self>) {
        connect(move |wire| {
            let version = wire.greet(minor);
            while let Some(command) = read_command(&mut wire.requests).unwrap() {
                self.commands.push(command);
                if self.serve(command, version, wire).is_err() {
                    break;
                }
            }
            self
        })
    }

    fn serve(
        &mut self,
        command: ServeCommand,
        version: ServeVersion,
        wire: &mut Wire,
    ) -> Result<(), ProtoError> {
        let dir = StoreDir::default();
        let (requests, replies) = (&mut wire.requests, &mut wire.replies);
        let replied = match command {
            ServeCommand::QueryValidPaths => {
                let request = QueryValidPaths::read(&dir, requests)?;
                if request.lock {
                    self.pinned.extend(request.paths.iter().cloned());
                }
                let mut valid = request.paths;
                valid.retain(|path| self.objects.contains_key(path));
                replies.write_path_set(&dir, &valid)
            }
            ServeCommand::QueryClosure => {
                let request = QueryClosure::read(&dir, requests)?;
                replies.write_path_set(&dir, &self.closure(request.paths))
            }
            ServeCommand::QueryPathInfos => {
                for path in requests.read_path_set("the paths", &dir)? {
                    if let Some(object) = self.objects.get(&path) {
                        write_path_info_item(&object.info, &dir, version, replies).unwrap();
                    }
                }
                write_path_infos_end(replies)
            }
            ServeCommand::DumpStorePath => {
                let path = requests.read_path("the path", &dir)?;
                replies.write_all(&self.objects[&path].nar)
            }
            ServeCommand::AddToStoreNar => {
                let info = read_add_to_store_nar(&dir, requests)?;
                self.take(info, requests);
                replies.write_u64(1)
            }
            ServeCommand::ImportPaths => {
                self.import(&dir, requests);
                replies.write_u64(1)
            }
            other => panic!("{other}"),
        };
        replied.map_err(|source| ProtoError::Write {
            field: "a reply",
            source,
        })
    }

    fn take(&mut self, info: ValidPathInfo, requests: &mut BufReader<File>) {
        let mut nar = Vec::new();
        nix_nar::copy(requests, &mut nar).unwrap();
        assert_eq!(info.nar_size, nar.len() as u64);
        self.objects.insert(info.path.clone(), Object { info, nar });
    }

    fn import(&mut self, dir: &StoreDir, requests: &mut BufReader<File>) {
        while requests.read_u64("whether an object follows").unwrap() == 1 {
            let mut nar = Vec::new();
            nix_nar::copy(requests, &mut nar).unwrap();
            let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
            assert_eq!(requests.read_u64("the magic").unwrap(), 0x4558_494e);
            let path = requests.read_path("the path", dir).unwrap();
            info.references = requests.read_path_set("the references", dir).unwrap();
            info.deriver = requests.read_optional_path("the deriver", dir).unwrap();
            assert_eq!(requests.read_u64("the signature").unwrap(), 0);
            let info = ValidPathInfo { path, info };
            self.objects.insert(info.path.clone(), Object { info, nar });
        }
    }

    fn closure(&self, mut closure: StorePathSet) -> StorePathSet {
        let mut todo: Vec<StorePath> = closure.iter().cloned().collect();
        while let Some(path) = todo.pop() {
            for reference in &self.objects[&path].info.references {
                if closure.insert(reference.clone()) {
                    todo.push(reference.clone());
                }
            }
        }
        closure
    }
}
