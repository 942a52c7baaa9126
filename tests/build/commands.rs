//! `nix-serve build`, `--check`, `log` and `doctor`, and `nix-store -r` beside real Nix.

use std::collections::BTreeMap;
use std::process::Output;

use test_support::{Machine, Peer, RawDrv, Workshop, run, run_ok, without_colours};

use crate::site::{Builder, CONFINED, confined, ours};
use crate::store_rows::rows;

const SHAPES: &str = r#"
good = make "good" { } "echo words of the builder; echo good > $out";
multi = make "multi" { outputs = [ "out" "dev" ]; } "echo $dev > $out; echo dev > $dev";
top = make "top" { inherit good; dev = multi.dev; } "echo $good $dev > $out";
failing = make "failing" { } "echo cause; exit 3";
above = make "above" { inherit failing; } "echo > $out";
slow = make "slow" { } "$b sleep 60";
fixed-bad = make "fixed-bad" {
  outputHashMode = "flat"; outputHashAlgo = "sha256";
  outputHash = builtins.hashString "sha256" "another\n";
} "echo fixed > $out";
chance = make "chance" { } "$b cat /proc/sys/kernel/random/uuid > $out";
no-output = make "no-output" { } "true";
other-system = make "other-system" { system = "riscv128-plan9"; } "true";
"#;

struct Stock {
    machine: Machine,
    drvs: BTreeMap<String, String>,
}

impl Stock {
    fn new(peer: &Peer) -> Self {
        let machine = confined();
        let drvs = Workshop::new(&machine, peer).instantiate(SHAPES);
        Self { machine, drvs }
    }

    fn copy(&self) -> Machine {
        let copy = self.machine.copy();
        copy.configure(CONFINED);
        copy
    }

    /// Words with `@NAME` replaced by the path of a derivation.
    fn words(&self, words: &[&str]) -> Vec<String> {
        words
            .iter()
            .map(|word| match word.strip_prefix('@') {
                Some(name) => {
                    let (name, rest) = name.split_once('!').unwrap_or((name, ""));
                    let separator = if rest.is_empty() { "" } else { "!" };
                    format!("{}{separator}{rest}", self.drvs[name])
                }
                None => (*word).to_owned(),
            })
            .collect()
    }

    fn realise(&self, machine: &Machine, builder: Builder<'_>, words: &[&str]) -> Output {
        let mut all = vec!["-r".to_owned()];
        all.extend(self.words(words));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        run(builder.nix_store(machine, &all))
    }
}

fn stderr(output: &Output) -> String {
    without_colours(&String::from_utf8_lossy(&output.stderr))
}

/// Arguments of `nix-store -r`, one command after another on one machine.
const REALISATIONS: &[&[&str]] = &[
    &["--dry-run", "@top"],
    &["@good"],
    &["@good"],
    &["@multi"],
    &["@multi!dev"],
    &["@top", "@good"],
    &["--add-root", "root", "@multi", "@good"],
    &["--add-root", "single", "@multi!dev"],
    &["--no-output", "@good"],
    &["--check", "@good"],
    &["--check", "@chance"],
    &["@chance"],
    &["--check", "@chance"],
    &["@failing"],
    &["@above"],
    &["--keep-going", "@failing", "@no-output"],
    &["--timeout", "1", "@slow"],
    &["@fixed-bad"],
    &["--keep-going", "@fixed-bad", "@failing"],
    &["@no-output"],
    &["@other-system"],
    &["/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-absent"],
    &[
        "--ignore-unknown",
        "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-absent",
    ],
    &["-Q", "--check", "@multi"],
];

/// The same lines on stdout and the same exit code for each; the words of failures are the
/// business of other tests.
#[test]
fn realising_prints_and_exits_as_the_newest_does() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let stock = Stock::new(peer);
    let (theirs, own) = (stock.copy(), stock.copy());
    let mut wrong = Vec::new();
    for words in REALISATIONS {
        let real = stock.realise(&theirs, Builder::Real(peer), words);
        let mine = stock.realise(&own, Builder::Ours, words);
        // Links to roots are in the directory of each.
        let printed = |machine: &Machine, output: &Output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.replace(&machine.path("").display().to_string(), "")
        };
        let (real_printed, own_printed) = (printed(&theirs, &real), printed(&own, &mine));
        if real_printed != own_printed || real.status.code() != mine.status.code() {
            wrong.push(format!(
                "{words:?}: {} and {own_printed:?}, real Nix {} and {real_printed:?}\n\
                 it says: {}\nreal Nix: {}",
                mine.status,
                real.status,
                stderr(&mine),
                stderr(&real)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // By chance they differ, all the rest is the same.
    let is_chance = |path: &String| path.ends_with("-chance") || path.contains("fixed-bad");
    let (mut real, mut own) = (rows(&theirs), rows(&own));
    real.retain(|path, _| !is_chance(path));
    own.retain(|path, _| !is_chance(path));
    assert_eq!(own, real);
}

/// A second build that differs is named, with the output.
#[test]
fn a_difference_between_builds_is_reported() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let stock = Stock::new(peer);
    let machine = stock.copy();
    let drv = RawDrv::read(&machine.on_disk(&stock.drvs["chance"]));
    let output = drv.output("out").to_owned();
    run_ok(machine.command(ours(), ["build", &stock.drvs["chance"], "--no-link"]));
    let before = std::fs::read(machine.on_disk(&output)).unwrap();
    for words in [
        ["build", &stock.drvs["chance"], "--check"],
        ["build", &stock.drvs["chance"], "--rebuild"],
    ] {
        let again = run(machine.command(ours(), words));
        let said = stderr(&again);
        assert_eq!(again.status.code(), Some(104), "{said}");
        assert!(said.contains("may not be deterministic"), "{said}");
        assert!(said.contains(&output), "{said}");
    }
    assert_eq!(std::fs::read(machine.on_disk(&output)).unwrap(), before);
}

/// Built elsewhere: inputs go there, outputs come back, the log is shown, links are made.
#[test]
fn building_elsewhere_brings_the_outputs_here() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let stock = Stock::new(peer);
    for server in [Builder::Ours, Builder::Real(peer)] {
        let (here, there) = (stock.copy(), confined());
        server.install(&there);
        let address = format!("exec:{} nix-store --serve --write", there.enter().display());
        let link = here.path("home/result");
        let output = run(here.command(
            ours(),
            [
                "build",
                "--on",
                &address,
                "--out-link",
                link.to_str().unwrap(),
                &stock.drvs["top"],
            ],
        ));
        let said = stderr(&output);
        assert!(output.status.success(), "{server:?}: {said}");
        assert!(said.contains("words of the builder"), "{server:?}: {said}");
        let top = RawDrv::read(&here.on_disk(&stock.drvs["top"]));
        let path = top.output("out").to_owned();
        assert_eq!(
            std::fs::read_link(&link).unwrap().to_str(),
            Some(path.as_str())
        );
        let row = &rows(&here)[&path];
        assert_eq!(row.deriver, stock.drvs["top"]);
        assert_eq!(row.references.len(), 2);
        test_support::verify_with(peer, &here);

        let output = run(here.command(
            ours(),
            [
                "build",
                "--on",
                &address,
                "--no-link",
                &stock.drvs["failing"],
            ],
        ));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(100), "{server:?}: {said}");
        assert!(
            said.contains("failed with exit code 3"),
            "{server:?}: {said}"
        );
        assert!(said.contains("cause"), "{server:?}: {said}");
    }
}

/// The log of a path, as real Nix shows it, and of what has none.
#[test]
fn logs_are_shown_as_real_nix_shows_them() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let stock = Stock::new(peer);
    let machine = stock.copy();
    run_ok(machine.command(ours(), ["build", &stock.drvs["good"], "--no-link"]));
    let good = RawDrv::read(&machine.on_disk(&stock.drvs["good"]));
    for path in [stock.drvs["good"].as_str(), good.output("out")] {
        let real = run(machine.nix_store(peer, ["--read-log", path]));
        let own = run(machine.command(ours(), ["log", path]));
        assert!(own.status.success(), "{}", stderr(&own));
        assert_eq!(own.stdout, real.stdout);
        assert_eq!(own.stdout, b"words of the builder\n");
        let face = run(Builder::Ours.nix_store(&machine, &["--read-log", path]));
        assert_eq!(face.stdout, real.stdout, "{}", stderr(&face));
    }
    let drv = &stock.drvs["multi"];
    let real = run(machine.nix_store(peer, ["--read-log", drv.as_str()]));
    let own = run(machine.command(ours(), ["log", drv.as_str()]));
    assert_eq!((own.status.code(), real.status.code()), (Some(1), Some(1)));
    let words = "is not available";
    assert!(stderr(&own).contains(words), "{}", stderr(&own));
    assert!(stderr(&real).contains(words), "{}", stderr(&real));
}

/// On a machine where builds run there is nothing that stops them.
#[test]
fn the_doctor_finds_nothing_that_stops_builds() {
    if !Machine::available() {
        return;
    }
    let machine = confined();
    let output = run(machine.command(ours(), ["doctor"]));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", stderr(&output));
    let json = run_ok(machine.command(ours(), ["doctor", "--json"])).join("\n");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.is_array() || json.is_object(), "{json}");
}

/// The hook hears of every success, with paths.
#[test]
fn the_post_build_hook_is_told() {
    let Some(peer) = crate::site::newest() else {
        return;
    };
    let stock = Stock::new(peer);
    for builder in [Builder::Real(peer), Builder::Ours] {
        let machine = stock.copy();
        let (hook, heard) = (machine.path("home/hook"), machine.path("home/heard"));
        let text = format!(
            "#!/bin/sh\necho \"$DRV_PATH $OUT_PATHS\" >> {}\n",
            heard.display()
        );
        std::fs::write(&hook, text).unwrap();
        crate::place::set_mode(&hook, 0o755);
        machine.configure(&format!("{CONFINED}post-build-hook = {}\n", hook.display()));
        let output = stock.realise(&machine, builder, &["@good"]);
        assert!(output.status.success(), "{builder:?}: {}", stderr(&output));
        let good = RawDrv::read(&machine.on_disk(&stock.drvs["good"]));
        let expected = format!("{} {}\n", stock.drvs["good"], good.output("out"));
        assert_eq!(
            std::fs::read_to_string(&heard).unwrap(),
            expected,
            "{builder:?}"
        );

        std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
        let output = stock.realise(&machine, builder, &["@multi"]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{builder:?}: {}",
            stderr(&output)
        );
    }
}
