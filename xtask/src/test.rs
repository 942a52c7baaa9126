//! `cargo xtask test [AREA…]`: all set-up, then the tests.
//!
//! The set-up is the real Nix releases; their directory goes to the tests in `NIX_PEERS_DIR`.
//! Tests that walk golden vectors append lines `TOPIC N` to the file named by `VECTOR_REPORT`,
//! so that a run in which none was read doesn't pass for one in which all of them agreed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::args::Args;
use crate::{env, peers};

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let areas = args
        .words()?
        .into_iter()
        .map(Area::find)
        .collect::<Result<Vec<_>>>()?;
    let peers = peers::ensure(peers::RELEASES)?;
    peers.report();
    peers.require(&args.list("require")?)?;
    run_tests(&areas, &peers.dir, Snapshots::Compare)?.judge(areas.is_empty())
}

/// What a test does with a snapshot that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshots {
    Compare,
    Accept,
}

/// A part of the tests.
#[derive(Debug)]
pub(crate) enum Area {
    /// All tests of one crate.
    Package(String),
    /// One of the integration tests, a directory below `tests`.
    Integration(String),
}

impl Area {
    pub(crate) fn find(name: &str) -> Result<Self> {
        let root = env::workspace_root();
        if root.join("tests").join(name).join("main.rs").is_file() {
            return Ok(Self::Integration(name.to_owned()));
        }
        let is_package = ["xtask", "test-support", "store-model"].contains(&name)
            || root.join("crates").join(name).join("Cargo.toml").is_file();
        if !is_package {
            bail!("unknown area '{name}': it is a crate or a directory below 'tests'");
        }
        Ok(Self::Package(name.to_owned()))
    }

    pub(crate) fn cargo_args(&self) -> Vec<&str> {
        match self {
            Self::Package(name) => vec!["--package", name],
            Self::Integration(name) => vec!["--package", "nix-serve", "--test", name],
        }
    }
}

/// What a run of the tests came to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    tests: Counts,
    /// Cases by topic.
    vectors: BTreeMap<String, u64>,
    /// Whether cargo said that all is well.
    succeeded: bool,
    seconds: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Summary {
    /// Prints the sums and fails if a test failed, or if no vector was read in a run of all
    /// tests on a machine that has some.
    pub(crate) fn judge(&self, all: bool) -> Result<()> {
        println!("\n{self}");
        if !self.succeeded {
            bail!("tests failed");
        }
        let cases: u64 = self.vectors.values().sum();
        if all && cases == 0 && (env::is_ci() || env::shared_vectors().is_some()) {
            bail!("no test read a golden vector");
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (topic, cases) in &self.vectors {
            writeln!(f, "vectors: {topic}: {cases} cases")?;
        }
        let cases: u64 = self.vectors.values().sum();
        writeln!(f, "vectors: {cases} cases in all")?;
        let Counts {
            passed,
            failed,
            ignored,
        } = self.tests;
        write!(
            f,
            "tests: {passed} passed, {failed} failed, {ignored} ignored in {} s",
            self.seconds
        )
    }
}

/// Runs the tests of these areas, or all of them, and shows what they print as it comes.
pub(crate) fn run_tests(areas: &[Area], peers: &Path, snapshots: Snapshots) -> Result<Summary> {
    let start = Instant::now();
    let report = fresh_report()?;
    let mut summary = Summary {
        succeeded: true,
        ..Summary::default()
    };
    let selections: Vec<Vec<&str>> = if areas.is_empty() {
        vec![vec!["--workspace"]]
    } else {
        areas.iter().map(Area::cargo_args).collect()
    };
    for selection in selections {
        let mut command = Command::new(env::cargo());
        command
            .args(["test", "--no-fail-fast"])
            .args(selection)
            .current_dir(env::workspace_root())
            .env("NIX_PEERS_DIR", peers)
            .env("VECTOR_REPORT", &report)
            .env(
                "INSTA_UPDATE",
                match snapshots {
                    Snapshots::Compare => "no",
                    Snapshots::Accept => "always",
                },
            );
        summary.succeeded &= follow(&mut command, &mut summary.tests)?;
    }
    let text = std::fs::read_to_string(&report).context("cannot read the report of vectors")?;
    summary.vectors = count_vectors(&text)?;
    summary.seconds = start.elapsed().as_secs();
    Ok(summary)
}

/// Passes on the output of cargo and adds up its results; says whether it succeeded.
fn follow(command: &mut Command, counts: &mut Counts) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("no pipe from cargo")?;
    let mut own = std::io::stdout().lock();
    // Tests may print bytes that are no text.
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line.context("cannot read what cargo prints")?;
        counts.add(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        own.write_all(&line)?;
    }
    Ok(child.wait()?.success())
}

impl Counts {
    /// Adds the numbers of a line `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> = result.split([' ', ';']).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Sums the lines `TOPIC N` of a report.
pub(crate) fn count_vectors(text: &str) -> Result<BTreeMap<String, u64>> {
    let mut topics = BTreeMap::new();
    for line in text.lines() {
        let parsed = line
            .rsplit_once(' ')
            .and_then(|(topic, number)| Some((topic, number.parse::<u64>().ok()?)));
        let (topic, number) = parsed
            .with_context(|| format!("'{line}' in the report of vectors is not 'TOPIC N'"))?;
        *topics.entry(topic.to_owned()).or_default() += number;
    }
    Ok(topics)
}

/// Makes an empty report for the tests to fill.
pub(crate) fn fresh_report() -> Result<PathBuf> {
    let dir = env::target_dir();
    std::fs::create_dir_all(&dir)?;
    let path = dir.join("vector-report");
    std::fs::write(&path, "").with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_are_added() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.04s",
            "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            counts.add(line);
        }
        let expected = Counts {
            passed: 8,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn vectors_are_summed_by_topic() {
        let topics = count_vectors("nar 3\nstore path 4\nnar 5\n").unwrap();
        assert_eq!(topics["nar"], 8);
        assert_eq!(topics["store path"], 4);
        assert!(count_vectors("nar many\n").is_err());
    }

    #[test]
    fn an_unknown_area_is_refused() {
        let error = Area::find("nothing").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown area 'nothing': it is a crate or a directory below 'tests'"
        );
    }
}
