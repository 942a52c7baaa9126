//! `cargo xtask bench [AREA…]`: `nix-serve` beside real Nix in one run.
//!
//! Candidates take turns, so that a slow spell of the machine hits all of them, and medians are
//! compared. Wall time on a shared machine is noise, so CPU time and, where the kernel counts
//! them, instructions are printed as well: the best of the three ratios counts. Corpora are made
//! in fresh directories and deleted at the end, since file systems create files more slowly
//! after a mass deletion.

mod archive;
pub(crate) mod bare_walk;
mod build;
mod copy;
mod corpus;
mod drv;
mod durability;
mod handshake;
mod link;
mod load;
mod measure;
mod memory;
mod program;
mod query;
mod report;
mod scan;
mod session;
mod trust;
mod upkeep;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::args::Args;
use crate::{env, peers, process};
use program::Program;
use report::Report;

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut wanted = Vec::new();
    for name in args.words()? {
        let Some(area) = AREAS.iter().find(|area| area.0 == name) else {
            let names: Vec<_> = AREAS.iter().map(|area| area.0).collect();
            bail!("unknown area '{name}'; known are {}", names.join(", "));
        };
        wanted.push(area);
    }
    if wanted.is_empty() {
        wanted.extend(AREAS);
    }
    let bench = Bench::new(args)?;
    let mut failed = Vec::new();
    for (name, area) in wanted {
        // What one area can't measure is no reason to hide the others.
        if let Err(error) = area(&bench) {
            println!("{name}: error: {error:#}");
            failed.push(*name);
        }
    }
    let outcome = bench.finish();
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    outcome
}

/// An area measures its rows and hands them to the report.
type Area = (&'static str, fn(&Bench) -> Result<()>);

const AREAS: &[Area] = &[
    ("handshake", handshake::run),
    ("archive", archive::run),
    ("copy", copy::run),
    ("link", link::run),
    ("query", query::run),
    ("load", load::run),
    ("memory", memory::run),
    ("durability", durability::run),
    ("drv", drv::run),
    ("build", build::run),
    ("trust", trust::run),
    ("upkeep", upkeep::run),
];

/// What all areas share.
struct Bench {
    runs: usize,
    /// Corpora of a twentieth, to see that everything works.
    quick: bool,
    /// On a file system in memory, if there is one with room: for what is about our own code.
    fast: TempDir,
    /// On a disk: for what is about flushing.
    disk: TempDir,
    /// This program as a release build, for the helpers that run beside what is measured.
    xtask: PathBuf,
    /// With durability `none`, as real Nix has it.
    ours: Program,
    /// With durability `ordered`, our default.
    ours_ordered: Program,
    /// Newest first.
    real: Vec<Program>,
    report: Report,
}

impl Bench {
    fn new(args: &Args) -> Result<Self> {
        let runs = match args.option("runs")? {
            None => 5,
            Some(text) => text.parse().context("option '--runs'")?,
        };
        let given = args.option("dir")?.map(PathBuf::from);
        let disk = given.clone().unwrap_or_else(std::env::temp_dir);
        let fast = given.unwrap_or_else(|| memory_dir().unwrap_or_else(|| disk.clone()));
        let (disk, fast) = (fresh_dir(&disk)?, fresh_dir(&fast)?);

        let given_program = args.option("program")?;
        println!("building the release programs");
        let release = build_release(given_program.is_none())?;
        let names: Vec<_> = RIVALS.to_vec();
        let releases: Vec<_> = peers::RELEASES
            .iter()
            .copied()
            .filter(|release| names.contains(&release.name))
            .collect();
        let found = peers::ensure(&releases)?;
        found.report();
        let conf = disk.path().join("conf");
        let nix_serve = match given_program {
            Some(program) => std::path::absolute(program)?,
            None => release.join("nix-serve"),
        };
        let mut real = Vec::new();
        for name in names {
            if let Some(peer) = found.find(name) {
                real.push(Program::real(peer, &conf, "off", REAL_OFF)?);
            }
        }
        if real.is_empty() {
            bail!("there is no real Nix to compare with");
        }
        println!("on disk: {}", disk.path().display());
        println!("in memory: {}", fast.path().display());
        Ok(Self {
            runs,
            quick: args.has("quick"),
            ours: Program::ours(&nix_serve, &conf, "ours", "durability = none\n")?,
            ours_ordered: Program::ours(
                &nix_serve,
                &conf,
                "ours, ordered",
                "durability = ordered\n",
            )?,
            real,
            xtask: release.join("xtask"),
            report: Report::default(),
            disk,
            fast,
        })
    }

    /// A count of things in a corpus, less when it is to be quick.
    fn scaled(&self, count: usize) -> usize {
        if self.quick {
            count.div_ceil(20)
        } else {
            count
        }
    }

    /// Ours and then every rival.
    fn all(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.ours).chain(&self.real)
    }

    fn finish(self) -> Result<()> {
        self.report.summary();
        for dir in [self.fast, self.disk] {
            crate::demo::make_writable(dir.path());
            dir.close().context("cannot delete the corpora")?;
        }
        Ok(())
    }
}

fn build_release(with_nix_serve: bool) -> Result<PathBuf> {
    let mut cargo = Command::new(env::cargo());
    cargo
        .args(["build", "--release", "--quiet", "--package", "xtask"])
        .current_dir(env::workspace_root());
    if with_nix_serve {
        cargo.args(["--package", "nix-serve", "--bin", "nix-serve"]);
        cargo.args(["--bin", "xtask"]);
    }
    process::run(&mut cargo)?;
    Ok(env::target_dir().join("release"))
}

fn fresh_dir(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("nix-serve-bench.")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a directory in '{}'", parent.display()))
}

/// A file system in memory with room for the largest corpora.
fn memory_dir() -> Option<PathBuf> {
    let dir = Path::new(MEMORY_DIR);
    let stat = rustix::fs::statvfs(dir).ok()?;
    let room = stat.f_bavail.saturating_mul(stat.f_frsize);
    (room >= 12 << 30).then(|| dir.to_owned())
}

const MEMORY_DIR: &str = "/dev/shm";

/// Releases that we compare with, newest first.
const RIVALS: &[&str] = &["2.34", "2.8"];

/// Real Nix with its durability settings off.
const REAL_OFF: &str = "fsync-metadata = false\nsync-before-registering = false\n";
