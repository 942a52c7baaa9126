//! What flushing costs: the same copies at durability `ordered` and `none`, and real Nix with
//! its own settings for that off and on. On a disk, or the numbers say nothing.

use std::fs;

use anyhow::Result;

use super::copy::Copies;
use super::report::{Claim, Group, Role};
use super::{Bench, corpus};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let small = vec![50_000; bench.scaled(60)];
    let title = format!("durability: {} paths of 50 kB", small.len());
    compare(bench, title, &small, 1.5)?;
    let large = vec![16 << 20; bench.scaled(64)];
    let title = format!("durability: a closure of {} MiB", 16 * large.len());
    compare(bench, title, &large, 1.1)
}

fn compare(bench: &Bench, title: String, sizes: &[usize], most: f64) -> Result<()> {
    let dir = bench.disk.path().join(title.replace([' ', ':'], "-"));
    fs::create_dir_all(&dir)?;
    let newest = &bench.real[0];
    let safe = newest.variant("flushing", REAL_ON)?;
    let source = corpus::make_store(newest, &dir.join("source"), sizes)?;
    let copies = Copies::new(&dir, &source, Vec::new());
    let mut candidates = Vec::new();
    for program in [&bench.ours, &bench.ours_ordered, newest, &safe] {
        candidates.push(copies.candidate(program, program, &program.name, Role::Shown));
    }
    let claim = Claim::between(&bench.ours_ordered.name, &bench.ours.name, most).in_wall_time();
    let group = Group {
        title,
        candidates,
        claims: vec![claim],
    };
    bench.report.measure(group, bench.runs, &dir)?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Real Nix with its durability settings on.
const REAL_ON: &str = "fsync-metadata = true\nfsync-store-paths = true\n";
