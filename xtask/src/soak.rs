//! `cargo xtask soak [AREA…]`: the long form of the crash and load tests, run by hand.
//!
//! A test that has a long form looks at the variable `SOAK`: set, it tries every point instead
//! of one in many; crowds, and each fuzz target, have ten minutes.

use std::process::Command;

use anyhow::Result;

use crate::args::Args;
use crate::test::Area;
use crate::{env, peers, process};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut areas = args.words()?;
    if areas.is_empty() {
        areas.extend_from_slice(AREAS);
    }
    let peers = peers::ensure(peers::RELEASES)?;
    peers.report();
    for area in areas {
        println!("soak: {area}");
        process::run(
            Command::new(env::cargo())
                .args(["test", "--release"])
                .args(Area::find(area)?.cargo_args())
                .args(["--", "--nocapture"])
                .current_dir(env::workspace_root())
                .env("SOAK", "1")
                .env("NIX_PEERS_DIR", &peers.dir)
                .env("INSTA_UPDATE", "no"),
        )?;
    }
    Ok(())
}

/// What has a long form.
const AREAS: &[&str] = &[
    "store",
    "build",
    "trust",
    "gc",
    "upkeep",
    "store-model",
    "fuzz",
];
