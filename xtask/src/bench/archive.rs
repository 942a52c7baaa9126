//! `dump` and `restore`: many small files, and one large one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::measure::{Sample, measure};
use super::report::{Candidate, Claim, Group, Role};
use super::{Bench, corpus};
use crate::process;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let dir = bench.fast.path().join("archive");
    fs::create_dir_all(&dir)?;
    let count = bench.scaled(60_000);
    let tree = dir.join("tree");
    corpus::make_tree(&tree, count)?;
    dump(
        bench,
        &format!("dump of {count} small files"),
        &tree,
        Files::Small,
    )?;
    restore(bench, &format!("restore of {count} small files"), &tree)?;
    fs::remove_dir_all(&tree)?;

    let size = bench.scaled(2048) << 20;
    let file = dir.join("file");
    corpus::make_file(&file, size)?;
    let title = format!("one file of {} MiB", size >> 20);
    dump(bench, &format!("dump of {title}"), &file, Files::One)?;
    restore(bench, &format!("restore of {title}"), &file)?;
    fs::remove_file(&file)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    Small,
    One,
}

fn dump(bench: &Bench, title: &str, source: &Path, files: Files) -> Result<()> {
    let scratch = bench.fast.path().to_owned();
    let quiet = |mut command: Command, mode| -> Result<Sample> {
        command.stdout(Stdio::null());
        measure(&mut command, mode, &scratch)
    };
    let mut candidates = Vec::new();
    for program in bench.all() {
        let run = |mode| quiet(program.dump(source), mode);
        candidates.push(Candidate::new(&program.name, program.role(), run));
    }
    let mut claims = vec![Claim::ours(1.0)];
    if files == Files::Small {
        let xtask = &bench.xtask;
        candidates.push(Candidate::new("bare walk", Role::Shown, move |mode| {
            let mut command = Command::new(xtask);
            command.arg("bare-walk").arg(source);
            quiet(command, mode)
        }));
        claims = vec![Claim::ours(0.75), Claim::between("ours", "bare walk", 1.2)];
    }
    let group = Group {
        title: title.to_owned(),
        candidates,
        claims,
    };
    bench.report.measure(group, bench.runs, &scratch)
}

fn restore(bench: &Bench, title: &str, source: &Path) -> Result<()> {
    let dir = bench.fast.path().join("restore");
    fs::create_dir_all(&dir)?;
    let archive = dir.join("archive.nar");
    let mut dump = bench.real[0].dump(source);
    process::run(dump.stdout(File::create(&archive)?))?;
    let mut candidates = Vec::new();
    for program in bench.all() {
        let mut places = Places::new(dir.join(&program.name));
        let (archive, scratch) = (&archive, bench.fast.path());
        candidates.push(Candidate::new(&program.name, program.role(), move |mode| {
            let place = places.fresh()?;
            let mut command = program.restore(&place);
            command.stdin(File::open(archive)?);
            let sample = measure(&mut command, mode, scratch)?;
            places.done(&place)?;
            Ok(sample)
        }));
    }
    let group = Group {
        title: title.to_owned(),
        candidates,
        claims: vec![Claim::ours(0.9)],
    };
    bench.report.measure(group, bench.runs, bench.fast.path())?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Fresh places for what a run makes.
struct Places {
    dir: PathBuf,
    in_memory: bool,
    count: usize,
}

impl Places {
    fn new(dir: PathBuf) -> Self {
        Self {
            in_memory: dir.starts_with(super::MEMORY_DIR),
            dir,
            count: 0,
        }
    }

    fn fresh(&mut self) -> Result<PathBuf> {
        fs::create_dir_all(&self.dir)?;
        self.count += 1;
        Ok(self.dir.join(self.count.to_string()))
    }

    /// Memory is short and deleting there has no after-effect; on a disk what was made stays
    /// until the end, except for single large files.
    fn done(&self, place: &Path) -> Result<()> {
        if fs::symlink_metadata(place)?.is_file() {
            fs::remove_file(place)?;
        } else if self.in_memory {
            fs::remove_dir_all(place)?;
        }
        Ok(())
    }
}
