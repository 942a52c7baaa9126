//! The command loop and the commands that read.

use std::cell::{Cell, RefCell};
use std::io::{self, BufWriter, Read, Write};

use nix_base::{StoreDir, StorePathSet, WireRead, WireWrite};
use nix_store_core::{ImportBatch, IncludeOutputs, LocalStore, Lock, Store};

use super::guard::Guard;
use super::input::{SessionInput, Source};
use super::note::{Counted, Note};
use super::{BuildService, ServeError, ServeOptions};
use crate::policy::Capability;
use crate::proto::command::read_command;
use crate::proto::limit::MeteredReader;
use crate::proto::path_info::{write_path_info_item, write_path_infos_end};
use crate::proto::request::{ExportPaths, QueryClosure, QueryValidPaths};
use crate::proto::{Capabilities, Features, ProtoError, ServeCommand, ServeVersion, VersionWord};

/// One connection after its handshake.
pub(super) struct Session<'s, W: Write> {
    pub(super) options: &'s ServeOptions,
    pub(super) version: ServeVersion,
    has_extensions: bool,
    /// What both sides have said that they can.
    pub(super) features: Cell<Features>,
    pub(super) store: &'s LocalStore,
    pub(super) builds: &'s dyn BuildService,
    pub(super) guard: Guard<'s>,
    pub(super) batch: ImportBatch<'s>,
    /// What is known of the command that is being served.
    pub(super) note: RefCell<Note>,
    output: RefCell<BufWriter<W>>,
    /// What a commit in the middle of a read came to.
    pub(super) commit_failure: RefCell<Option<ServeError>>,
}

impl<'s, W: Write> Session<'s, W> {
    pub(super) fn new(
        options: &'s ServeOptions,
        agreed: VersionWord,
        store: &'s LocalStore,
        builds: &'s dyn BuildService,
        output: W,
    ) -> Self {
        Self {
            options,
            version: agreed.version,
            has_extensions: agreed.capabilities.contains(Capabilities::EXTENSIONS),
            features: Cell::new(Features::NONE),
            store,
            builds,
            guard: Guard::new(options, store),
            batch: ImportBatch::new(store),
            note: RefCell::default(),
            output: RefCell::new(BufWriter::with_capacity(OUTPUT_BUFFER, output)),
            commit_failure: RefCell::new(None),
        }
    }

    /// Serves commands until the client closes the stream.
    pub(super) fn run<S: Source>(self, input: SessionInput<'_, S>) -> Result<(), ServeError> {
        let commit = || self.commit_before_wait();
        let mut input = input.before_wait(&commit);
        let result = self.serve_commands(&mut input);
        // Whatever ended the connection: what came complete before it is acknowledged.
        let committed = self.commit();
        if let Err(error) = self.guard.write_texts() {
            // The client will send them again.
            tracing::warn!(%error, "cannot keep texts of proofs");
        }
        match self.commit_failure.take() {
            Some(failure) => Err(failure),
            None => result
                .map_err(|error| input.take_trouble().unwrap_or(error))
                .and(committed),
        }
    }

    fn serve_commands<S: Source>(&self, input: &mut SessionInput<'_, S>) -> Result<(), ServeError> {
        loop {
            input.set_in_message(false);
            let Some(command) = read_command(input).map_err(ServeError::Command)? else {
                return Ok(());
            };
            input.set_in_message(true);
            if command != ServeCommand::AddToStoreNar {
                self.commit()?;
            }
            self.note.take();
            let result = self.serve_command(command, input);
            self.record(command, &result);
            result?;
        }
    }

    fn serve_command<S: Source>(
        &self,
        command: ServeCommand,
        input: &mut SessionInput<'_, S>,
    ) -> Result<(), ServeError> {
        self.check_known(command)?;
        self.guard.check_command(command)?;
        tracing::trace!(%command, "request");
        match command {
            ServeCommand::QueryValidPaths => self.query_valid_paths(input),
            ServeCommand::QueryPathInfos => self.query_path_infos(input),
            ServeCommand::DumpStorePath => self.dump_store_path(input),
            ServeCommand::QueryClosure => self.query_closure(input),
            ServeCommand::AddToStoreNar => self.add_to_store_nar(input),
            ServeCommand::ImportPaths => self.import_paths(input),
            ServeCommand::ExportPaths => self.export_paths(input),
            ServeCommand::BuildPaths => self.build_paths(input),
            ServeCommand::BuildDerivation => self.build_derivation(input),
            ServeCommand::QueryProofTexts => self.query_proof_texts(input),
            ServeCommand::BuildDerivationWithProof => self.build_derivation_with_proof(input),
            ServeCommand::AnnounceFeatures => self.announce_features(input),
        }
    }

    /// Our own commands exist only where both sides have them.
    fn check_known(&self, command: ServeCommand) -> Result<(), ServeError> {
        let has = |feature| self.features.get().contains(feature);
        match command.is_extension() {
            true if !self.has_extensions || !command.feature().is_none_or(has) => {
                let number = command as u32;
                Err(ServeError::Command(ProtoError::UnknownCommand(number)))
            }
            _ => Ok(()),
        }
    }

    fn query_valid_paths(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let command = ServeCommand::QueryValidPaths;
        let request = QueryValidPaths::read(self.dir(), &mut metered(input))
            .map_err(|e| arguments(command, e))?;
        // Nix compat: without --write both flags are ignored.
        let role = self.guard.role();
        let lock = if request.lock && role.writes() {
            Lock::Yes
        } else {
            Lock::No
        };
        if request.substitute && role.allows(Capability::Substitute) {
            tracing::debug!("this server substitutes nothing");
        }
        self.note_paths(&request.paths);
        let valid = self.guard.valid(&request.paths, lock)?;
        self.reply(command, |out| out.write_path_set(self.dir(), &valid))
    }

    fn query_path_infos(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let command = ServeCommand::QueryPathInfos;
        let paths = self.read_paths(command, input)?;
        self.note_paths(&paths);
        let paths = self.guard.seen(&paths)?;
        let mut failed = None;
        let mut output = self.output.borrow_mut();
        let queried = self.store.query_path_infos(&paths, &mut |mut info| {
            self.guard.redact(&mut info)?;
            if failed.is_none() {
                failed = write_path_info_item(&info, self.dir(), self.version, &mut *output).err();
            }
            Ok(())
        });
        queried?;
        match failed {
            Some(source) => Err(ServeError::Reply { command, source }),
            None => write_path_infos_end(&mut *output)
                .and_then(|()| output.flush())
                .map_err(|source| ServeError::Reply { command, source }),
        }
    }

    fn dump_store_path(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let command = ServeCommand::DumpStorePath;
        let path = input
            .read_path("the path to dump", self.dir())
            .map_err(|e| arguments(command, e.into()))?;
        let paths = StorePathSet::from([path.clone()]);
        self.note_paths(&paths);
        self.guard.require_seen(&paths)?;
        let mut output = Counted::new(self.output.borrow_mut());
        self.store.dump(&path, &mut output)?;
        self.note.borrow_mut().bytes = output.count;
        output
            .flush()
            .map_err(|source| ServeError::Reply { command, source })
    }

    fn export_paths(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let command = ServeCommand::ExportPaths;
        let request = ExportPaths::read(self.dir(), &mut metered(input))
            .map_err(|e| arguments(command, e))?;
        self.note_paths(&request.paths);
        self.guard.require_seen(&request.paths)?;
        let mut output = Counted::new(self.output.borrow_mut());
        self.store.export_paths(&request.paths, &mut output)?;
        self.note.borrow_mut().bytes = output.count;
        output
            .flush()
            .map_err(|source| ServeError::Reply { command, source })
    }

    fn query_closure(&self, input: &mut impl Read) -> Result<(), ServeError> {
        let command = ServeCommand::QueryClosure;
        let request = QueryClosure::read(self.dir(), &mut metered(input))
            .map_err(|e| arguments(command, e))?;
        let outputs = if request.include_outputs {
            IncludeOutputs::Yes
        } else {
            IncludeOutputs::No
        };
        self.note_paths(&request.paths);
        let closure = self.guard.closure(&request.paths, outputs)?;
        self.reply(command, |out| out.write_path_set(self.dir(), &closure))
    }

    fn read_paths(
        &self,
        command: ServeCommand,
        input: &mut impl Read,
    ) -> Result<StorePathSet, ServeError> {
        metered(input)
            .read_path_set("the paths queried", self.dir())
            .map_err(|e| arguments(command, e.into()))
    }

    pub(super) fn dir(&self) -> &StoreDir {
        self.store.store_dir()
    }

    /// Writes a reply and sends it.
    pub(super) fn reply(
        &self,
        command: ServeCommand,
        write: impl FnOnce(&mut BufWriter<W>) -> io::Result<()>,
    ) -> Result<(), ServeError> {
        let mut output = self.output.borrow_mut();
        write(&mut output)
            .and_then(|()| output.flush())
            .map_err(|source| ServeError::Reply { command, source })
    }
}

/// The arguments of one request, which together have a bound.
pub(super) fn metered<R: Read>(input: &mut R) -> MeteredReader<&mut R> {
    MeteredReader::metadata(input)
}

pub(super) fn arguments(command: ServeCommand, source: ProtoError) -> ServeError {
    ServeError::Arguments { command, source }
}

/// Replies are collected up to this many bytes before they are written.
const OUTPUT_BUFFER: usize = 64 * 1024;
