//! The same derivations of builtin builders, built by real Nix and by us: trees, successes
//! and failures must be equal.
//!
//! Our builder runs in a process of its own on the machine that real Nix built on, since
//! what it reads lies in that machine's store: this test program is started again, for the
//! test [`on_the_machine`] alone.

mod channels;
mod environments;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use nix_base::StoreDir;
use nix_drv::{Derivation, Strictness};
use serde_json::{Value, json};
use test_support::{Machine, Peer};

use super::{BuiltinCall, FixedOutput, run_to_exit_code};

/// Names the file with the calls that are to be run.
const CALLS: &str = "NIX_BUILD_TEST_BUILTIN_CALLS";

/// Stands between what two of them say, and before the exit code of the first.
const MARK: &str = "\n=== ended with ";

/// What the cases become derivations with.
const EXPRESSION: &str = r#"
    builtins.mapAttrs
      (name: case: derivation ({
        inherit name;
        system = "builtin";
        builder = "builtin:${case.builder}";
      } // case.env))
      (builtins.fromJSON (builtins.readFile ./cases.json))
"#;

/// A machine of one release, with packages and archives in its store.
struct Bench<'a> {
    peer: &'a Peer,
    machine: Machine,
    cases: BTreeMap<String, Value>,
}

/// A derivation that real Nix built, and what ours is to do for it.
struct Pair {
    name: String,
    drv_path: String,
    real: String,
    call: BuiltinCall,
}

/// How one case ended with ours.
#[derive(Debug)]
struct Ended {
    ok: bool,
    text: String,
}

impl<'a> Bench<'a> {
    fn new(peer: &'a Peer) -> Self {
        let machine = Machine::with(peer);
        // Nothing here has to outlive a power cut.
        machine.configure("fsync-metadata = false");
        Self {
            peer,
            machine,
            cases: BTreeMap::new(),
        }
    }

    /// Puts a file or a tree into the store.
    fn add(&self, path: &Path) -> String {
        self.nix_store(&["--add", path.to_str().unwrap()], true)
            .trim()
            .to_owned()
    }

    fn case(&mut self, name: &str, builder: &str, env: Value) {
        let case = json!({ "builder": builder, "env": env });
        assert!(self.cases.insert(name.to_owned(), case).is_none(), "{name}");
    }

    /// Builds all cases with real Nix and with ours, and gives for each what ours said.
    fn compare(&self, may_differ: &[&str]) -> BTreeMap<String, Ended> {
        let directory = self.machine.path("home");
        fs::write(directory.join("cases.nix"), EXPRESSION).unwrap();
        let cases = serde_json::to_vec(&self.cases).unwrap();
        fs::write(directory.join("cases.json"), cases).unwrap();
        let mut instantiate =
            self.machine
                .peer(self.peer, "nix-instantiate", [directory.join("cases.nix")]);
        let paths = text_of(&instantiate.output().unwrap());
        let paths: Vec<&str> = paths.lines().collect();
        assert_eq!(paths.len(), self.cases.len(), "{paths:?}");

        let mut realise = vec!["-r", "--keep-going"];
        realise.extend(&paths);
        self.nix_store(&realise, false);

        // Both are sorted by name.
        let place = tempfile::tempdir().unwrap();
        let pairs: Vec<Pair> = self
            .cases
            .keys()
            .zip(&paths)
            .map(|(name, path)| self.pair(name, path, &place.path().join(name)))
            .collect();
        for pair in self.invalid(&pairs) {
            // Some failures end all builds, in spite of `--keep-going`.
            self.nix_store(&["-r", &pair.drv_path], false);
        }
        let failed: BTreeSet<&str> = self
            .invalid(&pairs)
            .map(|pair| pair.name.as_str())
            .collect();
        let ours = self.run(&pairs);
        for (pair, ours) in pairs.iter().zip(&ours) {
            if may_differ.contains(&pair.name.as_str()) {
                continue;
            }
            let label = format!("{} {}", self.peer.version(), pair.name);
            let real_ok = !failed.contains(pair.name.as_str());
            assert_eq!(ours.ok, real_ok, "{label}: {}", ours.text);
            if ours.ok {
                assert_eq!(
                    listing(&pair.call.outputs["out"]),
                    listing(&self.machine.on_disk(&pair.real)),
                    "{label}"
                );
            }
        }
        let names = pairs.into_iter().map(|pair| pair.name);
        names.zip(ours).collect()
    }

    /// What is to be built twice.
    fn pair(&self, name: &str, drv_path: &str, place: &Path) -> Pair {
        let text = fs::read(self.machine.on_disk(drv_path)).unwrap();
        let (store, own_name) = (StoreDir::default(), name.parse().unwrap());
        let drv = Derivation::parse(&text, &store, &own_name, Strictness::Strict).unwrap();
        let drv = drv.basic;
        fs::create_dir(place).unwrap();
        let call = BuiltinCall {
            name: self.cases[name]["builder"].as_str().unwrap().to_owned(),
            env: drv
                .env
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
            structured_attrs: None,
            outputs: BTreeMap::from([("out".to_owned(), place.join("out"))]),
            ca_bundle: None,
            netrc: None,
            hashed_mirrors: Vec::new(),
            fixed: drv.env_var("outputHash").map(|hash| FixedOutput {
                algo: "sha256".to_owned(),
                hex: String::from_utf8(hash.to_vec()).unwrap(),
                flat: true,
            }),
            impure: false,
            connect_timeout: 0,
            public_only: false,
            build_dir: place.to_owned(),
        };
        Pair {
            name: name.to_owned(),
            drv_path: drv_path.to_owned(),
            real: String::from_utf8(drv.env_var("out").unwrap().to_vec()).unwrap(),
            call,
        }
    }

    /// Runs all of ours, one after the other, in one process.
    fn run(&self, pairs: &[Pair]) -> Vec<Ended> {
        let calls: Vec<&BuiltinCall> = pairs.iter().map(|pair| &pair.call).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), postcard::to_stdvec(&calls).unwrap()).unwrap();
        let this = std::env::current_exe().unwrap();
        let arguments = [
            "--exact",
            "--nocapture",
            "builtin::differential::on_the_machine",
        ];
        let mut command = self.machine.command(this, arguments);
        let output = command.env(CALLS, file.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        let mut ended: Vec<Ended> = text
            .split(MARK)
            .map(|part| Ended {
                // How the one before ended comes right behind the mark.
                ok: false,
                text: part.to_owned(),
            })
            .collect();
        for at in 1..ended.len() {
            ended[at - 1].ok = ended[at].text.starts_with("0\n");
        }
        ended.truncate(pairs.len());
        assert_eq!(ended.len(), pairs.len(), "{text}");
        ended
    }

    /// Those that real Nix didn't build.
    fn invalid<'p>(&self, pairs: &'p [Pair]) -> impl Iterator<Item = &'p Pair> {
        let mut arguments = vec!["--check-validity", "--print-invalid"];
        arguments.extend(pairs.iter().map(|pair| pair.real.as_str()));
        let invalid = self.nix_store(&arguments, true);
        pairs
            .iter()
            .filter(move |pair| invalid.lines().any(|line| line == pair.real))
    }

    fn nix_store(&self, arguments: &[&str], must_succeed: bool) -> String {
        let mut command: Command = self.machine.nix_store(self.peer, arguments);
        let output = command.output().unwrap();
        assert!(!must_succeed || output.status.success(), "{output:?}");
        text_of(&output)
    }
}

/// The part that runs on the machine; in any other run of the tests it does nothing.
#[test]
#[allow(clippy::disallowed_methods)]
fn on_the_machine() {
    let Some(file) = std::env::var_os(CALLS) else {
        return;
    };
    let calls: Vec<BuiltinCall> = postcard::from_bytes(&fs::read(file).unwrap()).unwrap();
    for call in calls {
        let code = run_to_exit_code(&call);
        std::io::stderr()
            .write_all(format!("{MARK}{code}\n").as_bytes())
            .unwrap();
    }
}

/// All that is below a path: names, types, contents, targets, and whether it is executable.
fn listing(path: &Path) -> Vec<String> {
    let mut nar = Vec::new();
    nix_nar::fs::dump::dump(path, &mut nar).unwrap();
    let mut lines = Vec::new();
    list(path, path, &mut lines);
    // Contents and the executable bits are compared by the archive.
    lines.push(format!(
        "{}",
        nix_base::Hash::of(nix_base::HashAlgo::Sha256, &nar)
    ));
    lines
}

fn list(root: &Path, path: &Path, lines: &mut Vec<String>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(root).unwrap().display();
    if metadata.is_symlink() {
        lines.push(format!(
            "{name} -> {}",
            fs::read_link(path).unwrap().display()
        ));
    } else if metadata.is_dir() {
        lines.push(format!("{name}/"));
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        for path in names {
            list(root, &path, lines);
        }
    } else {
        lines.push(format!("{name} {}", metadata.len()));
    }
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The releases to compare with.
fn peers() -> Vec<&'static Peer> {
    if !Machine::available() {
        return Vec::new();
    }
    Peer::all()
        .iter()
        .filter(|peer| peer.is_at_least(2, 8))
        .collect()
}
