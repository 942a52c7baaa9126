//! `cargo xtask ci`: everything that a change has to pass. `.ci/run` calls it on a fresh machine.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::{env, process, tidy};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.no_values()?;
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("tidy", || tidy::check(&env::workspace_root()))?;
    step("lints", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    step("documentation", || {
        let mut doc = Command::new(env::cargo());
        doc.args(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .current_dir(env::workspace_root());
        process::run(&mut doc)
    })?;
    step("licences", check_licences)?;
    step("build", || {
        cargo(&["test", "--workspace", "--no-run", "--quiet"])
    })?;
    let start = Instant::now();
    // The command that README.md names, so that it is the one that is known to work.
    step("tests", || {
        cargo(&["xtask", "test", "--require", "2.8,2.26"])
    })?;
    let took = start.elapsed();
    if took > LONGEST {
        bail!(
            "the tests took {} s, more than {} s",
            took.as_secs(),
            LONGEST.as_secs()
        );
    }
    println!("ci: all passed");
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("ci: {name}");
    let start = Instant::now();
    work().with_context(|| format!("ci: {name}"))?;
    println!("ci: {name}: {} s", start.elapsed().as_secs());
    Ok(())
}

fn cargo(args: &[&str]) -> Result<()> {
    process::run(
        Command::new(env::cargo())
            .args(args)
            .env("INSTA_UPDATE", "no")
            .current_dir(env::workspace_root()),
    )
}

/// Licences and bans of `deny.toml`; the tool isn't part of a Rust toolchain.
fn check_licences() -> Result<()> {
    if env::find_program("cargo-deny").is_none() {
        println!("ci: licences: cargo-deny is not installed, not checked");
        return Ok(());
    }
    cargo(&["deny", "check", "licenses", "bans", "sources"])
}

/// What the tests may take beyond the build.
const LONGEST: Duration = Duration::from_secs(15 * 60);
