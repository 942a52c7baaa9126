//! A store, clients that send bytes, and a builder that makes files.

use std::sync::{Arc, Mutex};

use nix_base::store_path::make::References;
use nix_base::{
    BuildOptions, BuildResult, BuildStatus, ContentAddress, ContentAddressMethod, DrvOutput, Hash,
    HashAlgo, NarHash, Realisation, StoreDir, StorePath, StorePathSet, UnkeyedValidPathInfo,
    ValidPathInfo, WireRead, WireWrite,
};
use nix_build::Cancel;
use nix_drv::BasicDerivation;
use nix_drv::proof::PackedProof;
use nix_store_core::{Durability, ImportBatch, LocalStore, Lock, Store, StoreConfig, StoreLayout};

use crate::policy::{Capability, Role, View};
use crate::proto::build_result::{BuildPathsReply, read_build_result};
use crate::proto::handshake::write_client_hello;
use crate::proto::options::write_build_options;
use crate::proto::path_info::write_add_to_store_nar;
use crate::proto::request::{BuildPaths, QueryClosure, QueryValidPaths};
use crate::proto::{Capabilities, Features, ServeCommand, ServeVersion, VersionWord};
use crate::server::{
    Audit, AuditRecord, BuildService, DerivationRequest, PathsOutcome, PathsRequest, Refusal,
    ServeError, ServeOptions, Verdict, serve,
};

pub(super) struct Machine {
    temp: tempfile::TempDir,
    pub(super) dir: StoreDir,
    /// The requests that got as far as the builder.
    pub(super) asked: Mutex<Vec<DerivationRequest>>,
    pub(super) asked_paths: Mutex<Vec<PathsRequest>>,
}

/// What came of one connection.
pub(super) struct Talk {
    pub(super) replies: Vec<u8>,
    pub(super) result: Result<(), ServeError>,
    pub(super) records: Vec<Record>,
}

/// An [`AuditRecord`] that stays.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) key: Option<String>,
    pub(super) command: String,
    pub(super) paths: StorePathSet,
    pub(super) bytes: u64,
    pub(super) verdict: Verdict,
    pub(super) refusal: Option<Refusal>,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Default)]
struct Records(Mutex<Vec<Record>>);

impl Audit for Records {
    fn record(&self, record: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(Record {
            key: record.key.map(str::to_owned),
            command: record.command.to_owned(),
            paths: record.paths.clone(),
            bytes: record.bytes,
            verdict: record.verdict,
            refusal: record.refusal.cloned(),
            reason: record.reason.map(str::to_owned),
        });
    }
}

/// The role of an untrusted key.
pub(super) fn key(name: &str) -> Role {
    Role::untrusted(name)
}

/// A role that sees everything and may do only this.
pub(super) fn only(capabilities: &[Capability]) -> Role {
    Role {
        capabilities: capabilities.iter().copied().collect(),
        view: View::Everything,
        ..key("only")
    }
}

pub(super) fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("{}-{name}", "1".repeat(32))).unwrap()
}

/// The archive and metadata of a file without content address.
pub(super) fn file(name: &str, contents: &[u8]) -> (Vec<u8>, ValidPathInfo) {
    let nar = archive(contents);
    let mut info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
    info.registration_time = 7;
    let path = path(name);
    (nar, ValidPathInfo { path, info })
}

/// Those of a text that its content addresses.
pub(super) fn text(
    name: &str,
    contents: &[u8],
    references: &[&StorePath],
) -> (Vec<u8>, ValidPathInfo) {
    let (nar, mut info) = file("x", contents);
    info.info.references = references.iter().map(|path| (*path).clone()).collect();
    let ca = ContentAddress {
        method: ContentAddressMethod::Text,
        hash: Hash::of(HashAlgo::Sha256, contents),
    };
    let split = References {
        others: info.info.references.clone(),
        to_self: false,
    };
    info.path = ca
        .path(&StoreDir::default(), &split, &name.parse().unwrap())
        .unwrap();
    info.info.ca = Some(ca);
    (nar, info)
}

pub(super) fn archive(contents: &[u8]) -> Vec<u8> {
    let mut nar = Vec::new();
    nix_nar::write_regular(contents, false, &mut nar).unwrap();
    nar
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            temp: tempfile::tempdir().unwrap(),
            dir: StoreDir::default(),
            asked: Mutex::default(),
            asked_paths: Mutex::default(),
        }
    }

    pub(super) fn store(&self) -> LocalStore {
        let layout = StoreLayout::chroot(self.dir.clone(), self.temp.path());
        let mut config = StoreConfig::new(layout);
        config.durability = Durability::None;
        LocalStore::init(config).unwrap()
    }

    /// Sends `request` on a connection of its own.
    pub(super) fn talk(&self, role: Role, request: &[u8]) -> Talk {
        let records = Arc::new(Records::default());
        let options = ServeOptions {
            role,
            audit: Arc::clone(&records) as Arc<dyn Audit>,
            ..ServeOptions::default()
        };
        let mut input = Vec::new();
        let word = VersionWord {
            version: ServeVersion::v2(8),
            capabilities: Capabilities::EXTENSIONS,
        };
        write_client_hello(word, &mut input).unwrap();
        input
            .write_u64(ServeCommand::AnnounceFeatures.number())
            .unwrap();
        Features::ALL.write(&mut input).unwrap();
        input.extend_from_slice(request);
        let mut output = Vec::new();
        let result = serve(&options, || Ok(self.store()), self, &input[..], &mut output);
        let mut replies = &output[16..];
        Features::read(&mut replies).unwrap();
        let records = records.0.lock().unwrap().clone();
        Talk {
            replies: replies.to_vec(),
            result,
            records,
        }
    }

    /// Puts an object into the store as the operator would.
    pub(super) fn put(&self, (nar, info): &(Vec<u8>, ValidPathInfo)) {
        self.talk(Role::full(), &Talk::add(info, nar)).done();
    }

    /// Which of `paths` are valid for `role`.
    pub(super) fn valid(&self, role: Role, paths: &[&StorePath]) -> StorePathSet {
        let paths: Vec<_> = paths.iter().map(|path| (*path).clone()).collect();
        let talk = self.talk(role, &Talk::query_valid(&paths));
        talk.done();
        let mut replies = &talk.replies[..];
        replies.read_path_set("", &self.dir).unwrap()
    }

    pub(super) fn sees(&self, role: Role, path: &StorePath) -> bool {
        !self.valid(role, &[path]).is_empty()
    }

    /// Builds, and gives the one result.
    pub(super) fn build(&self, role: Role, request: &[u8]) -> (BuildResult, Talk) {
        let talk = self.talk(role, request);
        talk.done();
        let mut replies = &talk.replies[..];
        let result = read_build_result(&self.dir, ServeVersion::v2(8), &mut replies).unwrap();
        assert!(replies.is_empty());
        (result, talk)
    }

    pub(super) fn build_paths(&self, role: Role, targets: &[String]) -> BuildPathsReply {
        let request = BuildPaths {
            targets: targets.to_vec(),
            options: BuildOptions::default(),
        };
        let mut out = number(ServeCommand::BuildPaths);
        request.write(ServeVersion::v2(8), &mut out).unwrap();
        let talk = self.talk(role, &out);
        talk.done();
        BuildPathsReply::read(&mut &talk.replies[..]).unwrap()
    }

    /// The last request that the builder got.
    pub(super) fn last(&self) -> DerivationRequest {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

/// Makes each output a file with its own name in it.
impl BuildService for Machine {
    fn build_derivation(
        &self,
        store: &LocalStore,
        request: DerivationRequest,
        _: &Cancel,
    ) -> BuildResult {
        let mut result = BuildResult {
            times_built: 1,
            start_time: 100,
            stop_time: 110,
            ..BuildResult::failure(BuildStatus::Built, "")
        };
        let batch = ImportBatch::new(store);
        for (name, out_path) in request.drv.known_outputs(&self.dir).unwrap() {
            let valid = store.query_valid_paths(&[out_path.clone()].into(), Lock::No);
            if valid.unwrap().is_empty() {
                let nar = archive(name.as_str().as_bytes());
                let info = UnkeyedValidPathInfo::new(NarHash::of(&nar), nar.len() as u64);
                let path = out_path.clone();
                batch
                    .stage(ValidPathInfo { path, info }, &mut &nar[..])
                    .unwrap();
            }
            let realisation = Realisation {
                id: DrvOutput::stand_in(name.clone()),
                out_path,
                signatures: [].into(),
                dependent_realisations: Default::default(),
            };
            result.built_outputs.insert(name, realisation);
        }
        assert!(batch.commit().failure.is_none());
        self.asked.lock().unwrap().push(request);
        result
    }

    fn build_paths(&self, _: &LocalStore, request: PathsRequest, _: &Cancel) -> PathsOutcome {
        self.asked_paths.lock().unwrap().push(request);
        PathsOutcome::default()
    }

    fn system_features(&self, _: &LocalStore) -> std::collections::BTreeSet<String> {
        ["kvm".to_owned()].into()
    }
}

impl Talk {
    pub(super) fn done(&self) {
        assert!(self.result.is_ok(), "{:?}", self.result);
    }

    pub(super) fn error(&self) -> String {
        self.result.as_ref().unwrap_err().to_string()
    }

    /// The refusal that ended the connection.
    pub(super) fn refusal(&self) -> Refusal {
        match self.result.as_ref().unwrap_err() {
            ServeError::Refused(refusal) => (**refusal).clone(),
            other => panic!("{other}"),
        }
    }

    /// The refusal that was a reply.
    pub(super) fn refused(&self) -> Refusal {
        let record = self.records.last().unwrap();
        assert_eq!(record.verdict, Verdict::Refused);
        record.refusal.clone().unwrap()
    }

    pub(super) fn add(info: &ValidPathInfo, nar: &[u8]) -> Vec<u8> {
        let mut out = number(ServeCommand::AddToStoreNar);
        write_add_to_store_nar(info, &StoreDir::default(), &mut out).unwrap();
        out.extend_from_slice(nar);
        out
    }

    pub(super) fn query_valid(paths: &[StorePath]) -> Vec<u8> {
        let request = QueryValidPaths {
            lock: true,
            substitute: false,
            paths: paths.iter().cloned().collect(),
        };
        let mut out = number(ServeCommand::QueryValidPaths);
        request.write(&StoreDir::default(), &mut out).unwrap();
        out
    }

    pub(super) fn query_infos(paths: &[&StorePath]) -> Vec<u8> {
        let paths = paths.iter().map(|path| (*path).clone()).collect();
        let mut out = number(ServeCommand::QueryPathInfos);
        out.write_path_set(&StoreDir::default(), &paths).unwrap();
        out
    }

    pub(super) fn query_closure(paths: &[&StorePath], include_outputs: bool) -> Vec<u8> {
        let request = QueryClosure {
            include_outputs,
            paths: paths.iter().map(|path| (*path).clone()).collect(),
        };
        let mut out = number(ServeCommand::QueryClosure);
        request.write(&StoreDir::default(), &mut out).unwrap();
        out
    }

    pub(super) fn dump(path: &StorePath) -> Vec<u8> {
        let mut out = number(ServeCommand::DumpStorePath);
        out.write_path(&StoreDir::default(), path).unwrap();
        out
    }

    pub(super) fn build(drv_path: &StorePath, drv: &BasicDerivation) -> Vec<u8> {
        Self::build_with(drv_path, drv, BuildOptions::default())
    }

    pub(super) fn build_with(
        drv_path: &StorePath,
        drv: &BasicDerivation,
        options: BuildOptions,
    ) -> Vec<u8> {
        let mut out = number(ServeCommand::BuildDerivation);
        derivation(drv_path, drv, &options, &mut out);
        out
    }

    pub(super) fn build_proven(
        drv_path: &StorePath,
        drv: &BasicDerivation,
        proof: &PackedProof,
    ) -> Vec<u8> {
        let mut out = number(ServeCommand::BuildDerivationWithProof);
        derivation(drv_path, drv, &BuildOptions::default(), &mut out);
        proof.write(&mut out, &StoreDir::default()).unwrap();
        out
    }
}

fn derivation(
    drv_path: &StorePath,
    drv: &BasicDerivation,
    options: &BuildOptions,
    out: &mut Vec<u8>,
) {
    let dir = StoreDir::default();
    out.write_path(&dir, drv_path).unwrap();
    drv.write_wire(out, &dir).unwrap();
    write_build_options(options, ServeVersion::v2(8), out).unwrap();
}

pub(super) fn number(command: ServeCommand) -> Vec<u8> {
    command.number().to_le_bytes().to_vec()
}
