//! Finding references in a gibibyte, beside a copy of it in memory.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Bench;
use super::drv::parse_numbers;
use crate::{env, process};

/// Measures both kinds of data with few hashes to look for and with many.
pub(super) fn run(bench: &Bench) -> Result<()> {
    let example = build_example()?;
    let mebibytes = bench.scaled(1024);
    let text = process::capture(
        Command::new(example).args([mebibytes.to_string(), bench.runs.to_string()]),
    )?;
    let numbers = parse_numbers(&text)?;
    let memcpy = *numbers
        .get("memcpy")
        .context("the example says nothing of 'memcpy'")?;
    println!("\nscanning {mebibytes} MiB for references");
    #[allow(clippy::cast_precision_loss, reason = "for people to read")]
    let bytes = (mebibytes << 20) as f64;
    for (what, nanoseconds) in &numbers {
        println!("  {what:<28}{:>9.2} GB/s", bytes / nanoseconds);
    }
    for (what, nanoseconds) in numbers.iter().filter(|(what, _)| *what != "memcpy") {
        let (kind, count) = what.split_once('-').context("a line without a count")?;
        let title = format!("scanning {kind} data for {count} hashes / memcpy, in speed");
        bench
            .report
            .note_at_least(&title, memcpy / nanoseconds, LEAST);
    }
    Ok(())
}

fn build_example() -> Result<PathBuf> {
    println!("building the example '{EXAMPLE}'");
    process::run(
        Command::new(env::cargo())
            .args(["build", "--release", "--quiet", "--package", "nix-nar"])
            .args(["--example", EXAMPLE])
            .current_dir(env::workspace_root()),
    )?;
    Ok(env::target_dir().join("release/examples").join(EXAMPLE))
}

const EXAMPLE: &str = "scan";

/// The part of memcpy's speed that scanning must have.
const LEAST: f64 = 0.4;
