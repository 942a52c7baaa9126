//! What it costs not to trust: builds over a connection that verifies each of them beside one
//! that takes the client's word, and the bytes of proofs beside those of derivations.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Bench;
use super::drv::{build_example, parse_numbers};
use super::measure::measure;
use super::program::Program;
use super::report::{Candidate, Claim, Group, Role};
use crate::{env, process};

pub(super) fn run(bench: &Bench) -> Result<()> {
    bytes(bench)?;
    if !env::is_root() {
        bail!("builds are measured as root");
    }
    let dir = bench.fast.path().join("trust");
    let site = Site::make(bench, &dir, bench.scaled(200))?;
    site.requests(bench, "first requests", Before::Nothing)?;
    site.requests(bench, "repeated requests", Before::Built)?;
    crate::demo::make_writable(&dir);
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// A proof has the direct inputs alone, and all that they are made from needn't be copied.
fn bytes(bench: &Bench) -> Result<()> {
    let example = build_example()?;
    let count = bench.scaled(4000);
    let text = process::capture(Command::new(example).args(["proofs", &count.to_string()]))?;
    let numbers = parse_numbers(&text)?;
    let find = |what: &str| {
        let number = numbers.get(what).copied();
        number.with_context(|| format!("the example says nothing of '{what}'"))
    };
    let closures = find("closures")?;
    println!("\nproofs of {count} derivations, each sent alone");
    for (what, most) in [("first", 0.15), ("repeated", 0.15)] {
        let ratio = find(what)? / closures;
        let what = format!(
            "bytes of proofs, {what} request / bytes of .drv closures: {ratio:.4}; at most {most}"
        );
        bench.report.note(&what, ratio <= most);
    }
    Ok(())
}

/// What is there before the clock starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The sources.
    Nothing,
    /// All outputs, on the server.
    Built,
}

struct Site {
    dir: PathBuf,
    /// The client's store, with derivations and sources.
    stock: PathBuf,
    top: String,
    ours: Program,
    made: Cell<usize>,
}

impl Site {
    fn make(bench: &Bench, dir: &Path, count: usize) -> Result<Self> {
        let ours = bench.ours.variant("sandboxed", OURS)?;
        let stock = dir.join("stock");
        fs::create_dir_all(dir.join("tools"))?;
        let busybox = env::peers_dir()?.join("busybox");
        fs::copy(busybox, dir.join("tools/busybox")).context("there is no busybox")?;
        let expression = dir.join("default.nix");
        fs::write(&expression, expression_of(count))?;
        let printed = process::capture(&mut bench.real[0].instantiate(&stock, &expression)?)?;
        let top = printed.lines().next().context("no derivation")?.to_owned();
        Ok(Self {
            dir: dir.to_owned(),
            stock,
            top,
            ours,
            made: Cell::new(0),
        })
    }

    fn requests(&self, bench: &Bench, title: &str, before: Before) -> Result<()> {
        let mut candidates = Vec::new();
        for (name, role) in [(TRUSTED, ""), (VERIFIED, "--untrusted --as bench")] {
            let words = format!("serve --write {role} {SETTINGS}");
            candidates.push(Candidate::new(name, Role::Shown, move |mode| {
                let (client, server) = (self.fresh("client")?, self.fresh("server")?);
                process::run(Command::new("cp").arg("-aT").arg(&self.stock).arg(&client))?;
                self.ours.init(&server)?;
                if before == Before::Built {
                    let other = self.fresh("other")?;
                    process::run(Command::new("cp").arg("-aT").arg(&self.stock).arg(&other))?;
                    self.command(&other, &server, &words)?.status()?;
                }
                measure(
                    &mut self.command(&client, &server, &words)?,
                    mode,
                    &self.dir,
                )
            }));
        }
        let group = Group {
            title: format!("builds for a client on the other side, {title}"),
            candidates,
            claims: vec![Claim::between(VERIFIED, TRUSTED, 1.05).in_wall_time()],
        };
        // A few hundredths are looked for: the median of a handful of runs varies by more.
        bench.report.measure(group, bench.runs * 5, &self.dir)
    }

    fn command(&self, client: &Path, server: &Path, words: &str) -> Result<Command> {
        let server = self.ours.server(server, &[])?;
        let mut command = self.ours.build_on(client, &server, words, &self.top)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    fn fresh(&self, name: &str) -> Result<PathBuf> {
        self.made.set(self.made.get() + 1);
        let root = self.dir.join(format!("{name}-{}", self.made.get()));
        fs::create_dir_all(&root)?;
        Ok(root)
    }
}

/// Derivations with a few inputs each, and as much text as packages have.
fn expression_of(count: usize) -> String {
    let mut made = String::new();
    for number in 0..count {
        let mut inputs = String::new();
        for step in [1, 2, 7] {
            if let Some(input) = number.checked_sub(step) {
                // Writing to a string can't fail.
                let _ = write!(inputs, "d{input} ");
            }
        }
        let _ = writeln!(made, "d{number} = make {number} [ {inputs}];");
    }
    let all: String = (0..count).map(|number| format!("d{number} ")).collect();
    EXPRESSION
        .replace("@DERIVATIONS@", &made)
        .replace("@ALL@", &all)
}

const TRUSTED: &str = "ours, taken at its word";
const VERIFIED: &str = "ours, verified";
/// Both servers have the same settings: one that verifies reads no configuration but the
/// system's.
const SETTINGS: &str = "--option durability none --option build-users-group '' \
     --option sandbox true --option sandbox-paths '' --option max-jobs 1";

const EXPRESSION: &str = r#"
let
  words = builtins.concatStringsSep " " (builtins.genList (n: "a word of the text number ${toString n}") 80);
  make = number: inputs: derivation {
    name = "trivial-${toString number}";
    system = builtins.currentSystem;
    builder = "${./tools}/busybox";
    args = [ "sh" "-c" "echo ${toString number} > $out" ];
    inherit inputs words;
  };
in let
@DERIVATIONS@
in make "all" [ @ALL@ ]
"#;

const OURS: &str = "durability = none\nsandbox = true\nsandbox-paths =\nmax-jobs = 1\n";
