//! Many trivial builds in a sandbox, one after another in one process, as root.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::measure::measure;
use super::program::Program;
use super::report::{Candidate, Claim, Group};
use super::{Bench, scan};
use crate::{env, process};

pub(super) fn run(bench: &Bench) -> Result<()> {
    scan::run(bench)?;
    if !env::is_root() {
        bail!("builds are measured as root");
    }
    let dir = bench.fast.path().join("build");
    let count = bench.scaled(200);
    let stock = dir.join("stock");
    let ours = bench.ours.variant("sandboxed", OURS)?;
    let real = bench
        .real
        .iter()
        .map(|program| program.variant("sandboxed", REAL))
        .collect::<Result<Vec<_>>>()?;
    let drvs = instantiate(&real[0], &dir, &stock, count)?;

    let made = Cell::new(0);
    let mut candidates = Vec::new();
    for program in std::iter::once(&ours).chain(&real) {
        let (dir, stock, drvs, made) = (&dir, &stock, &drvs, &made);
        candidates.push(Candidate::new(&program.name, program.role(), move |mode| {
            made.set(made.get() + 1);
            let root = dir.join(format!("store-{}", made.get()));
            process::run(Command::new("cp").arg("-a").arg(stock).arg(&root))?;
            let mut command = program.realise(&root, drvs)?;
            command.stdout(Stdio::null()).stderr(Stdio::null());
            measure(&mut command, mode, dir)
        }));
    }
    let group = Group {
        title: format!("{count} sandboxed builds, one after another"),
        candidates,
        claims: vec![Claim::of(&ours.name, 0.3)],
    };
    bench.report.measure(group, bench.runs, &dir)?;
    crate::demo::make_writable(&dir);
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Makes a store with derivations that a shell builds by writing one line.
fn instantiate(program: &Program, dir: &Path, stock: &Path, count: usize) -> Result<Vec<String>> {
    fs::create_dir_all(dir.join("tools"))?;
    let busybox = env::peers_dir()?.join("busybox");
    fs::copy(busybox, dir.join("tools/busybox")).context("there is no busybox")?;
    let expression = dir.join("default.nix");
    fs::write(
        &expression,
        EXPRESSION.replace("@COUNT@", &count.to_string()),
    )?;
    let printed = process::capture(&mut program.instantiate(stock, &expression)?)?;
    let drvs: Vec<String> = printed.lines().map(str::to_owned).collect();
    if drvs.len() != count {
        bail!("{} derivations instead of {count}", drvs.len());
    }
    Ok(drvs)
}

const EXPRESSION: &str = r#"
let
  make = number: derivation {
    name = "trivial-${toString number}";
    system = builtins.currentSystem;
    builder = "${./tools}/busybox";
    args = [ "sh" "-c" "echo ${toString number} > $out" ];
  };
in builtins.genList make @COUNT@
"#;

const OURS: &str = "durability = none\nsandbox = true\nsandbox-paths =\nmax-jobs = 1\n";

const REAL: &str = "fsync-metadata = false\nsync-before-registering = false\n\
                    sandbox = true\nsandbox-paths =\nmax-jobs = 1\nbuilders =\n";
