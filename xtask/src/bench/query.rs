//! One request about many registered paths.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::measure::{Clock, Mode, Sample};
use super::program::Program;
use super::report::{Candidate, Claim, Group};
use super::session::{Request, Session};
use super::{Bench, corpus};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let dir = bench.fast.path().join("query");
    let count = bench.scaled(100_000);
    let registrations = corpus::make_registrations(count);
    bench.real[0].init(&dir)?;
    corpus::register(&dir, &registrations)?;
    let mut paths: Vec<&str> = registrations
        .iter()
        .map(|item| item.path.as_str())
        .collect();
    paths.sort_unstable();
    for question in QUESTIONS {
        let mut request = Request::default();
        request.number(question.command);
        for _ in 0..question.flags {
            request.number(0);
        }
        request.texts(paths.iter().copied());
        measure_question(bench, &dir, question, &request, count)?;
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

struct Question {
    name: &'static str,
    command: u64,
    /// Booleans before the set of paths.
    flags: usize,
    /// Whether the answer starts with the number of paths.
    counts: bool,
    most: f64,
}

const QUESTIONS: &[Question] = &[
    question("QueryValidPaths", 1, 2, true, 0.3),
    question("QueryPathInfos", 2, 0, false, 0.15),
    question("QueryClosure", 7, 1, true, 0.1),
];

const fn question(
    name: &'static str,
    command: u64,
    flags: usize,
    counts: bool,
    most: f64,
) -> Question {
    Question {
        name,
        command,
        flags,
        counts,
        most,
    }
}

fn measure_question(
    bench: &Bench,
    root: &Path,
    question: &Question,
    request: &Request,
    count: usize,
) -> Result<()> {
    // All have to give the same answer; its length stands for it.
    let length = Cell::new(None);
    let ask = |program: &Program, mode: Mode| -> Result<Sample> {
        if mode == Mode::Count {
            return Ok(Sample::default());
        }
        let session = Session::start(&mut program.serve(root)?)?;
        let clock = Clock::start()?;
        let (first, answered) = session.ask(request)?;
        if question.counts && first != count as u64 {
            bail!("the answer has {first} paths, not {count}");
        }
        match length.replace(Some(answered)) {
            Some(other) if other != answered => {
                bail!("the answer has {answered} bytes, that of others {other}")
            }
            _ => clock.stop(),
        }
    };
    let ask = &ask;
    let candidates = bench
        .all()
        .map(|program| {
            Candidate::new(&program.name, program.role(), move |mode| {
                ask(program, mode)
            })
        })
        .collect();
    let group = Group {
        title: format!("{} of {count} paths in one request", question.name),
        candidates,
        claims: vec![Claim::ours(question.most)],
    };
    bench.report.measure(group, bench.runs.min(3), root)
}
