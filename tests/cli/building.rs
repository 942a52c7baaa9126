//! Builds from the command line: here, on another machine, and in the words of `nix-store`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix_base::{ContentAddress, HashAlgo, OutputName, StoreDir, StorePath, StorePathName};
use nix_drv::{BasicDerivation, Derivation, DerivationOutput, HashMemo, InputNode};
use nix_store_core::{Durability, LocalStore, StoreConfig, StoreLayout};
use test_support::{TempStore, busybox, say_missing};

use crate::program::{Faces, NIX_SERVE, Ran, nix_serve, on, run};

/// A store with derivations whose builder is a static busybox.
struct Workshop {
    store: TempStore,
    links: tempfile::TempDir,
    tools: StorePath,
    memo: HashMemo,
}

impl Workshop {
    /// `None`, which is said, where nothing can be built.
    fn new() -> Option<Self> {
        let Some(busybox) = busybox() else {
            say_missing(
                "a static busybox: nothing is built from the command line",
                true,
            );
            return None;
        };
        let store = TempStore::new();
        drop(open(&store));
        let doctor = run(on(&store, ["doctor"]));
        if doctor.code != Some(0) {
            say_missing(&format!("what builds need: {}", doctor.stdout), true);
            return None;
        }
        // It wants to be called by its name, which no store path is.
        let links = tempfile::tempdir().unwrap();
        let directory = links.path().join("tools");
        std::fs::create_dir(&directory).unwrap();
        std::fs::copy(busybox, directory.join("busybox")).unwrap();
        let name = StorePathName::new("tools").unwrap();
        let tools = open(&store).add_source(&directory, &name).unwrap();
        Some(Self {
            store,
            links,
            tools,
            memo: HashMemo::new(),
        })
    }

    /// Adds a derivation that runs `script`, where `@NAME@` are outputs of `inputs`.
    fn derivation(
        &mut self,
        name: &str,
        outputs: &[(&str, DerivationOutput)],
        inputs: &[(&StorePath, &str)],
        script: &str,
    ) -> StorePath {
        let dir = StoreDir::default();
        let output = |name: &str| OutputName::new(name).unwrap();
        let builder = format!("{}/busybox", dir.print(&self.tools));
        let mut env: BTreeMap<_, _> = outputs
            .iter()
            .map(|(n, _)| ((*n).into(), "".into()))
            .collect();
        env.insert("b".into(), builder.as_str().into());
        let mut drv = Derivation {
            basic: BasicDerivation {
                name: StorePathName::new(name).unwrap(),
                outputs: outputs
                    .iter()
                    .map(|(n, o)| (output(n), o.clone()))
                    .collect(),
                input_srcs: [self.tools.clone()].into(),
                platform: nix_build::config::native_system().into(),
                builder: builder.into(),
                args: ["sh", "-c", script].map(Into::into).into(),
                env,
            },
            input_drvs: BTreeMap::new(),
        };
        for (path, wanted) in inputs {
            let node = InputNode {
                outputs: [output(wanted)].into(),
                children: BTreeMap::new(),
            };
            drv.input_drvs.insert((*path).clone(), node);
        }
        for (name, path) in drv.known_outputs(&dir).unwrap() {
            let path = dir.print(&path);
            drv.basic.env.insert(name.as_str().into(), path.into());
        }
        drv.fill_in_outputs(&dir, &self.memo).unwrap();
        let path = drv.store_path(&dir).unwrap();
        let text = drv.to_aterm(&dir).unwrap();
        let added = open(&self.store).add_text(&text, drv.references(), path.name());
        assert_eq!(added.unwrap(), path);
        let hash = drv.input_hash(&dir, &self.memo).unwrap();
        self.memo.insert(&path, hash);
        path
    }

    fn output_of(&self, drv: &StorePath, output: &str) -> String {
        let words = ["-q", "--outputs", &print(drv)].map(str::to_owned);
        let lines = run(self.nix_store(&words)).lines().join("\n");
        let ending = match output {
            "out" => drv.name().as_str().trim_end_matches(".drv").to_owned(),
            output => format!("-{output}"),
        };
        let found = lines.lines().find(|line| line.ends_with(&ending));
        found.unwrap_or_else(|| panic!("{lines}")).to_owned()
    }

    /// `nix-serve` with the store, in the directory of links.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = nix_serve(words);
        command.args(["--store", &self.store.address()]);
        command.current_dir(self.links.path());
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        run(self.command(words))
    }

    fn nix_store(&self, words: &[String]) -> Command {
        let faces = Faces::new();
        let mut command = faces.command("nix-store", words);
        command.args(["--store", &self.store.address()]);
        command.current_dir(self.links.path());
        // The symlink must be there when it is run.
        std::mem::forget(faces);
        command
    }

    fn link(&self, name: &str) -> Option<PathBuf> {
        std::fs::read_link(self.links.path().join(name)).ok()
    }

    fn contents(&self, path: &str) -> String {
        std::fs::read_to_string(self.store.on_disk(path)).unwrap()
    }
}

fn open(store: &TempStore) -> LocalStore {
    let layout = StoreLayout::chroot(StoreDir::default(), store.root());
    let mut config = StoreConfig::new(layout);
    config.durability = Durability::None;
    LocalStore::init(config).unwrap()
}

fn print(path: &StorePath) -> String {
    StoreDir::default().print(path)
}

fn deferred(names: &[&'static str]) -> Vec<(&'static str, DerivationOutput)> {
    let outputs = names.iter();
    outputs
        .map(|&name| (name, DerivationOutput::Deferred))
        .collect()
}

/// `first`, and `second`, which needs it and has two outputs.
fn pair(workshop: &mut Workshop) -> (StorePath, StorePath) {
    let first = workshop.derivation(
        "first",
        &deferred(&["out"]),
        &[],
        "echo building first; echo one > $out",
    );
    let one = workshop.output_of(&first, "out");
    let second = workshop.derivation(
        "second",
        &deferred(&["out", "dev"]),
        &[(&first, "out")],
        &format!("echo building second; read x < {one}; echo $x two > $out; echo $out > $dev"),
    );
    (first, second)
}

#[test]
fn a_graph_is_built_and_its_results_linked() {
    let Some(mut workshop) = Workshop::new() else {
        return;
    };
    let (first, second) = pair(&mut workshop);
    let (out, dev) = (
        workshop.output_of(&second, "out"),
        workshop.output_of(&second, "dev"),
    );
    let ran = workshop.run(&["build", &print(&second), "--print-out-paths"]);
    assert_eq!(ran.lines(), [dev.as_str(), out.as_str()]);
    let plan = format!(
        "these 2 derivations will be built:\n  {}\n  {}\n",
        print(&first),
        print(&second)
    );
    assert!(ran.stderr.starts_with(&plan), "{}", ran.stderr);
    for line in ["first> building first\n", "second> building second\n"] {
        assert!(ran.stderr.contains(line), "{}", ran.stderr);
    }
    assert_eq!(workshop.contents(&out), "one two\n");
    assert_eq!(workshop.link("result"), Some(out.clone().into()));
    assert_eq!(workshop.link("result-dev"), Some(dev.clone().into()));
    let auto = workshop.store.state_dir().join("gcroots/auto");
    assert_eq!(std::fs::read_dir(auto).unwrap().count(), 2);

    let again = workshop.run(&[
        "build",
        &format!("{}^dev", print(&second)),
        "--json",
        "-o",
        "r",
    ]);
    assert_eq!(again.stderr, "");
    let json = serde_json::json!([{ "drvPath": print(&second), "outputs": { "dev": dev } }]);
    assert_eq!(again.stdout, format!("{json:#}\n"));
    assert_eq!(
        (workshop.link("r"), workshop.link("r-dev").is_some()),
        (None, true)
    );

    let rebuilt = workshop.run(&["build", "--rebuild", "--no-link", "./result-dev"]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    let rebuilt = workshop.run(&["build", "--rebuild", "--no-link", &print(&second)]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    assert!(
        rebuilt.stderr.contains("building second"),
        "{}",
        rebuilt.stderr
    );
}

#[test]
fn failures_end_with_the_codes_of_nix_and_one_clear_message() {
    let Some(mut workshop) = Workshop::new() else {
        return;
    };
    let fails = workshop.derivation(
        "fails",
        &deferred(&["out"]),
        &[],
        "for i in 1 2 3; do echo line $i; done; exit 3",
    );
    let drv = print(&fails);
    let ran = workshop.run(&["build", &drv, "--option", "log-lines", "2"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(100), ""));
    let message = format!(
        "error: builder for '{drv}' failed with exit code 3\n       last 2 log lines:\n       \
         > line 2\n       > line 3\n       for the full log, run 'nix-serve log {drv}'\n"
    );
    assert!(ran.stderr.ends_with(&message), "{}", ran.stderr);
    assert_eq!(workshop.link("result"), None);

    let log = ["line 1", "line 2", "line 3"];
    assert_eq!(workshop.run(&["log", &drv]).lines(), log);
    let words = ["-l", &drv].map(str::to_owned);
    assert_eq!(run(workshop.nix_store(&words)).lines(), log);

    let silent = workshop.derivation("silent", &deferred(&["out"]), &[], "$b sleep 600");
    let ran = workshop.run(&["build", &print(&silent), "--max-silent-time", "1"]);
    assert_eq!(ran.code, Some(101), "{}", ran.stderr);

    let wrong = ContentAddress {
        method: nix_base::ContentAddressMethod::Flat,
        hash: nix_base::Hash::of(HashAlgo::Sha256, b"something else"),
    };
    let fixed = [("out", DerivationOutput::CaFixed(wrong))];
    let fixed = workshop.derivation("fixed", &fixed, &[], "echo fixed > $out");
    let ran = workshop.run(&["build", &print(&fixed)]);
    assert_eq!(ran.code, Some(102), "{}", ran.stderr);
    assert!(ran.stderr.contains("specified: sha256-"), "{}", ran.stderr);

    let random = workshop.derivation(
        "random",
        &deferred(&["out"]),
        &[],
        "read x < /proc/sys/kernel/random/uuid; echo $x > $out",
    );
    let ran = workshop.run(&["build", &print(&random), "--no-link"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let ran = workshop.run(&["build", &print(&random), "--check"]);
    assert_eq!(ran.code, Some(104), "{}", ran.stderr);
}

#[test]
fn a_failure_stops_what_depends_on_it_and_with_keep_going_nothing_else() {
    let Some(mut workshop) = Workshop::new() else {
        return;
    };
    let bad = workshop.derivation("bad", &deferred(&["out"]), &[], "exit 1");
    let user = workshop.derivation(
        "user",
        &deferred(&["out"]),
        &[(&bad, "out")],
        "echo never > $out",
    );
    let good = workshop.derivation("good", &deferred(&["out"]), &[], "echo good > $out");
    let targets = [print(&user), print(&good)];
    let ran = workshop.run(&["build", "-k", "--no-link", &targets[0], &targets[1]]);
    assert_eq!(ran.code, Some(100), "{}", ran.stderr);
    for text in [
        format!(
            "error: builder for '{}' failed with exit code 1\n",
            print(&bad)
        ),
        format!("1 dependencies of derivation '{}' failed", print(&user)),
    ] {
        assert!(ran.stderr.contains(&text), "{}", ran.stderr);
    }
    assert_eq!(
        workshop.contents(&workshop.output_of(&good, "out")),
        "good\n"
    );
}

#[test]
fn a_machine_that_trusts_nobody_gets_proofs_and_builds_what_it_would_not_take() {
    let Some(mut workshop) = Workshop::new() else {
        return;
    };
    let (first, second) = pair(&mut workshop);
    // Nobody has signed it, so it can't be copied there.
    let ran = workshop.run(&["build", "--no-link", &print(&first)]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let there = TempStore::new();
    let address = format!(
        "exec:{NIX_SERVE} serve --write --untrusted --as me --store '{}'",
        there.address()
    );
    let ran = workshop.run(&["build", "--no-link", "--on", &address, &print(&second)]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("building first"), "{}", ran.stderr);
    let out = workshop.output_of(&second, "out");
    assert_eq!(workshop.contents(&out), "one two\n");
    assert!(there.names().iter().all(|name| !name.ends_with(".drv")));

    // What is here isn't built there for its own sake.
    let other = TempStore::new();
    let address = address.replace(&there.address(), &other.address());
    let words = ["build", "--no-link", "--on", &address, &print(&second)];
    let ran = workshop.run(&words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("building"), "{}", ran.stderr);
}

#[test]
fn another_machine_builds_with_inputs_from_here_and_results_come_back() {
    let Some(mut workshop) = Workshop::new() else {
        return;
    };
    let (_, second) = pair(&mut workshop);
    let there = TempStore::new();
    let address = format!(
        "exec:{NIX_SERVE} serve --write --store '{}'",
        there.address()
    );
    let dry = workshop.run(&["build", "--on", &address, "--dry-run", &print(&second)]);
    assert_eq!(dry.stdout, "");
    assert!(
        dry.stderr.contains("these 2 derivations will be built:"),
        "{}",
        dry.stderr
    );
    assert!(there.names().iter().all(|name| !name.contains("-first")));

    let ran = workshop.run(&[
        "build",
        "--on",
        &address,
        &print(&second),
        "--print-out-paths",
    ]);
    let out = workshop.output_of(&second, "out");
    assert_eq!(ran.lines().len(), 2);
    assert_eq!(workshop.contents(&out), "one two\n");
    assert_eq!(workshop.link("result"), Some(out.into()));
    assert!(ran.stderr.contains("building second"), "{}", ran.stderr);
    // Derivations stay here, and what was made on the way stays there.
    assert!(there.names().iter().all(|name| !name.ends_with(".drv")));
    assert!(there.names().iter().any(|name| name.ends_with("-first")));

    let fails = workshop.derivation("fails", &deferred(&["out"]), &[], "echo no; exit 3");
    let user = workshop.derivation("user", &deferred(&["out"]), &[(&fails, "out")], ":");
    let good = workshop.derivation("good", &deferred(&["out"]), &[], "echo built > $out");
    let words = [print(&user), print(&good)];
    let ran = workshop.run(&["build", "-k", "--on", &address, &words[0], &words[1]]);
    assert_eq!(ran.code, Some(100), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 dependencies of derivation"),
        "{}",
        ran.stderr
    );
    assert!(there.names().iter().any(|name| name.ends_with("-good")));
    let ran = workshop.run(&["build", "--on", &address, &print(&fails)]);
    assert_eq!(ran.code, Some(100), "{}", ran.stderr);
    let last = format!(
        "error: builder for '{}' failed with exit code 3\n",
        print(&fails)
    );
    assert!(ran.stderr.ends_with(&last), "{}", ran.stderr);
}

#[test]
fn realising_prints_what_nix_store_prints() {
    let Some(mut workshop) = Workshop::new() else {
        return;
    };
    let (first, second) = pair(&mut workshop);
    let realise = |words: &[&str]| {
        let mut all = vec!["-r".to_owned()];
        all.extend(words.iter().map(|&word| word.to_owned()));
        run(workshop.nix_store(&all))
    };
    let dry = realise(&["--dry-run", &print(&first)]);
    assert_eq!((dry.code, dry.stdout.as_str()), (Some(0), ""));
    let plan = format!("this derivation will be built:\n  {}\n", print(&first));
    assert_eq!(dry.stderr, plan);

    let ran = realise(&["-Q", &print(&second), &print(&first)]);
    let mut outputs = ["out", "dev"].map(|output| workshop.output_of(&second, output));
    outputs.sort();
    let one = workshop.output_of(&first, "out");
    assert_eq!(
        ran.lines(),
        [outputs[0].as_str(), outputs[1].as_str(), one.as_str()]
    );
    let warning = "warning: you did not specify '--add-root'; the result might be removed by the \
                   garbage collector\n";
    assert!(ran.stderr.ends_with(warning), "{}", ran.stderr);
    assert!(!ran.stderr.contains("building second\n"), "{}", ran.stderr);

    let drv = format!("{}!dev", print(&second));
    let ran = realise(&[&drv, &print(&first), "--add-root", "r", "--indirect"]);
    let link = |name: &str| workshop.links.path().join(name).display().to_string();
    assert_eq!(ran.lines(), [link("r-dev"), link("r-2")]);
    assert_eq!(ran.stderr, "");
    assert_eq!(workshop.link("r-2"), Some(Path::new(&one).into()));

    let unknown = format!("/nix/store/{}-unknown", "1".repeat(32));
    let ran = realise(&[&unknown]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains(&unknown), "{}", ran.stderr);
    let ran = realise(&["--ignore-unknown", "--no-gc-warning", &unknown]);
    assert_eq!(
        (ran.code, ran.stdout, ran.stderr),
        (Some(0), String::new(), String::new())
    );
}

#[test]
fn what_cannot_be_built_is_refused_by_name() {
    let store = TempStore::new();
    let missing = format!("/nix/store/{}-x.drv", "1".repeat(32));
    let refused = |words: &[&str]| {
        let mut command = nix_serve(words);
        command.args(["--store", &store.address()]);
        run(command).refusal().to_owned()
    };
    let target = format!("{}!out", missing.trim_end_matches(".drv"));
    for (words, text) in [
        (vec!["build", "/etc/passwd"], "is not in the Nix store"),
        (vec!["build", &target], "is not a derivation"),
        (
            vec!["build", "--on", "/some/dir", &missing],
            "is not a machine to build on",
        ),
        (
            vec!["build", "--on", "exec:false", &missing],
            "cannot read derivation",
        ),
        (vec!["log", &missing], "is not available"),
        (
            vec!["build", &missing, "--option", "sandbox", "perhaps"],
            "setting 'sandbox'",
        ),
        (
            vec!["doctor", "--option", "max-jobs", "many"],
            "setting 'max-jobs'",
        ),
    ] {
        let said = refused(&words);
        assert!(said.contains(text), "{words:?}: {said}");
    }
    let ran = run(on(&store, ["build", &missing]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains(&missing), "{}", ran.stderr);
}

#[test]
fn the_doctor_answers_for_people_and_for_programs() {
    let store = TempStore::new();
    let text = run(on(&store, ["doctor"]));
    let json = run(on(&store, ["doctor", "--json"]));
    assert_eq!(text.code, json.code);
    let checks: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let checks = checks.as_array().or_else(|| checks["checks"].as_array());
    for check in checks.expect("a list of checks") {
        let name = check["name"].as_str().expect("a name");
        assert!(text.stdout.contains(name), "{name}: {}", text.stdout);
    }
}
