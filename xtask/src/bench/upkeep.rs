//! The upkeep of a store beside real Nix: collecting, verifying, optimising, and the questions
//! and texts about all of it. In memory, since it is about our own work and not the disk's.

mod fixture;

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::measure::{Mode, Sample, measure};
use super::program::Program;
use super::report::{Candidate, Claim, Group};
use super::{Bench, corpus};
use crate::process;

use fixture::Store;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let dir = bench.fast.path().join("upkeep");
    fs::create_dir_all(&dir)?;
    let paths = bench.scaled(100_000);
    let many = fixture::make_many(&bench.real[0], &dir.join("many"), paths)?;
    let site = Site {
        bench,
        dir: &dir,
        rivals: &bench.real[..1],
        copies: Cell::new(0),
    };
    site.questions(&many)?;
    site.texts(&many)?;
    site.collections(&many)?;
    remove(&many.root)?;
    let files = bench.scaled(60_000);
    let large = fixture::make_large(&bench.real[0], &dir.join("large"), files)?;
    site.verifications(&large)?;
    site.optimisations(&large)?;
    remove(&dir)
}

struct Site<'b> {
    bench: &'b Bench,
    dir: &'b Path,
    /// The newest release alone: the others are slower still, and a run takes a minute.
    rivals: &'b [Program],
    copies: Cell<usize>,
}

/// A question that leaves the store as it is.
struct Question<'a> {
    title: &'static str,
    words: &'a [&'a str],
    most: f64,
}

impl Site<'_> {
    fn programs(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.bench.ours).chain(self.rivals)
    }

    fn questions(&self, store: &Store) -> Result<()> {
        let questions = [
            Question {
                title: "-qR",
                words: &["--query", "--requisites", &store.top],
                most: 0.15,
            },
            Question {
                title: "-q --referrers-closure",
                words: &["--query", "--referrers-closure", &store.bottom],
                most: 0.15,
            },
            Question {
                title: "--gc --print-dead",
                words: &["--gc", "--print-dead"],
                most: 0.15,
            },
            Question {
                title: "--dump-db",
                words: &["--dump-db"],
                most: 0.1,
            },
        ];
        for question in questions {
            self.ask(store, &question)?;
        }
        self.marking(store)
    }

    /// All say the same, in whatever order.
    fn ask(&self, store: &Store, question: &Question<'_>) -> Result<()> {
        let said = RefCell::new(None);
        let candidates = self.programs().map(|program| {
            let said = &said;
            Candidate::new(&program.name, program.role(), move |mode| {
                let answer = self.dir.join("answer");
                let mut command = program.nix_store(&store.root, question.words)?;
                command.stdout(File::create(&answer)?).stderr(Stdio::null());
                let sample = measure(&mut command, mode, self.dir)?;
                let lines = sorted_lines(&fs::read_to_string(&answer)?);
                match said.borrow_mut().replace(lines.clone()) {
                    Some(other) if other != lines => bail!("the answer differs from another's"),
                    _ => Ok(sample),
                }
            })
            .at_most(3)
        });
        let group = Group {
            title: format!("{}, {} paths", question.title, store.count),
            candidates: candidates.collect(),
            claims: vec![Claim::ours(question.most)],
        };
        self.bench.report.measure(group, self.bench.runs, self.dir)
    }

    /// A whole run that marks and prints is an upper bound of what marking takes.
    fn marking(&self, store: &Store) -> Result<()> {
        let words = ["--gc", "--print-live"];
        let mut times = Vec::new();
        for _ in 0..self.bench.runs.max(3) {
            let mut command = self.bench.ours.nix_store(&store.root, &words)?;
            command.stdout(Stdio::null()).stderr(Stdio::null());
            times.push(measure(&mut command, Mode::Time, self.dir)?.wall);
        }
        times.sort_unstable();
        let time = times[times.len() / 2];
        let what = format!(
            "marking {} paths, whole run: {:.3} s; at most 0.5",
            store.count,
            time.as_secs_f64()
        );
        self.bench
            .report
            .note(&what, time <= Duration::from_millis(500));
        Ok(())
    }

    /// What one has dumped is loaded.
    fn texts(&self, store: &Store) -> Result<()> {
        let text = self.dir.join("registrations");
        let mut dump = self.rivals[0].nix_store(&store.root, &["--dump-db"])?;
        process::run(dump.stdout(File::create(&text)?))?;
        let registered = fs::read_to_string(&text)?;
        let (text, registered) = (&text, &sorted_lines(&registered));
        let candidates = self.programs().map(|program| {
            Candidate::new(&program.name, program.role(), move |mode| {
                let root = self.fresh();
                program.init(&root)?;
                let mut command = program.nix_store(&root, &["--load-db"])?;
                command.stdin(File::open(text)?);
                let sample = measure(&mut command, mode, self.dir)?;
                let mut dump = self.bench.ours.nix_store(&root, &["--dump-db"])?;
                if sorted_lines(&process::capture(&mut dump)?) != *registered {
                    bail!("{} loaded something else", program.name);
                }
                remove(&root)?;
                Ok(sample)
            })
            .at_most(3)
        });
        let group = Group {
            title: format!("--load-db, {} paths", store.count),
            candidates: candidates.collect(),
            claims: vec![Claim::ours(0.1)],
        };
        self.bench.report.measure(group, self.bench.runs, self.dir)
    }

    fn collections(&self, store: &Store) -> Result<()> {
        let title = format!("collection of the dead half of {} paths", store.count);
        self.change(store, title, &["--gc"], 0.25, &|root| {
            let left = fs::read_dir(root.join("nix/store"))?
                .filter(|entry| !entry.as_ref().is_ok_and(|e| e.file_name() == ".links"))
                .count();
            if left != store.live {
                bail!("{left} paths are left, not {}", store.live);
            }
            Ok(())
        })
    }

    fn verifications(&self, store: &Store) -> Result<()> {
        let candidates = self.programs().map(|program| {
            Candidate::new(&program.name, program.role(), move |mode| {
                let words = ["--verify", "--check-contents"];
                let mut command = program.nix_store(&store.root, &words)?;
                command.stdout(Stdio::null()).stderr(Stdio::null());
                measure(&mut command, mode, self.dir)
            })
        });
        let group = Group {
            title: format!("--verify --check-contents, {}", store.size),
            candidates: candidates.collect(),
            claims: vec![Claim::ours(0.6)],
        };
        let runs = self.bench.runs.min(3);
        self.bench.report.measure(group, runs, self.dir)
    }

    fn optimisations(&self, store: &Store) -> Result<()> {
        let title = format!("--optimise, {}", store.size);
        self.change(store, title, &["--optimise"], 0.6, &|root| {
            let links = fs::read_dir(root.join("nix/store/.links"))?.count();
            if links != store.different {
                bail!("{links} links, not {}", store.different);
            }
            Ok(())
        })
    }

    /// Each has a copy of its own, and leaves it as `check` wants it.
    fn change(
        &self,
        store: &Store,
        title: String,
        words: &[&str],
        most: f64,
        check: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<()> {
        let candidates = self.programs().map(|program| {
            let slow = program.role() == super::report::Role::Rival;
            Candidate::new(
                &program.name,
                program.role(),
                move |mode| -> Result<Sample> {
                    let root = self.fresh();
                    process::run(Command::new("cp").arg("-aT").arg(&store.root).arg(&root))?;
                    let mut command = program.nix_store(&root, words)?;
                    command.stdout(Stdio::null()).stderr(Stdio::null());
                    let sample = measure(&mut command, mode, self.dir)?;
                    check(&root).with_context(|| program.name.clone())?;
                    remove(&root)?;
                    Ok(sample)
                },
            )
            .at_most(if slow { 2 } else { usize::MAX })
        });
        let group = Group {
            title,
            candidates: candidates.collect(),
            claims: vec![Claim::ours(most)],
        };
        let runs = self.bench.runs.min(3);
        self.bench.report.measure(group, runs, self.dir)
    }

    fn fresh(&self) -> PathBuf {
        self.copies.set(self.copies.get() + 1);
        self.dir.join(format!("copy-{}", self.copies.get()))
    }
}

/// What the order of lines says nothing about.
fn sorted_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn remove(root: &Path) -> Result<()> {
    crate::demo::make_writable(root);
    fs::remove_dir_all(root).with_context(|| format!("cannot remove '{}'", root.display()))
}
