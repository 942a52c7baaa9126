//! A store in memory and a builder that only pretends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix_base::{
    BuildResult, BuildStatus, ContentAddressMethod, DrvOutput, Hash, HashAlgo, OutputName,
    Realisation, StoreDir, StorePath, StorePathName, StorePathSet,
};
use nix_drv::{BasicDerivation, Derivation, DerivationOutput, InputNode, Placeholder};

use super::super::*;
use crate::request::BuildRequest;

/// A store in memory; clones are the same store.
#[derive(Clone)]
pub(super) struct Fake(pub(super) Arc<Inner>);

pub(super) struct Inner {
    dir: StoreDir,
    drvs: Mutex<HashMap<StorePath, Vec<u8>>>,
    pub(super) valid: Mutex<StorePathSet>,
    pub(super) realisations: Mutex<HashMap<DrvOutput, StorePath>>,
    /// Names of derivations, in the order in which they were built.
    pub(super) built: Mutex<Vec<String>>,
    /// How builds of these names end.
    pub(super) failing: Mutex<BTreeMap<String, BuildOutcome>>,
    running: AtomicUsize,
    pub(super) most: AtomicUsize,
}

pub(super) fn out() -> OutputName {
    "out".parse().unwrap()
}

/// A path for `name` that nothing else has.
fn path(kind: &str, name: &str) -> StorePath {
    let digest = Hash::of(HashAlgo::Sha1, format!("{kind}:{name}").as_bytes());
    let hash = nix_base::StorePathHash::from_digest(digest.as_bytes().try_into().unwrap());
    StorePath::from_base_name(&format!("{hash}-{name}")).unwrap()
}

impl Fake {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            dir: StoreDir::new("/nix/store").unwrap(),
            drvs: Mutex::default(),
            valid: Mutex::default(),
            realisations: Mutex::default(),
            built: Mutex::default(),
            failing: Mutex::default(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }))
    }

    fn add_with(&self, name: &str, inputs: &[&StorePath], output: DerivationOutput) -> StorePath {
        let node = InputNode {
            outputs: [out()].into(),
            ..InputNode::default()
        };
        let placeholder = |drv: &&StorePath| Placeholder::of_input(drv, &out()).unwrap();
        let args = inputs.iter().map(|drv| placeholder(drv).to_string().into());
        let drv = Derivation {
            basic: BasicDerivation {
                name: StorePathName::new(name).unwrap(),
                outputs: [(out(), output)].into(),
                input_srcs: StorePathSet::new(),
                platform: "x86_64-linux".into(),
                builder: "/bin/sh".into(),
                args: args.collect(),
                env: [("out".into(), "".into())].into(),
            },
            input_drvs: inputs
                .iter()
                .map(|&path| (path.clone(), node.clone()))
                .collect(),
        };
        self.add_derivation(&drv).unwrap()
    }

    /// A derivation whose output is known.
    pub(super) fn add(&self, name: &str, inputs: &[&StorePath]) -> StorePath {
        self.add_with(
            name,
            inputs,
            DerivationOutput::InputAddressed(path("out", name)),
        )
    }

    /// One whose output isn't.
    pub(super) fn add_floating(&self, name: &str, inputs: &[&StorePath]) -> StorePath {
        let output = DerivationOutput::CaFloating {
            method: ContentAddressMethod::NixArchive,
            algo: HashAlgo::Sha256,
        };
        self.add_with(name, inputs, output)
    }

    /// One whose output is known by its content.
    pub(super) fn add_fixed(&self, name: &str, inputs: &[&StorePath]) -> StorePath {
        let output = DerivationOutput::CaFixed(nix_base::ContentAddress {
            method: ContentAddressMethod::Flat,
            hash: Hash::of(HashAlgo::Sha256, name.as_bytes()),
        });
        self.add_with(name, inputs, output)
    }

    pub(super) fn output(&self, name: &str) -> StorePath {
        path("out", name)
    }

    pub(super) fn fail(&self, name: &str, status: BuildStatus) {
        let failure = BuildFailure::new(status, format!("{name} failed"));
        self.0
            .failing
            .lock()
            .unwrap()
            .insert(name.to_owned(), failure.into());
    }

    pub(super) fn built(&self) -> Vec<String> {
        self.0.built.lock().unwrap().clone()
    }

    /// Pretends to build, and checks that all inputs are there.
    pub(super) fn build(&self, request: &BuildRequest) -> BuildOutcome {
        let inner = &self.0;
        let running = inner.running.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most.fetch_max(running, Ordering::SeqCst);
        std::thread::yield_now();
        let outcome = self.outcome(request);
        inner.running.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    fn outcome(&self, request: &BuildRequest) -> BuildOutcome {
        let inner = &self.0;
        let name = request.drv.name.to_string();
        let mut valid = inner.valid.lock().unwrap();
        assert!(
            request.drv.input_srcs.is_subset(&valid),
            "inputs of {name} come first"
        );
        inner.built.lock().unwrap().push(name.clone());
        if let Some(outcome) = inner.failing.lock().unwrap().get(&name) {
            return outcome.clone();
        }
        let drv_hash = Hash::of(HashAlgo::Sha256, name.as_bytes());
        let mut result = BuildResult::failure(BuildStatus::Built, "");
        for output in request.drv.outputs.keys() {
            let realisation = Realisation {
                id: DrvOutput {
                    drv_hash,
                    output: output.clone(),
                },
                out_path: self.output(&name),
                signatures: BTreeSet::new(),
                dependent_realisations: BTreeMap::new(),
            };
            valid.insert(realisation.out_path.clone());
            result.built_outputs.insert(output.clone(), realisation);
        }
        result.into()
    }

    /// Builds with everything as usual but what `change` changes.
    pub(super) fn build_paths<'a>(
        &self,
        targets: &[Target],
        change: impl FnOnce(&mut Wishes<'a>),
    ) -> Outcome {
        let mut wishes = Wishes {
            build: None,
            on_event: None,
            cancel: None,
            max_jobs: 4,
            keep_going: false,
            mode: BuildMode::Normal,
            ca_derivations: false,
        };
        change(&mut wishes);
        let cancel = Cancel::new().unwrap();
        let scheduler = Scheduler {
            open: &|| Ok(self.clone()),
            build: wishes
                .build
                .unwrap_or(&|store, job| store.build(&job.request)),
            on_event: wishes.on_event.unwrap_or(&|_| {}),
            cancel: wishes.cancel.unwrap_or(&cancel),
            max_jobs: wishes.max_jobs,
            keep_going: wishes.keep_going,
            mode: wishes.mode,
            limits: BuildLimits::default(),
            keep_failed: false,
            requester: &crate::requester::Requester::default(),
            ca_derivations: wishes.ca_derivations,
        };
        scheduler.build_paths(targets)
    }
}

/// Builds like [`Fake::build`], or otherwise.
pub(super) type Build<'a> = dyn Fn(&Fake, Job<'_>) -> BuildOutcome + Sync + 'a;

/// What a test wants to be different.
pub(super) struct Wishes<'a> {
    pub(super) build: Option<&'a Build<'a>>,
    pub(super) on_event: Option<&'a (dyn Fn(Event<'_>) + Sync)>,
    pub(super) cancel: Option<&'a Cancel>,
    pub(super) max_jobs: u32,
    pub(super) keep_going: bool,
    pub(super) mode: BuildMode,
    pub(super) ca_derivations: bool,
}

impl GraphStore for Fake {
    fn store_dir(&self) -> &StoreDir {
        &self.0.dir
    }

    fn read_derivation(&self, path: &StorePath) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.drvs.lock().unwrap().get(path).cloned())
    }

    fn valid_paths(&self, paths: &StorePathSet) -> Result<StorePathSet, StoreError> {
        Ok(paths & &*self.0.valid.lock().unwrap())
    }

    fn find_realisation(&self, id: &DrvOutput) -> Result<Option<StorePath>, StoreError> {
        Ok(self.0.realisations.lock().unwrap().get(id).cloned())
    }

    fn add_realisation(&self, realisation: &Realisation) -> Result<(), StoreError> {
        let mut all = self.0.realisations.lock().unwrap();
        all.insert(realisation.id.clone(), realisation.out_path.clone());
        Ok(())
    }

    fn add_derivation(&self, drv: &Derivation) -> Result<StorePath, StoreError> {
        let text = drv.to_aterm(&self.0.dir)?;
        let path = drv.store_path(&self.0.dir)?;
        self.0.drvs.lock().unwrap().insert(path.clone(), text);
        Ok(path)
    }
}
