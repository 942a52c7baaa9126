//! Derivations: parsing and printing beside a bare scan of the same bytes, and the output paths
//! of a whole graph beside what real Nix takes to show it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::memory::peak_of;
use super::program::Program;
use super::report::{Candidate, Claim, Group};
use super::{Bench, corpus, measure};
use crate::{env, process};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let example = build_example()?;
    let count = bench.scaled(20_000);
    in_memory(bench, &example, count)?;
    let dir = bench.fast.path().join("drv");
    let store = Store::make(bench, &dir, &example, count)?;
    whole_graph(bench, &store, count)?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// The program that makes package sets up; a part of the crate that is measured, on which this
/// one doesn't depend.
pub(super) fn build_example() -> Result<PathBuf> {
    println!("building the example 'package_set'");
    process::run(
        Command::new(env::cargo())
            .args(["build", "--release", "--quiet", "--package", "nix-drv"])
            .args(["--features", "generate", "--example", EXAMPLE])
            .current_dir(env::workspace_root()),
    )?;
    Ok(env::target_dir().join("release/examples").join(EXAMPLE))
}

fn in_memory(bench: &Bench, example: &Path, count: usize) -> Result<()> {
    let text = process::capture(Command::new(example).args([
        "measure",
        &count.to_string(),
        &bench.runs.to_string(),
    ]))?;
    let numbers = parse_numbers(&text)?;
    let find = |what: &str| {
        let number = numbers.get(what).copied();
        number.with_context(|| format!("'{EXAMPLE}' says nothing of '{what}'"))
    };
    let (bytes, scan) = (find("bytes")?, find("scan")?);
    println!("\n{count} derivations of {:.1} MB in all", bytes / 1e6);
    for what in ["scan", "borrowed", "owned", "print"] {
        let nanoseconds = find(what)?;
        println!(
            "  {what:<28}{:>9.1} ms{:>9.0} MB/s",
            nanoseconds / 1e6,
            bytes * 1e3 / nanoseconds
        );
    }
    for (measured, name, least) in [
        ("borrowed", "parsing to borrowed values", 0.35),
        ("owned", "parsing to owned values", 0.2),
        ("print", "printing", 0.4),
    ] {
        let what = format!("{name} / bare scan, in speed");
        bench
            .report
            .note_at_least(&what, scan / find(measured)?, least);
    }
    Ok(())
}

/// Lines `WHAT NUMBER`.
pub(super) fn parse_numbers(text: &str) -> Result<BTreeMap<String, f64>> {
    text.lines()
        .map(|line| {
            let (what, number) = line.split_once(' ').context("a line without a number")?;
            Ok((what.to_owned(), number.parse()?))
        })
        .collect()
}

/// A store of `.drv` files.
struct Store {
    root: PathBuf,
    /// All but the one that depends on them, a line each.
    list: PathBuf,
    top: String,
}

impl Store {
    fn make(bench: &Bench, root: &Path, example: &Path, count: usize) -> Result<Self> {
        bench.real[0].init(root)?;
        let paths = process::capture(
            Command::new(example)
                .args(["write", &count.to_string()])
                .arg(root.join("nix/store")),
        )?;
        let registrations: Vec<_> = paths.lines().map(corpus::bare_registration).collect();
        corpus::register(root, &registrations)?;
        let mut paths: Vec<&str> = paths.lines().collect();
        let Some(top) = paths.pop() else {
            bail!("'{EXAMPLE}' wrote nothing");
        };
        let list = root.join("list");
        fs::write(&list, paths.join("\n"))?;
        Ok(Self {
            root: root.to_owned(),
            list,
            top: top.to_owned(),
        })
    }

    fn command(&self, program: &Program) -> Result<Command> {
        let mut command = program.derivations(&self.root, &self.top)?;
        command.stdin(File::open(&self.list)?).stdout(Stdio::null());
        Ok(command)
    }
}

fn whole_graph(bench: &Bench, store: &Store, count: usize) -> Result<()> {
    let title = format!("output paths of {count} derivations, beside showing them");
    // Older releases don't take paths from stdin.
    let programs = [&bench.ours, &bench.real[0]];
    let candidates = programs.map(|program| {
        Candidate::new(&program.name, program.role(), move |mode| {
            measure::measure(&mut store.command(program)?, mode, &store.root)
        })
    });
    let group = Group {
        title: title.clone(),
        candidates: candidates.into(),
        claims: vec![Claim::ours(0.12)],
    };
    bench.report.measure(group, bench.runs, &store.root)?;
    for program in programs {
        let peak = peak_of(&mut store.command(program)?)?;
        println!("  {:<28}peak {peak:>8.1} MiB", program.name);
        if program.name == bench.ours.name {
            let what = format!("{title}: ours: {peak:.1} MiB; at most 32");
            bench.report.note(&what, peak <= 32.0);
        }
    }
    Ok(())
}

const EXAMPLE: &str = "package_set";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let numbers = parse_numbers("bytes 5\nscan 7\n").unwrap();
        assert_eq!(numbers["scan"].to_string(), "7");
        assert!(parse_numbers("scan\n").is_err());
    }
}
