//! `cargo xtask vectors`: the tests that read golden vectors, and how many cases they saw.

use std::process::Command;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::test::count_vectors;
use crate::{env, process};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.no_values()?;
    match env::shared_vectors() {
        Some(dir) => println!("vectors of other projects: {}", dir.display()),
        None => println!("vectors of other projects: not beside this repository, not read"),
    }
    let report = crate::test::fresh_report()?;
    // Tests that walk vectors have the word in their names.
    process::run(
        Command::new(env::cargo())
            .args(["test", "--quiet", "--workspace", "--no-fail-fast", "vector"])
            .current_dir(env::workspace_root())
            .env("VECTOR_REPORT", &report)
            .env("INSTA_UPDATE", "no"),
    )?;
    let topics = count_vectors(&std::fs::read_to_string(&report)?)?;
    for (topic, cases) in &topics {
        println!("vectors: {topic}: {cases} cases");
    }
    match topics.values().sum::<u64>() {
        0 => bail!("no test read a golden vector"),
        cases => {
            println!("vectors: {cases} cases in all");
            Ok(())
        }
    }
}
