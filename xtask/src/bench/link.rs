//! Copying through a link with a long round-trip time.

use std::fs;

use anyhow::{Context, Result};

use super::copy::Copies;
use super::report::{Candidate, Claim, Group, Role};
use super::{Bench, corpus};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let dir = bench.fast.path().join("link");
    fs::create_dir_all(&dir)?;
    let count = bench.scaled(300);
    let sizes = corpus::random_sizes(count, 1000, 20_000);
    let xtask = bench.xtask.to_str().context("a path is not UTF-8")?;
    let source = corpus::make_store(&bench.real[0], &dir.join("source"), &sizes)?;
    let copies = Copies::new(&dir, &source, vec![xtask, "delay-proxy", ROUND_TRIP_MS]);
    let mut candidates = vec![
        copies.candidate(&bench.ours, &bench.ours, "ours", Role::Shown),
        copies.candidate(&bench.ours, &bench.real[0], "our client", Role::Shown),
    ];
    for real in &bench.real {
        // Half a minute each.
        let candidate: Candidate<'_> = copies.candidate(real, real, &real.name, Role::Rival);
        candidates.push(candidate.at_most(1));
    }
    let group = Group {
        title: format!("copy of {count} paths, {ROUND_TRIP_MS} ms round trip"),
        candidates,
        claims: vec![
            Claim::ours(0.02).in_wall_time(),
            Claim::of("our client", 0.05).in_wall_time(),
        ],
    };
    bench.report.measure(group, bench.runs.min(3), &dir)
}

const ROUND_TRIP_MS: &str = "100";
