//! BuildDerivation and BuildPaths by a client of our own: what each server answers.
//!
//! One connection carries all requests, so that each shows that those before it did no harm.

use std::collections::BTreeMap;

use test_support::{Machine, Peer, RawDrv, RawLimits, with_each_release, without_colours};

use crate::site::{Builder, CONFINED, stocked};

/// A derivation, and how its build ends: with 2.3, 2.8, 2.26, the newest and ours.
struct Case {
    name: &'static str,
    limits: RawLimits,
    /// The statuses of BuildDerivation.
    status: [u64; 5],
    /// The statuses of BuildPaths, which are exit codes.
    code: [u64; 5],
    /// Words of the message; one of them for each server.
    says: &'static [&'static str],
}

const fn case(
    name: &'static str,
    status: [u64; 5],
    code: [u64; 5],
    says: &'static [&'static str],
) -> Case {
    Case {
        name,
        limits: NONE,
        status,
        code,
        says,
    }
}

const fn limited(limits: RawLimits, case: Case) -> Case {
    Case { limits, ..case }
}

const NONE: RawLimits = RawLimits {
    max_silent_time: 0,
    timeout: 0,
    max_log_size: 0,
    keep_failed: false,
};

/// In this order; what differs between releases is explained where it does. Ours answers as
/// the newest.
const CASES: &[Case] = &[
    // Its input is not valid yet; BuildPaths builds it.
    case(
        "above",
        [9; 5],
        [0; 5],
        &["does not exist, and substitution is disabled"],
    ),
    case("good", [0; 5], [0; 5], &[]),
    case("failing", [3; 5], [100; 5], &["failed with exit code 3"]),
    case("multi", [0; 5], [0; 5], &[]),
    case("fixed", [0; 5], [0; 5], &[]),
    case(
        "fixed-bad",
        [5; 5],
        [102; 5],
        &["hash mismatch in fixed-output derivation"],
    ),
    case("structured", [0; 5], [0; 5], &[]),
    case("pass-as-file", [0; 5], [0; 5], &[]),
    // 2.3 says nothing about limits.
    limited(
        RawLimits { timeout: 1, ..NONE },
        case("slow", [8; 5], [101; 5], &["timed out after 1 seconds"]),
    ),
    limited(
        RawLimits {
            max_silent_time: 1,
            ..NONE
        },
        case("silent", [8; 5], [101; 5], &["timed out after 1 seconds"]),
    ),
    limited(
        RawLimits {
            max_log_size: 20_000,
            ..NONE
        },
        case(
            "noisy",
            [11; 5],
            [1; 5],
            &["killed after writing more than 20000 bytes of log"],
        ),
    ),
    case("big-log", [0; 5], [0; 5], &[]),
    case(
        "no-output",
        [5; 5],
        [1; 5],
        &["failed to produce output path"],
    ),
    case("no-builder", [3; 5], [100; 5], &["failed with exit code 1"]),
    // Since 2.30 an input is rejected, before that it was any other failure.
    case(
        "other-system",
        [9, 9, 9, 4, 4],
        [1, 1, 1, 100, 100],
        &[
            "a 'riscv128-plan9' with features {} is required",
            "Required system: 'riscv128-plan9'",
        ],
    ),
    case(
        "other-feature",
        [9, 9, 9, 4, 4],
        [1, 1, 1, 100, 100],
        &[
            "with features {flux} is required",
            "Required features: {flux}",
        ],
    ),
    case(
        "forbidden",
        [5; 5],
        [1; 5],
        &[
            "not allowed to refer to the following paths",
            "not allowed to refer to",
        ],
    ),
    case(
        "too-large",
        [5; 5],
        [1; 5],
        &["is too large at 1112 bytes; limit is 100 bytes"],
    ),
    // In 2.8 and 2.26 an exception, and with ours.
    case("cycle", [5, 9, 9, 5, 9], [1; 5], &["cycle detected in "]),
    case("special", [9; 5], [1; 5], &["has an unsupported type"]),
    case(
        "writable",
        [5; 5],
        [1; 5],
        &["suspicious ownership or permission"],
    ),
    case(
        "bad-specifier",
        [5, 5, 5, 5, 5],
        [1; 5],
        &["nothing-like-it"],
    ),
    // The newest reads it with the derivation, which is an exception.
    case(
        "bad-graph",
        [4, 4, 4, 9, 9],
        [100, 100, 100, 1, 1],
        &["odd number of tokens"],
    ),
    case("last", [0; 5], [0; 5], &[]),
];

/// More derivations, wrong ones among them that real Nix instantiates all the same.
const MORE: &str = r#"
bad-specifier = make "bad-specifier" { allowedReferences = [ "nothing-like-it" ]; } "echo > $out";
bad-graph = make "bad-graph" { exportReferencesGraph = [ "graph" ]; } "echo > $out";
last = make "last" { } "echo last > $out";
"#;

fn column(builder: Builder<'_>) -> usize {
    let label = match builder {
        Builder::Ours => "ours".to_owned(),
        Builder::Real(peer) => peer.label(),
    };
    let labels = ["2.3", "2.8", "2.26", "newest", "ours"];
    labels.iter().position(|known| *known == label).unwrap()
}

struct Stock {
    machine: Machine,
    drvs: BTreeMap<String, String>,
}

impl Stock {
    fn new(peer: &Peer) -> Self {
        let shapes = [include_str!("shapes.nix"), MORE].concat();
        let (machine, drvs) = stocked(peer, &shapes);
        Self { machine, drvs }
    }

    /// A derivation whose inputs are paths.
    fn resolved(&self, name: &str) -> RawDrv {
        let read = |path: &String| RawDrv::read(&self.machine.on_disk(path));
        let mut drv = read(&self.drvs[name]);
        for (input, names) in &drv.input_drvs {
            let input = read(input);
            let outputs = names.iter().map(|name| input.output(name).to_owned());
            drv.input_srcs.extend(outputs);
        }
        drv
    }

    fn copy(&self) -> Machine {
        let machine = self.machine.copy();
        machine.configure(CONFINED);
        machine
    }
}

/// Compares an answer with the table.
fn judge(
    case: &Case,
    got: u64,
    wanted: u64,
    message: &str,
    builder: Builder<'_>,
) -> Option<String> {
    let message = without_colours(message);
    let is_terse = matches!(builder, Builder::Real(peer) if peer.label() == "2.3");
    let said = wanted == 0 || is_terse || case.says.iter().any(|words| message.contains(words));
    (got != wanted || !said).then(|| format!("{}: {got} instead of {wanted}: {message}", case.name))
}

/// Rejected outputs stay at their final paths in several releases; not with ours.
fn leftovers(machine: &Machine, drv: &RawDrv, builder: Builder<'_>) -> Option<String> {
    let is_left = drv
        .outputs
        .iter()
        .filter(|output| !output[1].is_empty())
        .find(|output| machine.on_disk(&output[1]).symlink_metadata().is_ok())?;
    matches!(builder, Builder::Ours).then(|| format!("{} was left behind", is_left[1]))
}

fn answers(builder: Builder<'_>) {
    // Later releases refuse to instantiate what is wrong.
    let Some(maker) = Peer::on_machines("2.8") else {
        return;
    };
    let stock = Stock::new(maker);
    let column = column(builder);
    let mut wrong = Vec::new();

    let machine = stock.copy();
    let mut session = builder.session(&machine);
    for case in CASES {
        let drv = stock.resolved(case.name);
        let result = session.build(&stock.drvs[case.name], &drv, &case.limits);
        let wanted = case.status[column];
        wrong.extend(judge(case, result.status, wanted, &result.error, builder));
        if wanted != 0 {
            wrong.extend(leftovers(&machine, &drv, builder));
        }
    }
    session.finish();

    let machine = stock.copy();
    let mut session = builder.session(&machine);
    for case in CASES {
        let drv = stock.resolved(case.name);
        let path = &stock.drvs[case.name];
        let (code, message) = session.build_paths([path], &case.limits);
        let wanted = case.code[column];
        let found = judge(case, code, wanted, &message, builder);
        wrong.extend(found.map(|text| format!("BuildPaths: {text}")));
        if wanted != 0 {
            wrong.extend(leftovers(&machine, &drv, builder));
        }
    }
    session.finish();
    assert!(wrong.is_empty(), "{builder:?}:\n{}", wrong.join("\n"));
}

fn real_server_answers(peer: &Peer) {
    answers(Builder::Real(peer));
}

with_each_release!(answers_of_real_servers: real_server_answers);

#[test]
fn ours_answers_as_the_newest() {
    answers(Builder::Ours);
}
