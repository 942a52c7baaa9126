//! Real Nix as the client of a remote builder: the same derivations once with its own release
//! on the other side and once with ours.

use std::collections::BTreeMap;
use std::process::Output;

use test_support::{
    Machine, Peer, Workshop, all_features, nar, run, with_each_release, without_colours,
};

use crate::site::{Builder, confined};
use crate::store_rows::{Row, rows_of};

/// What the client is asked to build, and what it has to say if that fails.
struct Case {
    name: &'static str,
    options: &'static [&'static str],
    /// One of these is in what it prints on stderr; with ours as with the release itself.
    says: &'static [&'static str],
}

const fn case(
    name: &'static str,
    options: &'static [&'static str],
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        options,
        says,
    }
}

const CASES: &[Case] = &[
    case("good", &[], &["words of the builder"]),
    case("above", &[], &[]),
    case("failing", &[], &["failed with exit code 3"]),
    case("failing", &[], &["words of the builder"]),
    case("multi", &[], &[]),
    case("fixed", &[], &[]),
    case(
        "fixed-bad",
        &[],
        &["hash mismatch in fixed-output derivation"],
    ),
    case("structured", &[], &[]),
    case("pass-as-file", &[], &[]),
    case("slow", &["--timeout", "1"], &["timed out after 1 seconds"]),
    case(
        "silent",
        &["--max-silent-time", "1"],
        &[
            "timed out after 1 seconds of silence",
            "timed out after 1 seconds",
        ],
    ),
    case(
        "noisy",
        &["--option", "max-build-log-size", "20000"],
        &["killed after writing more than 20000 bytes of log output"],
    ),
    case("big-log", &[], &["a line of a log"]),
    case("no-output", &[], &["failed to produce output path"]),
    case("killed", &[], &[]),
];

/// Content-addressed ones, since 2.8.
const FLOATING: &[Case] = &[case("floating", &[], &[]), case("floating-above", &[], &[])];

const FLOATING_SHAPES: &str = r#"
floating = make "floating" {
  __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
} "$b mkdir $out; echo text > $out/file";
floating-above = make "floating-above" {
  inherit floating;
  __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
} "$b ln -s $floating/file $out";
"#;

/// How one build went.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    said: String,
    /// The paths printed, each with its archive and row at the client and the row at the
    /// builder.
    outputs: BTreeMap<String, (Vec<u8>, Row, Option<Row>)>,
    /// The log as the client has it.
    log: Option<Vec<u8>>,
}

struct Sides<'a> {
    peer: &'a Peer,
    here: Machine,
    there: Machine,
    builders: String,
}

impl<'a> Sides<'a> {
    fn new(peer: &'a Peer, server: Builder<'_>) -> Self {
        let (here, there) = (confined(), confined());
        here.install(peer);
        server.install(&there);
        let program = match server {
            Builder::Ours => "nix-serve",
            Builder::Real(_) => "nix-store",
        };
        let host = here.ssh_to(&there);
        let builders =
            format!("ssh://{host}?remote-program={program} x86_64-linux - 1 1 ca-derivations");
        Self {
            peer,
            here,
            there,
            builders,
        }
    }

    fn nix_build(&self, case: &Case) -> Output {
        let file = self.here.path("home/workshop/default.nix");
        let file = file.display().to_string();
        let mut words = vec![file.as_str(), "-A", case.name, "--no-out-link", "-j0"];
        words.extend(["--builders", &self.builders]);
        words.extend(case.options);
        let mut command = self.here.peer(self.peer, "nix-build", words);
        command.env("NIX_CONFIG", all_features(self.peer));
        run(command)
    }

    fn build(&self, case: &Case) -> Outcome {
        let output = self.nix_build(case);
        let printed = String::from_utf8(output.stdout).unwrap();
        let paths: Vec<String> = printed.lines().map(str::to_owned).collect();
        let here = rows_of(&self.here, &paths);
        let mut there = rows_of(&self.there, &paths);
        let outputs = here.into_iter().map(|(path, row)| {
            let archive = nar::of_path(&self.here.on_disk(&path));
            let over_there = there.remove(&path);
            (path, (archive, row, over_there))
        });
        Outcome {
            code: output.status.code(),
            said: without_colours(&String::from_utf8_lossy(&output.stderr)),
            outputs: outputs.collect(),
            log: self.log(&paths).map(|log| without_warnings(&log)),
        }
    }

    fn log(&self, paths: &[String]) -> Option<Vec<u8>> {
        let mut words = vec!["--read-log"];
        words.extend(paths.iter().map(String::as_str));
        let output = run(self.here.nix_store(self.peer, words));
        output.status.success().then_some(output.stdout)
    }
}

/// A log without what the server warns its operator of, such as builders on the host's network.
fn without_warnings(log: &[u8]) -> Vec<u8> {
    let lines = log.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.starts_with(b"warning: "))
        .flatten()
        .copied()
        .collect()
}

fn builds_as_with_its_own_release(peer: &Peer) {
    compare(peer, include_str!("shapes.nix"), CASES);
}

fn builds_content_addressed_as_with_its_own_release(peer: &Peer) {
    compare(peer, FLOATING_SHAPES, FLOATING);
}

fn compare(peer: &Peer, shapes: &str, cases: &[Case]) {
    let [theirs, ours] = [Builder::Real(peer), Builder::Ours].map(|server| {
        let sides = Sides::new(peer, server);
        Workshop::new(&sides.here, peer).write(shapes);
        cases
            .iter()
            .map(|case| sides.build(case))
            .collect::<Vec<_>>()
    });
    let mut wrong = Vec::new();
    for (case, (theirs, ours)) in cases.iter().zip(theirs.iter().zip(&ours)) {
        for (who, outcome) in [("real", theirs), ("ours", ours)] {
            let said =
                case.says.is_empty() || case.says.iter().any(|words| outcome.said.contains(words));
            if !said {
                wrong.push(format!("{}: {who} says {}", case.name, outcome.said));
            }
        }
        if ours.code != theirs.code {
            wrong.push(format!(
                "{}: exit code {:?} with ours, {:?} with the release: {}\nand with the release {}",
                case.name, ours.code, theirs.code, ours.said, theirs.said
            ));
        }
        if ours.outputs != theirs.outputs {
            wrong.push(format!(
                "{}: outputs {:?} with ours, {:?} with the release",
                case.name, ours.outputs, theirs.outputs
            ));
        }
        if ours.code == Some(0) && ours.log != theirs.log {
            let text = |log: &Option<Vec<u8>>| {
                String::from_utf8_lossy(log.as_deref().unwrap_or_default())[..]
                    .chars()
                    .take(500)
                    .collect::<String>()
            };
            wrong.push(format!(
                "{}: log {:?} instead of {:?}",
                case.name,
                text(&ours.log),
                text(&theirs.log)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// With `-K` the directory of a failed build stays on the machine that built.
fn a_failed_build_is_kept(peer: &Peer) {
    for server in [Builder::Real(peer), Builder::Ours] {
        let sides = Sides::new(peer, server);
        Workshop::new(&sides.here, peer)
            .write(r#"kept = make "kept" { } "echo evidence > file-that-stays; exit 1";"#);
        let outcome = sides.build(&case("kept", &["-K"], &[]));
        assert!(outcome.outputs.is_empty());
        assert!(
            peer.label() == "2.3" || !found(&sides.there, "file-that-stays").is_empty(),
            "{server:?}: {outcome:?}"
        );
        let outcome = sides.build(&case("kept", &[], &[]));
        assert_ne!(outcome.code, Some(0), "{server:?}");
    }
}

/// Files of this name below a machine's directory, but those of the workshop.
fn found(machine: &Machine, name: &str) -> Vec<String> {
    let mut find = std::process::Command::new("find");
    find.arg(machine.path("")).args(["-name", name]);
    test_support::run_ok(find)
}

with_each_release!(remote_builds: builds_as_with_its_own_release);
with_each_release!(content_addressed_remote_builds since 2.8:
    builds_content_addressed_as_with_its_own_release);
with_each_release!(keep_failed_on_the_other_side: a_failed_build_is_kept);
