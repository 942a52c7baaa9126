//! Loading many registrations into an empty store.

use std::cell::Cell;
use std::fs::{self, File};

use anyhow::Result;

use super::measure::measure;
use super::report::{Candidate, Claim, Group};
use super::{Bench, corpus};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let dir = bench.fast.path().join("load");
    fs::create_dir_all(&dir)?;
    let count = bench.scaled(100_000);
    let text = dir.join("registrations");
    fs::write(
        &text,
        corpus::dump_db_text(&corpus::make_registrations(count)),
    )?;
    let made = Cell::new(0);
    let mut candidates = Vec::new();
    for program in bench.all() {
        let (dir, text, made) = (&dir, &text, &made);
        let candidate = Candidate::new(&program.name, program.role(), move |mode| {
            made.set(made.get() + 1);
            let root = dir.join(format!("store-{}", made.get()));
            program.init(&root)?;
            let mut command = program.load_db(&root)?;
            command.stdin(File::open(text)?);
            measure(&mut command, mode, dir)
        });
        candidates.push(match program.role() {
            super::report::Role::Rival => candidate.at_most(1),
            super::report::Role::Shown => candidate,
        });
    }
    let group = Group {
        title: format!("loading {count} registrations"),
        candidates,
        claims: vec![Claim::ours(0.1)],
    };
    bench.report.measure(group, bench.runs.min(3), &dir)
}
