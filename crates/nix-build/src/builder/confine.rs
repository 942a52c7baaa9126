//! One attempt at a build: directories, surroundings, the builder, the outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use nix_base::{HashFormat, OutputName, StorePathSet};
use nix_drv::{BasicDerivation, DerivationOutput};
use nix_store_core::PrivateDir;
use nix_store_core::gc::AutoCollector;
use nix_store_core::lock::PathLocks;
use rustix::fs::Mode;

use super::fault::{Fault, builder_failed, limit_hit};
use super::machine::Confined;
use super::place::{BuildPlace, Owner, make_dir};
use super::run::{End, Watch, run};
use super::{Done, Job, interrupted};
use crate::active::Phase;
use crate::builtin::{BuiltinCall, FixedOutput};
use crate::config::{Layer, ResourceLimits};
use crate::env::{BuilderEnvironment, EnvInput, builtin_variables, prepare};
use crate::failure::{BuildFailure, Result};
use crate::graph::GraphData;
use crate::helper::ExitStatus;
use crate::log::LogChannel;
use crate::output::{self, Difference, OutputJob};
use crate::sandbox::cgroup::BuildCgroup;
use crate::sandbox::landlock;
use crate::sandbox::network::{self, NetworkChoice, PrivateNetwork};
use crate::sandbox::plan::{
    Confinement, Identity, Network, NetworkFiles, OsBytes, Program, Rlimits, SandboxInput, plan,
};
use crate::scratch::{ScratchInput, ScratchPaths};
use crate::users::BuildUser;

/// The directories and surroundings of one attempt.
struct Attempt<'a> {
    job: &'a Job<'a>,
    confined: Confined,
    user: Option<&'a BuildUser>,
    inputs: &'a StorePathSet,
    place: BuildPlace,
    /// Outputs appear in it; `None` without a sandbox, where they appear in the store.
    outputs: Option<(OwnedFd, PathBuf)>,
    private: PrivateDir,
    scratch: ScratchPaths,
    env: BuilderEnvironment,
}

impl Job<'_> {
    /// Builds once, confined or not.
    pub(super) fn build_once(
        &self,
        confined: Confined,
        user: Option<&BuildUser>,
        inputs: &StorePathSet,
        valid: &BTreeSet<OutputName>,
        locks: &mut PathLocks,
    ) -> Result<Done, Fault> {
        let attempt = Attempt::prepare(self, confined, user, inputs, valid)?;
        let done = attempt
            .run()
            .and_then(|end| attempt.judge(end))
            .and_then(|()| attempt.finish(locks));
        if attempt.outputs.is_none() {
            // The builder wrote into the store itself; what isn't valid now goes.
            output::discard_leftovers(self.store, &attempt.scratch);
        }
        match done {
            Err(Fault::Failed(failure)) => {
                attempt.keep_if_wanted();
                Err(Fault::Failed(failure))
            }
            done => done,
        }
    }

    fn scratch(&self, confined: Confined, valid: &BTreeSet<OutputName>) -> Result<ScratchPaths> {
        let all: BTreeSet<OutputName>;
        let valid = match self.request.mode {
            crate::request::BuildMode::Normal => valid,
            crate::request::BuildMode::Check => {
                all = self.request.drv.outputs.keys().cloned().collect();
                &all
            }
        };
        ScratchPaths::compute(&ScratchInput {
            store_dir: self.store.store_dir(),
            drv_path: &self.request.drv_path,
            drv: &self.request.drv,
            valid,
            confined: confined == Confined::Yes,
        })
        .map_err(|error| BuildFailure::because("cannot name the outputs", &error))
    }

    fn environment(
        &self,
        build_dir: &Path,
        scratch: &ScratchPaths,
        inputs: &StorePathSet,
    ) -> Result<BuilderEnvironment> {
        let drv = &self.request.drv;
        let structured = drv.structured_attrs().is_some();
        let graphs = GraphData::compute(self.store, &self.options, structured, inputs)?;
        Ok(prepare(&EnvInput {
            drv,
            drv_type: self.kind,
            options: &self.options,
            store_dir: self.store.store_dir(),
            config: &self.config,
            build_dir,
            scratch,
            graphs: &graphs,
        })?)
    }
}

impl<'a> Attempt<'a> {
    fn prepare(
        job: &'a Job<'a>,
        confined: Confined,
        user: Option<&'a BuildUser>,
        inputs: &'a StorePathSet,
        valid: &BTreeSet<OutputName>,
    ) -> Result<Self> {
        let owner: Owner = user.map(|user| (user.uid, user.gid));
        let builds = match &job.config.build_dir {
            Some(dir) => dir.clone(),
            None => job.builder.layout.state.join("builds"),
        };
        let name = job.request.drv_path.name().as_str();
        let place = BuildPlace::create(&builds, name, owner)?;
        let private = job.store.private_dir()?;
        let outputs = match confined {
            Confined::Yes => Some(output_dir(&private, user)?),
            Confined::No => {
                check_unconfined(job, user)?;
                None
            }
        };
        let build_dir = match confined {
            Confined::Yes => job.config.sandbox.build_dir.clone(),
            Confined::No => place.build_path(),
        };
        let scratch = job.scratch(confined, valid)?;
        let env = job.environment(&build_dir, &scratch, inputs)?;
        place.write_files(&env.files)?;
        Ok(Self {
            job,
            confined,
            user,
            inputs,
            place,
            outputs,
            private,
            scratch,
            env,
        })
    }

    /// Runs the builder to its end.
    fn run(&self) -> Result<End, Fault> {
        let (job, config) = (self.job, &*self.job.config);
        let (cgroup, rlimits) = self.limit_resources()?;
        let (network, choice) = self.network()?;
        let paths = match self.confined {
            Confined::Yes => job.host_paths(Some(self.private.path()))?,
            Confined::No => Vec::new(),
        };
        let mut visible = self.inputs.clone();
        visible.extend(job.closure_of(&paths)?);
        let no_outputs = PathBuf::new();
        let store_dir = job.store.store_dir().to_string();
        let (host_build, host_tmp) = (self.place.build_path(), self.place.tmp_path());
        let input = SandboxInput {
            config: &config.sandbox,
            confinement: match self.confined {
                Confined::Yes => Confinement::Full,
                Confined::No => Confinement::None,
            },
            network,
            identity: self.identity(),
            is_root: rustix::process::geteuid().is_root(),
            store_dir: Path::new(&store_dir),
            host_store: self.outputs.as_ref().map_or(&no_outputs, |(_, path)| path),
            host_build: &host_build,
            host_tmp: &host_tmp,
            inputs: &job.visible(&visible),
            paths: &paths,
            network_files: match network {
                Network::Isolated => NetworkFiles::default(),
                Network::Host | Network::Private => job.network_files(network),
            },
            kvm: config.system_features.contains("kvm"),
            personality_32: is_32_bit(&job.request.drv.platform, &config.system),
            own_cgroup: cgroup.is_some(),
            rlimits,
            program: self.program(),
        };
        let plan = plan(&input).map_err(|error| BuildFailure::because("sandbox", &error))?;
        let owner = self.user.map(|user| (user.uid, user.gid));
        let channel = LogChannel::open(owner)
            .map_err(|error| BuildFailure::because("cannot open a terminal", &error))?;
        let helper = job.builder.helper()?;
        let running = helper
            .start(&plan, channel.writer)
            .inspect_err(|_| job.builder.forget_helper())
            .map_err(|error| BuildFailure::because("cannot start the builder", &error))?;
        job.begin();
        let mut stack = None;
        let mut disk = vec![self.place.top()];
        disk.extend(self.outputs.as_ref().map(|(fd, _)| fd.as_fd()));
        let collector = AutoCollector::new(job.store);
        let mut watch = Watch {
            limits: job.request.limits.tightened(config.limits),
            resources: config.resources,
            strict: job.request.requester.restrictions.is_some(),
            cgroup: cgroup.as_ref(),
            disk,
            cancel: job.build.cancel(),
            log: &mut |bytes| job.build.append_log(bytes),
            now_and_then: &|| collector.look(),
            before_start: &mut |pid| {
                if let NetworkChoice::Private(private) = &choice {
                    stack = Some(private.start(pid)?);
                }
                Ok(())
            },
        };
        let end = run(running, channel.reader, &mut watch)
            .map_err(|error| BuildFailure::because("cannot watch the builder", &error))?;
        if self.confined == Confined::No
            && let Some(user) = self.user
        {
            let killed = helper.kill_uid(user.uid);
            killed.map_err(|error| BuildFailure::because("cannot end the build", &error))?;
        }
        job.build.set_phase(Phase::Finishing);
        Ok(end)
    }

    /// Fails unless the builder ended well.
    fn judge(&self, end: End) -> Result<(), Fault> {
        match end {
            End::Exited(ExitStatus::Code(0)) => Ok(()),
            End::Exited(status) => {
                Err(builder_failed(self.job, status, self.disk_is_full()).into())
            }
            End::Limit(limit) => Err(limit_hit(self.job, limit).into()),
            End::Cancelled => Err(interrupted().into()),
            End::SetupFailed { layer, message } => Err(match layer {
                Layer::UserNamespace | Layer::Namespaces | Layer::Network | Layer::Mounts => {
                    Fault::NoSandbox(message)
                }
                _ => BuildFailure::misc(message).into(),
            }),
            End::HelperGone => {
                self.job.builder.forget_helper();
                Err(BuildFailure::misc("the process that runs builders has ended").into())
            }
        }
    }

    fn finish(&self, locks: &mut PathLocks) -> Result<Done, Fault> {
        let job = self.job;
        let real_store = &job.builder.layout.real_store;
        let (place, place_path): (BorrowedFd<'_>, &Path) = match &self.outputs {
            Some((fd, path)) => (fd.as_fd(), path),
            None => (job.store.store_fd(), real_store),
        };
        let uids = match self.user {
            Some(user) => user.uid..user.uid + user.count,
            None => {
                let uid = rustix::process::geteuid().as_raw();
                uid..uid + 1
            }
        };
        let finished = output::finish(OutputJob {
            store: job.store,
            config: &job.config,
            request: job.request,
            options: &job.options,
            scratch: &self.scratch,
            inputs: self.inputs,
            place,
            place_path,
            private: &self.private,
            uids,
            copy_first: !job.kind.is_sandboxed() || self.confined == Confined::No,
            locks,
            keep_different: job.keep_failed() || job.config.hooks.diff.is_some(),
            on_difference: &|difference| self.show_difference(difference),
        })?;
        Ok(Done {
            built: true,
            outputs: finished.infos.into_values().map(|info| info.path).collect(),
            realisations: finished.realisations,
        })
    }

    fn show_difference(&self, difference: &Difference) {
        let Some(program) = &self.job.config.hooks.diff else {
            return;
        };
        let call = crate::hook::DiffHook {
            program,
            environment: &self.job.config.environment,
            old: &difference.old,
            new: &difference.new,
            drv_path: &self.job.drv_path,
            temp_dir: &self.place.build_path(),
            user: self.user.map(|user| (user.uid, user.gid)),
        };
        let cancel = self.job.build.cancel();
        crate::hook::run_diff_hook(&call, cancel, &mut |line| self.job.say(line));
    }

    fn keep_if_wanted(self) {
        if !self.job.keep_failed() || self.job.request.drv.is_builtin() {
            return;
        }
        let job = self.job;
        match self.place.keep() {
            Ok(path) => {
                job.say(format!("note: keeping build directory '{}'", path.display()).as_bytes());
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }

    fn identity(&self) -> Identity {
        match self.user {
            Some(user) => Identity {
                uid: user.uid,
                gid: user.gid,
                count: user.count,
                groups: user.supplementary.clone(),
            },
            None => Identity {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                count: 1,
                groups: Vec::new(),
            },
        }
    }

    /// A control group, or bounds of single processes where the operator accepts that.
    fn limit_resources(&self) -> Result<(Option<BuildCgroup>, Rlimits), Fault> {
        let resources = &self.job.config.resources;
        match BuildCgroup::create(resources) {
            Ok(cgroup) => Ok((cgroup, Rlimits::default())),
            Err(error)
                if self
                    .job
                    .config
                    .sandbox
                    .accept_missing
                    .contains(&Layer::Cgroups) =>
            {
                tracing::warn!("limits hold for single processes only: {error}");
                let ResourceLimits {
                    memory,
                    processes,
                    disk,
                } = *resources;
                let rlimits = Rlimits {
                    file_size: disk,
                    processes,
                    address_space: memory,
                };
                Ok((None, rlimits))
            }
            Err(error) => Err(BuildFailure::because("limits can't be had", &error).into()),
        }
    }

    fn network(&self) -> Result<(Network, NetworkChoice), Fault> {
        let job = self.job;
        if job.kind.is_sandboxed() {
            return Ok((Network::Isolated, NetworkChoice::None));
        }
        let search_path = job.config.environment.get(OsStr::new("PATH"));
        let private = PrivateNetwork::find(search_path.map(AsRef::as_ref));
        let wanted = job.config.sandbox.network;
        let (choice, warning) = network::choose(wanted, private, landlock::is_available())
            .map_err(|error| BuildFailure::because("no network for the builder", &error))?;
        if let Some(warning) = warning {
            network::warn_once(&warning);
        }
        let network = match &choice {
            NetworkChoice::None => Network::Isolated,
            NetworkChoice::Private(_) => Network::Private,
            NetworkChoice::Host { .. } => Network::Host,
        };
        Ok((network, choice))
    }

    fn program(&self) -> Program {
        let drv = &self.job.request.drv;
        let bytes = |text: &bstr::BString| OsBytes::from(text.to_vec());
        match drv.builder.strip_prefix(crate::builtin::PREFIX.as_bytes()) {
            Some(name) => Program::Builtin(Box::new(self.builtin(name))),
            None => Program::Exec {
                path: bytes(&self.env.program),
                args: self.env.args.iter().map(bytes).collect(),
                env: self
                    .env
                    .env
                    .iter()
                    .map(|(name, value)| (bytes(name), bytes(value)))
                    .collect(),
            },
        }
    }

    fn builtin(&self, name: &[u8]) -> BuiltinCall {
        let job = self.job;
        let drv = &job.request.drv;
        let rewrites = self.scratch.rewrites();
        let mut env: BTreeMap<Vec<u8>, Vec<u8>> = builtin_variables(drv, &rewrites)
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        for name in &job.options.impure_env_vars {
            if let Some(value) = self.env.env.get(name) {
                env.insert(name.to_vec(), value.to_vec());
            }
        }
        let dir = job.store.store_dir();
        let outputs = self.scratch.iter().map(|(name, paths)| {
            let path = PathBuf::from(dir.print(&paths.scratch));
            (name.to_string(), path)
        });
        let fetch = &job.config.fetch;
        let build_dir = match self.confined {
            Confined::Yes => job.config.sandbox.build_dir.clone(),
            Confined::No => self.place.build_path(),
        };
        BuiltinCall {
            name: name.to_str_lossy().into_owned(),
            env,
            structured_attrs: drv
                .structured_attrs()
                .map(|json| rewrites.apply(json).into()),
            outputs: outputs.collect(),
            ca_bundle: job.read_certificates(),
            netrc: fetch
                .netrc_file
                .as_ref()
                .and_then(|file| std::fs::read(file).ok()),
            hashed_mirrors: fetch.hashed_mirrors.clone(),
            fixed: fixed_output(drv),
            impure: job.kind == nix_drv::DerivationType::Impure,
            connect_timeout: fetch.connect_timeout,
            public_only: job.public_addresses_only(),
            build_dir,
        }
    }

    /// Nix compat: less than 8 MiB left counts as full.
    fn disk_is_full(&self) -> bool {
        let fds = [self.place.top(), self.job.store.store_fd()];
        fds.iter().any(|fd| {
            rustix::fs::fstatvfs(fd)
                .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_bsize) < 8 << 20)
        })
    }
}

impl Job<'_> {
    fn keep_failed(&self) -> bool {
        let is_free = self.request.requester.restrictions.is_none();
        is_free && (self.request.keep_failed || self.config.keep_failed)
    }
}

/// The directory that builders see as the store: they may add to it, and not remove what is
/// others'.
fn output_dir(private: &PrivateDir, user: Option<&BuildUser>) -> Result<(OwnedFd, PathBuf)> {
    let path = private.path().join(OUTPUTS);
    let owner: Owner = user.map(|user| (rustix::process::geteuid().as_raw(), user.gid));
    let mode = Mode::from_raw_mode(0o1775);
    let fd = make_dir(private.fd(), OUTPUTS, mode, owner).map_err(|error| {
        BuildFailure::misc(format!("cannot create '{}': {error}", path.display()))
    })?;
    Ok((fd, path))
}

/// Without a sandbox, builders write to the store directory itself.
fn check_unconfined(job: &Job<'_>, user: Option<&BuildUser>) -> Result<()> {
    if user.is_some() && !matches!(job.config.users, crate::config::BuildUsers::Group(_)) {
        return Err(BuildFailure::misc(
            "builds without a sandbox need a 'build-users-group', whose members can write to \
             the store directory",
        ));
    }
    match rustix::fs::lstat(HOME) {
        // Nix compat: its words.
        Ok(_) => Err(BuildFailure::misc(format!(
            "home directory '{HOME}' exists; please remove it to assure purity of builds \
             without sandboxing"
        ))),
        Err(_) => Ok(()),
    }
}

fn fixed_output(drv: &BasicDerivation) -> Option<FixedOutput> {
    drv.outputs.values().find_map(|output| match output {
        DerivationOutput::CaFixed(ca) => Some(FixedOutput {
            algo: ca.hash.algo().to_string(),
            hex: ca.hash.render(HashFormat::Base16),
            flat: ca.method == nix_base::ContentAddressMethod::Flat,
        }),
        _ => None,
    })
}

/// Whether a 64-bit machine must look like a 32-bit one.
fn is_32_bit(platform: &[u8], system: &str) -> bool {
    match platform {
        b"i686-linux" => system == "x86_64-linux",
        b"armv7l-linux" | b"armv6l-linux" | b"armv5tel-linux" => system == "aarch64-linux",
        _ => false,
    }
}

/// A path is never asked for by this name: it has no hash.
const OUTPUTS: &str = "store";
const HOME: &str = "/homeless-shelter";
