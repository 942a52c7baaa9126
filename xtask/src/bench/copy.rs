//! Copying a closure of many small paths through a pipe: real to real, ours to ours, and mixed.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::measure::{Mode, Sample, measure};
use super::program::Program;
use super::report::{Candidate, Claim, Group, Role};
use super::{Bench, corpus};
use crate::process;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let dir = bench.fast.path().join("copy");
    let on_disk = bench.disk.path().join("copy");
    fs::create_dir_all(&dir)?;
    fs::create_dir_all(&on_disk)?;
    let count = bench.scaled(5000);
    let sizes = corpus::random_sizes(count, 1000, 20_000);
    let source = corpus::make_store(&bench.real[0], &dir.join("source"), &sizes)?;
    let copies = Copies::new(&dir, &source, Vec::new());
    // In memory a flush costs nothing.
    let flushed = Copies::new(&on_disk, &source, Vec::new());
    let ours = &bench.ours;
    let ordered = &bench.ours_ordered;
    let mut candidates = vec![
        copies.candidate(ours, ours, "ours", Role::Shown),
        flushed.candidate(ordered, ordered, "ours, ordered, on disk", Role::Shown),
    ];
    let mut claims = vec![Claim::ours(0.15)];
    for real in &bench.real {
        let name = &real.name;
        let [client, server] = ["client", "server"].map(|side| format!("our {side}, {name}"));
        candidates.push(copies.candidate(real, real, name, Role::Rival).at_most(3));
        candidates.push(copies.candidate(ours, real, &client, Role::Shown));
        candidates.push(copies.candidate(real, ours, &server, Role::Shown));
        claims.push(Claim::of(&client, 0.5));
        claims.push(Claim::of(&server, 0.5));
    }
    let group = Group {
        title: format!("copy of {count} paths of 1 to 20 kB"),
        candidates,
        claims,
    };
    bench.report.measure(group, bench.runs, &dir)
}

/// Copies of one closure into fresh stores.
pub(super) struct Copies<'a> {
    dir: PathBuf,
    source: &'a corpus::Store,
    /// What runs each server, such as a proxy.
    before: Vec<&'a str>,
    made: Cell<usize>,
}

impl<'a> Copies<'a> {
    pub(super) fn new(dir: &Path, source: &'a corpus::Store, before: Vec<&'a str>) -> Self {
        Self {
            dir: dir.to_owned(),
            source,
            before,
            made: Cell::new(0),
        }
    }

    /// A client of one program that copies to a server of another.
    pub(super) fn candidate<'b>(
        &'b self,
        client: &'b Program,
        server: &'b Program,
        name: &str,
        role: Role,
    ) -> Candidate<'b> {
        Candidate::new(name, role, move |mode| self.copy(client, server, mode))
    }

    fn copy(&self, client: &Program, server: &Program, mode: Mode) -> Result<Sample> {
        self.made.set(self.made.get() + 1);
        let root = self.dir.join(format!("to-{}", self.made.get()));
        server.init(&root)?;
        let address = server.server(&root, &self.before)?;
        let mut command = client.copy_to(&self.source.root, &address, &self.source.top)?;
        command.stderr(fs::File::create(self.dir.join("stderr"))?);
        let sample = measure(&mut command, mode, &self.dir).with_context(|| self.complaint())?;
        let found = count_valid(&root)?;
        if found != self.source.count {
            bail!("{found} of {} paths arrived", self.source.count);
        }
        Ok(sample)
    }

    /// The end of what the client had to say.
    fn complaint(&self) -> String {
        let text = fs::read(self.dir.join("stderr")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.reverse();
        lines.join("; ")
    }
}

fn count_valid(root: &Path) -> Result<usize> {
    let text = process::capture(
        // A server behind a proxy may live a little longer than its client.
        std::process::Command::new("sqlite3")
            .args(["-cmd", ".timeout 60000"])
            .arg(root.join("nix/var/nix/db/db.sqlite"))
            .arg("select count(*) from ValidPaths"),
    )?;
    text.trim().parse().context("sqlite3 printed no number")
}
