//! `cargo xtask bless`: runs the tests and takes what they print now as the snapshots.
//!
//! Golden files are not touched: bytes are compared with bytes. What changed is for the person
//! to read in the diff.

use anyhow::{Result, bail};

use crate::args::Args;
use crate::test::{Snapshots, run_tests};
use crate::{env, peers};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.no_values()?;
    if env::is_ci() {
        bail!("a run of the continuous integration accepts no snapshots");
    }
    let peers = peers::ensure(peers::RELEASES)?;
    let summary = run_tests(&[], &peers.dir, Snapshots::Accept)?;
    println!("\n{summary}");
    println!("now read 'git diff': each changed snapshot is a change that people see");
    Ok(())
}
