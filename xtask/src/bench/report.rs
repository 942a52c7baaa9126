//! Groups of candidates that take turns, the ratios of their medians, and the table.

use std::cell::{OnceCell, RefCell};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::measure::{self, Mode, Sample};

/// Candidates that do the same work, and what we claim of them.
pub(super) struct Group<'a> {
    pub(super) title: String,
    pub(super) candidates: Vec<Candidate<'a>>,
    pub(super) claims: Vec<Claim>,
}

/// One way to do the work.
pub(super) struct Candidate<'a> {
    pub(super) name: String,
    pub(super) role: Role,
    /// Slow ones may run less often.
    pub(super) most_runs: usize,
    pub(super) run: Box<dyn FnMut(Mode) -> Result<Sample> + 'a>,
}

/// What a candidate is in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Ours, or anything that is not measured against.
    Shown,
    /// Real Nix: the faster of them is the measure.
    Rival,
}

/// An upper bound of a ratio.
pub(super) struct Claim {
    pub(super) candidate: String,
    pub(super) against: Against,
    pub(super) counts: Counts,
    pub(super) most: f64,
}

/// Which ratios count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// The best one: all of them measure the same work.
    Any,
    /// Wall time alone: it is about waiting.
    Wall,
}

/// What a candidate is divided by.
pub(super) enum Against {
    FastestRival,
    Named(String),
}

impl<'a> Candidate<'a> {
    pub(super) fn new(
        name: impl Into<String>,
        role: Role,
        run: impl FnMut(Mode) -> Result<Sample> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            role,
            most_runs: usize::MAX,
            run: Box::new(run),
        }
    }

    /// Limits the number of runs of a slow candidate.
    pub(super) fn at_most(mut self, runs: usize) -> Self {
        self.most_runs = runs;
        self
    }
}

impl Claim {
    /// Ours takes at most this part of what the faster rival takes.
    pub(super) fn ours(most: f64) -> Self {
        Self::of("ours", most)
    }

    /// The candidate takes at most this part of what the faster rival takes.
    pub(super) fn of(candidate: impl Into<String>, most: f64) -> Self {
        Self {
            candidate: candidate.into(),
            against: Against::FastestRival,
            counts: Counts::Any,
            most,
        }
    }

    /// The candidate takes at most this part of what another one takes.
    pub(super) fn between(candidate: &str, other: &str, most: f64) -> Self {
        Self {
            candidate: candidate.to_owned(),
            against: Against::Named(other.to_owned()),
            counts: Counts::Any,
            most,
        }
    }

    /// The same claim of wall time alone.
    pub(super) fn in_wall_time(self) -> Self {
        Self {
            counts: Counts::Wall,
            ..self
        }
    }
}

/// Collects the outcome of all groups.
#[derive(Default)]
pub(super) struct Report {
    /// Whether instructions can be counted, once that was asked.
    counts: OnceCell<bool>,
    verdicts: RefCell<Vec<Verdict>>,
}

struct Verdict {
    line: String,
    is_met: bool,
}

impl Report {
    /// Runs a group, `runs` times round, and prints its part of the table.
    pub(super) fn measure(&self, mut group: Group<'_>, runs: usize, scratch: &Path) -> Result<()> {
        let counts = *self.counts.get_or_init(|| measure::can_count(scratch));
        println!("\n{}", group.title);
        let mut samples = vec![Vec::new(); group.candidates.len()];
        for round in 0..runs {
            for (candidate, samples) in group.candidates.iter_mut().zip(&mut samples) {
                if round < candidate.most_runs {
                    let sample =
                        (candidate.run)(Mode::Time).with_context(|| candidate.name.clone())?;
                    samples.push(sample);
                }
            }
        }
        let mut medians: Vec<Sample> = samples.iter().map(|samples| median(samples)).collect();
        if counts {
            for (candidate, median) in group.candidates.iter_mut().zip(&mut medians) {
                median.instructions = (candidate.run)(Mode::Count)
                    .with_context(|| candidate.name.clone())?
                    .instructions;
            }
        }
        print_table(&group, &medians);
        for claim in &group.claims {
            self.judge(&group, &medians, claim)?;
        }
        Ok(())
    }

    /// Notes a number that isn't a ratio of times.
    pub(super) fn note(&self, what: &str, is_met: bool) {
        let word = if is_met { "met" } else { "NOT MET" };
        let line = format!("{what}: {word}");
        println!("  {line}");
        self.verdicts.borrow_mut().push(Verdict { line, is_met });
    }

    /// Notes the ratio of two numbers that is to have a lower bound.
    pub(super) fn note_at_least(&self, what: &str, ratio: f64, least: f64) {
        self.note(
            &format!("{what}: {ratio:.3}; at least {least}"),
            ratio >= least,
        );
    }

    fn judge(&self, group: &Group<'_>, medians: &[Sample], claim: &Claim) -> Result<()> {
        let find = |name: &str| {
            let at = group.candidates.iter().position(|found| found.name == name);
            at.map(|at| medians[at])
                .with_context(|| format!("there is no candidate '{name}'"))
        };
        let (other, base) = match &claim.against {
            Against::Named(name) => (name.clone(), find(name)?),
            Against::FastestRival => {
                let rivals = group.candidates.iter().zip(medians);
                let rivals: Vec<Sample> = rivals
                    .filter(|(candidate, _)| candidate.role == Role::Rival)
                    .map(|(_, median)| *median)
                    .collect();
                ("the fastest rival".to_owned(), fastest(&rivals))
            }
        };
        let ratios = Ratios::of(&find(&claim.candidate)?, &base);
        let what = format!(
            "{}: {} / {other}: {ratios}; at most {}",
            group.title, claim.candidate, claim.most
        );
        self.note(&what, ratios.best(claim.counts) <= claim.most);
        Ok(())
    }

    /// Prints all verdicts once more.
    pub(super) fn summary(&self) {
        println!("\nsummary");
        let verdicts = self.verdicts.borrow();
        for verdict in verdicts.iter() {
            println!("  {}", verdict.line);
        }
        println!("{} of {} met", self.met(), verdicts.len());
    }

    fn met(&self) -> usize {
        let verdicts = self.verdicts.borrow();
        verdicts.iter().filter(|verdict| verdict.is_met).count()
    }
}

fn print_table(group: &Group<'_>, medians: &[Sample]) {
    println!(
        "  {:<28}{:>12}{:>12}{:>16}",
        "", "wall", "cpu", "instructions"
    );
    for (candidate, median) in group.candidates.iter().zip(medians) {
        let counted = median.instructions.map_or_else(
            || "-".to_owned(),
            |count| format!("{:.1} M", millions(count)),
        );
        println!(
            "  {:<28}{:>12}{:>12}{counted:>16}",
            candidate.name,
            milliseconds(median.wall),
            milliseconds(median.cpu),
        );
    }
}

/// Ratios of the three measures, as far as both sides have them.
struct Ratios {
    wall: Option<f64>,
    cpu: Option<f64>,
    instructions: Option<f64>,
}

impl Ratios {
    fn of(ours: &Sample, base: &Sample) -> Self {
        let counts = ours.instructions.zip(base.instructions);
        Self {
            wall: ratio(ours.wall.as_secs_f64(), base.wall.as_secs_f64()),
            cpu: ratio(ours.cpu.as_secs_f64(), base.cpu.as_secs_f64()),
            instructions: counts.and_then(|(a, b)| ratio(millions(a), millions(b))),
        }
    }

    fn best(&self, counts: Counts) -> f64 {
        let candidates = match counts {
            Counts::Any => [self.wall, self.cpu, self.instructions],
            Counts::Wall => [self.wall, None, None],
        };
        candidates
            .into_iter()
            .flatten()
            .fold(f64::INFINITY, f64::min)
    }
}

impl std::fmt::Display for Ratios {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |ratio: Option<f64>| {
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"))
        };
        write!(
            f,
            "wall {}, cpu {}, instructions {}",
            text(self.wall),
            text(self.cpu),
            text(self.instructions)
        )
    }
}

fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}

/// The median of each measure for itself.
fn median(samples: &[Sample]) -> Sample {
    let middle = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    Sample {
        wall: middle(samples.iter().map(|sample| sample.wall).collect()),
        cpu: middle(samples.iter().map(|sample| sample.cpu).collect()),
        instructions: None,
    }
}

/// The least of each measure.
fn fastest(samples: &[Sample]) -> Sample {
    Sample {
        wall: samples.iter().map(|s| s.wall).min().unwrap_or_default(),
        cpu: samples.iter().map(|s| s.cpu).min().unwrap_or_default(),
        instructions: samples.iter().filter_map(|s| s.instructions).min(),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[allow(clippy::cast_precision_loss, reason = "for ratios and people to read")]
fn millions(count: u64) -> f64 {
    count as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(wall: u64, cpu: u64, instructions: Option<u64>) -> Sample {
        Sample {
            wall: Duration::from_millis(wall),
            cpu: Duration::from_millis(cpu),
            instructions,
        }
    }

    #[test]
    fn each_measure_has_its_own_median() {
        let samples = [sample(9, 1, None), sample(1, 5, None), sample(4, 9, None)];
        let found = median(&samples);
        assert_eq!(found.wall, Duration::from_millis(4));
        assert_eq!(found.cpu, Duration::from_millis(5));
    }

    #[test]
    fn the_best_ratio_counts() {
        let ratios = Ratios::of(&sample(8, 1, Some(3)), &sample(10, 4, Some(10)));
        assert!((ratios.best(Counts::Any) - 0.25).abs() < 1e-9);
        assert!((ratios.best(Counts::Wall) - 0.8).abs() < 1e-9);
        let without = Ratios::of(&sample(8, 0, None), &sample(10, 0, Some(10)));
        assert!((without.best(Counts::Any) - 0.8).abs() < 1e-9);
        assert_eq!(without.to_string(), "wall 0.800, cpu -, instructions -");
    }

    #[test]
    fn candidates_take_turns_and_slow_ones_stop_early() {
        let dir = tempfile::tempdir().unwrap();
        let order = std::cell::RefCell::new(Vec::new());
        let note = |name: &'static str| {
            let order = &order;
            move |mode| {
                if mode == Mode::Time {
                    order.borrow_mut().push(name);
                }
                Ok(sample(2, 2, None))
            }
        };
        let group = Group {
            title: "title".to_owned(),
            candidates: vec![
                Candidate::new("ours", Role::Shown, note("ours")),
                Candidate::new("theirs", Role::Rival, note("theirs")).at_most(1),
            ],
            claims: vec![Claim::ours(1.0), Claim::ours(0.5)],
        };
        let report = Report::default();
        report.measure(group, 2, dir.path()).unwrap();
        assert_eq!(*order.borrow(), ["ours", "theirs", "ours"]);
        assert_eq!((report.verdicts.borrow().len(), report.met()), (2, 1));
    }
}
