//! What builders are started with, beside what real Nix starts them with.
//!
//! Real Nix builds derivations that copy all that they see to a directory. From the same
//! `.drv` files and the same store, ours must come to the same.
//!
//! Known differences between releases, of which ours does as the newest:
//!
//! - up to 2.14 `NIX_ATTRS_*_FILE` name places outside of the sandbox
//! - graphs among structured attributes don't say in 2.8 that paths are valid
//! - impure outputs are built at random paths
//! - nested lists of paths for graphs are refused up to 2.26

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that called them"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bstr::{BString, ByteSlice};
use nix_base::{StoreDir, StorePath, StorePathSet};
use nix_build::BuildConfig;
use nix_build::env::{BuildFile, BuilderEnvironment, EnvInput, prepare};
use nix_build::graph::GraphData;
use nix_build::scratch::{ScratchInput, ScratchPaths};
use nix_drv::{BasicDerivation, Derivation, Strictness, drv_name};

use nix_store_core::{Access, IncludeOutputs, LocalStore, Store, StoreConfig, StoreLayout};
use test_support::{Machine, Peer, Workshop, all_features, run_ok};

const DERIVATIONS: &str = include_str!("environment/derivations.nix");
const FOO: &str = "from outside";

#[test]
fn as_nix_2_8_starts_them() {
    compare_with("2.8");
}

#[test]
fn as_nix_2_26_starts_them() {
    compare_with("2.26");
}

#[test]
fn as_the_newest_nix_starts_them() {
    compare_with("newest");
}

/// Builds with a release and compares. What is missing has been said.
fn compare_with(label: &str) {
    let Some(peer) = Peer::find(label).filter(|_| Machine::available()) else {
        return;
    };
    let site = Site::new(peer);
    let mut compared = 0;
    for (name, drv) in site.build() {
        let dump = site.dump.join(&name);
        if name == "input" {
            continue;
        }
        let ours = site.ours(&drv);
        let mut real = site.real(&dump);
        if name == "impure" {
            accept_random_path(&ours, &mut real);
        }
        assert_eq!(ours, real, "{label} {name}");
        compared += 1;
    }
    assert!(compared >= 17, "{compared} derivations were compared");
}

/// Real Nix has its impure derivations built at a random path.
fn accept_random_path(ours: &BuilderEnvironment, real: &mut BuilderEnvironment) {
    let out = BString::from("out");
    let (from, to) = (real.env[&out].clone(), &ours.env[&out]);
    assert_eq!(from.len(), to.len());
    let values = real.env.values_mut().chain(&mut real.args);
    for value in values {
        *value = value.replace(&from, to).into();
    }
}

struct Site<'p> {
    peer: &'p Peer,
    machine: Machine,
    /// What builders saw, by name.
    dump: PathBuf,
}

impl<'p> Site<'p> {
    fn new(peer: &'p Peer) -> Self {
        let machine = Machine::new();
        let dump = machine.path("dump");
        fs::create_dir(&dump).unwrap();
        machine.configure(&format!(
            "sandbox = true\nsandbox-paths = /dump={}\ncores = 3",
            dump.display()
        ));
        Self {
            peer,
            machine,
            dump,
        }
    }

    /// Builds everything; the paths of the derivations by their names.
    fn build(&self) -> BTreeMap<String, StorePath> {
        let mut attributes = DERIVATIONS.to_owned();
        for (mark, major, minor) in [("@SINCE_2_9@", 2, 9), ("@SINCE_2_27@", 2, 27)] {
            let replacement = match self.peer.is_at_least(major, minor) {
                true => "",
                false => "#",
            };
            attributes = attributes.replace(mark, replacement);
        }
        let drvs = Workshop::new(&self.machine, self.peer).instantiate(&attributes);
        let (impure, others): (Vec<_>, Vec<_>) =
            drvs.iter().partition(|(name, _)| *name == "impure");
        run_ok(self.realise(others.into_iter().map(|(_, drv)| drv)));
        for (_, drv) in impure {
            // It is built, but has no path that could be told; what it saw shows that it ran.
            let mut realise = self.realise([drv]);
            realise.output().unwrap();
        }
        let path = |text: String| StoreDir::default().parse(&text).unwrap();
        drvs.into_iter()
            .map(|(name, drv)| (name, path(drv)))
            .collect()
    }

    fn realise<'a>(&self, drvs: impl IntoIterator<Item = &'a String>) -> Command {
        let mut arguments = vec!["--realise"];
        arguments.extend(drvs.into_iter().map(String::as_str));
        let mut realise = self.machine.nix_store(self.peer, arguments);
        realise.env("NIX_CONFIG", all_features(self.peer));
        realise.env("FOO", FOO);
        realise
    }

    /// What the builder saw.
    fn real(&self, dump: &Path) -> BuilderEnvironment {
        let read = |name: &str| fs::read(dump.join(name)).unwrap();
        assert_eq!(read("directory"), b"/build\n");
        let pieces = |name: &str| {
            let text = read(name);
            let text = text.strip_suffix(b"\0").unwrap().to_owned();
            text.split(|byte| *byte == 0)
                .map(BString::from)
                .collect::<Vec<_>>()
        };
        let env = pieces("env").into_iter().map(|pair| {
            // A name may hold the sign itself; then the value doesn't.
            let at = match pair.starts_with(b"a=b") {
                true => pair.rfind_byte(b'='),
                false => pair.find_byte(b'='),
            };
            let (name, value) = pair.split_at(at.unwrap());
            (name.into(), self.old_place(name, &value[1..]))
        });
        let files = fs::read_dir(dump.join("files")).unwrap().map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let mode = String::from_utf8(read(&format!("modes/{name}"))).unwrap();
            BuildFile {
                contents: read(&format!("files/{name}")).into(),
                mode: u32::from_str_radix(mode.trim(), 8).unwrap(),
                name: name.into(),
            }
        });
        BuilderEnvironment {
            program: BString::default(),
            args: pieces("args"),
            env: env.collect(),
            files: sorted(files.collect()),
        }
    }

    /// The value, as later releases would have it.
    fn old_place(&self, name: &[u8], value: &[u8]) -> BString {
        let is_place = name.starts_with(b"NIX_ATTRS_") && value.starts_with(b"/");
        if self.peer.is_at_least(2, 15) || !is_place {
            return value.into();
        }
        let file = value.rsplit(|byte| *byte == b'/').next().unwrap();
        [b"/build/", file].concat().into()
    }

    /// What ours gives to the builder.
    fn ours(&self, drv_path: &StorePath) -> BuilderEnvironment {
        let store = self.store();
        let dir = store.store_dir();
        let drv = self.basic(&store, drv_path);
        let options = drv.options(dir).unwrap();
        let inputs = store.closure(&drv.input_srcs, IncludeOutputs::No).unwrap();
        let structured = drv.structured_attrs().is_some();
        let graphs = GraphData::compute(&store, &options, structured, &inputs).unwrap();
        let config = BuildConfig {
            cores: 3,
            environment: self.outside(),
            ..BuildConfig::default()
        };
        let scratch = ScratchPaths::compute(&ScratchInput {
            store_dir: dir,
            drv_path,
            drv: &drv,
            valid: &Default::default(),
            confined: true,
        })
        .unwrap();
        let ours = prepare(&EnvInput {
            drv: &drv,
            drv_type: drv.derivation_type().unwrap(),
            options: &options,
            store_dir: dir,
            config: &config,
            build_dir: Path::new("/build"),
            scratch: &scratch,
            graphs: &graphs,
        })
        .unwrap();
        assert_eq!(ours.program, drv.builder);
        BuilderEnvironment {
            program: BString::default(),
            args: ours.args,
            env: ours.env,
            files: sorted(
                ours.files
                    .into_iter()
                    .map(|file| self.older(file))
                    .collect(),
            ),
        }
    }

    /// The variables of real Nix itself.
    fn outside(&self) -> BTreeMap<OsString, OsString> {
        let env = self.machine.command("env", [] as [&str; 0]);
        let mut outside: BTreeMap<OsString, OsString> = run_ok(env)
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        outside.insert("FOO".into(), FOO.into());
        outside
    }

    /// The file as the release would write it.
    fn older(&self, mut file: BuildFile) -> BuildFile {
        if !self.peer.is_at_least(2, 26) && file.name == ".attrs.json" {
            file.contents = file.contents.replace(",\"valid\":true}", "}").into();
        }
        file
    }

    /// The machine's store, which nobody else uses any more.
    fn store(&self) -> LocalStore {
        let state = self.machine.path("nix/var/nix");
        let log = self.machine.path("nix/var/log/nix");
        let layout = StoreLayout {
            real_store: self.machine.path("nix/store"),
            ..StoreLayout::new(StoreDir::default(), state, log)
        };
        LocalStore::open(StoreConfig {
            access: Access::ReadOnly,
            ..StoreConfig::new(layout)
        })
        .unwrap()
    }

    /// A derivation with the outputs of others in the place of those.
    fn basic(&self, store: &LocalStore, path: &StorePath) -> BasicDerivation {
        let drv = self.read(path);
        let mut outputs = StorePathSet::new();
        for (input, node) in &drv.input_drvs {
            let known = self.read(input).known_outputs(store.store_dir()).unwrap();
            let wanted = known
                .into_iter()
                .filter(|(name, _)| node.outputs.contains(name));
            outputs.extend(wanted.map(|(_, path)| path));
        }
        drv.with_inputs(outputs)
    }

    fn read(&self, path: &StorePath) -> Derivation {
        let dir = StoreDir::default();
        let text = fs::read(self.machine.on_disk(&dir.print(path))).unwrap();
        Derivation::parse(&text, &dir, &drv_name(path).unwrap(), Strictness::Strict).unwrap()
    }
}

fn sorted(mut files: Vec<BuildFile>) -> Vec<BuildFile> {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
