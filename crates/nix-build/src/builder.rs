//! Building one derivation.
//!
//! ```text
//! pin outputs and inputs · valid already? · inputs valid? · may this machine?
//! lock outputs, ascending · valid by now? · remove leftovers
//! slot of the machine · user · directories · environment · plan
//! run: log, limits, end · outputs: check, scan, register · unlock
//! keep the log · hooks · remove directories
//! ```
//!
//! Lock order: temporary roots, output locks, slot, user. Whoever holds a slot has its locks,
//! so nobody waits in a circle. Whatever happens before the outputs are registered leaves
//! nothing at a final path.

mod confine;
mod disk;
mod fault;
mod inputs;
mod machine;
mod outputs;
mod place;
mod restrict;
mod run;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix_base::{BuildResult, BuildStatus, OutputName, Realisation, StorePath, StorePathSet};
use nix_drv::{DerivationOptions, DerivationType};
use nix_store_core::lock::{LockDir, PathLocks, Wait};
use nix_store_core::{LocalStore, StoreLayout};

use crate::active::{BuildOutcome, OwnedBuild, Phase};
use crate::config::{BuildConfig, BuildUsers};
use crate::env::options_failure;
use crate::failure::{BuildFailure, Result};
use crate::helper::Helper;
use crate::request::{BuildMode, BuildRequest};
use crate::slots::{Slot, Slots};
use crate::users::{BuildUser, UserPool};
use machine::Confined;
pub(crate) use place::is_name_of_place;

/// Builds derivations of one store; shared by all threads of a process.
#[derive(Debug)]
pub struct Builder {
    config: Arc<BuildConfig>,
    layout: StoreLayout,
    slots: Slots,
    users: Option<UserPool>,
    helper: Mutex<Option<Arc<Helper>>>,
}

impl Builder {
    /// A builder for the store with `layout`. The helper process is started at the first
    /// build.
    ///
    /// # Errors
    /// The state directory can't be written, or builders have no users to run as.
    pub fn new(config: Arc<BuildConfig>, layout: &StoreLayout) -> Result<Self> {
        let because = |what: &'static str| {
            move |error: &(dyn std::error::Error + 'static)| BuildFailure::because(what, error)
        };
        let slots = Slots::new(&layout.state, config.max_jobs)
            .map_err(|error| because("cannot share build slots")(&error))?;
        let users = match &config.users {
            BuildUsers::Caller if rustix::process::geteuid().is_root() => {
                return Err(BuildFailure::misc(
                    "builds don't run as root: they would own their inputs",
                ));
            }
            BuildUsers::Caller => None,
            users => Some(
                UserPool::new(users, &layout.state)
                    .map_err(|error| because("no users for builds")(&error))?,
            ),
        };
        Ok(Self {
            config,
            layout: layout.clone(),
            slots,
            users,
            helper: Mutex::new(None),
        })
    }

    /// How builds run.
    #[must_use]
    pub fn config(&self) -> &BuildConfig {
        &self.config
    }

    /// Builds what `request` asks for, if its outputs aren't valid. `build` takes the log, and
    /// says when nobody wants the result any more.
    pub fn build(
        &self,
        store: &LocalStore,
        request: &BuildRequest,
        build: &OwnedBuild,
    ) -> BuildOutcome {
        let job = match Job::new(self, store, request, build) {
            Ok(job) => job,
            Err(failure) => return failure.into(),
        };
        let done = job.run();
        build.set_phase(Phase::Finishing);
        match done {
            Ok(done) if !done.built => done.into_result(BuildStatus::AlreadyValid).into(),
            Ok(done) => {
                job.keep_log();
                if let Err(failure) = job.after_success(&done) {
                    return job.timed(failure).into();
                }
                let mut result = done.into_result(BuildStatus::Built);
                result.times_built = 1;
                if let Some((start, stop)) = job.times() {
                    result.start_time = start;
                    result.stop_time = stop;
                }
                result.into()
            }
            Err(failure) => {
                job.keep_log();
                job.timed(failure).into()
            }
        }
    }

    /// The helper, started if there is none.
    fn helper(&self) -> Result<Arc<Helper>> {
        let mut slot = self
            .helper
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(helper) = &*slot {
            return Ok(Arc::clone(helper));
        }
        let helper = Helper::spawn(&self.config.helper)
            .map_err(|error| BuildFailure::because("cannot start the builders' helper", &error))?;
        let helper = Arc::new(helper);
        *slot = Some(Arc::clone(&helper));
        Ok(helper)
    }

    /// The next build starts another helper.
    fn forget_helper(&self) {
        *self
            .helper
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }
}

/// What came of a build.
struct Done {
    /// Whether something ran; otherwise all was valid.
    built: bool,
    realisations: BTreeMap<OutputName, Realisation>,
    outputs: Vec<StorePath>,
}

/// One build.
struct Job<'j> {
    builder: &'j Builder,
    config: Cow<'j, BuildConfig>,
    store: &'j LocalStore,
    request: &'j BuildRequest,
    build: &'j OwnedBuild,
    kind: DerivationType,
    options: DerivationOptions,
    known: BTreeMap<OutputName, StorePath>,
    /// The derivation's path, in full.
    drv_path: String,
    /// When its builder was started, in seconds since 1970.
    began: Cell<Option<i64>>,
}

impl<'j> Job<'j> {
    fn new(
        builder: &'j Builder,
        store: &'j LocalStore,
        request: &'j BuildRequest,
        build: &'j OwnedBuild,
    ) -> Result<Self> {
        let (drv, dir) = (&request.drv, store.store_dir());
        let bad = |error: nix_drv::Error| options_failure(dir, &request.drv_path, &error);
        let mut options = drv.options(dir).map_err(bad)?;
        let config = match &request.requester.restrictions {
            None => Cow::Borrowed(&*builder.config),
            Some(restrictions) => {
                restrict::keep_listed_variables(&mut options, restrictions);
                Cow::Owned(restrict::restricted(&builder.config, drv, restrictions))
            }
        };
        Ok(Self {
            builder,
            config,
            store,
            request,
            build,
            kind: drv.derivation_type().map_err(bad)?,
            options,
            known: drv.known_outputs(dir).map_err(bad)?.into_iter().collect(),
            drv_path: dir.print(&request.drv_path),
            began: Cell::new(None),
        })
    }

    /// The builder starts: from here on it counts as running.
    fn begin(&self) {
        self.began.set(Some(now()));
        self.build.set_phase(Phase::Running);
    }

    /// When the builder was started, if it was, and now.
    fn times(&self) -> Option<(i64, i64)> {
        Some((self.began.get()?, now()))
    }

    fn timed(&self, mut failure: BuildFailure) -> BuildFailure {
        failure.times = failure.times.or_else(|| self.times());
        failure
    }

    fn run(&self) -> Result<Done> {
        self.pin()?;
        self.store.collect_if_full();
        machine::check_kind(self.kind, &self.config)?;
        if let Some(done) = self.already_valid()? {
            return Ok(done);
        }
        let inputs = self.input_closure()?;
        if let Some(restrictions) = &self.request.requester.restrictions {
            restrict::check(self.request, &self.options, self.kind, restrictions)?;
        }
        machine::check_machine(&self.request.drv, &self.options, self.kind, &self.config)?;
        let confined = self.confinement()?;
        let mut locks = self.lock_outputs()?;
        // The outcome is final, whichever it is: what was made is valid, or gone.
        locks.request_removal();
        // Nix compat: somebody else may have built it before we had the locks.
        if let Some(done) = self.already_valid()? {
            return Ok(done);
        }
        let valid = self.prepare_paths()?;
        let _slot = self.slot()?;
        let user = self.user()?;
        let attempt = |confined, locks: &mut PathLocks| {
            self.build_once(confined, user.as_ref(), &inputs, &valid, locks)
        };
        let done = match attempt(confined, &mut locks) {
            Err(fault::Fault::NoSandbox(message)) if self.may_fall_back(confined) => {
                tracing::warn!("building '{}' without a sandbox: {message}", self.drv_path);
                attempt(Confined::No, &mut locks)
            }
            done => done,
        };
        // Paths that became known were locked as well.
        locks.request_removal();
        done.map_err(Into::into)
    }

    /// Keeps collectors off what the build needs and makes, valid or not.
    fn pin(&self) -> Result<()> {
        let mut pinned: StorePathSet = self.known.values().cloned().collect();
        pinned.extend(self.request.drv.input_srcs.iter().cloned());
        pinned.insert(self.request.drv_path.clone());
        Ok(self.store.add_temp_roots(&pinned)?)
    }

    /// The result, if there is nothing to do.
    fn already_valid(&self) -> Result<Option<Done>> {
        if self.request.mode == BuildMode::Check {
            return Ok(None);
        }
        outputs::find_valid(self)
    }

    fn confinement(&self) -> Result<Confined> {
        let layout = &self.builder.layout;
        let relocated = layout.real_store.as_os_str() != layout.store_dir.to_string().as_str();
        machine::confinement(
            &self.drv_path,
            &self.options,
            self.kind,
            &self.config,
            relocated,
        )
    }

    fn may_fall_back(&self, confined: Confined) -> bool {
        let layout = &self.builder.layout;
        let relocated = layout.real_store.as_os_str() != layout.store_dir.to_string().as_str();
        confined == Confined::Yes && self.config.sandbox.fallback && !relocated
    }

    fn lock_outputs(&self) -> Result<PathLocks> {
        let outputs = self.request.drv.outputs.keys();
        let outputs = outputs.map(|name| (name.as_str(), self.known.get(name)));
        let names = machine::lock_names(&self.request.drv_path, outputs);
        let fail = |error| BuildFailure::because("cannot lock the outputs", &error);
        let dir = LockDir::open(&self.builder.layout.real_store).map_err(fail)?;
        let mut pause = Pause::new(self.build);
        loop {
            let locks = dir
                .lock_all(names.iter().map(String::as_str), Wait::Never)
                .map_err(fail)?;
            match locks {
                Some(locks) => return Ok(locks),
                None => pause.wait(|| format!("waiting for lock on '{}'", names.join("', '")))?,
            }
        }
    }

    /// Under the locks: removes what is in the way; gives the outputs that are valid.
    fn prepare_paths(&self) -> Result<std::collections::BTreeSet<OutputName>> {
        let paths: StorePathSet = self.known.values().cloned().collect();
        let valid = self.store.db().query_valid(&paths)?;
        if self.request.mode == BuildMode::Check
            && (valid.len() != paths.len() || !self.kind.has_known_output_paths())
        {
            return Err(BuildFailure::misc(format!(
                "some outputs of '{}' are not valid, so checking is not possible",
                self.drv_path
            )));
        }
        for path in paths.difference(&valid) {
            self.store.remove_invalid(path)?;
        }
        let requester = &self.request.requester;
        let is_valid = |(name, path): (&OutputName, &StorePath)| {
            (valid.contains(path) && !requester.hides(path)).then(|| name.clone())
        };
        Ok(self.known.iter().filter_map(is_valid).collect())
    }

    fn slot(&self) -> Result<Slot> {
        let build = self.build;
        let slots = &self.builder.slots;
        slots
            .acquire(build.cancel(), &mut |place| build.set_place(place))
            .map_err(|error| match error {
                crate::slots::SlotsError::Cancelled => interrupted(),
                error => BuildFailure::because("no build slot", &error),
            })
    }

    fn user(&self) -> Result<Option<BuildUser>> {
        let Some(pool) = &self.builder.users else {
            return Ok(None);
        };
        let range = self
            .options
            .required_system_features
            .contains(&bstr::BString::from("uid-range"));
        let mut pause = Pause::new(self.build);
        loop {
            let user = pool
                .try_acquire(range)
                .map_err(|error| BuildFailure::because("no user for the build", &error))?;
            if user.is_some() {
                return Ok(user);
            }
            pause.wait(|| format!("waiting for a free build user ID for '{}'", self.drv_path))?;
        }
    }

    fn keep_log(&self) {
        if !self.config.keep_log || !self.request.requester.is_vouched_for {
            return;
        }
        let kept = self
            .build
            .read_log()
            .map_err(|error| error.to_string())
            .and_then(|raw| {
                let drv = &self.request.drv_path;
                let compress = self.config.compress_log;
                crate::log::keep_log(&self.builder.layout, drv, &raw, compress)
                    .map_err(|error| BuildFailure::because("log", &error).message)
            });
        if let Err(error) = kept {
            tracing::warn!("cannot keep the log of '{}': {error}", self.drv_path);
        }
    }

    /// What is left to be done after a build that succeeded; it can still fail.
    fn after_success(&self, done: &Done) -> Result<()> {
        let Some(program) = &self.config.hooks.post_build else {
            return Ok(());
        };
        if self.request.mode == BuildMode::Check {
            return Ok(());
        }
        let dir = self.store.store_dir();
        let outputs: Vec<String> = done.outputs.iter().map(|path| dir.print(path)).collect();
        let call = crate::hook::PostBuildHook {
            program,
            environment: &self.config.environment,
            drv_path: &self.drv_path,
            outputs: &outputs,
            settings_text: &self.config.settings_text,
        };
        crate::hook::run_post_build_hook(&call, self.build.cancel(), &mut |line| self.say(line))
            .map_err(|error| BuildFailure::because("post-build-hook", &error))
    }

    /// Adds a line to the log.
    fn say(&self, line: &[u8]) {
        let mut line = line.to_vec();
        line.push(b'\n');
        if let Err(error) = self.build.append_log(&line) {
            tracing::debug!("cannot write to the log: {error}");
        }
    }
}

impl Done {
    fn into_result(self, status: BuildStatus) -> BuildResult {
        let mut result = BuildResult::failure(status, "");
        result.built_outputs = self.realisations;
        result
    }
}

/// Waiting that ends when nobody wants the build any more.
struct Pause<'b> {
    build: &'b OwnedBuild,
    time: Duration,
}

impl<'b> Pause<'b> {
    fn new(build: &'b OwnedBuild) -> Self {
        Self {
            build,
            time: Duration::ZERO,
        }
    }

    /// Waits a little, longer each time; says why the first time.
    fn wait(&mut self, why: impl FnOnce() -> String) -> Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if self.time.is_zero() {
            tracing::info!("{}", why());
            self.time = Duration::from_millis(5);
        }
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: self.time.subsec_nanos().into(),
        };
        let cancel = self.build.cancel();
        let mut fds = [PollFd::new(cancel, PollFlags::IN)];
        // An interrupted wait is a shorter one.
        let _ = poll(&mut fds, Some(&timeout));
        self.time = (self.time * 2).min(Duration::from_millis(500));
        match cancel.is_cancelled() {
            true => Err(interrupted()),
            false => Ok(()),
        }
    }
}

fn interrupted() -> BuildFailure {
    // Nix compat: its words.
    BuildFailure::misc("interrupted by the user")
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}
