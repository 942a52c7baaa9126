use std::cell::RefCell;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix_base::{BuildStatus, Hash, HashAlgo, HashFormat, NarHash, SecretKey, StoreDir};
use nix_drv::{BasicDerivation, Derivation, Strictness};
use nix_store_core::{Store, StoreConfig, StoreLayout};

use super::*;
use crate::request::BuildLimits;
use crate::scratch::ScratchInput;

mod addressing;
mod checking;
mod taking_in;

/// A store, and what a builder's place is like.
struct Shop {
    _temp: tempfile::TempDir,
    store: LocalStore,
    config: BuildConfig,
    drv_path: StorePath,
    mode: BuildMode,
    copy_first: bool,
    confined: bool,
    keep_different: bool,
    differences: RefCell<Vec<Difference>>,
    inputs: StorePathSet,
}

/// Where a builder would write.
struct Bench {
    paths: ScratchPaths,
    place: PathBuf,
}

impl Bench {
    /// The path that the builder knows.
    fn told(&self, output: &str) -> String {
        let path = self.paths.scratch(&name(output)).unwrap();
        StoreDir::default().print(path)
    }

    /// The place on disk.
    fn at(&self, output: &str) -> PathBuf {
        let path = self.paths.scratch(&name(output)).unwrap();
        self.place.join(path.base_name())
    }

    fn write(&self, output: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(output), text).unwrap();
    }
}

impl Shop {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let layout = StoreLayout::chroot(StoreDir::default(), temp.path());
        let store = LocalStore::init(StoreConfig::new(layout)).unwrap();
        Self {
            _temp: temp,
            store,
            config: BuildConfig::default(),
            drv_path: path('d', "x.drv"),
            mode: BuildMode::Normal,
            copy_first: false,
            confined: true,
            keep_different: false,
            differences: RefCell::default(),
            inputs: StorePathSet::new(),
        }
    }

    /// Adds an input.
    fn add_input(&mut self, text: &str) -> StorePath {
        let name = "dep".parse().unwrap();
        let path = self
            .store
            .add_text(text.as_bytes(), StorePathSet::new(), &name)
            .unwrap();
        self.inputs.insert(path.clone());
        path
    }

    /// Finishes what `build` leaves at the scratch paths of the outputs, owned by a builder.
    fn finish(&self, drv: &BasicDerivation, build: impl FnOnce(&Bench)) -> Result<Finished> {
        self.finish_owned(drv, build, |place| give_away(place, BUILDER))
    }

    fn finish_owned(
        &self,
        drv: &BasicDerivation,
        build: impl FnOnce(&Bench),
        give: impl FnOnce(&Path),
    ) -> Result<Finished> {
        let dir = self.store.store_dir();
        let known = drv.known_outputs(dir).unwrap();
        let valid: BTreeSet<OutputName> = known
            .into_iter()
            .filter(|(_, path)| self.store.is_valid(path).unwrap())
            .map(|(name, _)| name)
            .collect();
        let paths = ScratchPaths::compute(&ScratchInput {
            store_dir: dir,
            drv_path: &self.drv_path,
            drv,
            valid: &valid,
            confined: self.confined,
        })
        .unwrap();
        let private = self.store.private_dir().unwrap();
        let place = private.path().join("store");
        fs::create_dir(&place).unwrap();
        let bench = Bench { paths, place };
        build(&bench);
        give(&bench.place);
        let place = fs::File::open(&bench.place).unwrap();
        let request = BuildRequest {
            drv_path: self.drv_path.clone(),
            drv: drv.clone(),
            realisation_hash: None,
            mode: self.mode,
            limits: BuildLimits::default(),
            keep_failed: false,
            requester: Default::default(),
        };
        let note = |difference: &Difference| self.differences.borrow_mut().push(difference.clone());
        let mut locks = PathLocks::default();
        let finished = finish(OutputJob {
            store: &self.store,
            config: &self.config,
            request: &request,
            options: &drv.options(dir).unwrap(),
            scratch: &bench.paths,
            inputs: &self.inputs,
            place: place.as_fd(),
            place_path: &bench.place,
            private: &private,
            uids: builder()..builder() + 1,
            copy_first: self.copy_first,
            locks: &mut locks,
            keep_different: self.keep_different,
            on_difference: &note,
        });
        locks.request_removal();
        finished
    }

    fn refusal(&self, drv: &BasicDerivation, build: impl FnOnce(&Bench)) -> BuildFailure {
        let failure = self.finish(drv, build).unwrap_err();
        self.assert_clean();
        failure
    }

    /// Nothing is in the store that isn't valid.
    fn assert_clean(&self) {
        for entry in fs::read_dir(&self.store.layout().real_store).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name != ".links" {
                let path = StorePath::from_base_name(&name).unwrap();
                assert!(self.store.is_valid(&path).unwrap(), "{name}");
            }
        }
    }

    fn real(&self, path: &StorePath) -> PathBuf {
        self.store.layout().real_path(path)
    }

    fn info(&self, path: &StorePath) -> ValidPathInfo {
        self.store.query_path_info(path).unwrap().unwrap()
    }

    fn read(&self, path: &StorePath) -> String {
        fs::read_to_string(self.real(path)).unwrap()
    }

    fn nar_hash_on_disk(&self, path: &StorePath) -> NarHash {
        let mut nar = Vec::new();
        self.store.dump_object(path, &mut nar).unwrap();
        NarHash::of(&nar)
    }
}

/// The user id of builders, where we may give files away.
const BUILDER: u32 = 30_077;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn builder() -> u32 {
    match is_root() {
        true => BUILDER,
        false => rustix::process::geteuid().as_raw(),
    }
}

fn give_away(place: &Path, uid: u32) {
    if !is_root() {
        return;
    }
    for entry in fs::read_dir(place).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            give_away(&entry.path(), uid);
        }
        let mode = entry.metadata().unwrap().mode();
        std::os::unix::fs::lchown(entry.path(), Some(uid), Some(uid)).unwrap();
        if !entry.file_type().unwrap().is_symlink() {
            // A change of owner takes bits away that tests are about.
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn name(output: &str) -> OutputName {
    OutputName::new(output).unwrap()
}

fn path(digit: char, name: &str) -> StorePath {
    let digits: String = std::iter::repeat_n(digit, 32).collect();
    StorePath::from_base_name(&format!("{digits}-{name}")).unwrap()
}

/// A derivation `x` with these outputs, as a `.drv` file has them, and variables.
fn drv(outputs: &[(&str, &str, &str, &str)], env: &[(&str, &str)]) -> BasicDerivation {
    let outputs: Vec<String> = outputs
        .iter()
        .map(|(name, path, method, hash)| {
            format!("(\"{name}\",\"{path}\",\"{method}\",\"{hash}\")")
        })
        .collect();
    let env: Vec<String> = env
        .iter()
        .map(|(key, value)| format!("(\"{key}\",\"{}\")", value.replace('"', "\\\"")))
        .collect();
    let text = format!(
        "Derive([{}],[],[],\"x86_64-linux\",\"/bin/sh\",[],[{}])",
        outputs.join(","),
        env.join(",")
    );
    let parsed = Derivation::parse(
        text.as_bytes(),
        &StoreDir::default(),
        &"x".parse().unwrap(),
        Strictness::Lenient,
    );
    parsed.unwrap().basic
}

const OUT: &str = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x";
const DEV: &str = "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-x-dev";

/// One input-addressed output.
fn plain(env: &[(&str, &str)]) -> BasicDerivation {
    drv(&[("out", OUT, "", "")], env)
}

fn out_path() -> StorePath {
    StoreDir::default().parse(OUT).unwrap()
}

fn dev_path() -> StorePath {
    StoreDir::default().parse(DEV).unwrap()
}
