//! `cargo xtask dist`: one static `nix-serve`, with proof that it is static and still works.

mod elf;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::{env, process};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.no_values()?;
    let program = build()?;
    check_elf(&program)?;
    check_ldd(&program)?;
    check_lookups(&program)?;
    let size = std::fs::metadata(&program)?.len();
    println!("dist: {}", program.display());
    println!("dist: {size} bytes ({:.1} MiB)", mebibytes(size));
    Ok(())
}

/// Builds into a directory of its own, so that the flags don't rebuild everybody's crates.
fn build() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let dir = env::target_dir().join("dist");
    // The target is named so that the flag reaches the program and not the build scripts.
    process::run(
        Command::new(env::cargo())
            .args(["build", "--release", "--locked", "--package", "nix-serve"])
            .args(["--bin", "nix-serve", "--target", &target, "--target-dir"])
            .arg(&dir)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            // Names of functions stay, for a trace that somebody sends us.
            .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
            .current_dir(env::workspace_root()),
    )?;
    Ok(dir.join(target).join("release/nix-serve"))
}

fn check_elf(program: &Path) -> Result<()> {
    let bytes =
        std::fs::read(program).with_context(|| format!("cannot read '{}'", program.display()))?;
    let found = elf::inspect(&bytes)?;
    if found.has_interpreter {
        bail!("the program asks for a dynamic loader");
    }
    if found.needs_libraries {
        bail!("the program needs shared libraries");
    }
    println!("dist: ELF: no interpreter, no needed libraries");
    Ok(())
}

fn check_ldd(program: &Path) -> Result<()> {
    if env::find_program("ldd").is_none() {
        println!("dist: ldd: not installed, not asked");
        return Ok(());
    }
    // Its status differs between static programs of either kind; its words do not mislead.
    let output = process::output(Command::new("ldd").arg(program).env("LC_ALL", "C"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if !text.contains("statically linked") && !text.contains("not a dynamic executable") {
        bail!("ldd says: {text}");
    }
    println!("dist: ldd: {text}");
    Ok(())
}

/// A static C library still loads modules to look up users and hosts: see that it can.
fn check_lookups(program: &Path) -> Result<()> {
    let text = process::capture(Command::new(program).arg("--self-check"))?;
    for what in ["user", "dns"] {
        let line = text
            .lines()
            .find(|line| line.starts_with(what))
            .with_context(|| format!("the self-check says nothing of '{what}': {text}"))?;
        if line != format!("{what}: ok") {
            bail!("the self-check says '{line}'");
        }
        println!("dist: look-up: {line}");
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
fn mebibytes(size: u64) -> f64 {
    size as f64 / f64::from(1 << 20)
}
